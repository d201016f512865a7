"""The conversion, step by step: load, learn the table, export, compare with Keras, write the bundles.

Every step leaves its result in a work folder beside the bundles as soon as it has one, under a key made of all
that it depends on. The same command after an interruption goes on from there; another command starts afresh.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import platform
import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

import edgedefend
from convert.adversary import IFGSM
from convert.bundle_writer import pack_bundle, write_bundle
from convert.export import Parity, encode, export_tflite, keras_outputs, measure_parity
from convert.models import InputSettings, LoadedModel, load_model
from convert.quant_table import count_votes, table_from_votes
from convert.suspicion import learn_suspicion
from edgedefend.bundle import PRECISIONS, Bundle, Golden, InputSpec
from edgedefend.combining import NOBODY, Vote
from edgedefend.dataset import Dataset, load_dataset
from edgedefend.dct import load_quant_table
from edgedefend.defense import Defense
from edgedefend.errors import EdgeDefendError, InputError
from edgedefend.files import write_file
from edgedefend.interpreter import Interpreter, available_threads
from edgedefend.sources import fit_image, read_image
from edgedefend.statistics import proportion

__all__ = [
    "ConvertSettings",
    "Converted",
    "ParityError",
    "Progress",
    "Tuned",
    "Tuner",
    "convert_model",
    "target_classes",
]

WORK = ".convert-work"
_ATTACK_BATCH = 8
_CALIBRATION_IMAGES = 100
# How far an answer may lie from the desktop's, as a fraction of the spread of the golden output: rounding
# differs between processors, and in integer arithmetic each layer's rounding adds up.
_TOLERANCE = {"fp32": 0.01, "fp16": 0.03, "dynamic": 0.1, "int8": 0.1}


class ParityError(EdgeDefendError):
    """An exported model does not answer as Keras does: no bundle was written for it."""


@dataclass(frozen=True)
class ConvertSettings:
    """What `convert_model` is asked for; the command line's options, with its defaults."""

    model: str
    out: Path
    data: str = "sample"
    weights: str = "imagenet"
    input_settings: InputSettings | None = None
    precisions: tuple[str, ...] = PRECISIONS
    table: str = "learn"
    num_steps: int = 10
    distort_limit: float = 0.25
    passes: int = 1
    noise_std: float = 0.0
    draws: int = 1
    vote: Vote = NOBODY
    resize: str = "stretch"
    limit: int | None = None
    epsilon: float = 4.0
    steps: int = 10
    step_size: float = 1.0
    seed: int = 0
    min_agreement: float = 0.9
    pack: bool = False
    force: bool = False
    threads: int = field(default_factory=available_threads)
    command: str = ""
    tuner: Tuner | None = None


@dataclass(frozen=True)
class Tuned:
    """The defence that a bundle gets.

    Attributes
    ----------
    table_file : dict
        The content of quant_table.json.
    num_steps, distort_limit, passes, noise_std
        See `edgedefend.defense.Defense`.
    draws : int
        How many draws an answer is the mean of.
    vote : Vote
        Whose answer counts beside them (`edgedefend.combining`).
    measured : dict
        What a tuning found out about it; empty where there was none.
    """

    table_file: dict[str, Any]
    num_steps: int
    distort_limit: float
    passes: int = 1
    noise_std: float = 0.0
    draws: int = 1
    vote: Vote = NOBODY
    measured: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return what stands in a manifest under "defense"; what older readers do not know only where it is used."""
        facts: dict[str, Any] = {"num_steps": self.num_steps, "distort_limit": self.distort_limit}
        if self.draws > 1:
            facts["draws"] = self.draws
        if self.vote.undefended:
            facts["undefended_vote"] = self.vote.share
        elif self.vote.milder:
            facts["milder_vote"] = asdict(self.vote)
        if self.passes > 1:
            facts["passes"] = self.passes
        if self.noise_std:
            facts["noise_std"] = self.noise_std
        return facts


class Tuner(Protocol):
    """Chooses the defence by attacking it. What does so lives above this package, and is handed down to it."""

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
        """Return the best defence for photographs at the model's size, given the table that was learned from them."""


@dataclass(frozen=True)
class Converted:
    """What came of it: a bundle and its figures for each precision, and the precisions that were refused."""

    bundles: dict[str, Bundle]
    parities: dict[str, Parity]
    refused: dict[str, str]
    table_file: dict[str, Any]
    weights: str
    keras_correct: int
    n: int
    defense: Tuned


