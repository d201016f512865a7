"""Normal noise in whole pixel levels, looked up by random bytes: one byte of the operating system's makes one value.

Noise before the model makes what an attacker sees of its gradient an average over a neighbourhood (Cohen, Rosenfeld and
Kolter, "Certified adversarial robustness via randomized smoothing", 2019; nothing is certified here).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgedefend.errors import InputError

__all__ = ["MOST_NOISE", "Noise", "as_noise_std", "noise_levels", "usual_noise"]

MOST_NOISE = 64.0
Noise = NDArray[np.uint8]  # random bytes (H, W, 3)
_BYTES = 256


def as_noise_std(value: float) -> float:
    """Return a checked standard deviation.

    Raises
    ------
    InputError
        If it is not a number from 0 to 64.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, np.number)) or not 0 <= value <= MOST_NOISE:
        raise InputError(f"noise_std is {value!r}, expected a number of pixel levels from 0 to {MOST_NOISE:g}")
    return float(value)


def noise_levels(std: float) -> NDArray[np.int16]:
    """Return what each byte adds to a pixel, int16 (256,): equally likely values of a normal distribution, rounded.

    Each is the middle quantile of its 256th, all scaled so that the standard deviation is `std` before rounding; none
    is larger than 2.9 times that.
    """
    from statistics import NormalDist  # brings half a dozen modules: only where there is noise

    middles = np.array([NormalDist().inv_cdf((byte + 0.5) / _BYTES) for byte in range(_BYTES)])
    levels: NDArray[np.int16] = np.rint(middles * (std / middles.std())).astype(np.int16)
    return levels


def usual_noise(height: int, width: int) -> Noise:
    """Return the bytes where none are drawn, (height, width, 3): for given grids and to show a picture.

    Everywhere the same, so that a defended picture can be compared: SplitMix64 (Steele, Lea and Flood, 2014), of whose
    words the upper bytes are taken.
    """
    words = np.arange(1, height * width * 3 + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    words = (words ^ words >> np.uint64(30)) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ words >> np.uint64(27)) * np.uint64(0x94D049BB133111EB)
    return ((words ^ words >> np.uint64(31)) >> np.uint64(56)).astype(np.uint8).reshape(height, width, 3)
