"""Can attacked pictures be told from clean ones by how far their answers disagree?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypedDict

import numpy as np

from bench.robustness.curve import SUCCESS
from bench.robustness.store import Record
from edgedefend.statistics import Proportion, proportion

__all__ = ["Detection", "detect", "scores_of"]

DETECTED = 0.95
_POINTS = 60


class Detection(TypedDict):
    """How well the score tells attacked pictures from clean ones.

    `area` is that under the ROC curve: 0.5 is guessing. `false_alarms` are the clean pictures that lie above the score
    which 95 % of the attacked ones exceed; `detected` the attacked ones above the score of one clean picture in twenty.
    """

    area: float
    false_alarms: Proportion
    detected: Proportion
    false: list[float]
    true: list[float]
    clean: int
    attacked: int


def scores_of(records: Iterable[Record], judge: str, *, successful: bool = True) -> list[float]:
    """Return the suspicion scores of records; with `successful` only of attacks that most fresh draws fall for."""
    found = []
    for record in records:
        verdict: dict[str, Any] = record["judge"].get(judge, {})
        score = verdict.get("suspicion")
        if score is not None and (not successful or verdict["hit"] >= SUCCESS):
            found.append(float(score))
    return found


def detect(clean: Sequence[float], attacked: Sequence[float]) -> Detection | None:
    """Return the ROC of "attacked if the score is above a threshold", None where one side is empty."""
    if not clean or not attacked:
        return None
    good, bad = np.sort(clean), np.sort(attacked)
    # The chance that an attacked picture scores above a clean one; equal scores count half.
    below = np.searchsorted(good, bad, "left") + np.searchsorted(good, bad, "right")
    area = float(below.mean() / (2 * len(good)))
    catching = bad[int(np.floor((1 - DETECTED) * len(bad)))]
    usual = good[len(good) - 1 - int(np.floor(0.05 * len(good)))]
    thresholds = np.unique(np.concatenate([good, bad]))
    if len(thresholds) > _POINTS:
        thresholds = thresholds[np.linspace(0, len(thresholds) - 1, _POINTS).astype(int)]
    steps = [np.inf, *thresholds[::-1].tolist(), -np.inf]
    return {
        "area": round(area, 4),
        "false_alarms": proportion(int((good >= catching).sum()), len(good)),
        "detected": proportion(int((bad > usual).sum()), len(bad)),
        "false": [round(float((good >= step).mean()), 4) for step in steps],
        "true": [round(float((bad >= step).mean()), 4) for step in steps],
        "clean": len(good),
        "attacked": len(bad),
    }
