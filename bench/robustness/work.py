"""One task, wherever it runs: photographs in, attack, verdict on fresh draws, records out.

A worker process loads the model once, and keeps what is compiled for each defence. Everything random comes from the
task's own streams, so the same task gives the same records in every process.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.attacks.base import AttackResult, to_unit
from bench.attacks.pictures import as_pictures
from bench.baselines.variation import between_draws
from bench.robustness import attackers
from bench.robustness.cells import Cell, Task, point_name
from bench.robustness.curve import SUCCESS
from bench.robustness.descent import descend_in_rounds
from bench.robustness.judge import Verdict, ask, distortion
from bench.robustness.players import model_behind, player_of
from bench.robustness.sanity import GradientProbe, current_iterate, nonzero_gradients
from bench.robustness.scale import Rate, larger_scales, smallest_scales
from bench.robustness.store import Record
from bench.robustness.subject import SubjectSpec, read_pictures

__all__ = ["execute"]


@dataclass(frozen=True)
class _Job:
    """A task and what it is about."""

    subject: SubjectSpec
    seed: int
    task: Task


@dataclass(frozen=True)
class _Batch:
    """The photographs of a task and its random streams."""

    job: _Job
    clean: NDArray[np.uint8]
    labels: NDArray[np.int32]
    targets: NDArray[np.int32]

    def rng(self, purpose: str) -> np.random.Generator:
        task = self.job.task
        return task.cell.rng(self.job.seed, task.first, task.point, purpose)

    def of(self, rows: NDArray[np.intp]) -> _Batch:
        """Return the batch of some of the photographs; the streams stay those of the task."""
        return replace(self, clean=self.clean[rows], labels=self.labels[rows], targets=self.targets[rows])

    def judge(
        self, pictures: NDArray[np.uint8], defense: str, purpose: str, draws: int, *, suspicion: bool = False
    ) -> list[Verdict]:
        """Ask the model behind one defence; the stream has the defence's name in it, so that each has its own."""
        cell, subject = self.job.task.cell, self.job.subject
        player = player_of(subject, defense)
        return ask(
            model_behind(subject, defense),
            player.defend,
            pictures,
            self.labels,
            self.targets if cell.targeted else None,
            draws=draws if player.randomised else 1,
            rng=self.rng(f"{purpose} {defense}"),
            averaged=player.answer_draws,
            vote=player.answer_vote,
            milder=player.milder.defend if player.milder else None,
            suspicion=suspicion,
        )


def _record(batch: _Batch, row: int, suffix: str = "", **facts: Any) -> Record:
    task = batch.job.task
    return {
        "cell": task.cell.id,
        "image": task.photos[row].key,
        "point": point_name(task.point) + suffix,
        **facts,
    }


def _attacked(batch: _Batch) -> list[Record]:
    """Run an attack and judge it; the attacker's choice and the verdict each have draws of their own."""
    cell: Cell = batch.job.task.cell
    result = attackers.run(
        batch.job.subject,
        cell,
        to_unit(batch.clean),
        batch.labels,
        batch.targets if cell.targeted else None,
        epsilon=batch.job.task.point,
        rng=batch.rng("attack"),
    )
    pictures = as_pictures(result.images, batch.clean, norm=cell.norm)
    everybody = np.arange(len(pictures))
    records = _verdicts(batch, result, pictures, everybody)
    if not cell.options.get("shrink"):
        return records
    images = result.images.copy()

    def succeeded() -> NDArray[np.bool_]:
        return np.array([_fooled(record["select"], cell.targeted) >= SUCCESS for record in records])

    def rate_on(purpose: str) -> Rate:
        def rate(tried: NDArray[np.uint8], rows: NDArray[np.intp], look: int) -> NDArray[np.float64]:
            verdicts = batch.of(rows).judge(tried, cell.defense, f"{purpose} {look}", cell.draws)
            return np.array([_fooled(verdict, cell.targeted) for verdict in verdicts])

        return rate

    if cell.attack == "ddn" and not succeeded().all():
        # The other attacks have gone to their bound; this one stopped as soon as it could.
        rows, larger = larger_scales(
            images, batch.clean, np.flatnonzero(~succeeded()), rate_on("enlarge"),
            largest=batch.job.task.point, norm=cell.norm,
        )  # fmt: skip
        if rows.size:
            images[rows] = larger
            sent = as_pictures(larger, batch.clean[rows], norm=cell.norm)
            for row, record in zip(rows, _verdicts(batch, result, sent, rows, " more"), strict=True):
                records[row] = {**record, "point": records[row]["point"]}
    won = np.flatnonzero(succeeded())
    rows, smaller = smallest_scales(images, batch.clean, won, rate_on("shrink"), norm=cell.norm)
    # Before the others: the last record of a photograph is what would be sent with all of the distortion.
    return _verdicts(batch, result, smaller, rows, " less") + records if rows.size else records


def _fooled(verdict: Verdict, targeted: bool) -> float:
    """Return the fraction of draws on which the attacker has his way."""
    return verdict["hit"] if targeted else 1 - verdict["right"]


