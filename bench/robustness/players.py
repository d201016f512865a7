"""The defences of an evaluation: those of `bench.baselines`, ours made from the subject's own table and grid."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.robustness.judge import Defend
from bench.robustness.subject import SubjectSpec
from edgedefend.defense import Defense
from edgedefend.errors import UsageError
from edgedefend.grid import sample_grid

__all__ = ["Player", "player_of", "players"]


@dataclass(frozen=True)
class Player:
    """One defence: what the tables call it, whether it draws at random, and why it cannot take part ("" if it can)."""

    name: str
    title: str
    source: str
    randomised: bool
    defend: Defend
    missing: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return what a result says of it."""
        return {"title": self.title, "source": self.source, "randomised": self.randomised}


def _ours(subject: SubjectSpec) -> Player:
    defense = Defense(subject.quant_table, subject.num_steps, subject.distort_limit)

    def defend(pictures: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        height, width = pictures.shape[1:3]
        return np.stack(
            [
                defense(picture, grid=sample_grid(height, width, subject.num_steps, subject.distort_limit, rng=rng))
                for picture in pictures
            ]
        )

    return Player("ours", "Our method", "", True, defend)


@functools.lru_cache(maxsize=4)
def players(subject: SubjectSpec) -> dict[str, Player]:
    """Return every defence there is, "none" and "ours" first."""
    return {
        "none": Player("none", "No defence", "", False, lambda pictures, rng: pictures),
        "ours": _ours(subject),
    }


def player_of(subject: SubjectSpec, name: str) -> Player:
    """Return one defence.

    Raises
    ------
    UsageError
        If there is none of that name.
    """
    known = players(subject)
    if name not in known:
        raise UsageError(f"no defence {name!r}: expected one of {', '.join(known)}")
    return known[name]
