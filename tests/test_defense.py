import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgedefend import Defense, load_quant_table, quantize, remap
from edgedefend.encoding import Encoding
from edgedefend.errors import InputError
from tests import reference

TABLE = load_quant_table("feature-distillation")


def test_is_quantisation_then_remap(photographs):
    defend = Defense(TABLE)
    image = photographs[2]
    grid = defend.sample_grid(224, 224)
    slow, ties = (reference.remap(part, *grid) for part in reference.quantize_with_ties(image, TABLE))
    assert (defend(image, grid=grid) == slow)[~ties].all()


def test_draws_differ_by_default_and_repeat_with_a_generator(photographs):
    defend = Defense(TABLE)
    assert not defend.predictable
    first, second = defend(photographs[0]), defend(photographs[0])
    # Table 1 of the paper: two draws differ by l2_rms of about 0.2.
    assert np.sqrt(np.mean(((first / 255.0) - (second / 255.0)) ** 2)) > 0.05
    seeded = [Defense(TABLE, rng=np.random.default_rng(1)) for _ in range(2)]
    assert seeded[0].predictable
    assert (seeded[0](photographs[0]) == seeded[1](photographs[0])).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 50), st.integers(1, 50), st.integers(0, 2**32 - 1))
def test_any_size(height, width, seed):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 3), np.uint8)
    before = image.copy()
    out = Defense(TABLE, rng=rng)(image)
    assert out.shape == image.shape
    assert out.dtype == np.uint8
    assert (image == before).all()


def test_threads_do_not_disturb_each_other(photographs):
    defend = Defense(TABLE)
    grid = defend.sample_grid(224, 224)
    expected = [defend(image, grid=grid) for image in photographs]
    wrong = []

    def work() -> None:
        for _ in range(10):
            for image, answer in zip(photographs, expected, strict=True):
                if not (defend(image, grid=grid) == answer).all():
                    wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_parameters_cannot_be_changed_behind_its_back():
    mine = TABLE.copy()
    defend = Defense(mine)
    mine[:] = 1
    assert defend.quant_table[0, 0] == 25
    with pytest.raises(ValueError, match="read-only"):
        defend.quant_table[0, 0] = 3
    assert "num_steps=10" in repr(defend)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(2, 8), st.integers(0, 2**32 - 1))
def test_several_passes_are_the_mean_of_images_quantised_in_other_blocks(height, width, passes, seed):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 3), np.uint8)
    defend = Defense(TABLE, passes=passes, rng=rng)
    each = [
        quantize(np.pad(image, ((top, 0), (left, 0), (0, 0)), mode="edge"), TABLE)[top:, left:].astype(int)
        for top, left in defend.usual_offsets
    ]
    # The two kernels may round differently at a tie, of which few images have one: a level in the mean at most.
    apart = np.abs(defend.quantize(image).astype(int) - (np.sum(each, axis=0) + passes // 2) // passes)
    assert apart.max() <= 1 + 30 // passes and np.mean(apart > 0) < 0.05
    grid = defend.sample_grid(height, width)
    assert (defend(image, grid=grid) == remap(defend.quantize(image), grid)).all()


def test_passes_begin_in_rows_and_columns_of_their_own():
    for passes in range(1, 9):
        rows, cols = zip(*Defense(TABLE, passes=passes).usual_offsets, strict=True)
        assert rows[0] == cols[0] == 0
        assert len(set(rows)) == passes and max(*rows, *cols) < 8
    assert len(set(cols)) == 8
    with pytest.raises(InputError, match="passes is 9"):
        Defense(TABLE, passes=9)


def test_several_passes_reach_every_way_out(photographs):
    """One image, several draws, and a tensor that is no picture: all hold what the plain call gives."""
    defend = Defense(TABLE, passes=4)
    assert "passes=4" in repr(defend)
    grids = [defend.sample_grid(224, 224) for _ in range(3)]
    many = np.empty((3, 224, 224, 3), np.float32)
    encoding = Encoding(np.float32, np.full(3, 2.0), np.full(3, -1.0))
    defend.into_many(photographs[0], many, encoding, grids=grids)
    for grid, tensor in zip(grids, many, strict=True):
        assert (tensor == 2.0 * defend(photographs[0], grid=grid).astype(np.float32) - 1).all()
    assert (defend(photographs[0], grid=grids[0]) != Defense(TABLE)(photographs[0], grid=grids[0])).any()


def test_the_blocks_of_the_passes_are_drawn_afresh_for_every_draw(photographs):
    defend = Defense(TABLE, 10, 0.0, passes=3)
    drawn = [defend.sample_offsets() for _ in range(400)]
    for offsets in drawn:
        rows, cols = zip(*offsets, strict=True)
        assert len(set(rows)) == len(set(cols)) == 3
    assert {top for offsets in drawn for top, _ in offsets} == set(range(8))
    assert len({tuple(offsets) for offsets in drawn}) > 300
    assert Defense(TABLE).sample_offsets() == [(0, 0)]
    many = np.empty((6, 224, 224, 3), np.uint8)
    Defense(TABLE, 10, 0.0, passes=3, rng=np.random.default_rng(3)).into_many(photographs[0], many, Encoding())
    again = Defense(TABLE, 10, 0.0, passes=3, rng=np.random.default_rng(3))
    assert all((again(photographs[0]) == draw).all() for draw in many), "a given generator repeats them"
    assert len({draw.tobytes() for draw in many}) > 4
