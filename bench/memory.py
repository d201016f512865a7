"""Does it grow? Resident memory of one process over many images."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from bench.conditions import Watch, bundle_facts, interpreter_facts
from edgedefend.bundle import Bundle
from edgedefend.classifier import Classifier

__all__ = ["measure_memory_growth", "slope"]

_SAMPLES = 200


def _resident_mb() -> float:
    """Return this process's resident memory in MB, by /proc/self/statm."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def slope(x: ArrayLike, y: ArrayLike) -> tuple[float, float]:
    """Return the slope of the least-squares line through the points, and its standard error."""
    xs, ys = np.asarray(x, np.float64), np.asarray(y, np.float64)
    centered = xs - xs.mean()
    spread = float((centered**2).sum())
    steepness = float((centered * (ys - ys.mean())).sum() / spread)
    residuals = ys - ys.mean() - steepness * centered
    return steepness, float(np.sqrt((residuals**2).sum() / max(1, len(xs) - 2) / spread))


def measure_memory_growth(
    bundle: Bundle, *, images: int = 100_000, threads: int = 1, tick: Callable[[int], Any] = lambda count: None
) -> dict[str, Any]:
    """Defend and classify many images in one process and watch its resident memory.

    The pictures have changing sizes, so that a buffer kept for each size would show, and every hundredth image is
    averaged over three draws, so that the batch size changes as well.

    Returns
    -------
    dict
        ``slope_kb_per_1000``: of a straight line through the samples of the second half, in kB a thousand images,
        with its standard error ``slope_error``; ``grown_kb``: last less first sample of the second half;
        ``samples_mb``: 200 samples of resident memory.
    """
    watch = Watch(timed=False)
    classifier = Classifier(bundle, threads=threads)
    rng = np.random.default_rng(0)
    pool = [rng.integers(0, 256, (int(h), int(w), 3), np.uint8) for h, w in rng.integers(100, 500, (50, 2))]
    every = max(1, images // _SAMPLES)
    # Room for all samples beforehand: memory that this measurement takes itself must not look like growth.
    counts = np.arange(every, images + 1, every)
    samples = np.full(len(counts), np.nan)
    for number in range(images):
        classifier.classify(pool[number % len(pool)], draws=3 if number % 100 == 0 else 1)
        if number % every == every - 1:
            samples[number // every] = _resident_mb()
            tick(every)
    half = len(samples) // 2
    steepness, error = slope(counts[half:] / 1000, 1000 * samples[half:])
    return {
        "kind": "memory-growth",
        "slope_kb_per_1000": steepness,
        "slope_error": error,
        "grown_kb": float(1000 * (samples[-1] - samples[half])),
        "start_mb": float(samples[0]),
        "end_mb": float(samples[-1]),
        "images": images,
        "samples_mb": [round(float(value), 3) for value in samples],
        "bundle": bundle_facts(bundle),
        "interpreter": interpreter_facts(classifier.interpreter),
        "conditions": watch.finish(),
    }
