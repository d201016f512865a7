"""Several draws and the undefended answer become one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgedefend.combining import MOST_VOTE, softmax, with_vote

BARE = np.array([0.1, 0.2, 0.7], np.float32)


def test_the_vote_decides_where_the_draws_hesitate_and_not_where_they_are_sure():
    hesitant, sure = np.array([0.5, 0.1, 0.4], np.float32), np.array([0.6, 0.1, 0.3], np.float32)
    assert with_vote(hesitant, BARE, 0.2) == pytest.approx([0.4, 0.08, 0.52])
    assert with_vote(sure, BARE, 0.2).argmax() == 0
    # An attacker who has the vote needs to come that near, and no nearer.
    lead = 0.2 / 0.8
    for short, best in ((-0.01, 0), (0.01, 2)):
        behind = np.array([0.5 + lead / 2, 0, 0.5 - lead / 2 + short], np.float32)
        assert with_vote(behind, BARE, 0.2).argmax() == best


def test_without_a_vote_the_draws_are_the_answer():
    assert with_vote(BARE, None, 0.0) is BARE
    with pytest.raises(ValueError, match="who votes"):
        with_vote(BARE, None, 0.1)


@given(st.floats(0.01, MOST_VOTE), st.integers(0, 2**32 - 1))
def test_what_comes_out_are_probabilities_of_several_answers_to_each_picture(vote, seed):
    rng = np.random.default_rng(seed)
    means = rng.dirichlet(np.ones(5), (3, 4)).astype(np.float32)
    undefended = rng.normal(size=(4, 5)).astype(np.float32)  # logits do as well: only the best class counts
    found = with_vote(means, undefended, vote)
    assert found.shape == (3, 4, 5) and found.dtype == np.float32 and found.min() >= 0
    assert found.sum(axis=-1) == pytest.approx(1, abs=1e-5)
    gained = found - (1 - vote) * means
    assert gained.argmax(axis=-1).tolist() == [undefended.argmax(axis=-1).tolist()] * 3
    assert gained.max(axis=-1) == pytest.approx(vote, abs=1e-5)


def test_an_undefended_answer_that_is_no_number_makes_none_of_it():
    undefended = np.stack([BARE, np.array([0.1, np.nan, 0.5], np.float32)])
    found = with_vote(np.full((2, 3), 1 / 3, np.float32), undefended, 0.1)
    assert np.isfinite(found[0]).all() and np.isnan(found[1]).all()


def test_softmax_does_not_overflow():
    out = softmax(np.array([[1000.0, 1000.0], [-1000.0, 0.0]], np.float32))
    assert out == pytest.approx(np.array([[0.5, 0.5], [0, 1]]))
