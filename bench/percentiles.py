"""Percentiles of latencies as MLPerf takes them, and how many samples one needs before it means anything."""

from __future__ import annotations

import functools
import math

__all__ = ["PERCENTILES", "median_interval", "percentile", "samples_needed", "summarize"]

PERCENTILES = {"p50": 0.5, "p90": 0.9, "p95": 0.95, "p99": 0.99}


@functools.lru_cache(maxsize=16)
def samples_needed(fraction: float) -> int:
    """Return the smallest number of samples for which MLPerf takes a percentile as known.

    That is the smallest n for which at most one sample above the percentile would be seen with a probability of no
    more than 1 %: 64 for p90, 662 for p99 ("early stopping" of the MLPerf inference rules, with one query over).
    For the median, which it does not use as a figure, the same formula gives 11.
    """
    rare = 1 - fraction
    n = 1
    while fraction**n + n * rare * fraction ** (n - 1) > 0.01:
        n += 1
    return n


def percentile(ascending: list[float], fraction: float) -> float:
    """Return the value at `fraction` of an ascending list, as MLPerf takes it: ``sorted[int(n * fraction)]``."""
    return ascending[min(int(len(ascending) * fraction), len(ascending) - 1)]


def summarize(values: list[float]) -> dict[str, float]:
    """Return p50, p90, p95 and p99, each only where there are samples enough for it (see `samples_needed`).

    The median is always there: it is what a short run is looked at for.
    """
    ascending = sorted(values)
    return {
        name: percentile(ascending, fraction)
        for name, fraction in PERCENTILES.items()
        if name == "p50" or len(ascending) >= samples_needed(fraction)
    }


def median_interval(values: list[float]) -> tuple[float, float, float]:
    """Return the median of `values` and its 95 % interval from order statistics, which assumes no distribution.

    Below six values no such interval exists: the extremes stand in its place.
    """
    ascending = sorted(values)
    n = len(ascending)
    reach = 1.959963984540054 * math.sqrt(n) / 2
    low = max(0, math.floor((n - 1) / 2 - reach))
    high = min(n - 1, math.ceil((n - 1) / 2 + reach))
    return percentile(ascending, 0.5), ascending[low], ascending[high]
