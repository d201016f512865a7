"""How little of a change would have worked, and how much more of one that did not.

An attack at one epsilon says nothing of what lies below it. One that looks for the smallest change ends on the
boundary; where its last step fell short it has not shown that nothing works, only that it had to go a little further.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bench.attacks.base import to_unit
from bench.attacks.norms import project
from bench.attacks.pictures import as_pictures

__all__ = ["Rate", "larger_scales", "smallest_scales"]

# Asked for on draws that the choice is made by, so that others, which judge it, will mostly see at least half.
_WANTED = 0.7
_HALVINGS = 6
# Coarse, since what works is scaled down again.
_FACTORS = (1.15, 1.35, 1.6, 2.0, 3.0, 5.0, 10.0)

# Pictures of some rows, the numbers of these rows, which look this is (from 0) -> how often each fools fresh draws.
Rate = Callable[[NDArray[np.uint8], NDArray[np.intp], int], NDArray[np.float64]]


def smallest_scales(
    images: NDArray[np.float32], clean: NDArray[np.uint8], rows: NDArray[np.intp], rate: Rate, *, norm: str
) -> tuple[NDArray[np.intp], NDArray[np.uint8]]:
    """Scale changes down for as long as they fool most draws.

    Parameters
    ----------
    images : float32 (N, H, W, 3)
        Attacked images in [0, 1], before they are rounded.
    clean : uint8 (N, H, W, 3)
    rows : int (M,)
        The images that succeeded.
    rate : callable
        Says how often pictures succeed; each call on draws of its own.
    norm : {"l2_rms", "linf"}
        That the rounding keeps.

    Returns
    -------
    rows, pictures
        Which of `rows` succeed with less, and the pictures, uint8 (K, H, W, 3).
    """
    low, high = np.zeros(rows.size), np.ones(rows.size)
    base = to_unit(clean[rows])
    change = images[rows] - base
    kept = clean[rows].copy()
    for look in range(_HALVINGS if rows.size else 0):
        middle = (low + high) / 2
        tried = as_pictures(base + change * middle[:, None, None, None].astype(np.float32), clean[rows], norm=norm)
        worked = rate(tried, rows, look) >= _WANTED
        kept[worked] = tried[worked]
        high[worked], low[~worked] = middle[worked], middle[~worked]
    shrunk = high < 1
    return rows[shrunk], kept[shrunk]


def larger_scales(
    images: NDArray[np.float32],
    clean: NDArray[np.uint8],
    rows: NDArray[np.intp],
    rate: Rate,
    *,
    largest: float,
    norm: str,
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Scale changes that did not work up until they fool most draws.

    Parameters
    ----------
    images, clean, rate
        As for `smallest_scales`.
    rows : int (M,)
        The images that did not succeed.
    largest : float
        Size of a change that is never exceeded.
    norm : {"l2_rms", "linf"}
        Of `largest`.

    Returns
    -------
    rows, images
        Which of `rows` succeed with more, and these images, float32 (K, H, W, 3), not yet rounded.
    """
    grown, done = images[rows].copy(), np.zeros(rows.size, np.bool_)
    base, change = to_unit(clean[rows]), images[rows] - to_unit(clean[rows])
    for look, factor in enumerate(_FACTORS):
        left = np.flatnonzero(~done)
        if not left.size:
            break
        tried = project(base[left] + np.float32(factor) * change[left], base[left], largest, norm)
        worked = rate(as_pictures(tried, clean[rows[left]], norm=norm), rows[left], look) >= _WANTED
        grown[left[worked]] = tried[worked]
        done[left[worked]] = True
    return rows[done], grown[done]