class Progress(Protocol):
    """How the caller shows progress: ``with progress("name", 100) as tick: tick(1)``."""

    def __call__(self, label: str, length: int) -> AbstractContextManager[Callable[[int], Any]]:
        """Start a bar of `length` steps."""


class _Work:
    """The work folder: results by key, each written whole."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, kind: str, key: dict[str, Any], suffix: str) -> Path:
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
        return self.folder / f"{kind}-{digest}{suffix}"

    def load(self, path: Path) -> dict[str, Any]:
        try:
            content = json.loads(path.read_bytes())
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}


def _load_images(data: Dataset, spec: InputSpec, tick: Callable[[int], Any]) -> list[NDArray[np.uint8]]:
    images = []
    for photograph in data:
        images.append(fit_image(read_image(photograph.path), spec.height, spec.width, spec.resize))
        tick(1)
    return images


def target_classes(data: Dataset, classes: int, seed: int) -> NDArray[np.int32]:
    """Return each photograph's target class: the data's own, else a random one that is not its label."""
    rng = np.random.default_rng([seed, 1])
    drawn = rng.integers(1, classes, len(data))
    return np.array(
        [
            (photograph.label + int(step)) % classes if photograph.target is None else photograph.target
            for photograph, step in zip(data, drawn, strict=True)
        ],
        np.int32,
    )


def _learn_table(
    settings: ConvertSettings,
    model: LoadedModel,
    data: Dataset,
    images: Sequence[NDArray[np.uint8]],
    work: _Work,
    progress: Progress,
) -> dict[str, Any]:
    """Run Algorithm 2, saving the votes after each batch; return the content of quant_table.json."""
    attack = {"name": "targeted I-FGSM", "epsilon": settings.epsilon, "steps": settings.steps}
    attack["step_size"] = settings.step_size
    digest = hashlib.sha256()
    for image in images:
        digest.update(image.tobytes())
    key = {"attack": attack, "seed": settings.seed, "images": digest.hexdigest(), "model": model.provenance}
    saved = work.path("votes", key, ".json")
    state = work.load(saved) or {"done": 0, "hit": 0, "votes": np.zeros((8, 8), int).tolist()}
    votes, done, hit = np.array(state["votes"], np.int64), int(state["done"]), int(state["hit"])
    targets = target_classes(data, len(model.labels), settings.seed)
    with progress("learning the table", len(images)) as tick:
        tick(done)
        attacker = None
        while done < len(images):
            attacker = attacker or IFGSM(
                model, epsilon=settings.epsilon, steps=settings.steps, step_size=settings.step_size
            )
            clean = np.stack(images[done : done + _ATTACK_BATCH])
            aims = targets[done : done + _ATTACK_BATCH]
            adversarial = attacker(clean, aims)
            votes += count_votes(clean, adversarial)
            fooled = np.asarray(model.keras_model(adversarial.astype(np.float32), training=False)).argmax(axis=1)
            hit += int((fooled == aims).sum())
            done += len(clean)
            write_file(saved, json.dumps({"done": done, "hit": hit, "votes": votes.tolist()}).encode())
            tick(len(clean))
    return {
        "name": f"learned for {model.name}",
        "source": "Algorithm 2: votes of the largest DCT difference a block, votes / max * 80 + 20",
        "generator": settings.command or "convert.pipeline.convert_model",
        "seed": settings.seed,
        "attack": attack,
        "attack_success": {"hit": hit, "n": len(images)},
        "data": {"name": data.name, "n": len(images)},
        "model": model.provenance,
        "votes": votes.tolist(),
        "quant_table": [[round(float(value), 4) for value in row] for row in table_from_votes(votes)],
    }


def _golden(
    content: bytes, precision: str, images: Sequence[NDArray[np.uint8]], defense: Defense, threads: int
) -> Golden:
    """Choose the image whose defended answer is the clearest of the first few, and record that answer."""
    interpreter = Interpreter(content, threads=threads)
    best: tuple[float, Golden] | None = None
    for image in images[:8]:
        grid = defense.sample_grid(*image.shape[:2])
        defended = defense(image, grid=grid)
        view = interpreter.input_view()
        view[0] = encode(defended, interpreter)
        del view
        output = interpreter.invoke()[0].copy()
        first, second = np.sort(output)[-2:][::-1]
        spread = float(output.max() - output.min())
        margin = float(first - second) / (spread or 1.0)
        if best is None or margin > best[0]:
            # An answer is also wrong when the best class changes; a tolerance of zero could never be met.
            tolerance = max(_TOLERANCE[precision] * spread, 1e-6)
            best = (margin, Golden(image, defended, grid, output, tolerance))
    if best is None:
        raise InputError("no image to make the golden input from")
    return best[1]


def _versions() -> dict[str, str]:
    names = ("tensorflow", "keras", "numpy", "numba", "opencv-python-headless", "ai-edge-litert")
    found = {"edgedefend": edgedefend.__version__, "python": platform.python_version()}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _measured(parity: Parity, weights: str) -> dict[str, Any]:
    """Return the manifest's "measured". Of random weights no accuracy is reported: it would mean nothing."""
    facts: dict[str, Any] = {
        "n": parity.n,
        "agreement": parity.agreement,
        "max_logit_error": float(f"{parity.max_logit_error:.5g}"),
    }
    if parity.partitions is not None:
        facts["delegate_partitions"] = parity.partitions.count
        facts["undelegated"] = parity.partitions.undelegated
    if weights != "random":
        facts["clean_accuracy"] = proportion(parity.correct, parity.n)
        facts["defended_accuracy_1_draw"] = proportion(parity.defended_correct, parity.n)
    return facts


