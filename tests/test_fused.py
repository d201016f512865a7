import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgedefend import Defense, kernels, load_quant_table
from edgedefend.encoding import AFFINE, AS_IS, LOOK_UP, Encoding
from edgedefend.errors import InputError
from edgedefend.fused import FusedDefense
from edgedefend.grid import Grid, sample_grid
from tests import reference
from tests.conftest import ROOT

TABLE = load_quant_table("feature-distillation")
LEARNED = load_quant_table("efficientnet-lite0")
# No entry is a round number, so that hardly any coefficient or pixel lies on a tie.
UNEVEN = (20 + np.arange(64).reshape(8, 8) * 1.2345 + np.sqrt(2)).astype(np.float32)


def fused(image, grid, table=TABLE, encoding=None):
    encoding = encoding or Encoding()
    out = np.full((len(grid[0]), len(grid[1]), 3), 77, encoding.dtype)
    FusedDefense(table, encoding).into(image, grid, out)
    return out


def plain(image, grid, table=TABLE):
    """The readable kernels."""
    quantized = np.empty_like(image)
    kernels.quantize_blocks(
        np.ascontiguousarray(image), np.asarray(table, np.float32), kernels.cosine_matrix(), quantized
    )
    return quantized[np.asarray(grid[0])][:, np.asarray(grid[1])]


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def identity(height, width):
    return Grid(np.arange(height, dtype=np.int32), np.arange(width, dtype=np.int32))


def test_photographs_differ_from_the_exact_answer_only_at_ties(photographs):
    for seed, image in enumerate(photographs[:6]):
        grid = sample_grid(224, 224, rng=np.random.default_rng(seed))
        exact, ties = (reference.remap(part, *grid) for part in reference.quantize_with_ties(image, TABLE))
        assert (fused(image, grid) == exact)[~ties].all()


def test_photographs_differ_from_the_plain_kernels_in_a_small_stated_fraction(photographs):
    grid = identity(224, 224)
    # Whole numbers put whole blocks on exact ties (25 * 4 / 8 = 12.5): both send them to even.
    for table in (TABLE, LEARNED, UNEVEN):
        differing = [np.mean(fused(image, grid, table) != plain(image, grid, table)) for image in photographs]
        assert np.mean(differing) < 0.0005
        assert max(differing) < 0.002


FOURTH = np.array([1, -1, -1, 1, 1, -1, -1, 1])  # frequency 4, a whole number in every place


@pytest.mark.parametrize("entry", [20, 25, 30, 100])
@pytest.mark.parametrize("vertical", [0, 4])
@pytest.mark.parametrize("horizontal", [0, 4])
def test_coefficients_on_exact_ties_go_to_even(entry, vertical, horizontal):
    pattern = np.outer(FOURTH if vertical else np.ones(8, int), FOURTH if horizontal else np.ones(8, int)).ravel()
    start = 128 if vertical or horizontal else 0
    for halves in range(1, 12, 2):
        total = 4 * halves * entry  # of levels times pattern: the coefficient is halves / 2 * entry
        levels = start + pattern * (total // 64 + (np.arange(64) < total % 64))
        if levels.min() < 0 or levels.max() > 255:
            continue
        assert (pattern * levels).sum() == total
        index = np.round(halves / 2)
        mean = np.round(levels.sum() / 8 / entry) if start else 0
        expected = np.clip(np.round((mean + pattern * index) * entry / 8), 0, 255).reshape(8, 8, 1)
        image = np.repeat(levels.reshape(8, 8, 1), 3, 2).astype(np.uint8)
        table = np.full((8, 8), float(entry))
        assert (fused(image, identity(8, 8), table) == expected).all()
        assert (plain(image, identity(8, 8), table) == expected).all()


@pytest.mark.parametrize("level", [0, 1, 12, 127, 128, 200, 254, 255])
def test_flat_images_are_exact(level):
    image = np.full((16, 24, 3), level, np.uint8)
    mean = np.round(level * 8 / 25) * 25 / 8
    assert (fused(image, identity(16, 24)) == np.uint8(min(np.round(mean), 255))).all()


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(0, 2**32 - 1))
def test_any_size(height, width, seed):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 3), np.uint8)
    before = image.copy()
    grid = sample_grid(height, width, rng=rng)
    exact, ties = (reference.remap(part, *grid) for part in reference.quantize_with_ties(image, UNEVEN))
    assert (fused(image, grid, UNEVEN) == exact)[~ties].all()
    assert ties.mean() < 0.35  # a block of noise has 64 coefficients and 64 pixels: some lie near a tie
    assert (image == before).all()


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_any_lists_of_indices(data):
    height, width = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 40))
    rows = data.draw(st.lists(st.integers(0, height - 1), min_size=1, max_size=50))
    cols = data.draw(st.lists(st.integers(0, width - 1), min_size=1, max_size=50))
    image = noise(height, width)
    whole = fused(image, identity(height, width))
    for dtype in (np.int32, np.int64, np.uint8):
        grid = Grid(np.array(rows, dtype), np.array(cols, dtype))
        assert (fused(image, grid) == reference.remap(whole, rows, cols)).all()


