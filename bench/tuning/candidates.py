"""What may be chosen: table, its scale, grid, passes of the quantiser, and how many draws answer together."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgedefend.defense import Defense

__all__ = ["DRAWS", "GRIDS", "PASSES", "SCALES", "Series", "Setting", "all_series"]

# How many draws an answer may be the mean of: each is one more run of the model on the board.
DRAWS = (1, 2, 4, 8)
# Ascending: a coarser table never gains accuracy, so a series ends at the first that costs too much.
SCALES = (0.5, 0.71, 1.0, 1.41, 2.0, 2.83, 4.0)
# (num_steps, distort_limit); the published ones are (10, 0.25). Without distortion nothing would be random.
GRIDS = ((10, 0.1), (10, 0.25), (5, 0.4))
PASSES = (1, 2, 4)
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
        See `edgedefend.defense.Defense`.
    """

    table: str
    scale: float
    num_steps: int
    distort_limit: float
    passes: int

    @property
    def name(self) -> str:
        """Return what it is called in results: everything that it is made of."""
        several = f", {self.passes} passes" if self.passes > 1 else ""
        return f"{self.table} x{self.scale:g}, {self.num_steps} steps, {self.distort_limit:g}{several}"

    def quant_table(self, tables: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        """Return the scaled table, (8, 8)."""
        return np.clip(tables[self.table] * np.float32(self.scale), 1, _LARGEST)

    def defense(self, tables: Mapping[str, NDArray[np.float32]]) -> Defense:
        """Return the defence, its draws from the operating system unless a caller gives them."""
        return Defense(self.quant_table(tables), self.num_steps, self.distort_limit, passes=self.passes)


@dataclass(frozen=True)
class Series:
    """Settings that differ in nothing but the scale of the table, ascending."""

    settings: tuple[Setting, ...]


def all_series(tables: Mapping[str, NDArray[np.float32]]) -> Iterator[Series]:
    """Yield every series, the published grid in one pass among them."""
    for table, (num_steps, distort_limit), passes in itertools.product(tables, GRIDS, PASSES):
        yield Series(tuple(Setting(table, scale, num_steps, distort_limit, passes) for scale in SCALES))
