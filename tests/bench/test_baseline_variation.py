"""Table 1's measurement, on defences whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from bench.baselines.base import Baseline, Ingredients
from bench.baselines.registry import make_baseline
from bench.baselines.variation import between_draws, measure_variation
from edgedefend.errors import InputError

INGREDIENTS = Ingredients(((16.0,) * 8,) * 8)


class Brightness(Baseline):
    """Draws one of 0 and 51 levels (0.2) for the whole picture."""

    name, title, source, randomised = "none", "", "", True

    def one(self, picture, rng):
        return np.full_like(picture, 51 * int(rng.integers(2)))


def test_two_draws_and_the_accuracy_of_all():
    picture = np.zeros((16, 16, 3), np.uint8)
    asked = []

    def answer(pictures):
        asked.append(len(pictures))
        return (pictures[:, 0, 0, 0] > 0).astype(int)

    rows = measure_variation(
        Brightness(INGREDIENTS), [picture] * 12, [1] * 12, answer, draws=60, rng=np.random.default_rng(0)
    )
    assert sum(asked) == 12 * 60
    assert {row.draws for row in rows} == {60}
    assert 20 < np.mean([row.right for row in rows]) < 40
    # Two draws are the same or 0.2 apart, each about half of the time.
    assert {round(row.l2_rms, 6) for row in rows} == {0.0, 0.2}
    assert all((row.ssim > 0.999) == (row.l2_rms == 0) for row in rows)


def test_a_deterministic_defence_is_asked_once(photographs):
    rows = measure_variation(
        make_baseline("jpeg", INGREDIENTS),
        photographs[:2],
        [3, 4],
        lambda pictures: np.full(len(pictures), 3),
        rng=np.random.default_rng(0),
    )
    assert [tuple(row) for row in rows] == [(0.0, 1.0, 1, 1), (0.0, 1.0, 0, 1)]


def test_ours_varies_as_the_paper_says(photographs):
    """0.22 and 0.30 there: a good deal more than what only quantises, and the structure is gone."""
    rows = measure_variation(
        make_baseline("ours", INGREDIENTS),
        photographs,
        [0] * len(photographs),
        lambda pictures: np.zeros(len(pictures), int),
        draws=2,
        rng=np.random.default_rng(0),
    )
    assert 0.1 < np.mean([row.l2_rms for row in rows]) < 0.3
    assert 0.15 < np.mean([row.ssim for row in rows]) < 0.5


def test_too_small_for_ssim():
    with pytest.raises(InputError, match="6x9: SSIM needs 7x7"):
        between_draws(np.zeros((6, 9, 3), np.uint8), np.zeros((6, 9, 3), np.uint8))
