"""A base of small patches of photographs, and the nearest ones to given patches."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

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


class PatchBase:
    """Patches grouped around leaders, so that a search looks at the nearest groups only.

    Every group is the patches that are nearest to one leader, a patch of the base; there are about as many groups as a
    group has patches. The groups depend on the patches alone: a search finds the same ones in every process.

    Parameters
    ----------
    patches : uint8 (count, side, side, 3)
    probes : int
        Groups that a search looks at. With all of them it is exact.
    """

    def __init__(self, patches: NDArray[np.uint8], *, probes: int = 8) -> None:
        self.patches = patches
        self._flat = patches.reshape(len(patches), -1).astype(np.float32)
        self._squares = np.square(self._flat).sum(axis=1)
        leaders = np.linspace(0, len(patches) - 1, max(1, round(len(patches) ** 0.5))).astype(int)
        self._leaders = self._flat[leaders]
        owner = np.concatenate([self._nearest_leaders(part, 1)[:, 0] for part in np.array_split(self._flat, 64)])
        order = np.argsort(owner, kind="stable")
        starts = np.searchsorted(owner[order], np.arange(len(leaders) + 1))
        self._members = [order[a:b] for a, b in itertools.pairwise(starts)]
        self._probes = min(probes, len(leaders))

    def _nearest_leaders(self, flat: NDArray[np.float32], count: int) -> NDArray[np.intp]:
        distances = np.square(self._leaders).sum(axis=1) - 2 * flat @ self._leaders.T
        return np.argsort(distances, axis=1, kind="stable")[:, :count]

    def nearest(self, queries: NDArray[np.uint8], count: int) -> NDArray[np.intp]:
        """Return the numbers of the `count` patches nearest to each query, (queries, count), nearest first.

        Parameters
        ----------
        queries : uint8 (queries, side, side, 3)
        """
        flat = queries.reshape(len(queries), -1).astype(np.float32)
        probed = self._nearest_leaders(flat, self._probes)
        found = np.zeros((len(flat), self._probes, count), np.intp)
        distances = np.full((len(flat), self._probes, count), np.inf, np.float32)
        for group, members in enumerate(self._members):
            rows, places = np.nonzero(probed == group)
            if not len(rows) or not len(members):
                continue
            here = self._squares[members] - 2 * flat[rows] @ self._flat[members].T
            best = np.argsort(here, axis=1, kind="stable")[:, :count]
            found[rows, places, : best.shape[1]] = members[best]
            distances[rows, places, : best.shape[1]] = np.take_along_axis(here, best, axis=1)
        together = distances.reshape(len(flat), -1)
        order = np.argsort(together, axis=1, kind="stable")[:, :count]
        # A base of fewer than `count` patches in the probed groups leaves empty places: the nearest stands in for them.
        order = np.where(np.isfinite(np.take_along_axis(together, order, axis=1)), order, order[:, :1])
        return np.take_along_axis(found.reshape(len(flat), -1), order, axis=1)
