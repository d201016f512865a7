import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.attacks.backward import Identity, Resampling, pull_back_remap
from edgedefend.defense import Defense
from edgedefend.errors import InputError
from edgedefend.grid import Grid, remap, sample_grid


@settings(deadline=None)  # the first call compiles a kernel
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32))
def test_the_remap_is_pulled_back_exactly(height, width, seed):
    """It is linear, so the derivative must satisfy <remap(x), w> = <x, back(w)> for every x and w."""
    rng = np.random.default_rng(seed)
    grid = sample_grid(height, width, 5, 0.4, rng=rng)
    picture = rng.integers(0, 256, (height, width, 3), np.uint8)
    weights = rng.integers(-9, 10, (height, width, 3)).astype(np.float32)
    back = pull_back_remap(weights, grid, (height, width))
    assert back.shape == picture.shape
    ahead = (remap(picture, grid).astype(np.float64) * weights).sum()
    assert (picture * back.astype(np.float64)).sum() == pytest.approx(ahead)


def test_a_pixel_collects_from_its_copies_and_a_dropped_one_gets_nothing():
    grid = Grid(np.int32([1, 1, 0]), np.int32([2, 0, 0]))  # column 1 and row 2 are dropped
    weights = np.ones((3, 3, 3), np.float32)
    back = pull_back_remap(weights, grid, (3, 3))[..., 0]
    assert back.tolist() == [[2, 0, 1], [4, 0, 2], [0, 0, 0]]


def test_the_way_forward_is_the_defence_to_the_bit(defense):
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (3, 40, 48, 3), np.uint8)
    defended, grids = Resampling(defense).forward(pictures, rng)
    for picture, one, grid in zip(pictures, defended, grids, strict=True):
        assert np.array_equal(one, defense(picture, grid=grid))
    assert not np.array_equal(grids[0].rows, grids[1].rows)


def test_noise_and_passes_are_drawn_as_on_a_board():
    pictures = np.full((6, 40, 48, 3), 128, np.uint8)
    # Without a grid and with the finest table the noise is all that there is to see.
    noisy = Defense(np.ones((8, 8)), 5, 0.0, noise_std=8)
    defended, _ = Resampling(noisy).forward(pictures, np.random.default_rng(0))
    assert (defended.astype(int) - 128).std() == pytest.approx(8, abs=0.3)
    assert len({one.tobytes() for one in defended}) == len(pictures)
    again, _ = Resampling(noisy).forward(pictures, np.random.default_rng(0))
    assert np.array_equal(defended, again)
    photograph = np.random.default_rng(1).integers(0, 256, (40, 48, 3), np.uint8)
    several = Defense(np.full((8, 8), 60), 5, 0.0, passes=3)
    drawn, _ = Resampling(several).forward(np.stack([photograph] * 6), np.random.default_rng(0))
    assert len({one.tobytes() for one in drawn}) == 6


def test_all_four_corners_are_drawn(defense):
    rng = np.random.default_rng(1)
    pictures = np.zeros((40, 40, 48, 3), np.uint8)
    _, grids = Resampling(defense).forward(pictures, rng)
    # A grid that starts at the top has its first row there; at the other end rows are lost or repeated.
    for axis, last in ((0, 39), (1, 47)):
        assert any(grid[axis][0] > 0 for grid in grids)
        assert any(grid[axis][-1] < last for grid in grids)


def test_the_soft_quantiser_changes_the_way_back_only(defense):
    rng = np.random.default_rng(2)
    pictures = rng.integers(0, 256, (2, 40, 48, 3), np.uint8)
    images, weights = pictures / np.float32(255), rng.normal(0, 1, pictures.shape).astype(np.float32)
    straight, soft = Resampling(defense), Resampling(defense, quantizer="soft")
    one, grids = straight.forward(pictures, np.random.default_rng(3))
    other, _ = soft.forward(pictures, np.random.default_rng(3))
    assert np.array_equal(one, other)
    back, smooth = (way.pull_back(images, grids, weights) for way in (straight, soft))
    assert not np.allclose(back, smooth)
    assert np.corrcoef(back.ravel(), smooth.ravel())[0, 1] > 0.8


def test_the_identity_hands_the_gradient_through(defend):
    weights = np.random.default_rng(4).normal(0, 1, (1, 8, 8, 3)).astype(np.float32)
    assert Identity(defend).pull_back(weights, None, weights) is weights


def test_an_unknown_quantiser(defense):
    with pytest.raises(InputError, match="'soft'"):
        Resampling(defense, quantizer="hard")


def test_a_soft_quantiser_of_several_passes_is_pulled_back_as_their_mean():
    """Softness 0 is the identity in every pass, so what comes back is the gradient through the grid alone."""
    rng = np.random.default_rng(4)
    defense = Defense(np.full((8, 8), 30), 5, 0.3, passes=4)
    images, weights = (rng.random((2, 21, 30, 3)).astype(np.float32) for _ in range(2))
    _, grids = Resampling(defense).forward((images * 255).astype(np.uint8), rng)
    plain = Resampling(defense).pull_back(images, grids, weights)
    assert np.allclose(
        Resampling(defense, quantizer="soft", softness=0.0).pull_back(images, grids, weights), plain, atol=1e-5
    )
    soft = Resampling(defense, quantizer="soft").pull_back(images, grids, weights)
    one = Resampling(Defense(np.full((8, 8), 30), 5, 0.3), quantizer="soft").pull_back(images, grids, weights)
    assert not np.allclose(soft, plain, atol=1e-3) and not np.allclose(soft, one, atol=1e-3)