@pytest.mark.parametrize("flip_rows", [False, True])
@pytest.mark.parametrize("flip_cols", [False, True])
def test_flips(flip_rows, flip_cols):
    image = noise(37, 53)
    grid = Grid(np.arange(37, dtype=np.int32)[:: -1 if flip_rows else 1], np.arange(53)[:: -1 if flip_cols else 1])
    whole = fused(image, identity(37, 53))
    assert (fused(image, grid) == whole[:: -1 if flip_rows else 1, :: -1 if flip_cols else 1]).all()


ENCODINGS = [
    ((np.uint8,), AS_IS),
    ((np.int8, 1, -128), AS_IS),
    ((np.int8, 0.77313, -100.3), AFFINE),
    ((np.uint8, (1.9133, 0.3129, 1.0417), (-3.123, 40.21, 17.77)), AFFINE),
    ((np.int8, 0.5, -64), AFFINE),
    ((np.int8, 0.77, -100.3), LOOK_UP),  # 0.77 * 40 - 100.3 is a tie, and float32 does not see it
    ((np.uint8, 5000.1, -3.0), LOOK_UP),  # beyond 16 bits
    ((np.float32,), None),
    ((np.float32, 1 / 128, -127 / 128), None),
    ((np.float32, (0.017, 0.0175, 0.0174), (-2.1, -2.0, -1.8)), None),
]


@pytest.mark.parametrize(("arguments", "mode"), ENCODINGS, ids=str)
@pytest.mark.parametrize("order", ["RGB", "BGR"])
@pytest.mark.parametrize("width", [1, 5, 8, 40, 67])
def test_encodings(arguments, mode, order, width):
    image, grid = noise(19, width), sample_grid(19, width, rng=np.random.default_rng(1))
    encoding = Encoding(*arguments, **({} if order == "RGB" else {"channel_order": order}))
    pixels = fused(image, grid)[..., :: 1 if order == "RGB" else -1]
    expected = np.stack([encoding.table[channel][pixels[..., channel]] for channel in range(3)], -1)
    out = fused(image, grid, encoding=encoding)
    assert out.dtype == encoding.dtype
    if mode is None:
        np.testing.assert_allclose(out, expected, rtol=3e-7, atol=3e-7)
        # A level has one value, wherever it stands in a row.
        assert all(len(set(out[..., 0][pixels[..., 0] == level])) <= 1 for level in range(256))
    else:
        assert encoding.kernel_plan()[0] == mode
        assert (out == expected).all()


def test_table_is_the_definition():
    encoding = Encoding(np.int8, (0.5, 1, 2), (-128, -128, 0))
    assert encoding.table[0].tolist() == [int(np.rint(level / 2 - 128)) for level in range(256)]
    assert encoding.table[1].tolist() == list(range(-128, 128))
    assert encoding.table[2].tolist() == [min(2 * level, 127) for level in range(256)]


def test_strided_and_read_only_input():
    big = noise(60, 90)
    grid = sample_grid(30, 45, rng=np.random.default_rng(2))
    for view in (big[::2, ::2], big[10:40, 20:65], big[::-1][:30, :45], np.asfortranarray(big[:30, :45])):
        expected = fused(np.ascontiguousarray(view), grid)
        assert (fused(view, grid) == expected).all()
        frozen = view.copy()
        frozen.flags.writeable = False
        assert (fused(frozen, grid) == expected).all()


def test_writes_into_the_image_itself():
    image = noise(30, 40)
    grid = sample_grid(30, 40, rng=np.random.default_rng(3))
    expected = fused(image, grid)
    FusedDefense(TABLE).into(image, grid, image)
    assert (image == expected).all()


def test_writes_nothing_beside_its_tensor():
    image = noise(17, 23)
    grid = sample_grid(17, 23, rng=np.random.default_rng(4))
    for dtype in (np.uint8, np.float32):
        batch = np.full((3, 17, 23, 3), 77, dtype)
        FusedDefense(TABLE, Encoding(dtype)).into(image, grid, batch[1])
        assert (batch[0] == 77).all()
        assert (batch[2] == 77).all()
        assert (batch[1] == fused(image, grid)).all()


@pytest.mark.parametrize("arguments", [(np.uint8,), (np.int8, 1, -128), (np.int8, 0.77313, -100.3), (np.float32, 2, 1)])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (9, 3), (17, 23), (64, 48)])
def test_many_draws_are_each_what_one_draw_is(arguments, height, width):
    image, encoding = noise(height, width), Encoding(*arguments)
    # Every start: the strip is decoded in one direction and mirrored for the other.
    for seed in range(8):
        rng = np.random.default_rng(seed)
        grids = [sample_grid(height, width, rng=rng) for _ in range(4)]
        out = np.full((4, height, width, 3), 77, encoding.dtype)
        FusedDefense(TABLE, encoding).into_many(image, grids, out)
        for grid, one in zip(grids, out, strict=True):
            assert (one == fused(image, grid, encoding=encoding)).all()


