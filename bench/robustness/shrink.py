"""How little of a change that worked would have done: an attack at one epsilon says nothing of what lies below it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bench.attacks.base import to_unit
from bench.attacks.pictures import as_pictures

__all__ = ["smallest_scales"]

# Asked for on draws that the choice is made by, so that others, which judge it, will mostly see at least half.
_WANTED = 0.7
_HALVINGS = 6

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
