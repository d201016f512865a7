"""A base of small patches of photographs, and the nearest ones to given patches."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

__all__ = ["PatchBase", "sample_patches"]


def sample_patches(
    photographs: Sequence[NDArray[np.uint8]], side: int, count: int, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Cut patches out of random places of random photographs, uint8 (count, side, side, 3)."""
    out = np.empty((count, side, side, 3), np.uint8)
    for slot, number in zip(out, rng.integers(len(photographs), size=count), strict=True):
        height, width, _ = photographs[number].shape
        top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
        slot[...] = photographs[number][top : top + side, left : left + side]
    return out


@functools.lru_cache(maxsize=1)
def _keeper() -> Callable[..., None]:
    """Compile the keeping of the nearest, once a process."""

    @numba.njit(nogil=True, error_model="numpy")
    def keep(squares: Any, products: Any, numbers: Any, rows: Any, distances: Any, found: Any) -> None:
        """Put candidates among the nearest of each query, which are in order; of equals, the first stays before."""
        kept = found.shape[1]
        for line in range(len(rows)):
            nearest, where = distances[rows[line]], found[rows[line]]
            for candidate in range(len(numbers)):
                distance = squares[candidate] - 2 * products[line, candidate]
                if distance < nearest[kept - 1]:
                    place = kept - 1
                    while place and distance < nearest[place - 1]:
                        nearest[place], where[place] = nearest[place - 1], where[place - 1]
                        place -= 1
                    nearest[place], where[place] = distance, numbers[candidate]

    return keep


class PatchBase:
    """Patches grouped around leaders, so that a search looks at the nearest groups only.

    Every group is the patches that are nearest to one leader, a patch of the base. The groups depend on the patches and
    `probes` alone: a search finds the same ones in every process.

    Parameters
    ----------
    patches : uint8 (count, side, side, 3)
    probes : int
        Groups that a search looks at. With all of them it is exact; with four the patches found in a hundred thousand
        are a hundredth further away.
    """

    def __init__(self, patches: NDArray[np.uint8], *, probes: int = 4) -> None:
        self.patches = patches
        flat = patches.reshape(len(patches), -1).astype(np.float32)
        # A search looks at all leaders and at `probes` groups: least in all where these are as many.
        groups = max(1, round((min(probes, len(patches)) * len(patches)) ** 0.5))
        leaders = np.linspace(0, len(patches) - 1, groups).astype(int)
        self._leaders = flat[leaders]
        self._leader_squares = np.square(self._leaders).sum(axis=1)
        owner = np.concatenate([self._nearest_leaders(part, 1)[:, 0] for part in np.array_split(flat, 64)])
        # A group's patches lie side by side.
        self._order = np.argsort(owner, kind="stable")
        self._starts = np.searchsorted(owner[self._order], np.arange(len(leaders) + 1))
        self._flat = flat[self._order]
        self._squares = np.square(self._flat).sum(axis=1)
        self._probes = min(probes, len(leaders))

    def _nearest_leaders(self, flat: NDArray[np.float32], count: int) -> NDArray[np.intp]:
        found, distances = self._nothing_found(len(flat), count)
        leaders, rows = np.arange(len(self._leaders)), np.arange(len(flat))
        _keeper()(self._leader_squares, flat @ self._leaders.T, leaders, rows, distances, found)
        return found

    @staticmethod
    def _nothing_found(queries: int, count: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
        return np.full((queries, count), -1, np.intp), np.full((queries, count), np.inf, np.float32)

    def nearest(self, queries: NDArray[np.uint8], count: int) -> NDArray[np.intp]:
        """Return the numbers of the `count` patches nearest to each query, (queries, count), nearest first.

        Parameters
        ----------
        queries : uint8 (queries, side, side, 3)
        """
        flat = queries.reshape(len(queries), -1).astype(np.float32)
        probed = self._nearest_leaders(flat, self._probes).ravel()
        found, distances = self._nothing_found(len(flat), count)
        by_group = np.argsort(probed, kind="stable")
        bounds = np.searchsorted(probed[by_group], np.arange(len(self._starts)))
        for group in np.unique(probed):
            rows = by_group[bounds[group] : bounds[group + 1]] // self._probes
            members = slice(self._starts[group], self._starts[group + 1])
            products = flat[rows] @ self._flat[members].T
            _keeper()(self._squares[members], products, self._order[members], rows, distances, found)
        # A base of fewer than `count` patches in the probed groups leaves empty places: the nearest stands in for them.
        return np.where(found < 0, found[:, :1], found)
