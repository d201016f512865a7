"""What the chosen setting shows on photographs that had no part in the choice, against a longer attack."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.attacks.model import GradientModel
from bench.robustness.curve import distortion_ratio
from bench.robustness.figures import trade_off
from bench.tuning.candidates import Setting
from bench.tuning.contest import Contest, Pictures, ways
from bench.tuning.screening import accuracies
from convert.settings import Progress
from edgedefend.statistics import mean_difference, mean_proportion

__all__ = ["by_photograph", "picture", "report"]

# To each photograph: one answer of eight draws moves the accuracy of 250 by 0.01 from run to run.
_ANSWERS = 4


def report(
    setting: Setting,
    draws: int,
    model: GradientModel,
    tables: Mapping[str, NDArray[np.float32]],
    others: Pictures,
    right: NDArray[np.bool_],
    attacked: Pictures,
    contest: Contest,
    *,
    numbers: Sequence[int],
    rng: np.random.Generator,
    progress: Progress,
) -> dict[str, Any]:
    """Return what tuning.json says of one setting: accuracy on all of `others`, distortion on `attacked`.

    Parameters
    ----------
    draws : int
        Of an answer. One draw alone is attacked as well.
    others : Pictures
    right : bool (N,)
        Whether the bare model gets each of `others` right.
    attacked : Pictures
        Some of `others`.
    contest : Contest
        With the effort of the attack that is reported.
    numbers : sequence of int
        Numbers of draws whose accuracy is measured.
    rng : numpy.random.Generator
        Of the draws that this is measured with.
    """
    defense, ballot = setting.defense(tables), setting.ballot(tables)
    with progress(f"accuracy on {len(others)} others", 1) as tick:
        accuracy = accuracies(model, setting, tables, others, numbers, rng, (setting.vote,), answers=_ANSWERS)[
            setting.vote
        ]
        tick(1)
    also = (1, draws)
    found = {}
    with progress(f"reporting on {len(attacked)} others", len(attacked) * (1 + len(ways(ballot)))) as tick:
        bare = contest.smallest("undefended", None, attacked, 1, tick=tick)
        found[draws] = contest.smallest(setting.name, defense, attacked, draws, ballot=ballot, also=also, tick=tick)
    found[1] = contest.smallest(setting.name, defense, attacked, 1, ballot=ballot, also=also)
    # Of the best of them on each photograph, and of each by itself: which one counts where.
    alone = {
        way: contest.smallest(setting.name, defense, attacked, draws, ballot=ballot, also=also, only=way)
        for way in ways(ballot)
    }
    return {
        "steps": contest.effort.steps,
        "accuracy_drop": mean_difference((right - np.array(accuracy[draws])).tolist()),
        "undefended_accuracy": mean_proportion(right.astype(float).tolist()),
        "accuracy": {str(count): mean_proportion(each) for count, each in accuracy.items()},
        "distortion": {
            str(count): {**distortion_ratio(each, bare), **by_photograph(each, bare)}
            for count, each in sorted(found.items())
        },
        "attacks": {way: {**distortion_ratio(each, bare), **by_photograph(each, bare)} for way, each in alone.items()},
    }


def by_photograph(defended: Mapping[str, float], undefended: Mapping[str, float]) -> dict[str, Any]:
    """Return what the ratio of two medians hides: the ratios of the photographs one by one, ascending.

    None is a photograph on which no attack worked. The geometric mean is of the others, so that what no attack found
    does not flatter; None where there are none.
    """
    ratios = sorted(
        defended[image] / undefended[image] for image in defended if 0 < undefended.get(image, math.inf) < math.inf
    )
    known = [ratio for ratio in ratios if ratio < math.inf]
    return {
        "ratios": [round(ratio, 3) for ratio in known] + [None] * (len(ratios) - len(known)),
        "geometric_mean_ratio": round(math.exp(float(np.mean(np.log(known)))), 4) if known else None,
    }


def picture(result: Mapping[str, Any]) -> bytes:
    """Return tuning.png: what each attacked setting costs and buys."""
    chosen, on_others = result["chosen"], result["report"]
    star = {
        **on_others["distortion"][str(chosen["draws"])],
        "name": "the chosen one on other photographs",
        "accuracy_drop": on_others["accuracy_drop"]["value"],
    }
    rows = [row for row in result["attacked"] if row["ratio"] is not None]
    return trade_off(rows, result["max_accuracy_drop"], chosen["name"], star)
