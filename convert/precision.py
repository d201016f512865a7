"""One precision of a conversion: export it, compare it with Keras, write its bundle."""

from __future__ import annotations

import datetime
import hashlib
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import numpy as np
from numpy.typing import NDArray

import edgedefend
from convert.bundle_writer import pack_bundle, write_bundle
from convert.export import Parity, encode, export_tflite, measure_parity
from convert.models import LoadedModel
from convert.settings import ConvertSettings, Progress, Tuned
from convert.suspicion import learn_suspicion
from convert.work_folder import WorkFolder
from edgedefend.bundle import Bundle, Golden, InputSpec
from edgedefend.dataset import Dataset
from edgedefend.defense import Defense
from edgedefend.errors import InputError
from edgedefend.files import write_file
from edgedefend.interpreter import Interpreter
from edgedefend.statistics import proportion

__all__ = ["PrecisionStep"]

_CALIBRATION_IMAGES = 100
# How far an answer may lie from the desktop's, as a fraction of the spread of the golden output: rounding
# differs between processors, and in integer arithmetic each layer's rounding adds up.
_TOLERANCE = {"fp32": 0.01, "fp16": 0.03, "dynamic": 0.1, "int8": 0.1}


@dataclass(frozen=True)
class PrecisionStep:
    """What is done once a precision, with everything that the earlier steps found out."""

    settings: ConvertSettings
    model: LoadedModel
    spec: InputSpec
    data: Dataset
    images: list[NDArray[np.uint8]]
    expected: NDArray[np.float32]
    tuned: Tuned
    work: WorkFolder
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


def _export(
    model: LoadedModel,
    precision: str,
    calibration: Sequence[NDArray[np.uint8]],
    settings: ConvertSettings,
    work: WorkFolder,
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
