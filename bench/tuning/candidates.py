"""What may be chosen: the defence, how many draws answer together, whose answer counts how much beside them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bench.tuning.answers import Ballot
from edgedefend.combining import NOBODY, Vote
from edgedefend.defense import Defense
from edgedefend.noise import MOST_NOISE

__all__ = ["DRAWS", "GRIDS", "PASSES", "SCALES", "Series", "Setting", "all_series"]

# How many draws an answer may be the mean of: each is one more run of the model on the board.
DRAWS = (1, 2, 4, 8)
# (num_steps, distort_limit); the published ones are (10, 0.25). Without distortion nothing would be random.
GRIDS = ((10, 0.1), (10, 0.25))
GRIDS_WITH_NOISE = ((10, 0.1), (10, 0.15), (10, 0.25))
# Both ascending: a coarser table or more noise never gains accuracy, so a series ends at the first that costs too much.
SCALES = (0.5, 0.71, 1.0, 1.41, 2.0, 2.83, 4.0)
NOISES = (5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 12.0, 14.0, 17.0, 20.0, 24.0, 28.0, 34.0)
PASSES = (1, 4)
# Name of a table, its scale, passes: what goes with noise, which would cost too much beside a coarse table.
_BEHIND_NOISE = (("feature-distillation", 0.25, 1), ("feature-distillation", 1.0, 4))
_NOISIER = 1.5  # than the draws that vote: else they are as good as those of the answer
_LARGEST = 2048  # what a table may hold


@dataclass(frozen=True)
class Setting:
    """One setting of the defence.

    Attributes
    ----------
    table : str
        Name of the table that is scaled.
    scale : float
    num_steps : int
    distort_limit : float
    passes : int
    noise_std : float
        These two: see `edgedefend.defense.Defense`.
    vote : Vote
        Beside the draws, see `edgedefend.combining.with_vote`.
    """

    table: str
    scale: float
    num_steps: int
    distort_limit: float
    passes: int
    noise_std: float = 0.0
    vote: Vote = NOBODY

    @property
    def name(self) -> str:
        """Return what it is called in results: everything that it is made of."""
        several = f", {self.passes} passes" if self.passes > 1 else ""
        noisy = f", noise {self.noise_std:g}" if self.noise_std else ""
        voting = f", {self.vote}" if self.vote.share else ""
        return f"{self.table} x{self.scale:g}, {self.num_steps} steps, {self.distort_limit:g}{several}{noisy}{voting}"

    @property
    def series(self) -> str:
        """Return what it shares with the others of its series: all but the scale, or all but the noise."""
        varied = replace(self, noise_std=MOST_NOISE) if self.noise_std else replace(self, scale=0.0)
        return varied.name

    def quant_table(self, tables: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        """Return the scaled table, (8, 8)."""
        return np.clip(tables[self.table] * np.float32(self.scale), 1, _LARGEST)

    def defense(self, tables: Mapping[str, NDArray[np.float32]]) -> Defense:
        """Return the defence, its draws from the operating system unless a caller gives them."""
        return Defense(
            self.quant_table(tables),
            self.num_steps,
            self.distort_limit,
            passes=self.passes,
            noise_std=self.noise_std,
        )

    def ballot(self, tables: Mapping[str, NDArray[np.float32]]) -> Ballot:
        """Return who votes beside the draws: the undefended model, or draws that differ in nothing but their noise."""
        milder = self.defense(tables).with_noise(self.vote.noise_std) if self.vote.milder else None
        return Ballot(self.vote.share, milder, self.vote.draws)


@dataclass(frozen=True)
class Series:
    """Settings that differ in nothing but the scale of the table, or the noise, ascending; each with several votes.

    The draws of a setting serve all of its votes.
    """

    settings: tuple[Setting, ...]
    votes: tuple[Vote, ...] = (NOBODY,)


def all_series(tables: Mapping[str, NDArray[np.float32]], votes: Sequence[Vote] = ()) -> Iterator[Series]:
    """Yield every series, the published grid in one pass without noise among them.

    A vote gives back accuracy that noise costs: `votes` are looked at there, besides none.
    """
    for table, (num_steps, distort_limit), passes in itertools.product(tables, GRIDS, PASSES):
        yield Series(tuple(Setting(table, scale, num_steps, distort_limit, passes) for scale in SCALES))
    for (table, scale, passes), (num_steps, distort_limit) in itertools.product(_BEHIND_NOISE, GRIDS_WITH_NOISE):
        settings = tuple(Setting(table, scale, num_steps, distort_limit, passes, noise) for noise in NOISES)
        undefended = [vote for vote in votes if not vote.milder] if passes == 1 else []
        yield Series(settings, (NOBODY, *undefended))
        for vote in (vote for vote in votes if vote.milder and passes == 1):
            noisier = tuple(one for one in settings if one.noise_std > _NOISIER * vote.noise_std)
            if noisier:
                yield Series(noisier, (vote,))
