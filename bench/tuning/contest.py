"""How much distortion an attacker needs who knows a setting, photograph by photograph.

The smallest change is searched for directly (`bench.attacks.decoupled`), through the known gradient. What is found is
judged by answers as a board gives them, means over several draws that no attack has seen, scaled up where it fell
short, and scaled down for as long as it succeeds (`bench.robustness.scale`). Where milder draws have a vote there are
two such attacks, and the better one counts on each photograph. Every result is stored as it comes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.attacks.adaptive import adaptive_model
from bench.attacks.base import Attackable, to_unit
from bench.attacks.decoupled import Decoupled
from bench.attacks.model import GradientModel
from bench.attacks.norms import sizes
from bench.attacks.pictures import as_pictures
from bench.attacks.voting import Voting
from bench.robustness.curve import SUCCESS
from bench.robustness.scale import larger_scales, smallest_scales
from bench.robustness.store import Record, ResultStore
from bench.tuning.answers import Ballot, bare_answers, combined_answers, draw_probabilities
from edgedefend.defense import Defense

__all__ = ["DRAWS_ALONE", "EVERYTHING", "Contest", "Effort", "Pictures", "ways"]

# What an attack's gradient is of: all that answers, or the draws without those who vote beside them.
EVERYTHING, DRAWS_ALONE = "everything", "the draws alone"

_AT_ONCE = 8
_POINT = "smallest"
# Fresh answers that judge a picture: fewer where each is the mean of several draws and so surer.
_FEW, _ANSWERS_OF_FEW, _ANSWERS = 4, 10, 5
_NOBODY = Ballot()
Tick = Callable[[int], Any]


@dataclass(frozen=True)
class Effort:
    """How hard the attacker tries: steps, draws a gradient, and the largest change (l2_rms) that he tries.

    Behind noise he needs more steps than elsewhere: 300 found 0.80 of the distortion that 100 did.
    """

    steps: int = 200
    eot_samples: int = 4
    largest: float = 0.064


@dataclass(frozen=True)
class Pictures:
    """Photographs at the model's size: uint8 (N, H, W, 3), labels and targets int32 (N,), and N names."""

    pictures: NDArray[np.uint8]
    labels: NDArray[np.int32]
    targets: NDArray[np.int32]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def part(self, rows: Sequence[int] | NDArray[np.intp]) -> Pictures:
        """Return some of them."""
        names = tuple(self.names[int(row)] for row in rows)
        index = np.asarray(rows, np.intp)
        return Pictures(self.pictures[index], self.labels[index], self.targets[index], names)


def ways(ballot: Ballot) -> tuple[str, ...]:
    """Return the attacks there are on a ballot: the draws alone as well where those who vote are fooled with them.

    The undefended answer is not: it has to be brought to the target itself. The last one takes the fewest gradients
    and is no weaker on the median photograph (docs/decisions/0028).
    """
    return (EVERYTHING, DRAWS_ALONE) if ballot.share and ballot.defense is not None else (EVERYTHING,)


@dataclass(frozen=True)
class _Jury:
    """Asks for fresh answers, each the mean of `draws` draws; it is a `bench.robustness.scale.Rate` as well."""

    model: GradientModel
    defense: Defense | None
    targets: NDArray[np.int32]
    draws: int
    ballot: Ballot
    rng: np.random.Generator

    def __call__(self, tried: NDArray[np.uint8], rows: NDArray[np.intp], look: int = 0) -> NDArray[np.float64]:
        """Return how often the pictures of some rows are taken for the target; the draws are new each time."""
        del look
        if self.defense is None:
            answers = bare_answers(self.model, tried)[None]
        else:
            count = _ANSWERS_OF_FEW if self.draws < _FEW else _ANSWERS
            drawn = draw_probabilities(self.model, self.defense, tried, draws=count * self.draws, rng=self.rng)
            voters = self.ballot.voters(self.model, tried, count, self.rng)
            answers = combined_answers(drawn, self.draws, voters, self.ballot.share)
        return (answers == self.targets[rows]).mean(axis=0)


