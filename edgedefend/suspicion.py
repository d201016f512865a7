"""How far the answers to one picture disagree: between draws of the defence, and with the undefended model.

A picture made against the bare model, or one that leans on a narrow set of draws, is answered in different ways; a
clean one mostly in the same. The score says how different, the bundle's threshold which scores clean pictures rarely
reach. An attacker who knows of it can lower the score as well (docs/robustness.md has both): it is a hint, not a
verdict.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["DRAWS", "SuspicionThreshold", "learn_threshold", "suspicion_of", "suspicion_record", "suspicion_score"]

DRAWS = 5
FALSE_ALARMS = 0.05


@dataclass(frozen=True)
class SuspicionThreshold:
    """Scores above `value` are suspicious: of `n` clean pictures the fraction `false_alarms` lay above it."""

    value: float
    draws: int
    false_alarms: float
    n: int

    def as_json(self) -> dict[str, Any]:
        """Return what stands in a manifest."""
        return {"threshold": self.value, "draws": self.draws, "false_alarms": self.false_alarms, "n": self.n}


def suspicion_score(draws: NDArray[np.float32], undefended: NDArray[np.float32]) -> float:
    """Return how much the answers to one picture disagree.

    Parameters
    ----------
    draws : float32 (draws, classes)
        Probabilities behind each of at least two draws.
    undefended : float32 (classes,)
        Probabilities without the defence.

    Returns
    -------
    float
        In [0, 1]: the mean of two total variation distances, that between two draws (averaged over all pairs, so that
        it does not grow with their number) and that between the mean of the draws and the undefended answer.
    """
    count = len(draws)
    pairs = [np.abs(draws[i + 1 :] - draws[i]).sum(axis=1) for i in range(count - 1)]
    between = 0.5 * float(np.concatenate(pairs).mean())
    from_bare = 0.5 * float(np.abs(draws.mean(axis=0) - undefended).sum())
    return min(1.0, max(0.0, (between + from_bare) / 2))


def suspicion_of(
    draws: NDArray[np.float32], undefended: NDArray[np.float32], threshold: SuspicionThreshold | None
) -> tuple[float, bool | None]:
    """Return the score (see `suspicion_score`) and whether it exceeds the threshold; None where there is none."""
    score = suspicion_score(draws, undefended)
    return score, None if threshold is None else score > threshold.value


def suspicion_record(score: float | None, suspicious: bool | None) -> dict[str, Any]:
    """Return what a JSON record says of it; nothing where no score was asked for.

    ``suspicious`` is None where the bundle knows no threshold.
    """
    return {} if score is None else {"suspicion": round(score, 6), "suspicious": suspicious}


def learn_threshold(clean: NDArray[np.float64], draws: int, false_alarms: float = FALSE_ALARMS) -> SuspicionThreshold:
    """Return the smallest threshold that at most `false_alarms` of the clean scores exceed.

    Parameters
    ----------
    clean : float64 (N,)
        Scores of clean pictures, at least one.
    draws : int
        With how many draws they were made.
    """
    ordered = np.sort(np.asarray(clean, np.float64))
    allowed = int(np.floor(false_alarms * len(ordered)))
    # Rounded up: a score equal to the threshold is not above it, also after the manifest's rounding.
    value = float(np.ceil(ordered[len(ordered) - 1 - allowed] * 1e6) / 1e6)
    return SuspicionThreshold(value, draws, round(float(np.mean(ordered > value)), 4), len(ordered))
