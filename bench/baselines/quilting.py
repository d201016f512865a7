"""Quilting: the picture is sewn together anew from patches of other, clean photographs."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from bench.baselines.base import Picture
from bench.baselines.patches import PatchBase
from bench.baselines.trained import TrainedBaseline

__all__ = ["OVERLAP", "SIDE", "Quilting", "sew"]

# Guo et al., section 5.1: patches of 5x5, an overlap of two pixels, one of the 10 nearest at random.
SIDE, OVERLAP, NEAREST = 5, 2, 10
_STEP = SIDE - OVERLAP


@functools.lru_cache(maxsize=1)
def _needle() -> Callable[..., None]:
    """Compile the sewing, once a process."""

    @numba.njit(nogil=True, error_model="numpy")
    def cut(errors: Any) -> Any:
        """Return, for each line of (length, overlap) errors, the place of the cheapest connected seam."""
        length, across = errors.shape
        cost = errors.copy()
        for line in range(1, length):
            for place in range(across):
                low, high = max(place - 1, 0), min(place + 2, across)
                cost[line, place] += cost[line - 1, low:high].min()
        seam = np.empty(length, np.int64)
        seam[length - 1] = cost[length - 1].argmin()
        for line in range(length - 2, -1, -1):
            low, high = max(seam[line + 1] - 1, 0), min(seam[line + 1] + 2, across)
            seam[line] = low + cost[line, low:high].argmin()
        return seam

    @numba.njit(nogil=True, error_model="numpy")
    def sew_all(tiles: Any, out: Any) -> None:
        rows, columns = tiles.shape[:2]
        errors = np.empty((SIDE, OVERLAP))
        for row in range(rows):
            for column in range(columns):
                top, left = row * _STEP, column * _STEP
                tile = tiles[row, column]
                # Left of (above) the seam stays what lies there already.
                from_left, from_top = np.zeros(SIDE, np.int64), np.zeros(SIDE, np.int64)
                if column:
                    for y in range(SIDE):
                        for x in range(OVERLAP):
                            gap = tile[y, x].astype(np.float64) - out[top + y, left + x]
                            errors[y, x] = (gap * gap).sum()
                    from_left = cut(errors)
                if row:
                    for x in range(SIDE):
                        for y in range(OVERLAP):
                            gap = tile[y, x].astype(np.float64) - out[top + y, left + x]
                            errors[x, y] = (gap * gap).sum()
                    from_top = cut(errors)
                for y in range(SIDE):
                    for x in range(SIDE):
                        if x >= from_left[y] and y >= from_top[x]:
                            out[top + y, left + x] = tile[y, x]

    return sew_all


def sew(tiles: NDArray[np.uint8]) -> Picture:
    """Sew overlapping tiles together along the seams of least difference (Efros and Freeman, 2001).

    Parameters
    ----------
    tiles : uint8 (rows, columns, 5, 5, 3)

    Returns
    -------
    uint8 (3 * rows + 2, 3 * columns + 2, 3)
    """
    rows, columns = tiles.shape[:2]
    out = np.zeros((rows * _STEP + OVERLAP, columns * _STEP + OVERLAP, 3), np.uint8)
    _needle()(np.ascontiguousarray(tiles), out)
    return out


class Quilting(TrainedBaseline):
    """Image quilting: each 5x5 tile becomes one of the 10 nearest patches of a base, drawn at random.

    The authors' base has a million patches of ImageNet's training set; here it is made from given photographs, which
    must not be those that are classified (a picture would be sewn together from itself).
    """

    name, title = "quilting", "Quilting"
    source = "Guo, Rana, Cisse and van der Maaten, Countering adversarial images using input transformations, ICLR 2018"
    randomised, costly = True, True

    @property
    def remark(self) -> str:
        """How large the base is."""
        return f"{len(self._base.patches)} patches (the authors: a million)" if self.available else ""

    @functools.cached_property
    def _base(self) -> PatchBase:
        return PatchBase(self.part.arrays["patches"])

    def one(self, picture: Picture, rng: np.random.Generator) -> Picture:
        """Find the patches, draw among them, sew."""
        height, width, _ = picture.shape
        rows, columns = (max(1, -(-(side - OVERLAP) // _STEP)) for side in (height, width))
        fill = (0, rows * _STEP + OVERLAP - height), (0, columns * _STEP + OVERLAP - width), (0, 0)
        filled = np.pad(picture, fill, mode="edge")
        windows = np.lib.stride_tricks.sliding_window_view(filled, (SIDE, SIDE), axis=(0, 1))[::_STEP, ::_STEP]
        tiles = windows.transpose(0, 1, 3, 4, 2).reshape(-1, SIDE, SIDE, 3)
        found = self._base.nearest(tiles, NEAREST)
        drawn = found[np.arange(len(found)), rng.integers(NEAREST, size=len(found))]
        return sew(self._base.patches[drawn].reshape(rows, columns, SIDE, SIDE, 3))[:height, :width]
