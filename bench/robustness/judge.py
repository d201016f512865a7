"""The verdict on an attacked picture: rounded to 8 bits first, then asked about on draws that no attack has seen.

A defence that draws at random answers one picture in many ways. What is reported is the fraction of fresh answers that
are right and the fraction that are the attacker's, an answer being the mean of as many draws as the board takes. Where
an attacker has several attempts to choose from he chooses by draws of his own ("select"); the figures come from others
("judge"), or the choice itself would flatter him.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypedDict

import numpy as np
from numpy.typing import NDArray

from bench.attacks.base import to_unit
from bench.attacks.norms import sizes
from edgedefend.combining import NOBODY, Vote, softmax, with_vote
from edgedefend.suspicion import DRAWS, suspicion_score

__all__ = ["Answers", "Verdict", "ask", "distortion"]

_BATCH = 32


class Answers(Protocol):
    """A classifier of float32 (N, H, W, 3) images in [0, 1]."""

    def logits(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (N, classes)."""


Defend = Callable[[NDArray[np.uint8], np.random.Generator], NDArray[np.uint8]]


class Verdict(TypedDict):
    """Of one picture: the fractions of `draws` answers that are right and the target, and those that are NaN.

    `suspicion` is the score of `edgedefend.suspicion`, None where it was not asked for or there is nothing to compare.
    """

    right: float
    hit: float
    draws: int
    nonfinite: int
    suspicion: float | None


def distortion(
    pictures: NDArray[np.uint8], clean: NDArray[np.uint8]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return l2_rms and linf of each picture (see `bench.attacks.norms.sizes`)."""
    return sizes(to_unit(pictures), to_unit(clean))


def ask(
    model: Answers,
    defend: Defend,
    pictures: NDArray[np.uint8],
    labels: NDArray[np.int32],
    targets: NDArray[np.int32] | None,
    *,
    draws: int,
    rng: np.random.Generator,
    averaged: int = 1,
    vote: Vote = NOBODY,
    milder: Defend | None = None,
    suspicion: bool = False,
) -> list[Verdict]:
    """Ask the defended model about each picture `draws` times, each time behind fresh draws.

    Parameters
    ----------
    model : Answers
        Without the defence.
    defend : callable
        ``(uint8 (N, H, W, 3), rng) -> uint8 (N, H, W, 3)``, each picture with randomness of its own.
    labels, targets : int32 (N,)
        The right classes, and the attacker's where he has any: without them a wrong answer is a hit.
    draws : int
        Answers a picture; 1 for a defence that does not draw.
    rng : numpy.random.Generator
        A stream that no attack has used.
    averaged : int
        Draws of which an answer is the mean (of the probabilities, as in `edgedefend.combining`).
    vote : Vote
        Whose answer counts beside them.
    milder : callable, optional
        As `defend`, for those who vote, where these are not the undefended model.
    suspicion : bool
        Whether to score how far the first draws and the undefended answer disagree.

    Returns
    -------
    list of Verdict
        One a picture. An answer that is not a number is neither right nor a hit.
    """
    logits = np.stack([_logits(model, pictures, defend, rng) for _ in range(draws * averaged)])
    compared = suspicion and draws > 1
    bare = softmax(_logits(model, pictures)) if vote.undefended or compared else None
    answered = logits
    if averaged > 1 or vote.share:
        means = softmax(logits).reshape(draws, averaged, *logits.shape[1:]).mean(axis=1)
        voters = bare
        if vote.milder:
            drawn = np.stack([_logits(model, pictures, milder, rng) for _ in range(draws * vote.draws)])
            voters = softmax(drawn).reshape(draws, vote.draws, *drawn.shape[1:]).mean(axis=1)
        answered = with_vote(means, voters, vote.share)
    finite = np.asarray(np.isfinite(answered).all(axis=2))
    answers = np.where(finite, answered.argmax(axis=2), -1)
    right = (answers == labels).sum(axis=0)
    wanted = answers != labels if targets is None else answers == targets
    hit = np.asarray(finite & wanted).sum(axis=0)
    scores: list[float | None] = [None] * len(pictures)
    if bare is not None and compared and finite.all():
        defended = softmax(logits[:DRAWS])
        scores = [round(suspicion_score(defended[:, i], bare[i]), 6) for i in range(len(pictures))]
    return [
        {
            "right": int(right[i]) / draws,
            "hit": int(hit[i]) / draws,
            "draws": draws,
            "nonfinite": int((~finite[:, i]).sum()),
            "suspicion": scores[i],
        }
        for i in range(len(pictures))
    ]


def _logits(
    model: Answers,
    pictures: NDArray[np.uint8],
    defend: Defend | None = None,
    rng: np.random.Generator | None = None,
) -> NDArray[np.float32]:
    """Return the answers to one draw of each picture, or to the pictures themselves, in batches."""
    parts = []
    for start in range(0, len(pictures), _BATCH):
        part = pictures[start : start + _BATCH]
        seen = part if defend is None or rng is None else defend(part, rng)
        parts.append(np.asarray(model.logits(to_unit(seen)), np.float32))
    return np.concatenate(parts)
