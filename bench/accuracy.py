"""Accuracy on labelled photographs: undefended, behind one draw of the defence, behind the mean of several."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np

from bench.conditions import Watch, bundle_facts, interpreter_facts
from edgedefend.bundle import Bundle
from edgedefend.classifier import Classifier
from edgedefend.dataset import Dataset
from edgedefend.errors import InputError, UsageError
from edgedefend.sources import read_image
from edgedefend.statistics import Proportion, proportion

__all__ = ["agreement", "measure_accuracy"]


def measure_accuracy(
    bundle: Bundle,
    data: Dataset,
    *,
    draws: int,
    threads: int | None = None,
    backend: str | None = None,
    seed: int | None = None,
    tick: Callable[[int], Any] = lambda count: None,
) -> dict[str, Any]:
    """Measure the accuracy of a bundle.

    Parameters
    ----------
    bundle : Bundle
    data : Dataset
    draws : int
        Of the averaged answer, at least 2.
    seed : int, optional
        Makes the run repeatable; by default every image gets fresh randomness, as in use.
    tick : callable
        Told of every photograph that is done.

    Returns
    -------
    dict
        ``"rows"``: for "undefended", "1 draw" and "N draws" (with the bundle's vote named beside them) a
        `Proportion` for top-1 and one for top-5;
        ``"undefended_answers"``: the best class of each photograph; beside them the conditions.

    Raises
    ------
    UsageError
        If the bundle's weights are random: its accuracy would mean nothing.
    """
    if bundle.weights == "random":
        raise UsageError(f"{bundle.path}: its weights are random, so it has no accuracy: measure latency instead")
    watch = Watch(timed=False)
    rng = None if seed is None else np.random.default_rng(seed)
    classifier = Classifier(bundle, threads=threads, backend=backend, rng=rng)
    voting = f", {bundle.vote}" if bundle.vote.share else ""
    names = ("undefended", f"1 draw{voting}", f"{draws} draws{voting}")
    answers: list[int] = []
    first = dict.fromkeys(names, 0)
    five = dict.fromkeys(names, 0)
    for photograph in data:
        image = classifier.fit(read_image(photograph.path))
        for name, defended, count in zip(names, (False, True, True), (1, 1, draws), strict=True):
            classifier.defended = defended
            top = [answer.index for answer in classifier.classify(image, draws=count, top=5).top]
            first[name] += top[0] == photograph.label
            if not defended:
                answers.append(top[0])
            five[name] += photograph.label in top
        tick(1)
    return {
        "kind": "accuracy",
        "rows": {
            name: {"top1": proportion(first[name], len(data)), "top5": proportion(five[name], len(data))}
            for name in names
        },
        "undefended_answers": answers,
        "draws": draws,
        "undefended_vote": bundle.vote.share if bundle.vote.undefended else 0.0,
        "milder_vote": asdict(bundle.vote) if bundle.vote.milder else None,
        "seed": seed,
        "data": {"name": data.name, "n": len(data)},
        "bundle": bundle_facts(bundle),
        "interpreter": interpreter_facts(classifier.interpreter),
        "conditions": watch.finish(),
    }


def agreement(first: dict[str, Any], second: dict[str, Any]) -> Proportion:
    """Return on how many photographs two results of `measure_accuracy` have the same undefended answer.

    It compares what cannot run in one process: two runtimes that want different versions of NumPy, or a board and
    the desktop.

    Raises
    ------
    InputError
        If one of them is no accuracy result, or they are of different photographs.
    """
    sides = []
    for result in (first, second):
        answers, data = result.get("undefended_answers"), result.get("data")
        if not isinstance(answers, list) or not answers or not all(isinstance(answer, int) for answer in answers):
            raise InputError("no answers in the result: write both with `bench accuracy --json FILE`")
        sides.append((answers, data))
    if sides[0][1] != sides[1][1] or len(sides[0][0]) != len(sides[1][0]):
        raise InputError(f"the results are of different photographs: {sides[0][1]} and {sides[1][1]}")
    same = sum(a == b for a, b in zip(sides[0][0], sides[1][0], strict=True))
    return proportion(same, len(sides[0][0]))
