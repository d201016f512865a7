"""How several outputs become one answer: the mean of the draws' probabilities, the undefended answer's bounded vote.

A defence that asks much of an attacker also makes the model less sure of clean pictures. The undefended answer is right
where they are clean, and anybody's where they are not; so it may decide where the draws hesitate, and cannot where they
are sure: an attacker gets no more of it than the share that the vote has (docs/decisions/0026).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["MOST_VOTE", "softmax", "with_vote"]

# From a half on the undefended answer alone would decide, and nothing be defended.
MOST_VOTE = 0.45


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the softmax over the last axis, float32, computed without overflow."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def with_vote(
    probabilities: NDArray[np.float32], undefended: NDArray[np.float32] | None, vote: float
) -> NDArray[np.float32]:
    """Return the probabilities of an answer in which the undefended one has a vote.

    Parameters
    ----------
    probabilities : float32 (..., classes)
        Means over the draws.
    undefended : float32 (..., classes), optional
        Probabilities, or anything else of which the largest is the answer, without the defence; the leading axes are
        broadcast. Not needed without a vote.
    vote : float
        What its best class gets, 0 to `MOST_VOTE`; the draws share the rest.

    Returns
    -------
    float32 (..., classes)
        Not a number where the undefended answer is none.
    """
    if not vote:
        return probabilities
    if undefended is None:
        raise ValueError("a vote needs the undefended answer")
    ballot = np.zeros_like(undefended, np.float32)
    np.put_along_axis(ballot, undefended.argmax(axis=-1)[..., None], np.float32(vote), axis=-1)
    ballot[~np.isfinite(undefended).all(axis=-1)] = np.nan
    combined: NDArray[np.float32] = np.float32(1 - vote) * probabilities + ballot
    return combined
