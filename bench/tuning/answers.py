"""Answers of a defended model as a board gives them: the mean of several draws, and the undefended answer's vote."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from bench.attacks.base import to_unit
from edgedefend.combining import softmax, with_vote
from edgedefend.defense import Defense

__all__ = ["Model", "bare_answers", "class_probabilities", "combined_answers", "draw_probabilities"]

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


def combined_answers(
    probabilities: NDArray[np.float32], draws: int, undefended: NDArray[np.float32] | None = None, vote: float = 0.0
) -> NDArray[np.intp]:
    """Return the best classes of answers that are means over several draws, with the undefended answer's vote.

    Parameters
    ----------
    probabilities : float32 (M, N, classes)
        Of M draws, at least `draws`.
    draws : int
        In an answer.
    undefended, vote
        See `edgedefend.combining.with_vote`.

    Returns
    -------
    (M // draws, N)
        Each draw takes part in one answer, so that these are independent; -1 is no number.
    """
    answers = len(probabilities) // draws
    groups = probabilities[: answers * draws].reshape(answers, draws, *probabilities.shape[1:])
    return _best(with_vote(groups.mean(axis=1), undefended, vote))
