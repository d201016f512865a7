"""The security curve: what is left of the accuracy, and how often the attacker has his way, against the distortion.

At each epsilon the attacker has the best of everything he tried up to it, by his own draws; the figures come from
draws that took no part in that choice. The one number to quote is the ratio of two medians: the smallest distortion
with which an attack succeeds, defended over undefended.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from bench.resultfile import number_at
from bench.robustness.store import Record
from edgedefend.statistics import Proportion, mean_proportion

__all__ = [
    "CurvePoint",
    "Distortion",
    "distortion_ratio",
    "queries_to_success",
    "security_curve",
    "smallest_distortions",
    "strongest",
]

# A picture that most fresh draws take for the target is one that the attacker would send.
SUCCESS = 0.5
_RESAMPLES = 2000


class CurvePoint(TypedDict):
    """One epsilon of the curve. `attack_success_rate` is that of the targeted attacks."""

    epsilon: float
    robust_accuracy: Proportion
    attack_success_rate: Proportion


class Distortion(TypedDict):
    """A median of smallest distortions (l2_rms), None where fewer than half of the attacks succeeded, and its ratio."""

    median: float | None
    undefended: float | None
    ratio: float | None
    low: float | None
    high: float | None
    n: int


def _said(record: Record, who: str, what: str, judge: str) -> float:
    verdict = record["select"] if who == "select" else record["judge"][judge]
    return float(verdict[what])


def strongest(records: Iterable[Record], epsilon: float, judge: str, *, targeted: bool) -> dict[str, Record]:
    """Return for every image the record that the attacker would choose at `epsilon`.

    Parameters
    ----------
    records : iterable of record
        Of any attacks on one defence.
    judge : str
        The defence that is asked.
    targeted : bool
        Whether he wants his class (the most hits) or any wrong one (the fewest right answers).
    """
    best: dict[str, Record] = {}
    for record in records:
        if record["l2_rms"] > epsilon * (1 + 1e-6) + 1e-12 or judge not in record["judge"]:
            continue
        image = str(record["image"])
        gain = _said(record, "select", "hit", judge) if targeted else -_said(record, "select", "right", judge)
        held = best.get(image)
        if held is None:
            best[image] = record
            continue
        other = _said(held, "select", "hit", judge) if targeted else -_said(held, "select", "right", judge)
        # Of several that do equally well on the draws he chooses by, the larger change is the surer one.
        if gain > other or (gain == other and record["l2_rms"] > held["l2_rms"]):
            best[image] = record
    return best


def security_curve(
    clean: Mapping[str, Mapping[str, float]],
    targeted: Sequence[Record],
    untargeted: Sequence[Record],
    epsilons: Sequence[float],
    judge: str,
) -> list[CurvePoint]:
    """Return the curve over the images of `clean`.

    Parameters
    ----------
    clean : mapping
        Image -> the verdict ("right", "hit") on the picture as it is: the curve at 0, and what an attacker is left with
        who finds nothing.
    targeted, untargeted : sequence of record
        Both cost accuracy; only the targeted ones count as success. Where there are both, the accuracy is that of the
        images which both have been tried on: one that only one has been tried on would look more robust.
    epsilons : sequence of float
        l2_rms.
    """
    images = [
        image
        for image in clean
        if not (targeted or untargeted) or any(record["image"] == image for record in (*targeted, *untargeted))
    ]
    tried = [{str(record["image"]) for record in records} for records in (targeted, untargeted) if records]
    by_all = [image for image in images if all(image in some for some in tried)]
    points: list[CurvePoint] = []
    for epsilon in sorted({0.0, *epsilons}):
        hits = strongest(targeted, epsilon, judge, targeted=True)
        wrong = strongest((*targeted, *untargeted), epsilon, judge, targeted=False)
        right = [_said(wrong[i], "judge", "right", judge) if i in wrong else clean[i]["right"] for i in by_all]
        hit = [_said(hits[i], "judge", "hit", judge) if i in hits else clean[i]["hit"] for i in images]
        points.append(
            {
                "epsilon": epsilon,
                "robust_accuracy": mean_proportion(right),
                "attack_success_rate": mean_proportion(hit),
            }
        )
    return points


def smallest_distortions(records: Iterable[Record], judge: str, *, targeted: bool = True) -> dict[str, float]:
    """Return for every attacked image the smallest l2_rms of a picture on which the attack succeeds, else infinity."""
    found: dict[str, float] = {}
    for record in records:
        image = str(record["image"])
        said = _said(record, "judge", "hit" if targeted else "right", judge)
        success = said >= SUCCESS if targeted else said < SUCCESS
        found[image] = min(found.get(image, math.inf), float(record["l2_rms"]) if success else math.inf)
    return found


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _medians(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the medians of the rows; infinity where the middle is infinite (NumPy's mean of two gives NaN)."""
    ordered = np.sort(values, axis=-1)
    count = values.shape[-1]
    low, high = ordered[..., (count - 1) // 2], ordered[..., count // 2]
    with np.errstate(invalid="ignore"):
        return np.where(np.isinf(high), high, (low + high) / 2)


def distortion_ratio(defended: Mapping[str, float], undefended: Mapping[str, float]) -> Distortion:
    """Return the median smallest distortion and its ratio to the undefended one, over the images that both have.

    The interval is a paired bootstrap over the images (95 %, percentiles); a bound is None where it is infinite.
    """
    images = sorted(defended.keys() & undefended.keys())
    if not images:
        return {"median": None, "undefended": None, "ratio": None, "low": None, "high": None, "n": 0}
    ours, bare = (np.array([side[image] for image in images]) for side in (defended, undefended))
    picks = np.random.default_rng(0).integers(0, len(images), (_RESAMPLES, len(images)))
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = _medians(ours[picks]) / _medians(bare[picks])
        ratio = float(_medians(ours) / _medians(bare))
    # Infinity over infinity says nothing about the ratio: neither bound is known then.
    known = not np.isnan(ratios).any()
    low, high = np.percentile(ratios, [2.5, 97.5], method="nearest") if known else (math.nan, math.nan)
    return {
        "median": _finite(float(_medians(ours))),
        "undefended": _finite(float(_medians(bare))),
        "ratio": _finite(ratio),
        "low": _finite(float(low)),
        "high": _finite(float(high)),
        "n": len(images),
    }


def queries_to_success(records: Iterable[Record], judge: str) -> dict[str, Any]:
    """Return the median number of gradients that the successful targeted attacks took at the epsilon that sufficed."""
    least: dict[str, tuple[float, float]] = {}
    images = set()
    for record in records:
        images.add(record["image"])
        queries = number_at(record, "queries")
        if queries is None or _said(record, "judge", "hit", judge) < SUCCESS:
            continue
        entry = (float(record["l2_rms"]), queries)
        least[record["image"]] = min(least.get(record["image"], entry), entry)
    counts = sorted(queries for _, queries in least.values())
    return {"median": float(np.median(counts)) if counts else None, "succeeded": len(counts), "n": len(images)}