def _verdicts(
    batch: _Batch, result: AttackResult, pictures: NDArray[np.uint8], rows: NDArray[np.intp], suffix: str = ""
) -> list[Record]:
    """Judge the pictures of some of an attack's images; `suffix` tells several pictures of one image apart."""
    cell, part = batch.job.task.cell, batch.of(rows)
    l2_rms, linf = distortion(pictures, part.clean)
    select = part.judge(pictures, cell.defense, f"select{suffix}", cell.draws)
    judged = {
        name: part.judge(pictures, name, f"judge{suffix}", cell.draws, suspicion=name == "ours") for name in cell.judges
    }
    return [
        _record(
            batch,
            row,
            suffix,
            l2_rms=round(float(l2_rms[slot]), 7),
            linf=round(float(linf[slot]), 6),
            queries=int(result.gradient_queries[row]),
            steps=int(result.steps[row]),
            nonfinite=int(result.nonfinite[row]),
            # What the attack itself believes, by its own draws: never what is reported as success.
            own_success=bool(result.success[row]) and not int(result.nonfinite[row]),
            judged_on="fresh",
            select=select[slot],
            judge={name: verdicts[slot] for name, verdicts in judged.items()},
        )
        for slot, row in enumerate(rows.tolist())
    ]


def _descended(batch: _Batch) -> list[Record]:
    """Run the paper's descent, judged after every round."""
    cell, task = batch.job.task.cell, batch.job.task
    subject = batch.job.subject
    player = player_of(subject, cell.defense)
    eot_samples = int(cell.options["eot_samples"])
    done = descend_in_rounds(
        attackers.identity_model(subject, cell.defense, eot_samples),
        model_behind(subject, cell.defense),
        player.defend,
        batch.clean,
        batch.labels,
        batch.targets,
        rounds=int(cell.options["rounds"]),
        learning_rate=float(cell.options["learning_rate"]),
        bound=task.point,
        draws=cell.draws if player.randomised else 1,
        stop_draws=1 if eot_samples == 1 else cell.draws,
        rng=batch.rng("attack"),
        judge_rng=batch.rng("judge"),
        averaged=player.answer_draws,
        vote=player.answer_vote,
        milder=player.milder.defend if player.milder else None,
    )
    pictures = as_pictures(done.images, batch.clean)
    l2_rms, linf = distortion(pictures, batch.clean)
    return [
        _record(
            batch,
            row,
            l2_rms=round(float(l2_rms[row]), 7),
            linf=round(float(linf[row]), 6),
            queries=int(done.queries[row]),
            steps=int(done.steps[row]),
            nonfinite=int(done.nonfinite[row]),
            own_success=bool(done.own_success[row]),
            at_bound=bool(done.at_bound[row]),
            judged_on="fresh",
            judge={cell.defense: done.verdicts[-1][row]},
            rounds={
                "right": [round(verdicts[row]["right"], 4) for verdicts in done.verdicts],
                "hit": [round(verdicts[row]["hit"], 4) for verdicts in done.verdicts],
            },
        )
        for row in range(len(pictures))
    ]


def _drawn(batch: _Batch) -> list[Record]:
    """Ask about the pictures as they are, and compare two draws of each (the paper's Table 1)."""
    cell, player = batch.job.task.cell, player_of(batch.job.subject, batch.job.task.cell.defense)
    verdicts = batch.judge(batch.clean, cell.defense, "judge", cell.draws, suspicion=cell.defense == "ours")
    rng = batch.rng("pair")
    first, second = (player.defend(batch.clean, rng) for _ in range(2))
    pairs = [between_draws(*pair) for pair in zip(first, second, strict=True)]
    return [
        _record(
            batch,
            row,
            judge={cell.defense: verdicts[row]},
            pair={"l2_rms": round(l2_rms, 6), "ssim": round(ssim, 6)},
        )
        for row, (l2_rms, ssim) in enumerate(pairs)
    ]


def _probed(batch: _Batch) -> list[Record]:
    """Look into a running attack: where are its gradients taken, and do they say anything?"""
    cell = batch.job.task.cell
    probes: list[GradientProbe] = []

    def watch(model: Any) -> GradientProbe:
        probes.append(GradientProbe(model))
        return probes[-1]

    result = attackers.run(
        batch.job.subject,
        cell,
        to_unit(batch.clean),
        batch.labels,
        batch.targets,
        epsilon=batch.job.task.point,
        rng=batch.rng("attack"),
        watch=watch,
    )
    checks = [nonzero_gradients(probes[0]), current_iterate(probes[0], result.images)]
    return [_record(batch, row, checks=checks) for row in range(len(batch.clean))]


_KINDS: dict[str, Callable[[_Batch], list[Record]]] = {
    "attack": _attacked,
    "rounds": _descended,
    "draws": _drawn,
    "probe": _probed,
}


@functools.lru_cache(maxsize=4)
def _pictures(subject: SubjectSpec, photos: tuple[Any, ...]) -> NDArray[np.uint8]:
    return read_pictures(photos, subject)


def execute(subject: SubjectSpec, seed: int, task: Task) -> list[Record]:
    """Do one task and return a record for each of its photographs."""
    photos = task.photos
    batch = _Batch(
        _Job(subject, seed, task),
        _pictures(subject, photos),
        np.array([photo.label for photo in photos], np.int32),
        np.array([photo.target for photo in photos], np.int32),
    )
    return _KINDS[task.cell.kind](batch)
