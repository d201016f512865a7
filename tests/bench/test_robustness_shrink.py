import numpy as np
import pytest

from bench.attacks.base import to_unit
from bench.robustness.shrink import smallest_scales


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
