import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgedefend import Defense, load_quant_table
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
