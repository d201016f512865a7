"""Answers of a defended model as a board gives them: the mean of several draws, and a vote beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bench.attacks.base import to_unit
from edgedefend.combining import softmax, with_vote
from edgedefend.defense import Defense

__all__ = ["Ballot", "Model", "bare_answers", "class_probabilities", "combined_answers", "draw_probabilities"]

_BATCH = 16


class Model(Protocol):
    """A classifier of float32 (N, H, W, 3) images in [0, 1]."""

    def logits(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (N, classes)."""


def class_probabilities(model: Model, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the model's probabilities (N, classes) for pictures as they are: defended ones, or undefended."""
    parts = [model.logits(to_unit(pictures[start : start + _BATCH])) for start in range(0, len(pictures), _BATCH)]
    return softmax(np.concatenate(parts))


def bare_answers(model: Model, pictures: NDArray[np.uint8]) -> NDArray[np.intp]:
    """Return the undefended model's best classes (N,); -1 where its answer is not a number."""
    return _best(class_probabilities(model, pictures))


def _best(probabilities: NDArray[np.float32]) -> NDArray[np.intp]:
    return np.where(np.isfinite(probabilities).all(axis=-1), probabilities.argmax(axis=-1), -1)


def draw_probabilities(
    model: Model, defense: Defense, pictures: NDArray[np.uint8], *, draws: int, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return the probabilities (draws, N, classes) of pictures behind fresh draws.

    Parameters
    ----------
    model : Model
        Without the defence.
    defense : Defense
    pictures : uint8 (N, H, W, 3)
    draws : int
    rng : numpy.random.Generator
        Of the draws; a stream that no attack has used.
    """
    drawn = Defense.of(defense, rng=rng)
    return np.stack([class_probabilities(model, np.stack([drawn(one) for one in pictures])) for _ in range(draws)])


@dataclass(frozen=True)
class Ballot:
    """Whose best class gets a share of an answer beside the draws (`edgedefend.combining.with_vote`).

    Attributes
    ----------
    share : float
        0 is nobody's.
    defense : Defense or None
        Whose draws vote, milder ones than those of the answer; None is the undefended answer.
    draws : int
        How many of these are one vote.
    """

    share: float = 0.0
    defense: Defense | None = None
    draws: int = 1

    def voters(
        self, model: Model, pictures: NDArray[np.uint8], answers: int, rng: np.random.Generator
    ) -> NDArray[np.float32] | None:
        """Return the probabilities of those who vote, (N, classes) or one set an answer; None where nobody does."""
        if not self.share:
            return None
        if self.defense is None:
            return class_probabilities(model, pictures)
        drawn = draw_probabilities(model, self.defense, pictures, draws=answers * self.draws, rng=rng)
        return _means(drawn, self.draws)


def _means(probabilities: NDArray[np.float32], draws: int) -> NDArray[np.float32]:
    """Return means over groups of draws: (M, N, classes) -> (M // draws, N, classes)."""
    answers = len(probabilities) // draws
    return probabilities[: answers * draws].reshape(answers, draws, *probabilities.shape[1:]).mean(axis=1)


def combined_answers(
    probabilities: NDArray[np.float32], draws: int, voters: NDArray[np.float32] | None = None, vote: float = 0.0
) -> NDArray[np.intp]:
    """Return the best classes of answers that are means over several draws, with a vote beside them.

    Parameters
    ----------
    probabilities : float32 (M, N, classes)
        Of M draws, at least `draws`.
    draws : int
        In an answer.
    voters : float32 (N, classes) or (M // draws, N, classes), optional
        Of those who vote, see `Ballot.voters`; of more answers than there are, the first.
    vote : float
        See `edgedefend.combining.with_vote`.

    Returns
    -------
    (M // draws, N)
        Each draw takes part in one answer, so that these are independent; -1 is no number.
    """
    means = _means(probabilities, draws)
    if voters is not None and voters.ndim > 2:
        voters = voters[: len(means)]
    return _best(with_vote(means, voters, vote))
