"""What of an attacked image fits into the 8 bits of a picture, the only thing that a board can be sent."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.attacks.norms import check_norm

__all__ = ["as_pictures"]

_MOST_AMPLIFICATION = 16.0
_BISECTIONS = 20


def as_pictures(images: NDArray[np.float32], clean: NDArray[np.uint8], *, norm: str = "l2_rms") -> NDArray[np.uint8]:
    """Round attacked images to whole levels without giving the attacker less, or more, than he had.

    Rounding loses every change below half a level, which at an l2_rms of 0.002 (half a level) is most of it. So the
    change is scaled until the rounded picture has the l2_rms that the image had: the largest changes are kept.

    Parameters
    ----------
    images : float32 (N, H, W, 3)
        In [0, 1].
    clean : uint8 (N, H, W, 3)
    norm : {"l2_rms", "linf"}

    Returns
    -------
    uint8 (N, H, W, 3)
        Never further away, in `norm`, than the image was; an image that is not finite comes back clean.
    """
    check_norm(norm, 1.0)
    out = clean.copy()
    for slot, image, own in zip(out, images, clean, strict=True):
        base = own.astype(np.float32)
        change = image * np.float32(255) - base
        if not np.isfinite(change).all():
            continue
        if norm == "linf":
            # Half a level is a whole one or none: towards zero, so that the bound holds.
            most = np.floor(np.abs(change).max() + 1e-4)
            slot[...] = np.clip(base + np.clip(np.rint(change), -most, most), 0, 255)
        else:
            slot[...] = _scaled(base, change)
    return out


def _scaled(base: NDArray[np.float32], change: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the rounded picture of the largest scale of `change` whose l2_rms is not above that of `change`."""

    def picture(scale: float) -> NDArray[np.float32]:
        return np.clip(np.rint(base + np.float32(scale) * change), 0, 255)

    def size(moved: NDArray[np.float32]) -> float:
        # In float64: a sum of 150,000 squares in float32 is off by more than one level in one of them.
        return float(np.square(moved, dtype=np.float64).sum())

    most = size(change)
    low, high = 0.0, _MOST_AMPLIFICATION
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if size(picture(middle) - base) <= most:
            low = middle
        else:
            high = middle
    return picture(low)
