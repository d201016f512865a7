"""What a setting costs: accuracy on clean photographs, by how many draws answer together. Forward passes only."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.attacks.model import GradientModel
from bench.robustness.store import ResultStore
from bench.tuning.answers import combined_answers, draw_probabilities
from bench.tuning.candidates import DRAWS, Series, Setting
from bench.tuning.contest import Pictures

__all__ = ["Screened", "accuracies", "never_better", "screen"]

# How sure one is to be that a setting keeps within the budget, as standard errors of its loss: 95 %, one-sided.
_SURE = NormalDist().inv_cdf(0.95)


@dataclass(frozen=True)
class Screened:
    """A setting with its accuracy by number of draws, and the standard error of what that loses.

    The best of many settings on few photographs is partly the luckiest: one keeps within a budget only if one can be
    sure of it, photograph by photograph (95 %, one-sided).

    Attributes
    ----------
    setting : Setting
    accuracy, error : dict
        Number of draws -> accuracy, its standard error.
    measured : dict or None
        The accuracy before `never_better`, None where it is the same.
    """

    setting: Setting
    accuracy: dict[int, float]
    error: dict[int, float]
    measured: dict[int, float] | None = None

    def surely(self, draws: int) -> float:
        """Return what the accuracy is surely not below."""
        return self.accuracy[draws] - _SURE * self.error[draws]

    def enough_draws(self, floor: float) -> int | None:
        """Return the fewest draws that surely reach an accuracy, None where none of them does."""
        return next((draws for draws in sorted(self.accuracy) if self.surely(draws) >= floor), None)


def accuracies(
    model: GradientModel,
    setting: Setting,
    tables: Mapping[str, NDArray[np.float32]],
    photographs: Pictures,
    numbers: Iterable[int],
    rng: np.random.Generator,
) -> dict[int, list[float]]:
    """Return, by number of draws, the fraction of right answers to each photograph."""
    numbers = tuple(numbers)
    drawn = draw_probabilities(model, setting.defense(tables), photographs.pictures, draws=max(numbers), rng=rng)
    right = {draws: combined_answers(drawn, draws) == photographs.labels for draws in numbers}
    return {draws: found.mean(axis=0).tolist() for draws, found in right.items()}


def _standard_error(fractions: list[float], right: NDArray[np.bool_]) -> float:
    lost = right - np.array(fractions)
    return float(lost.std(ddof=1) / math.sqrt(lost.size)) if lost.size > 1 else 0.0


def never_better(series: Sequence[Screened]) -> list[Screened]:
    """Return one series with accuracies that never rise from one setting to the next.

    More of the same never gains accuracy; where it seems to, that is luck, and is shared by those concerned: isotonic
    regression (Barlow et al., "Statistical inference under order restrictions", 1972).
    """
    from scipy.optimize import isotonic_regression

    fitted = {
        draws: isotonic_regression([one.accuracy[draws] for one in series], increasing=False).x.tolist()
        for draws in (series[0].accuracy if series else ())
    }
    return [
        replace(one, accuracy={draws: values[place] for draws, values in fitted.items()}, measured=one.accuracy)
        for place, one in enumerate(series)
    ]


def screen(
    model: GradientModel,
    series: Iterable[Series],
    tables: Mapping[str, NDArray[np.float32]],
    photographs: Pictures,
    right: NDArray[np.bool_],
    floor: float,
    store: ResultStore,
    *,
    most_draws: int,
    seed: int,
    tick: Callable[[int], Any],
) -> list[Screened]:
    """Ask about every setting, each series from its mildest on as far as its accuracy reaches `floor`.

    Parameters
    ----------
    right : bool (N,)
        Whether the bare model gets each photograph right.
    floor : float
        Least accuracy with the most draws.
    store : ResultStore
        What it has is not measured again.
    most_draws : int
        Largest number of draws that is looked at.
    tick : callable
        Told how many settings are done with, also those that are left out.
    """
    numbers = [draws for draws in DRAWS if draws <= most_draws]
    found: list[Screened] = []
    for one in series:
        left, of_series = len(one.settings), []
        for setting in one.settings:
            key = (setting.name, "all", "accuracy")
            record = store.get(key)
            if record is None or str(max(numbers)) not in record["error"]:
                rng = np.random.default_rng([seed, *f"accuracy {setting.name}".encode()])
                fractions = accuracies(model, setting, tables, photographs, numbers, rng)
                record = {
                    "cell": setting.name,
                    "image": "all",
                    "point": "accuracy",
                    "accuracy": {str(draws): round(float(np.mean(each)), 5) for draws, each in fractions.items()},
                    "error": {str(draws): round(_standard_error(each, right), 5) for draws, each in fractions.items()},
                }
                store.append([record])
            accuracy, error = (
                {draws: float(record[kind][str(draws)]) for draws in numbers} for kind in ("accuracy", "error")
            )
            screened = Screened(setting, accuracy, error)
            of_series.append(screened)
            tick(1)
            left -= 1
            if accuracy[max(numbers)] < floor:
                break
        found += never_better(of_series)
        tick(left)
    return found
