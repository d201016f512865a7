"""The search: what keeps within the accuracy budget is attacked, in rounds that halve the field; the best is reported.

Chosen is on one half of the photographs, reported on the other, where the attacker has more steps: the best of many is
partly the luckiest.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.attacks.model import GradientModel
from bench.robustness.curve import distortion_ratio
from bench.robustness.store import ResultStore
from bench.tuning.answers import bare_answers
from bench.tuning.candidates import DRAWS, all_series
from bench.tuning.contest import Contest, Effort, Pictures, ways
from bench.tuning.report import picture, report
from bench.tuning.screening import Budget, Screened, Screening
from convert.learning import target_classes
from convert.models import LoadedModel
from convert.settings import Progress, Tuned
from edgedefend.combining import Vote
from edgedefend.dataset import Dataset
from edgedefend.dct import load_quant_table
from edgedefend.errors import InputError, UsageError
from edgedefend.files import write_file

__all__ = ["Tuner"]

SCHEMA = 1
_BARE = "undefended"
REPORT_STEPS = 600
_LESS = 0.75


@dataclass(frozen=True)
class Tuner:
    """Chooses the defence, the number of draws and the undefended answer's vote; to be handed to `convert.pipeline`.

    Attributes
    ----------
    max_accuracy_drop : float
        How much accuracy may be lost against the undefended model, 0 to 1.
    images : int
        Photographs that the model gets right, to be attacked in the last round; as many others are reported on.
    most_draws : int
        Most draws an answer may be the mean of: what the board can afford.
    votes : tuple of (float, float)
        Shares that are looked at besides none, and the noise of the draws whose they are; 0 is the undefended answer.
    confidence : float
        How sure one must be of keeping within the drop, see `bench.tuning.screening.Budget`.
    effort : Effort
        Of the attacks that choose.
    report_steps : int
        Of the attack that is reported: longer, for what is reported may flatter less than what chooses.
    """

    max_accuracy_drop: float
    images: int = 24
    most_draws: int = max(DRAWS)
    votes: tuple[tuple[float, float], ...] = ()
    confidence: float = Budget.confidence
    effort: Effort = field(default_factory=Effort)
    report_steps: int = REPORT_STEPS

    @property
    def numbers(self) -> tuple[int, ...]:
        """Return the numbers of draws that an answer may be the mean of."""
        return tuple(draws for draws in DRAWS if draws <= self.most_draws)

    def __call__(
        self,
        model: LoadedModel,
        data: Dataset,
        images: Sequence[NDArray[np.uint8]],
        learned: NDArray[np.float32],
        *,
        folder: Path,
        seed: int,
        progress: Progress,
    ) -> Tuned:
        """Return the best settings; see `convert.settings.Tuner`. `folder` gets ``tuning.json`` and ``tuning.png``.

        Raises
        ------
        InputError
            If the weights are random, or too few photographs are answered rightly.
        UsageError
            If no setting keeps within the budget.
        """
        if model.weights == "random":
            raise InputError(f"{model.name}: has random weights: there is no accuracy to keep (--max-accuracy-drop)")
        tables = {"learned": learned, "feature-distillation": load_quant_table("feature-distillation")}
        everything = Pictures(
            np.stack(images),
            np.array([photograph.label for photograph in data], np.int32),
            target_classes(data, len(model.labels), seed),
            tuple(
                f"{photograph.path.name}:{hashlib.sha256(image.tobytes()).hexdigest()[:12]}"
                for photograph, image in zip(data, images, strict=True)
            ),
        )
        identity = {
            "kind": "tuning",
            "model": model.provenance,
            "photographs": hashlib.sha256("\n".join(everything.names).encode()).hexdigest(),
            "tables": {name: table.round(4).tolist() for name, table in tables.items()},
            "effort": [self.effort.steps, self.effort.eot_samples, self.effort.largest],
            "seed": seed,
        }
        bare = GradientModel(model)
        with ResultStore(folder / "tuning", identity) as store:
            search = _Search(self, bare, everything, tables, store, seed, progress)
            result, best = search.run()
        result["identity"] = identity
        write_file(folder / "tuning.json", (json.dumps(result, indent=1, allow_nan=False) + "\n").encode())
        write_file(folder / "tuning.png", picture(result))
        setting = best.setting
        table_file = {
            "name": f"{setting.table} x{setting.scale:g}, chosen for {model.name}",
            "source": "chosen by the distortion that the adaptive attack needs (tuning.json)",
            "quant_table": [[round(float(value), 4) for value in row] for row in setting.quant_table(tables)],
        }
        return Tuned(
            table_file,
            setting.num_steps,
            setting.distort_limit,
            passes=setting.passes,
            noise_std=setting.noise_std,
            draws=result["chosen"]["draws"],
            vote=setting.vote,
            measured={**result["chosen"], **result["report"]},
        )


@dataclass(frozen=True)
class _Search:
    """One search with everything that it is about."""

    tuner: Tuner
    model: GradientModel
    everything: Pictures
    tables: Mapping[str, NDArray[np.float32]]
    store: ResultStore
    seed: int
    progress: Progress

    def run(self) -> tuple[dict[str, Any], Screened]:
        """Return the content of tuning.json, and the chosen setting."""
        tuner, everything = self.tuner, self.everything
        right = bare_answers(self.model, everything.pictures) == everything.labels
        half = (len(everything) + 1) // 2
        choosing, reporting = (everything.part(rows) for rows in (range(half), range(half, len(everything))))
        attacked = [
            part.part(np.flatnonzero(answers)[: tuner.images])
            for part, answers in ((choosing, right[:half]), (reporting, right[half:]))
        ]
        if min(len(part) for part in attacked) < tuner.images:
            raise InputError(
                f"{len(everything)} photographs, of which the bare model gets {int(right.sum())} right: tuning needs "
                f"{tuner.images} of these in either half of the data: give more --data, or a smaller --tuning-images"
            )
        accuracy = float(right[:half].mean())
        budget = Budget(accuracy - tuner.max_accuracy_drop, tuner.confidence)
        screened = self._screen(choosing, right[:half], budget)
        fit = _strongest(screened, budget)
        if not fit:
            best, draws = max(
                ((one, draws) for one in screened for draws in one.accuracy), key=lambda pair: budget.surely(*pair)
            )
            raise UsageError(
                f"no setting keeps the accuracy within {tuner.max_accuracy_drop:g} of the undefended {accuracy:.3f}: "
                f"the nearest ({best.setting.name}) reaches {best.accuracy[draws]:.3f}, surely not below "
                f"{budget.surely(best, draws):.3f} ({100 * budget.confidence:g} %), which is what counts: allow more "
                "with --max-accuracy-drop, or be less sure of it with --tuning-confidence"
            )
        rows, ranked = self._halve(fit, budget, attacked[0], accuracy)
        best = ranked[0]
        draws = budget.enough_draws(best) or max(best.accuracy)
        on_others = report(
            best.setting, draws, self.model, self.tables, reporting, right[half:], attacked[1],
            self._contest(replace(tuner.effort, steps=tuner.report_steps)),
            numbers=tuner.numbers,
            rng=np.random.default_rng([self.seed, *b"accuracy of the report"]),
            progress=self.progress,
        )  # fmt: skip
        chosen = {
            "name": best.setting.name,
            "table": best.setting.table,
            "scale": best.setting.scale,
            "num_steps": best.setting.num_steps,
            "distort_limit": best.setting.distort_limit,
            "passes": best.setting.passes,
            "noise_std": best.setting.noise_std,
            "draws": draws,
            "vote": asdict(best.setting.vote),
            "combined": "mean of the probabilities" + (f", {best.setting.vote}" if best.setting.vote.share else ""),
        }
        return {
            "schema": SCHEMA,
            "kind": "tuning",
            "max_accuracy_drop": tuner.max_accuracy_drop,
            "confidence": tuner.confidence,
            "chosen_on": {"n": half, "attacked": tuner.images, "undefended_accuracy": round(accuracy, 5)},
            "screened": [
                {
                    "name": one.setting.name,
                    "accuracy": {str(draws): value for draws, value in (one.measured or one.accuracy).items()},
                    "expected_accuracy": {str(draws): round(value, 5) for draws, value in one.accuracy.items()},
                    "standard_error_of_drop": {str(draws): value for draws, value in one.error.items()},
                }
                for one in screened
            ],
            "attacked": rows,
            "chosen": chosen,
            "report": on_others,
        }, best

    def _screen(self, photographs: Pictures, right: NDArray[np.bool_], budget: Budget) -> list[Screened]:
        screening = Screening(self.model, self.tables, photographs, right, self.store, self.tuner.numbers, self.seed)
        series = list(all_series(self.tables, self._votes()))
        with self.progress("what settings cost", sum(len(one.settings) for one in series)) as tick:
            screened = screening.all_of(series, budget.floor, tick)
        with self.progress("what levels between them cost", len({one.setting.series for one in screened})) as tick:
            return screening.refined(screened, budget, tick)

    def _votes(self) -> list[Vote]:
        return [Vote(share, noise, max(self.tuner.numbers) if noise else 1) for share, noise in self.tuner.votes]

    def _contest(self, effort: Effort) -> Contest:
        return Contest(self.model, self.store, effort, self.seed)

    def _halve(
        self, fit: list[Screened], budget: Budget, photographs: Pictures, accuracy: float
    ) -> tuple[list[dict[str, Any]], list[Screened]]:
        """Attack in rounds on a quarter, a half, all of the photographs, the better half going on each time.

        Ranked by the mean logarithm of the distortions: on few photographs a median jumps. Where there are several
        attacks the quickest chooses; all of them are for the report.
        """
        contest = self._contest(self.tuner.effort)
        rows: dict[str, dict[str, Any]] = {}
        left = list(fit)
        for divisor in (4, 2, 1):
            some = photographs.part(range(max(1, len(photographs) // divisor)))
            found: dict[str, dict[str, float]] = {}
            label = f"attacking {len(left)} settings on {len(some)}"
            with self.progress(label, len(some) * (len(left) + 1)) as tick:
                bare = contest.smallest(_BARE, None, some, 1, tick=tick)
                for one in left:
                    name, draws = one.setting.name, budget.enough_draws(one) or max(one.accuracy)
                    defense, ballot = one.setting.defense(self.tables), one.setting.ballot(self.tables)
                    quickest = ways(ballot)[-1]
                    found[name] = contest.smallest(name, defense, some, draws, ballot=ballot, only=quickest, tick=tick)
                    rows[name] = {
                        "name": name,
                        "draws": draws,
                        "accuracy_drop": round(accuracy - one.accuracy[draws], 5),
                        **distortion_ratio(found[name], bare),
                    }
            means = _mean_logarithms(found, self.tuner.effort.largest)
            for name, mean in means.items():
                rows[name]["geometric_mean"] = round(math.exp(mean), 7)
            left.sort(key=lambda one: -means[one.setting.name])
            if divisor > 1:
                left = left[: max(2, (len(left) + 1) // 2)]
        return list(rows.values()), left


def _strongest(screened: Sequence[Screened], budget: Budget) -> list[Screened]:
    """Return of each series the last one within the budget: the coarsest table or the most noise costs most.

    Where there is a vote that need not be the strongest: behind much noise little is left but the vote. So the last one
    with at most `_LESS` of its noise goes on as well.
    """
    last: dict[str, Screened] = {}
    within = [one for one in screened if budget.enough_draws(one) is not None]
    for one in within:
        last[one.setting.series] = one
    for one in within:
        most = last[one.setting.series].setting
        if most.vote.share and one.setting.noise_std <= _LESS * most.noise_std:
            last[f"less of {most.series}"] = one
    return list(last.values())


def _mean_logarithms(found: Mapping[str, Mapping[str, float]], largest: float) -> dict[str, float]:
    """Return of each setting the mean logarithm of the distortions of the same photographs.

    Where an attack fell short it counts as the most that was needed on that photograph behind any of the settings
    (`largest` where all did): as infinite, or any large number, a single one would decide between settings.
    """
    images = next(iter(found.values())).keys()
    most = {
        image: max((each[image] for each in found.values() if each[image] < math.inf), default=largest)
        for image in images
    }
    return {
        name: float(np.mean([math.log(min(each[image], most[image])) for image in images]))
        for name, each in found.items()
    }
