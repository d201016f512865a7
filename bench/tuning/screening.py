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
from bench.tuning.answers import combined_answers, draw_probabilities
from bench.tuning.candidates import Series, Setting
from bench.tuning.contest import Pictures
from edgedefend.combining import NOBODY, Vote

__all__ = ["Budget", "Screened", "Screening", "accuracies", "never_better"]

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
    votes: Iterable[Vote] = (NOBODY,),
    *,
    answers: int = 1,
) -> dict[Vote, dict[int, list[float]]]:
    """Return, by vote and number of draws, the fraction of right answers to each photograph.

    There are `answers` of the largest number of draws, and as many of fewer as these draws make, of which two may share
    one vote.
    """
    numbers, votes = tuple(numbers), tuple(votes)
    count = answers * max(numbers)
    drawn = draw_probabilities(model, setting.defense(tables), photographs.pictures, draws=count, rng=rng)
    voters: dict[float, NDArray[np.float32] | None] = {}
    for vote in votes:
        if vote.share and vote.noise_std not in voters:
            ballot = replace(setting, vote=vote).ballot(tables)
            voters[vote.noise_std] = ballot.voters(model, photographs.pictures, answers, rng)

    def right(draws: int, vote: Vote) -> list[float]:
        beside = voters.get(vote.noise_std)
        if beside is not None and beside.ndim > 2:
            beside = np.repeat(beside, count // draws // answers, axis=0)
        given = combined_answers(drawn, draws, beside, vote.share)
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


@dataclass(frozen=True)
class Screening:
    """Asks what settings cost, each once: what the store has is not measured again.

    Attributes
    ----------
    model : GradientModel
        Without a defence.
    tables : mapping
        By name.
    photographs : Pictures
    right : bool (N,)
        Whether the bare model gets each photograph right.
    store : ResultStore
    numbers : tuple of int
        Of draws that are looked at.
    seed : int
    """

    model: GradientModel
    tables: Mapping[str, NDArray[np.float32]]
    photographs: Pictures
    right: NDArray[np.bool_]
    store: ResultStore
    numbers: tuple[int, ...]
    seed: int

    def measure(self, setting: Setting, votes: Sequence[Vote]) -> list[Screened]:
        """Return a setting's accuracies, one for each vote; the same draws serve all of them."""
        voting = [replace(setting, vote=vote) for vote in votes]
        missing = [each.vote for each in voting if self._key(each) not in self.store]
        if missing:
            # Of the setting without a vote: another vote, asked for later, is looked at on the same draws.
            rng = np.random.default_rng([self.seed, *f"accuracy {replace(setting, vote=NOBODY).name}".encode()])
            measured = accuracies(self.model, setting, self.tables, self.photographs, self.numbers, rng, missing)
            self.store.append(self._record(each, measured[each.vote]) for each in voting if each.vote in measured)
        found = []
        for each in voting:
            record = self.store.get(self._key(each)) or {}
            accuracy, error = (
                {draws: float(record[kind][str(draws)]) for draws in self.numbers} for kind in ("accuracy", "error")
            )
            found.append(Screened(each, accuracy, error))
        return found

    def all_of(self, series: Iterable[Series], floor: float, tick: Callable[[int], Any]) -> list[Screened]:
        """Ask about every setting, each series from its mildest on as far as its accuracy reaches `floor`.

        Parameters
        ----------
        floor : float
            Least accuracy with the most draws.
        tick : callable
            Told how many settings are done with, also those that are left out.
        """
        found: list[Screened] = []
        for one in series:
            left = len(one.settings)
            by_vote: dict[Vote, list[Screened]] = {vote: [] for vote in one.votes}
            for setting in one.settings:
                for each in self.measure(setting, one.votes):
                    by_vote[each.setting.vote].append(each)
                tick(1)
                left -= 1
                if all(of_vote[-1].accuracy[max(self.numbers)] < floor for of_vote in by_vote.values()):
                    break
            for of_vote in by_vote.values():
                found += never_better(of_vote)
            tick(left)
        return found

    def refined(self, screened: Sequence[Screened], budget: Budget, tick: Callable[[int], Any]) -> list[Screened]:
        """Look for the most noise within the budget between the levels that were asked about.

        Between the last one of a series within it and the next the middle is tried, down to whole levels. `tick` is
        told of every series.
        """
        series: dict[str, list[Screened]] = {}
        for one in screened:
            series.setdefault(one.setting.series, []).append(one)
        return [one for members in series.values() for one in self._refine(members, budget, tick)]

    def _refine(self, series: list[Screened], budget: Budget, tick: Callable[[int], Any]) -> list[Screened]:
        while (middle := _middle(series, budget)) is not None:
            place, setting = middle
            (found,) = self.measure(setting, (setting.vote,))
            before = [replace(one, accuracy=one.measured or one.accuracy) for one in series]
            series = never_better([*before[:place], found, *before[place:]])
        tick(1)
        return series

    def _key(self, setting: Setting) -> Key:
        # By the largest number: who asks for more draws than the run before has to make them.
        return setting.name, "all", f"accuracy of up to {max(self.numbers)} draws"

    def _record(self, setting: Setting, fractions: Mapping[int, list[float]]) -> Record:
        cell, image, point = self._key(setting)
        return {
            "cell": cell,
            "image": image,
            "point": point,
            "accuracy": {str(draws): round(float(np.mean(each)), 5) for draws, each in fractions.items()},
            "error": {str(draws): round(_standard_error(each, self.right), 5) for draws, each in fractions.items()},
        }


def _middle(series: Sequence[Screened], budget: Budget) -> tuple[int, Setting] | None:
    """Return the noise between the last setting within the budget and the next, and where in the series it belongs."""
    within = [place for place, one in enumerate(series) if budget.enough_draws(one) is not None]
    after = max(within, default=-1) + 1
    if not 0 < after < len(series):
        return None
    low, high = (series[place].setting for place in (after - 1, after))
    noise = (low.noise_std + high.noise_std) // 2
    return (after, replace(low, noise_std=noise)) if low.noise_std < noise else None
