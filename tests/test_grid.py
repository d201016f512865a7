import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgedefend import Grid, grid, kernels, remap, sample_grid
from edgedefend.errors import InputError
from tests import reference


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 400),
    st.integers(1, 40),
    st.floats(0, 0.99),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_an_axis_equals_the_reference(side, steps, limit, flip, seed):
    cells = min(steps, side)
    stretch = 1 + limit * np.random.default_rng(seed).uniform(-1, 1, cells)
    out = np.full(side, -7, np.int32)
    kernels.fill_axis(stretch, flip, out)
    expected = np.array(reference.axis_map(stretch.tolist(), side, flip))
    # A position exactly between two pixels may round either way.
    assert np.abs(out - expected).max() <= 1
    assert np.mean(out != expected) <= 0.02 + 1.5 / side
    assert out.min() >= 0
    assert out.max() < side
    interpreted = np.empty(side, np.int32)
    getattr(kernels.fill_axis, "py_func", kernels.fill_axis)(stretch, flip, interpreted)
    assert np.abs(out - interpreted).max() <= 1


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_no_distortion_is_the_identity(height, width, steps, seed):
    drawn = sample_grid(height, width, steps, 0.0, rng=np.random.default_rng(seed))
    assert (drawn.rows == np.arange(height)).all()
    assert (drawn.cols == np.arange(width)).all()


def test_all_four_corners_are_drawn():
    # From the near corner the first index is 0, from the far one the last is side - 1.
    seen = set()
    for seed in range(64):
        drawn = sample_grid(200, 200, 10, 0.25, rng=np.random.default_rng(seed))
        seen.add((drawn.rows[0] == 0 and drawn.rows[-1] != 199, drawn.cols[0] == 0 and drawn.cols[-1] != 199))
    assert len(seen) == 4


def test_the_paper_s_share_of_dropped_pixels():
    """The paper, "Image Distortion": 20-30 % of the pixels are dropped and more than 90 % displaced."""
    dropped, displaced = [], []
    for seed in range(200):
        rows, cols = sample_grid(299, 299, rng=np.random.default_rng(seed))
        dropped.append(1 - np.unique(rows).size * np.unique(cols).size / 299**2)
        same = np.outer(rows == np.arange(299), cols == np.arange(299))
        displaced.append(1 - same.mean())
    assert 0.15 < np.mean(dropped) < 0.35
    assert np.mean(displaced) > 0.9


def test_default_randomness_is_fresh_and_uniform():
    grids = [sample_grid(224, 224) for _ in range(200)]
    assert len({g.rows.tobytes() + g.cols.tobytes() for g in grids}) == 200
    draws = (grid._random_bits(20000, None) >> np.uint64(11)) * 2.0**-53
    assert draws.min() >= 0
    assert draws.max() < 1
    assert abs(draws.mean() - 0.5) < 0.02
    assert abs(draws.var() - 1 / 12) < 0.005


@pytest.mark.parametrize(("height", "width", "steps"), [(224, 200, 10), (5, 3, 10), (1, 1, 1), (40, 40, 7)])
def test_a_generator_s_numbers_are_the_flips_and_the_stretches(height, width, steps):
    for seed in range(20):
        drawn = sample_grid(height, width, steps, 0.3, rng=np.random.default_rng(seed))
        row_cells, col_cells = min(steps, height), min(steps, width)
        numbers = np.random.default_rng(seed).random(2 + row_cells + col_cells)
        stretch = 1 + 0.3 * (2 * numbers[2:] - 1)
        rows, cols = np.empty(height, np.int32), np.empty(width, np.int32)
        kernels.fill_axis(stretch[:row_cells], numbers[0] < 0.5, rows)
        kernels.fill_axis(stretch[row_cells:], numbers[1] < 0.5, cols)
        assert (drawn.rows == rows).all()
        assert (drawn.cols == cols).all()


def test_a_generator_makes_it_repeatable():
    first, second = (sample_grid(224, 200, rng=np.random.default_rng(3)) for _ in range(2))
    assert (first.rows == second.rows).all()
    assert (first.cols == second.cols).all()


def test_remap_equals_the_reference(photographs):
    image = photographs[0][:61, :47]
    drawn = sample_grid(61, 47, rng=np.random.default_rng(1))
    before = image.copy()
    out = remap(image, drawn)
    assert (out == reference.remap(image, *drawn)).all()
    assert (out != image).mean() > 0.3
    assert (image == before).all()
    assert (out == image[drawn.rows][:, drawn.cols]).all()


def test_remap_to_another_size(photographs):
    out = remap(photographs[0], Grid(np.array([0, 5, 3]), np.array([7, 7])))
    assert out.shape == (3, 2, 3)
    assert (out[1, 0] == photographs[0][5, 7]).all()


@pytest.mark.parametrize(
    ("rows", "cols", "message"),
    [
        ([0, 8], [0], "grid.rows points outside"),
        ([0], [-1], "grid.cols points outside"),
        ([], [0], "grid.rows must be"),
        ([0.5], [0], "grid.rows must be"),
    ],
)
def test_grids_outside_the_image_are_refused(rows, cols, message):
    with pytest.raises(InputError, match=message):
        remap(np.zeros((8, 8, 3), np.uint8), Grid(np.array(rows), np.array(cols)))


@pytest.mark.parametrize(
    ("steps", "limit"), [(0, 0.2), (-1, 0.2), (2.5, 0.2), (True, 0.2), (10, 1.0), (10, -0.1), (10, float("nan"))]
)
def test_bad_parameters_are_refused(steps, limit):
    with pytest.raises(InputError, match="expected a"):
        sample_grid(8, 8, steps, limit)
    with pytest.raises(InputError, match="at least 1x1"):
        sample_grid(0, 8)
