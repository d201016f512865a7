"""From records to one result: what each defence costs, what it withstands, and what speaks against believing it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bench.robustness.cells import Cell, CellChain, Photo, point_name
from bench.robustness.curve import distortion_ratio, queries_to_success, security_curve, smallest_distortions
from bench.robustness.detection import detect, scores_of
from bench.robustness.paper import L2_BOUND
from bench.robustness.protocols import LONGER, Planned, way_back
from bench.robustness.sanity import (
    Check,
    black_box,
    finite_gradients,
    fresh_draws,
    more_steps,
    several_draws,
    unbounded,
    unreliable,
)
from bench.robustness.store import Record, ResultStore
from edgedefend.statistics import mean_proportion

__all__ = ["summarise"]

# Of the results of an attacker who wants one class he has the best at every distortion. What more steps find does not
# count: it is looked for on a few photographs, and every defence is to have had the same attacks on the same ones.
_TARGETED = ("curve", "smallest", "attack")


class _Held:
    """The records of a plan, found by role, defence and attack."""

    def __init__(self, planned: Sequence[Planned], store: ResultStore, photos: Sequence[Photo]) -> None:
        self._planned = planned
        self._photos, self._known = photos, {photo.key for photo in photos}
        self._store = store

    def cells(self, *roles: str, defense: str | None = None) -> list[Planned]:
        return [p for p in self._planned if p.role in roles and defense in (None, p.cell.defense)]

    def of(self, planned: Planned) -> list[Record]:
        return [record for record in self._store.of_cell(planned.cell.id) if record["image"] in self._known]

    def find(self, *roles: str, defense: str, targeted: bool | None = None, attack: str | None = None) -> list[Record]:
        return [
            record
            for planned in self.cells(*roles, defense=defense)
            if targeted in (None, planned.cell.targeted) and attack in (None, planned.cell.attack)
            for record in self.of(planned)
        ]

    def done(self, planned: Planned) -> int:
        """Return how many photographs of a cell are finished: no larger epsilon is left to be tried on them."""
        mine = self._photos[: planned.images]
        return sum(CellChain(planned.cell, 0, (photo,)).left(self._store) == 0 for photo in mine)

    def missing(self) -> int:
        """Return how many photographs are not finished, all cells together."""
        # A cell that serves two purposes is measured once.
        largest = {item.cell.id: item for item in sorted(self._planned, key=lambda item: item.images)}
        return sum(min(item.images, len(self._photos)) - self.done(item) for item in largest.values())


def _clean(held: _Held, defense: str) -> dict[str, dict[str, Any]]:
    """Return the verdict on every clean photograph, from the draws that Table 1 is made of."""
    return {record["image"]: record["judge"][defense] for record in held.find("draws", defense=defense)}


def _variance(records: Sequence[Record]) -> dict[str, Any] | None:
    pairs = [record["pair"] for record in records if record.get("pair")]
    if not pairs:
        return None
    spread: dict[str, Any] = {"n": len(pairs)}
    for name in ("l2_rms", "ssim"):
        values = np.array([pair[name] for pair in pairs])
        half = 1.96 * float(values.std(ddof=1)) / np.sqrt(len(values)) if len(values) > 1 else None
        spread[name] = {
            "mean": round(float(values.mean()), 4),
            "low": None if half is None else round(float(values.mean() - half), 4),
            "high": None if half is None else round(float(values.mean() + half), 4),
        }
    return spread


def _attack_row(records: Sequence[Record], judge: str) -> dict[str, Any]:
    verdicts = [record["judge"][judge] for record in records]
    return {
        "n": len(records),
        "l2_rms": round(float(np.median([record["l2_rms"] for record in records])), 5),
        "robust_accuracy": mean_proportion([verdict["right"] for verdict in verdicts]),
        "attack_success_rate": mean_proportion([verdict["hit"] for verdict in verdicts]),
        "own_success": mean_proportion([float(bool(record["own_success"])) for record in records]),
        "nonfinite": sum(bool(record["nonfinite"]) for record in records),
        "queries": float(np.median([record["queries"] for record in records])),
    }


def _more_steps(held: _Held, name: str) -> Check:
    def smallest(role: str, defense: str) -> dict[str, float]:
        return smallest_distortions(held.find(role, defense=defense), defense)

    usual, longer = (smallest(role, name) for role in ("check-steps", "check-longer"))
    bare = (smallest("check-steps", "none"), smallest("check-longer", "none")) if name != "none" else None
    points = [max(planned.cell.points) for planned in held.cells("check-steps", "check-longer", defense=name)]
    return more_steps(usual, longer, min(points, default=L2_BOUND), LONGER, bare)


def _checks(held: _Held, name: str, randomised: bool, probes: Mapping[str, Sequence[Check]]) -> list[Check]:
    attacked = [r for r in held.find("curve", "smallest", "attack", "check-white", defense=name) if name in r["judge"]]
    black = {planned.cell.attack: held.of(planned) for planned in held.cells("check-black", defense=name)}
    checks = [
        _more_steps(held, name),
        black_box(held.find("check-white", defense=name), black, name),
        unbounded(held.find("check-unbounded", defense=name), name),
        several_draws(attacked, name, randomised=randomised),
        fresh_draws(attacked),
        finite_gradients(attacked),
        *probes.get(name, ()),
    ]
    return [check for check in checks if check["passed"] is not None]


def _series(records: Sequence[Record], judge: str) -> dict[str, Any] | None:
    """Return accuracy and success after every round; an attack that has ended keeps its last verdict."""
    if not records:
        return None
    longest = max(len(record["rounds"]["right"]) for record in records)

    def column(key: str, index: int) -> list[float]:
        lists = [record["rounds"][key] for record in records]
        return [values[min(index, len(values) - 1)] for values in lists]

    return {
        "n": len(records),
        "rounds": list(range(longest)),
        "accuracy": [mean_proportion(column("right", index)) for index in range(longest)],
        "success": [mean_proportion(column("hit", index)) for index in range(longest)],
        # The paper's way of counting: the attack's own draw hit the target in some round.
        "own_success": mean_proportion([float(bool(record["own_success"])) for record in records]),
        "at_bound": mean_proportion([float(bool(record["at_bound"])) for record in records]),
        "final": _attack_row(records, judge),
    }


def _epsilons(held: _Held, cell: Cell) -> tuple[float, ...]:
    """Return the points of a curve; where it is made with the search for the smallest change, those of ours."""
    if cell.attack != "ddn":
        return cell.points
    return next((planned.cell.points for planned in held.cells("curve", defense="ours")), cell.points)


def _ours_over(ours: dict[str, float], theirs: dict[str, float]) -> dict[str, Any] | None:
    """Return how many times the distortion ours asks of an attacker, on the photographs that both were attacked on."""
    compared = distortion_ratio(ours, theirs)
    return {key: compared[key] for key in ("ratio", "low", "high", "n")} if compared["n"] else None


def _defense(
    held: _Held,
    name: str,
    facts: Mapping[str, Any],
    smallest: Mapping[str, dict[str, float]],
    probes: Mapping[str, Sequence[Check]],
) -> dict[str, Any]:
    clean = _clean(held, name)
    targeted = held.find(*_TARGETED, defense=name, targeted=True)
    untargeted = held.find("curve", "attack", "check-white", "check-black", defense=name, targeted=False)
    result: dict[str, Any] = {
        **facts,
        "clean_accuracy": mean_proportion([verdict["right"] for verdict in clean.values()]) if clean else None,
        "variance": _variance(held.find("draws", defense=name)),
    }
    # The curve is that of the photographs which its own attacks have seen; a few more attacks on some of them count.
    curve = held.cells("curve", defense=name)
    if curve:
        seen = {record["image"] for record in held.find("curve", defense=name)}
        shown = {image: verdict for image, verdict in clean.items() if image in seen}
        targeted, untargeted = ([r for r in records if r["image"] in seen] for records in (targeted, untargeted))
        if shown:
            result["curve"] = security_curve(shown, targeted, untargeted, _epsilons(held, curve[0].cell), name)
        mine = smallest_distortions(targeted, name)
        result["distortion"] = distortion_ratio(mine, smallest["none"])
        if name not in ("none", "ours"):
            result["ours_over"] = _ours_over(smallest["ours"], mine)
        result["queries"] = queries_to_success(held.find(*_TARGETED, defense=name, targeted=True), name)
    attacks = {}
    for planned in held.cells("curve", "smallest", "attack", defense=name):
        goal = "targeted" if planned.cell.targeted else "untargeted"
        records = held.of(planned)
        # Where the curve stopped early the photograph's last record is what the attacker would send; of the search for
        # the smallest change it is the smaller one, which comes first.
        final = {str(r["image"]): r for r in (records[::-1] if planned.cell.attack == "ddn" else records)}
        if final:
            row = _attack_row(list(final.values()), name)
            alone = ", the draws alone" if planned.cell.options.get("draws_alone") else ""
            attacks[f"{planned.cell.attack}{alone} ({goal})"] = {**row, "way_back": way_back(planned.cell)}
    if attacks:
        result["attacks"] = attacks
    result["checks"] = _checks(held, name, bool(facts["randomised"]), probes)
    result["unreliable"] = unreliable(result["checks"]) if "curve" in result or attacks else []
    return result


def _detection(held: _Held) -> dict[str, Any]:
    clean = scores_of(
        ({"judge": {"ours": verdict}} for verdict in _clean(held, "ours").values()), "ours", successful=False
    )
    found = {}
    for planned in held.cells("standard"):
        # Whether these fool the defended model or not: they are what the score is best at.
        scores = scores_of(held.of(planned), "ours", successful=False)
        found[f"{planned.cell.attack}, made on the bare model"] = detect(clean, scores)
    for role, label in (("unaware", "adaptive"), ("aware", "adaptive, knows of the score")):
        for planned in held.cells(role):
            for point in planned.cell.points:
                records = [record for record in held.of(planned) if record["point"] == point_name(point)]
                found[f"{label}, l2_rms {point:g}"] = detect(clean, scores_of(records, "ours"))
    return {label: result for label, result in found.items() if result is not None}


def summarise(
    planned: Sequence[Planned],
    store: ResultStore,
    photos: Sequence[Photo],
    defenses: Mapping[str, Mapping[str, Any]],
    probes: Mapping[str, Sequence[Check]],
) -> dict[str, Any]:
    """Return the figures of an evaluation, finished or not, as JSON types.

    Parameters
    ----------
    defenses : mapping
        Name -> ``title``, ``source``, ``randomised``, ``reported``.
    probes : mapping
        Name -> the checks that look into a running attack.
    """
    held = _Held(planned, store, photos)
    smallest = {
        name: smallest_distortions(held.find(*_TARGETED, defense=name, targeted=True), name)
        for name in ("none", "ours")
    }
    rounds = {
        attack: {
            planned_.cell.defense: series
            for planned_ in held.cells(attack)
            if (series := _series(held.of(planned_), planned_.cell.defense))
        }
        for attack in ("bpda", "bpda+eot")
    }
    standard = {
        planned_.cell.attack: {judge: _attack_row(records, judge) for judge in planned_.cell.judges}
        for planned_ in held.cells("standard")
        if (records := held.of(planned_))
    }
    return {
        "defenses": {name: _defense(held, name, facts, smallest, probes) for name, facts in defenses.items()},
        "rounds": {attack: lines for attack, lines in rounds.items() if lines},
        "standard": standard,
        "detection": _detection(held),
        "missing": held.missing(),
        "cells": [
            {"role": item.role, "images": item.images, "done": held.done(item), **item.cell.describe()}
            for item in planned
        ],
    }  # fmt: skip