def test_many_draws_that_do_not_fit_are_refused():
    image, grids, out = noise(8, 9), [identity(8, 9), identity(8, 9)], np.full((2, 8, 9, 3), 77, np.uint8)
    for wrong in ([], [identity(8, 9), identity(8, 8)], [identity(8, 9)] * 3, [identity(8, 9), identity(9, 9)]):
        with pytest.raises(InputError, match="expected"):
            FusedDefense(TABLE).into_many(image, wrong, out)
    with pytest.raises(InputError, match="outside the image"):
        FusedDefense(TABLE).into_many(image, [grids[0], Grid(grids[0].rows, grids[0].cols + np.int32(1))], out)
    assert (out == 77).all()


def test_threads_do_not_disturb_each_other(photographs):
    images = photographs[:4]
    grids = [sample_grid(224, 224, rng=np.random.default_rng(seed)) for seed in range(4)]
    expected = [fused(image, grid) for image, grid in zip(images, grids, strict=True)]
    defense, wrong = FusedDefense(TABLE), []

    def work(number: int) -> None:
        out = np.empty_like(images[number])
        for _ in range(50):
            defense.into(images[number], grids[number], out)
            if not (out == expected[number]).all():
                wrong.append(number)
            out[:] = 0

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_agrees_with_defense_on_the_same_grid(photographs):
    image, grid = photographs[3], Defense(UNEVEN).sample_grid(224, 224)
    assert np.mean(fused(image, grid, UNEVEN) != Defense(UNEVEN)(image, grid=grid)) < 0.002


@pytest.mark.parametrize(
    ("rows", "cols"),
    [([0, 8], [0]), ([-1], [0]), ([0], [9]), ([0], [2**32]), ([0.5], [0]), ([], [0]), ([[0]], [0])],
)
@pytest.mark.parametrize("dtype", [None, np.int32])
def test_a_grid_outside_the_image_is_refused(rows, cols, dtype):
    rows, cols = np.array(rows), np.array(cols)
    if dtype is not None and rows.dtype.kind == "i" and abs(cols).max() < 2**31:
        rows, cols = rows.astype(dtype), cols.astype(dtype)
    out = np.full((rows.size, cols.size, 3), 77, np.uint8)
    with pytest.raises(InputError, match="grid"):
        FusedDefense(TABLE).into(noise(8, 9), Grid(rows, cols), out)
    assert (out == 77).all()


@pytest.mark.parametrize(
    "out",
    [
        np.empty((8, 9, 3), np.int8),
        np.empty((9, 8, 3), np.uint8),
        np.empty((8, 18, 3), np.uint8)[:, ::2],
        np.frombuffer(bytes(8 * 9 * 3), np.uint8).reshape(8, 9, 3),
    ],
    ids=["dtype", "shape", "strides", "read-only"],
)
def test_an_output_that_does_not_fit_is_refused(out):
    with pytest.raises(InputError, match=r"out is .*expected a writeable C-contiguous uint8 \(8, 9, 3\)"):
        FusedDefense(TABLE).into(noise(8, 9), identity(8, 9), out)


@pytest.mark.parametrize(
    "arguments",
    [{"dtype": np.float64}, {"scale": (1, 2)}, {"offset": np.nan}, {"scale": "x"}, {"channel_order": "GBR"}],
    ids=str,
)
def test_an_encoding_that_makes_no_sense_is_refused(arguments):
    with pytest.raises(InputError):
        Encoding(**arguments)


INTERPRETED = """
import numpy as np
from edgedefend import kernels
from edgedefend.encoding import Encoding
from edgedefend.fused import FusedDefense
from edgedefend.grid import sample_grid

assert not hasattr(kernels.gather, "signatures"), "compiled"
image = np.random.default_rng(0).integers(0, 256, (11, 13, 3), np.uint8)
table = (20 + np.arange(64).reshape(8, 8) * 1.2345 + np.sqrt(2)).astype(np.float32)
for seed in range(4):
    grid = sample_grid(11, 13, rng=np.random.default_rng(seed))
    for arguments in ((np.uint8,), (np.int8, 1, -128), (np.int8, 0.77313, -100.3), (np.float32, 2, 1)):
        out = np.empty((11, 13, 3), arguments[0])
        FusedDefense(table, Encoding(*arguments)).into(image, grid, out)
        print(out.tobytes().hex())
grids = [sample_grid(11, 13, rng=np.random.default_rng(seed)) for seed in range(4)]
out = np.empty((4, 11, 13, 3), np.uint8)
FusedDefense(table).into_many(image, grids, out)
print(out.tobytes().hex())
"""


def test_interpreted_source_gives_the_same():
    result = [
        subprocess.run(
            [
                sys.executable,
                "-W",
                "error",
                "-c",
                INTERPRETED.replace("assert not", "assert" if compiled else "assert not"),
            ],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": str(ROOT), "NUMBA_DISABLE_JIT": "0" if compiled else "1"},
        )
        for compiled in (False, True)
    ]
    assert result[0].stdout, result[0].stderr
    # A fused multiply-add rounds once, NumPy twice; with this table no value lies on a tie between the two.
    assert result[0].stdout == result[1].stdout, result[1].stderr
