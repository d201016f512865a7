"""What counts as an answer when attacked pictures are judged."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from bench.robustness.judge import ask
from edgedefend.combining import Vote

CLEAN = np.zeros((2, 4, 4, 3), np.uint8)
LABELS, TARGETS = np.array([0, 0], np.int32), np.array([1, 1], np.int32)


# Level of the first pixel -> probabilities of the two classes.
PROBABILITIES = {1: (0.9, 0.1), 2: (0.4, 0.6), 3: (np.nan, np.nan)}


class ByBrightness:
    """A classifier by the first pixel."""

    def logits(self, images):
        return np.log(np.array([PROBABILITIES[round(float(image[0, 0, 0] * 255))] for image in images], np.float32))


def in_turn(*levels):
    """A defence each of whose draws makes pictures of the next level."""
    turns = itertools.cycle(levels)

    def defend(pictures, rng):
        return np.full_like(pictures, next(turns))

    return defend


def judged(levels, **options):
    rng = np.random.default_rng(0)
    return ask(ByBrightness(), in_turn(*levels), CLEAN, LABELS, TARGETS, rng=rng, **options)


def test_single_draws_are_counted_one_by_one():
    first, second = judged((1, 2, 2), draws=6)
    assert first == second
    assert (first["right"], first["hit"], first["draws"]) == pytest.approx((1 / 3, 2 / 3, 6))


def test_an_answer_is_the_mean_of_the_probabilities_of_its_draws():
    # 0.9 + 0.4 + 0.4 is more than 0.1 + 0.6 + 0.6, though two of three draws are for class 1.
    verdict = judged((1, 2, 2), draws=2, averaged=3)[0]
    assert (verdict["right"], verdict["hit"], verdict["draws"]) == (1, 0, 2)
    # Draws of one answer follow one another: 1 and 2, then 2 and 2.
    verdict = judged((1, 2, 2, 2), draws=2, averaged=2)[1]
    assert (verdict["right"], verdict["hit"]) == (0.5, 0.5)


def test_the_undefended_answer_has_its_vote():
    # The pictures as they are have level 0: a classifier that is sure of class 1.
    PROBABILITIES[0] = (0.01, 0.99)
    # Draws of 0.9 lose to a vote of 0.45: 0.495 against 0.505; to one of 0.4 they do not.
    for vote, expected in ((0.45, (0, 1)), (0.4, (1, 0)), (0.0, (1, 0))):
        verdict = judged((1, 1), draws=2, averaged=1, vote=Vote(vote))[0]
        assert (verdict["right"], verdict["hit"]) == expected
    verdict = judged((1, 3, 1, 1), draws=2, averaged=2, vote=Vote(0.45))[0]
    assert (verdict["right"], verdict["hit"], verdict["nonfinite"]) == (0, 0.5, 1)


def test_a_draw_that_is_no_number_makes_its_answer_none():
    verdict = judged((1, 3, 1, 1), draws=2, averaged=2)[0]
    assert (verdict["right"], verdict["hit"], verdict["nonfinite"]) == (0.5, 0, 1)
