"""One evaluation from its options to its result: find the model, choose photographs, run what is missing, sum up."""

from __future__ import annotations

import functools
import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Any

from bench.baselines.base import Baseline
from bench.conditions import Watch
from bench.robustness import attackers
from bench.robustness.cells import Cell, CellChain, chains_of
from bench.robustness.engines import Engine, run_chains
from bench.robustness.players import bare_model, players
from bench.robustness.protocols import QUOTED, Planned, Sizes, plan, strongest_attack
from bench.robustness.sanity import Check
from bench.robustness.store import ResultStore
from bench.robustness.subject import Approximation, SubjectSpec, choose_photographs, open_model
from bench.robustness.summary import summarise
from bench.robustness.work import execute
from edgedefend.dataset import load_dataset
from edgedefend.errors import UsageError

__all__ = ["SCHEMA", "Evaluation", "Progress", "Request"]

SCHEMA = 1
_LEARN = 64  # photographs, none of them attacked, that the learned attack learns from at most
_PROBED = 2  # photographs of the attack that is looked into
_PACKAGES = ("tensorflow", "keras", "foolbox", "adversarial-robustness-toolbox", "scikit-image", "scipy", "distributed")

Progress = Callable[[float, float], Any]


@dataclass(frozen=True)
class Request:
    """What is asked for; the options of `bench robustness`."""

    subject: SubjectSpec
    data: str
    folder: Path
    protocol: str = "strong"
    tables: tuple[int, ...] = ()
    figures: tuple[int, ...] = ()
    defenses: tuple[str, ...] = ()
    sizes: Sizes = field(default_factory=Sizes)
    parts: tuple[str, ...] = ()
    quick: bool = False
    seed: int = 0


