"""The two norms that an attack is held to: size, projection, steepest direction, random start.

Images are in [0, 1]; ``l2_rms`` is ``sqrt(mean((x' - x)^2))`` over pixels and channels, ``linf`` the largest change.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgedefend.errors import InputError

__all__ = ["NORMS", "check_norm", "per_image", "project", "random_start", "sizes", "steepest"]

NORMS = ("l2_rms", "linf")
_AXES = (1, 2, 3)
Images = NDArray[np.float32]


def check_norm(norm: str, epsilon: float) -> None:
    """Raise `InputError` unless `norm` is one of `NORMS` and `epsilon` lies in (0, 1]."""
    if norm not in NORMS:
        raise InputError(f"norm is {norm!r}, expected one of {', '.join(NORMS)}")
    if not 0 < epsilon <= 1:
        raise InputError(f"epsilon is {epsilon!r}, expected a distortion above 0 and at most 1 of images in [0, 1]")


def per_image(values: NDArray[np.floating[Any]]) -> Images:
    """Return (N,) values as float32 (N, 1, 1, 1), to be multiplied with images."""
    return values.astype(np.float32)[:, None, None, None]


def _rms(change: Images) -> NDArray[np.float64]:
    return np.sqrt(np.mean(np.square(change, dtype=np.float64), axis=_AXES))


def sizes(images: Images, clean: Images) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return ``(l2_rms, linf)`` of each image's change, (N,) each."""
    change = images - clean
    return _rms(change), np.abs(change).max(axis=_AXES).astype(np.float64)


def project(images: Images, clean: Images, epsilon: float, norm: str) -> Images:
    """Return the images, no more than `epsilon` away from `clean` and within [0, 1].

    Too large a change is scaled (l2_rms) or cut (linf). Cutting at 0 and 1 comes last: since `clean` lies between them
    it only makes changes smaller.
    """
    change = images - clean
    if norm == "linf":
        change = np.clip(change, -epsilon, epsilon)
    else:
        # A hair inside, so that rounding to float32 does not carry it out again.
        scale = np.minimum(1.0, epsilon * (1 - 1e-6) / np.maximum(_rms(change), 1e-12))
        change = change * per_image(scale)
    return np.clip(clean + change, 0, 1).astype(np.float32)


def steepest(gradient: Images, norm: str) -> Images:
    """Return the direction of size 1 in `norm` along which a loss rises most; all zeros where the gradient is zero."""
    if norm == "linf":
        return np.sign(gradient)
    size = _rms(gradient)
    scale = np.divide(1.0, size, out=np.zeros_like(size), where=size > 0)
    return (gradient * per_image(scale)).astype(np.float32)


def random_start(clean: Images, epsilon: float, norm: str, rng: np.random.Generator) -> Images:
    """Return images somewhere in the ball around `clean`, within [0, 1]."""
    if norm == "linf":
        change = rng.uniform(-epsilon, epsilon, clean.shape).astype(np.float32)
    else:
        change = steepest(rng.standard_normal(clean.shape, np.float32), norm)
        # In so many dimensions nearly all of a ball lies at its surface; a start there would use the whole budget.
        change *= per_image(epsilon * rng.uniform(0, 1, len(clean)))
    return project(clean + change, clean, epsilon, norm)