class Contest:
    """Attacks on settings of one model's defence.

    Parameters
    ----------
    model : GradientModel
        Without a defence.
    store : ResultStore
        Keeps every result; what it has already is not measured again.
    effort : Effort
    seed : int
    """

    def __init__(self, model: GradientModel, store: ResultStore, effort: Effort, seed: int) -> None:
        self._model, self._store, self.effort, self._seed = model, store, effort, seed

    def smallest(
        self,
        name: str,
        defense: Defense | None,
        pictures: Pictures,
        draws: int,
        *,
        ballot: Ballot = _NOBODY,
        also: Sequence[int] = (),
        only: str | None = None,
        tick: Tick = lambda attacked: None,
    ) -> dict[str, float]:
        """Return for each photograph the smallest l2_rms at which a targeted attack succeeds, infinity where none does.

        Parameters
        ----------
        name : str
            Of the setting, in the store.
        defense : Defense or None
            None is the bare model.
        pictures : Pictures
        draws : int
            How many draws an answer is the mean of.
        ballot : Ballot
            Whose answer counts beside them.
        also : sequence of int
            Other numbers of draws that will be asked for: the same attacks then serve them.
        only : str, optional
            One of `ways`; by default the best of them on each photograph.
        tick : callable
            Told how many photographs have been attacked, in each of the `ways`.
        """
        judged = tuple(sorted({draws, *also}))
        found = []
        for start in range(0, len(pictures), _AT_ONCE):
            some = pictures.part(range(start, min(start + _AT_ONCE, len(pictures))))
            by_way = []
            for way in ways(ballot) if only is None else (only,):
                records = self._attacked(name, defense, some, judged, ballot, way)
                by_way.append([_least(record, draws) for record in records])
                tick(len(some))
            found += [min(each) for each in zip(*by_way, strict=True)]
        return dict(zip(pictures.names, found, strict=True))

    def _attacked(
        self, name: str, defense: Defense | None, pictures: Pictures, judged: tuple[int, ...], ballot: Ballot, way: str
    ) -> list[Record]:
        """Return the records of one attack, made now or before."""
        cell = f"{name} | {','.join(map(str, judged))} | {self.effort.steps} steps"
        if way == DRAWS_ALONE:
            cell += f" | {DRAWS_ALONE}"
        missing = [row for row, image in enumerate(pictures.names) if (cell, image, _POINT) not in self._store]
        if missing:
            records = self._attack(cell, defense, pictures.part(missing), judged, ballot, way)
            self._store.append({"cell": cell, "point": _POINT, **record} for record in records)
        return [self._store.get((cell, image, _POINT)) or {} for image in pictures.names]

    def _attack(
        self,
        purpose: str,
        defense: Defense | None,
        pictures: Pictures,
        judged: tuple[int, ...],
        ballot: Ballot,
        way: str,
    ) -> list[Record]:
        effort, clean = self.effort, pictures.pictures
        seeds = np.random.SeedSequence([self._seed, *f"{purpose} {pictures.names[0]}".encode()]).spawn(3)
        attack_rng, shrink_rng, judge_rng = (np.random.default_rng(seed) for seed in seeds)
        attacked: Attackable = self._model
        if defense is not None:
            attacked = adaptive_model(self._model, defense, eot_samples=effort.eot_samples)
            if ballot.share:
                attacked = Voting(attacked, self._voter(ballot), ballot.share, draws_alone=way == DRAWS_ALONE)
        result = Decoupled(steps=effort.steps, fresh_draws=1)(
            attacked,
            to_unit(clean),
            pictures.labels,
            pictures.targets,
            epsilon=effort.largest,
            norm="l2_rms",
            rng=attack_rng,
        )

        sent = as_pictures(result.images, clean)
        records: list[Record] = [
            {
                "image": image,
                "queries": int(result.gradient_queries[row]),
                "nonfinite": int(result.nonfinite[row]),
                "verdicts": {},
            }
            for row, image in enumerate(pictures.names)
        ]
        everybody = np.arange(len(pictures))
        for draws in judged:
            jury = _Jury(self._model, defense, pictures.targets, draws, ballot, judge_rng)
            rates, images = jury(sent, everybody), result.images.copy()
            shown, scaling = [(everybody, sent, rates)], replace(jury, rng=shrink_rng)
            missed = np.flatnonzero(rates < SUCCESS)
            rows, larger = larger_scales(images, clean, missed, scaling, largest=effort.largest, norm="l2_rms")
            if rows.size:
                images[rows], enlarged = larger, as_pictures(larger, clean[rows])
                shown.append((rows, enlarged, jury(enlarged, rows)))
            won = np.unique(np.concatenate([some[rates >= SUCCESS] for some, _, rates in shown]))
            rows, smaller = smallest_scales(images, clean, won, scaling, norm="l2_rms")
            if rows.size:
                shown.append((rows, smaller, jury(smaller, rows)))
            for some, tried, rates in shown:
                l2_rms, _ = sizes(to_unit(tried), to_unit(clean[some]))
                for slot, row in enumerate(some.tolist()):
                    verdicts = records[row]["verdicts"].setdefault(str(draws), [])
                    verdicts.append({"l2_rms": round(float(l2_rms[slot]), 7), "hit": round(float(rates[slot]), 4)})
        return records

    def _voter(self, ballot: Ballot) -> Attackable:
        if ballot.defense is None:
            return self._model
        # Milder draws agree more with one another: half as many of them make a gradient.
        return adaptive_model(self._model, ballot.defense, eot_samples=max(1, self.effort.eot_samples // 2))


def _least(record: Record, draws: int) -> float:
    """Return the smallest l2_rms of the pictures of one attack that succeed."""
    return min((one["l2_rms"] for one in record["verdicts"][str(draws)] if one["hit"] >= SUCCESS), default=math.inf)