class Evaluation:
    """An evaluation under way.

    Parameters
    ----------
    request : Request

    Raises
    ------
    InputError
        If the data is not what it should be, or has too few photographs that the model gets right.
    UsageError
        If a defence is not known, or the weights are random and an accuracy is asked for.
    """

    def __init__(self, request: Request, tick: Callable[[int], Any] = lambda count: None) -> None:
        self.request = request
        subject = request.subject
        self.model = open_model(subject)
        known = players(subject)
        wanted = request.defenses or tuple(known)
        if unknown := [name for name in wanted if name not in known]:
            raise UsageError(f"no defence {unknown[0]!r}: expected some of {', '.join(known)}")
        self.refused = {name: known[name].missing for name in wanted if known[name].missing}
        self.facts = {name: _facts(known[name]) for name in wanted if not known[name].missing}
        randomised = {name: known[name].randomised for name in self.facts}
        self.data = load_dataset(request.data, self.model.labels)
        self.photos, others, self.shown = choose_photographs(
            self.data, subject, bare_model(subject).logits, request.sizes.images, tick=tick
        )
        learned_from = tuple((others or self.photos)[:_LEARN])
        # With more photographs to attack it learns from others: the training is another one, beside the first.
        digest = hashlib.sha256("".join(photo.sha256 for photo in learned_from).encode()).hexdigest()
        plan_ = Approximation(
            str(request.folder / "work" / f"autoencoder-{digest[:8]}.npz"), learned_from, request.sizes.training_steps
        )
        self.subject = replace(subject, approximation=plan_)
        self.planned = plan(
            request.protocol,
            randomised,
            request.sizes,
            tables=request.tables,
            figures=request.figures,
            attacks=attackers.attacks_for(self.subject),
            parts=request.parts,
            costly={name for name in self.facts if known[name].costly},
            milder=subject.vote.milder,
        )
        if not request.tables and not request.figures and (not request.parts or "checks" in request.parts):
            probed = randomised if request.sizes.checked_others else set(QUOTED) & set(randomised)
            self.planned += [self._probe(name, randomised[name]) for name in sorted(probed)]

    def _probe(self, name: str, randomised: bool) -> Planned:
        sizes = self.request.sizes
        options = {"steps": min(5, sizes.steps), "eot_samples": 2 if randomised else 1, "restarts": 1}
        cell = Cell("probe", name, strongest_attack(name), points=(0.01,), options=options, chunk=_PROBED)
        return Planned("probe", cell, _PROBED)

    def identity(self) -> dict[str, Any]:
        """Return what every record depends on and no cell says."""
        subject = self.request.subject
        return {
            "schema": SCHEMA,
            "model": subject.model,
            "weights_sha256": subject.weights_sha256,
            "resize": subject.resize,
            "defense": {
                "quant_table": [list(row) for row in subject.quant_table],
                "num_steps": subject.num_steps,
                "distort_limit": subject.distort_limit,
                # Only where it is used, so that a folder of results from before there was a choice can be added to.
                **({"passes": subject.passes} if subject.passes > 1 else {}),
                **({"noise_std": subject.noise_std} if subject.noise_std else {}),
                **({"draws": subject.draws} if subject.draws > 1 else {}),
                **({"undefended_vote": subject.vote.share} if subject.vote.undefended else {}),
                **({"milder_vote": asdict(subject.vote)} if subject.vote.milder else {}),
            },
            "seed": self.request.seed,
        }

    def open_store(self) -> ResultStore:
        """Open the folder with what there is already."""
        return ResultStore(self.request.folder / "work", self.identity())

    def chains(self) -> list[CellChain]:
        """Return all the work, done or not."""
        cells = {item.cell.id: item.cell for item in self.planned}
        # A cell that is asked for twice is measured once, on the larger number of photographs.
        limits = {name: max(item.images for item in self.planned if item.cell.id == name) for name in cells}
        return chains_of(list(cells.values()), self.photos, limits)

    def run(self, store: ResultStore, engine: Engine, progress: Progress = lambda done, left: None) -> None:
        """Do what is missing.

        Parameters
        ----------
        progress : callable
            Told after every task, and once before the first, which fraction is done and how many seconds are left at
            the pace so far (infinity before there is a pace).
        """
        if any(item.cell.attack == "learned" for item in self.planned):
            # Before the workers start: they find it finished.
            attackers.train_approximation(self.subject)
        chains = self.chains()
        left = {id(chain): chain.left(store) * chain.cell.cost for chain in chains}
        total = max(1, sum(len(chain.photos) * len(chain.cell.points) * chain.cell.cost for chain in chains))
        begun, at_begin = time.monotonic(), sum(left.values())
        progress(1 - at_begin / total, float("inf") if at_begin else 0.0)

        def tick(chain: Any) -> None:
            if chain is not None:
                left[id(chain)] = chain.left(store) * chain.cell.cost
            remaining = sum(left.values())
            done = at_begin - remaining
            pace = (time.monotonic() - begun) / done if done else float("inf")
            progress(1 - remaining / total, remaining * pace if remaining else 0.0)

        run_chains(chains, functools.partial(execute, self.subject, self.request.seed), store, engine, tick=tick)

    def result(self, store: ResultStore, watch: Watch) -> dict[str, Any]:
        """Return the result, of an unfinished evaluation as well."""
        request, subject = self.request, self.request.subject
        summary = summarise(self.planned, store, self.photos, self.facts, self._probed(store))
        reasons = [
            f"{self.facts[name]['title']}: {reason}"
            for name, facts in summary["defenses"].items()
            if name in QUOTED  # another defence's row says it of itself
            for reason in facts["unreliable"]
        ]
        if request.quick:
            reasons.append("a quick run: too few photographs, rounds and draws")
        if summary["missing"]:
            reasons.append(f"not finished: {summary['missing']} results are missing")
        if self.model.weights == "random":
            reasons.append("the weights are random: no accuracy means anything")
        conditions = watch.finish(*reasons)
        conditions["packages"] |= _versions()
        return {
            "kind": "robustness",
            "schema": SCHEMA,
            "protocol": request.protocol,
            "quick": request.quick,
            "seed": request.seed,
            "bundle": {
                "model": subject.model,
                "precision": "fp32 (Keras)",
                "weights": self.model.weights,
                "weights_sha256": subject.weights_sha256,
                "table": subject.table_name,
                **self.identity()["defense"],
            },
            "provenance": self.model.provenance,
            "data": {"name": self.data.name, "n": len(self.photos), "shown": self.shown},
            "refused": self.refused,
            **summary,
            "conditions": conditions,
        }

    def _probed(self, store: ResultStore) -> dict[str, Sequence[Check]]:
        found: dict[str, Sequence[Check]] = {}
        for item in self.planned:
            if item.role == "probe":
                for record in store.of_cell(item.cell.id):
                    found[item.cell.defense] = record["checks"]
        return found


def _facts(player: Baseline) -> dict[str, Any]:
    return {
        "title": player.title,
        "source": player.source,
        "randomised": player.randomised,
        "remark": player.remark,
    }


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
