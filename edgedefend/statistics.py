"""Proportions with their uncertainty: every accuracy this project prints goes through here."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypedDict

__all__ = [
    "Difference",
    "Proportion",
    "format_proportion",
    "mean_difference",
    "mean_proportion",
    "proportion",
    "wilson_interval",
]

_Z95 = 1.959963984540054


class Proportion(TypedDict):
    """A measured fraction, with its n and its 95 % Wilson interval."""

    value: float
    hits: float
    n: int
    low: float
    high: float


class Difference(TypedDict):
    """A mean difference, with its n and its 95 % interval."""

    value: float
    n: int
    low: float
    high: float


def wilson_interval(hits: float, n: int) -> tuple[float, float]:
    """Return the 95 % Wilson score interval of `hits` out of `n`; (0, 1) where n is 0.

    Wilson, "Probable inference, the law of succession, and statistical inference", JASA 1927.
    """
    if n == 0:
        return 0.0, 1.0
    fraction, z2 = hits / n, _Z95 * _Z95
    center = (fraction + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z95 / (1 + z2 / n) * math.sqrt(fraction * (1 - fraction) / n + z2 / (4 * n * n))
    # At 0 and n the bound is exact; what rounding leaves beside it is not.
    return (0.0 if hits == 0 else center - half), (1.0 if hits == n else center + half)


def proportion(hits: int, n: int) -> Proportion:
    """Return `hits` out of `n` as a `Proportion`."""
    low, high = wilson_interval(hits, n)
    return {"value": hits / n if n else math.nan, "hits": hits, "n": n, "low": low, "high": high}


def mean_proportion(fractions: Sequence[float]) -> Proportion:
    """Return the mean of one fraction an image, with n the number of images.

    Each is what several random draws gave for one image. Draws of one image are not independent, so they do not
    count as more images: Wilson's interval on the images is then too wide rather than too narrow.
    """
    n = len(fractions)
    # Sums of tenths carry rounding: 0.1 * 10 must be 1 image, not a bit more.
    hits = min(float(n), max(0.0, round(math.fsum(fractions), 9)))
    low, high = wilson_interval(hits, n)
    return {"value": hits / n if n else math.nan, "hits": hits, "n": n, "low": low, "high": high}


def mean_difference(differences: Sequence[float]) -> Difference:
    """Return the mean of paired differences of fractions, one an image, with the normal interval of their spread.

    Of a single image nothing is known: its interval is all that a difference can be, -1 to 1.
    """
    n = len(differences)
    if n < 2:
        return {"value": differences[0] if n else math.nan, "n": n, "low": -1.0, "high": 1.0}
    mean = math.fsum(differences) / n
    half = _Z95 * math.sqrt(math.fsum((one - mean) ** 2 for one in differences) / (n - 1) / n)
    return {"value": mean, "n": n, "low": mean - half, "high": mean + half}


def format_proportion(value: Proportion) -> str:
    """Return e.g. ``0.918 [0.891, 0.939] n=500``."""
    return f"{value['value']:.3f} [{value['low']:.3f}, {value['high']:.3f}] n={value['n']}"
