"""How several outputs become one answer: the mean of the draws' probabilities, and a bounded vote beside it.

A defence that asks much of an attacker also makes the model less sure of clean pictures. The undefended answer, or that
of draws with less noise, is right more often where pictures are clean, and sooner an attacker's where they are not; so
it may decide where the draws hesitate, and cannot where they are sure: an attacker gets no more of it than the share
that the vote has (docs/decisions/0026, 0028).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["MOST_VOTE", "NOBODY", "Runs", "Vote", "softmax", "with_vote"]

# From a half on the vote alone would decide, whatever the draws say.
MOST_VOTE = 0.45


@dataclass(frozen=True)
class Vote:
    """Whose best class gets a share of an answer beside the draws.

    Attributes
    ----------
    share : float
        0, nobody's, to `MOST_VOTE`.
    noise_std : float
        That of the draws who vote, which differ in nothing else from those of the answer; 0 is the undefended answer.
    draws : int
        How many of these are one vote; 1 for the undefended answer.
    """

    share: float = 0.0
    noise_std: float = 0.0
    draws: int = 1

    @property
    def undefended(self) -> bool:
        """Whether it is the undefended answer's."""
        return self.share > 0 and not self.noise_std

    @property
    def milder(self) -> bool:
        """Whether it is that of draws with less noise."""
        return self.share > 0 and self.noise_std > 0

    def __str__(self) -> str:
        """Return "vote 0.1", "vote 0.15 of 8 draws behind noise 6", "" for nobody's."""
        if not self.share:
            return ""
        return f"vote {self.share:g}" + (
            f" of {self.draws} draws behind noise {self.noise_std:g}" if self.milder else ""
        )


NOBODY = Vote()


@dataclass(frozen=True)
class Runs:
    """The model's runs for one answer, in their order: the draws, milder ones that vote, the undefended picture.

    Attributes
    ----------
    draws : int
    vote : Vote
    undefended : bool
        Whether the picture as it is goes through the model as well: for its vote, or to compare answers with.
    """

    draws: int
    vote: Vote
    undefended: bool

    @property
    def voters(self) -> int:
        """How many milder draws vote."""
        return self.vote.draws if self.vote.milder else 0

    @property
    def count(self) -> int:
        """How often the model runs."""
        return self.draws + self.voters + self.undefended

    def drawn(self, output: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return of the outputs of all runs, (count, classes), those of the draws."""
        return output[: self.draws]

    def voting(self, output: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """Return those who vote, (N, classes); None where nobody does."""
        if not self.vote.share:
            return None
        return output[self.draws : self.draws + self.voters] if self.vote.milder else output[-1:]

    def bare(self, output: NDArray[np.float32]) -> NDArray[np.float32] | None:
        """Return the undefended one, (classes,), if there is one."""
        return output[-1] if self.undefended else None


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the softmax over the last axis, float32, computed without overflow."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


def with_vote(
    probabilities: NDArray[np.float32], voters: NDArray[np.float32] | None, vote: float
) -> NDArray[np.float32]:
    """Return the probabilities of an answer in which another one has a vote.

    Parameters
    ----------
    probabilities : float32 (..., classes)
        Means over the draws.
    voters : float32 (..., classes), optional
        Probabilities of who votes, or anything else of which the largest is the answer; the leading axes are broadcast.
        Not needed without a vote.
    vote : float
        What its best class gets, 0 to `MOST_VOTE`; the draws share the rest.

    Returns
    -------
    float32 (..., classes)
        Not a number where that of the voters is none.
    """
    if not vote:
        return probabilities
    if voters is None:
        raise ValueError("a vote needs the answer of who votes")
    ballot = np.zeros_like(voters, np.float32)
    np.put_along_axis(ballot, voters.argmax(axis=-1)[..., None], np.float32(vote), axis=-1)
    ballot[~np.isfinite(voters).all(axis=-1)] = np.nan
    combined: NDArray[np.float32] = np.float32(1 - vote) * probabilities + ballot
    return combined
