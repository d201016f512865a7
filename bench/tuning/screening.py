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
from bench.robustness.store import Key, Record, ResultStore
from bench.tuning.answers import class_probabilities, combined_answers, draw_probabilities
from bench.tuning.candidates import DRAWS, Series, Setting
from bench.tuning.contest import Pictures

__all__ = ["Budget", "Screened", "accuracies", "never_better", "screen"]

# How sure one is, one-sided, where nothing else is asked for.
_SURE = 0.95


@dataclass(frozen=True)
class Screened:
    """A setting with its accuracy by number of draws, and the standard error of what that loses.

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


@dataclass(frozen=True)
class Budget:
    """The least accuracy that a setting must have, and how sure one must be that it has it.

    The best of many settings on few photographs is partly the luckiest: with 0.95 one keeps within the budget only if
    one can be sure of it, photograph by photograph; with 0.5 if that is as likely as not.

    Attributes
    ----------
    floor : float
    confidence : float
        One-sided, 0.5 to below 1.
    """

    floor: float
    confidence: float = _SURE

    def surely(self, one: Screened, draws: int) -> float:
        """Return what the accuracy of a setting is not below, as surely as is asked for."""
        return one.accuracy[draws] - NormalDist().inv_cdf(self.confidence) * one.error[draws]

    def enough_draws(self, one: Screened) -> int | None:
        """Return the fewest draws that surely keep a setting within the budget (95 %, or more where that is asked for).

        Where that takes more than all, it is all: what is hardly within the budget does not save draws as well. None
        where the setting is not within the budget.
        """
        within = [draws for draws in sorted(one.accuracy) if self.surely(one, draws) >= self.floor]
        sure = replace(self, confidence=max(self.confidence, _SURE))
        return next((draws for draws in within if sure.surely(one, draws) >= self.floor), max(within, default=None))


def accuracies(
    model: GradientModel,
    setting: Setting,
    tables: Mapping[str, NDArray[np.float32]],
    photographs: Pictures,
    numbers: Iterable[int],
    rng: np.random.Generator,
    votes: Iterable[float] = (0.0,),
    *,
    answers: int = 1,
) -> dict[float, dict[int, list[float]]]:
    """Return, by vote and number of draws, the fraction of right answers to each photograph.

    There are `answers` of the largest number of draws, and as many of fewer as these draws make.
    """
    numbers, votes = tuple(numbers), tuple(votes)
    count = answers * max(numbers)
    drawn = draw_probabilities(model, setting.defense(tables), photographs.pictures, draws=count, rng=rng)
    undefended = class_probabilities(model, photographs.pictures) if any(votes) else None

    def right(draws: int, vote: float) -> list[float]:
        given = combined_answers(drawn, draws, undefended, vote)
        fractions: list[float] = (given == photographs.labels).mean(axis=0).tolist()
        return fractions

    return {vote: {draws: right(draws, vote) for draws in numbers} for vote in votes}


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
        left = len(one.settings)
        by_vote: dict[float, list[Screened]] = {vote: [] for vote in one.votes}
        for setting in one.settings:
            voting = [replace(setting, vote=vote) for vote in one.votes]
            missing = [each.vote for each in voting if _key(each, max(numbers)) not in store]
            if missing:
                rng = np.random.default_rng([seed, *f"accuracy {setting.name}".encode()])
                measured = accuracies(model, setting, tables, photographs, numbers, rng, missing)
                store.append(_record(each, measured[each.vote], right) for each in voting if each.vote in measured)
            for each in voting:
                record = store.get(_key(each, max(numbers))) or {}
                accuracy, error = (
                    {draws: float(record[kind][str(draws)]) for draws in numbers} for kind in ("accuracy", "error")
                )
                by_vote[each.vote].append(Screened(each, accuracy, error))
            tick(1)
            left -= 1
            if all(of_vote[-1].accuracy[max(numbers)] < floor for of_vote in by_vote.values()):
                break
        for of_vote in by_vote.values():
            found += never_better(of_vote)
        tick(left)
    return found


def _key(setting: Setting, most_draws: int) -> Key:
    # By the largest number: who asks for more draws than the run before has to make them.
    return setting.name, "all", f"accuracy of up to {most_draws} draws"


def _record(setting: Setting, fractions: Mapping[int, list[float]], right: NDArray[np.bool_]) -> Record:
    cell, image, point = _key(setting, max(fractions))
    return {
        "cell": cell,
        "image": image,
        "point": point,
        "accuracy": {str(draws): round(float(np.mean(each)), 5) for draws, each in fractions.items()},
        "error": {str(draws): round(_standard_error(each, right), 5) for draws, each in fractions.items()},
    }