def convert_model(settings: ConvertSettings, progress: Progress) -> Converted:
    """Convert a model into one bundle a precision, under ``settings.out``.

    Raises
    ------
    InputError
        If the model, the data or an option is not what it should be, or a bundle exists already.
    EdgeDefendError
        If TensorFlow cannot convert the model.
    """
    unknown = [precision for precision in settings.precisions if precision not in PRECISIONS]
    if unknown or not settings.precisions:
        raise InputError(f"unknown precision {unknown or ''}: expected some of {', '.join(PRECISIONS)}")
    present = [str(settings.out / name) for name in settings.precisions if (settings.out / name).exists()]
    if present and not settings.force:
        raise InputError(f"{present[0]}: exists already: give --force to replace it, or another --out")
    fixed_table = None if settings.table == "learn" else load_quant_table(settings.table)

    settings.out.mkdir(parents=True, exist_ok=True)
    work = _Work(settings.out / WORK)
    model = load_model(settings.model, weights=settings.weights, settings=settings.input_settings, seed=settings.seed)
    spec = InputSpec(*model.input_size, "RGB", settings.resize, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    data = load_dataset(settings.data, model.labels).first(settings.limit)
    with progress("reading photographs", len(data)) as tick:
        images = _load_images(data, spec, tick)
    if fixed_table is None:
        table_file = _learn_table(settings, model, data, images, work, progress)
    else:
        table_file = {"name": settings.table, "generator": "given", "quant_table": fixed_table.tolist()}
    table_bytes = (json.dumps(table_file, indent=1) + "\n").encode()
    write_file(settings.out / "quant_table.json", table_bytes)
    if fixed_table is None:
        from convert.plots import votes_and_table

        write_file(settings.out / "quant_table.png", votes_and_table(table_file))

    tuned = Tuned(
        table_file, settings.num_steps, settings.distort_limit, settings.passes, settings.noise_std, settings.draws,
        settings.vote,
    )  # fmt: skip
    if settings.tuner is not None:
        tuned = settings.tuner(
            model,
            data,
            images,
            np.array(table_file["quant_table"], np.float32),
            folder=settings.out,
            seed=settings.seed,
            progress=progress,
        )
    with progress("asking Keras", len(images)) as tick:
        expected = keras_outputs(model, images, tick)
    if not np.isfinite(expected).all():
        raise InputError(f"{settings.model}: the Keras model's own output is not a number (NaN or infinity)")
    step = _PrecisionStep(settings, model, spec, data, images, expected, tuned, work, progress)
    bundles: dict[str, Bundle] = {}
    parities: dict[str, Parity] = {}
    refused: dict[str, str] = {}
    for precision in settings.precisions:
        content, parities[precision] = step.export_and_compare(precision)
        if reason := step.objection(parities[precision]):
            refused[precision] = reason
            continue
        bundles[precision] = step.write(content, parities[precision])
    shutil.rmtree(work.folder, ignore_errors=True)
    truth = np.array([photograph.label for photograph in data])
    keras_correct = int((expected.argmax(axis=1) == truth).sum())
    return Converted(bundles, parities, refused, table_file, model.weights, keras_correct, len(images), tuned)


@dataclass(frozen=True)
class _PrecisionStep:
    """What is done once a precision, with everything that the earlier steps found out."""

    settings: ConvertSettings
    model: LoadedModel
    spec: InputSpec
    data: Dataset
    images: list[NDArray[np.uint8]]
    expected: NDArray[np.float32]
    tuned: Tuned
    work: _Work
    progress: Progress

    def defense(self, stream: int) -> Defense:
        """Return a repeatable defence; each use has a stream of its own."""
        rng = np.random.default_rng([self.settings.seed, stream])
        tuned = self.tuned
        return Defense(
            tuned.table_file["quant_table"],
            tuned.num_steps,
            tuned.distort_limit,
            passes=tuned.passes,
            noise_std=tuned.noise_std,
            rng=rng,
        )

    def export_and_compare(self, precision: str) -> tuple[bytes, Parity]:
        """Return the .tflite file and how it compares with Keras."""
        defender = self.defense(2)
        calibration = [defender(image) for image in self.images[:_CALIBRATION_IMAGES]] if precision == "int8" else []
        content = _export(self.model, precision, calibration, self.settings, self.work, self.progress)
        with self.progress(f"comparing {precision} with Keras", len(self.images)) as tick:
            parity = measure_parity(
                content,
                precision,
                self.images,
                [photograph.label for photograph in self.data],
                self.expected,
                self.defense(3),
                threads=self.settings.threads,
                tick=tick,
            )
        return content, parity

    def objection(self, parity: Parity) -> str:
        """Return why this export must not become a bundle, "" if it may."""
        if not parity.finite:
            return "its answers are not numbers (NaN or infinity)"
        if parity.agreement < self.settings.min_agreement:
            return (
                f"agrees with Keras on {100 * parity.agreement:.1f} % of {parity.n} images, "
                f"--min-agreement is {100 * self.settings.min_agreement:.1f} %"
            )
        return ""

    def write(self, content: bytes, parity: Parity) -> Bundle:
        """Write one bundle, packed as well where that is asked for."""
        settings, model, precision = self.settings, self.model, parity.precision
        defense_facts = self.tuned.as_json()
        if model.weights != "random":  # how far random answers disagree says nothing about attacks
            with self.progress(f"how far clean {precision} answers disagree", len(self.images)) as tick:
                learned = learn_suspicion(
                    content, self.images, self.defense(5), output=model.output, threads=settings.threads, tick=tick
                )
            defense_facts["suspicion"] = learned.as_json()
        bundle = write_bundle(
            settings.out / precision,
            model=content,
            model_facts={
                "name": model.name,
                "precision": precision,
                "weights": model.weights,
                "output": model.output,
            },
            input_spec=self.spec,
            defense_facts=defense_facts,
            labels=model.labels,
            table_file=self.tuned.table_file,
            golden=_golden(content, precision, self.images, self.defense(4), settings.threads),
            records={
                "made_from": {**model.provenance, "data": self.data.name, "images": len(self.images)},
                "made_with": _versions(),
                "made_at": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
                "measured": _measured(parity, model.weights)
                | ({"tuning": self.tuned.measured} if self.tuned.measured else {}),
            },
            force=settings.force,
        )
        if settings.pack:
            pack_bundle(settings.out / precision, settings.out / f"{precision}.zip")
        return bundle


def _export(
    model: LoadedModel,
    precision: str,
    calibration: Sequence[NDArray[np.uint8]],
    settings: ConvertSettings,
    work: _Work,
    progress: Progress,
) -> bytes:
    """Export one precision, or take it from the work folder if an interrupted run has done so already."""
    digest = hashlib.sha256()
    for image in calibration:
        digest.update(image.tobytes())
    key = {"model": model.provenance, "seed": settings.seed, "calibration": digest.hexdigest()}
    saved = work.path(f"model-{precision}", {**key, "versions": _versions()}, ".tflite")
    if saved.exists():
        return saved.read_bytes()
    with progress(f"exporting {precision}", 1) as tick:
        content = export_tflite(model, precision, calibration)
        tick(1)
    write_file(saved, content)
    return content
