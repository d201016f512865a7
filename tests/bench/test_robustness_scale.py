import numpy as np
import pytest

from bench.attacks.base import to_unit
from bench.attacks.norms import sizes
from bench.robustness.scale import larger_scales, smallest_scales


@pytest.fixture
def attacked():
    """Four grey pictures, each made 16 levels brighter."""
    clean = np.full((4, 16, 16, 3), 100, np.uint8)
    return to_unit(clean + np.uint8(16)), clean


def levels_above(pictures):
    return pictures.astype(float).mean(axis=(1, 2, 3)) - 100


def test_no_more_is_kept_than_success_needs(attacked):
    """Picture 0 needs 5 of its 16 levels, picture 2 all of them, picture 3 was not among those that succeeded."""
    images, clean = attacked
    needed = np.array([5, 3, 16, 1])
    looks = []

    def rate(pictures, rows, look):
        looks.append((rows.tolist(), look))
        return (levels_above(pictures) >= needed[rows]).astype(float)

    rows, pictures = smallest_scales(images, clean, np.array([0, 1, 2]), rate, norm="l2_rms")
    assert rows.tolist() == [0, 1]
    assert levels_above(pictures).tolist() == [5, 3]
    assert looks == [([0, 1, 2], look) for look in range(6)]


def test_half_of_the_draws_are_not_enough_to_choose_by(attacked):
    """Chosen at half, a picture would fail on the next draws as often as not."""
    images, clean = attacked
    rows, _ = smallest_scales(
        images, clean, np.arange(4), lambda pictures, rows, look: np.array([0.5, 0.6, 0.7, 0.8]), norm="l2_rms"
    )
    assert rows.tolist() == [2, 3]


def test_nothing_succeeded(attacked):
    images, clean = attacked
    rows, pictures = smallest_scales(images, clean, np.arange(0), lambda *_: pytest.fail("asked"), norm="linf")
    assert rows.size == 0 and pictures.shape == (0, 16, 16, 3)


def test_what_fell_short_is_enlarged_until_it_works(attacked):
    """Pictures 0 and 2 need 20 and 70 levels instead of their 16, picture 1 more than it may have."""
    images, clean = attacked
    needed = np.array([20, 200, 70, 0])
    looks = []

    def rate(pictures, rows, look):
        looks.append((rows.tolist(), look))
        return (levels_above(pictures) >= needed[rows]).astype(float)

    rows, larger = larger_scales(images, clean, np.array([0, 1, 2]), rate, largest=100 / 255, norm="l2_rms")
    assert rows.tolist() == [0, 2]
    assert levels_above(larger * 255).tolist() == pytest.approx([16 * 1.35, 80], abs=0.01)
    assert looks[:3] == [([0, 1, 2], 0), ([0, 1, 2], 1), ([1, 2], 2)]
    assert looks[-1] == ([1], 6)


def test_nothing_is_enlarged_beyond_what_is_allowed(attacked):
    images, clean = attacked
    tried = []

    def rate(pictures, rows, look):
        tried.append(sizes(to_unit(pictures), to_unit(clean[rows]))[0].max())
        return np.zeros(rows.size)

    rows, larger = larger_scales(images, clean, np.arange(4), rate, largest=30.4 / 255, norm="l2_rms")
    assert rows.size == 0 and larger.shape == (0, 16, 16, 3)
    assert max(tried) == pytest.approx(30 / 255, abs=1e-3)
    assert min(tried) == pytest.approx(16 * 1.15 / 255, abs=2e-3)
