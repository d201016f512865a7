"""The conversion, step by step: load, learn the table, export, compare with Keras, write the bundles.

Every step leaves its result in a work folder beside the bundles as soon as it has one, under a key made of all
that it depends on. The same command after an interruption goes on from there; another command starts afresh.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convert.export import Parity, keras_outputs
from convert.learning import learn_table
from convert.models import load_model
from convert.precision import PrecisionStep
from convert.settings import ConvertSettings, Progress, Tuned
from convert.work_folder import WorkFolder
from edgedefend.bundle import PRECISIONS, Bundle, InputSpec
from edgedefend.dataset import Dataset, load_dataset
from edgedefend.dct import load_quant_table
from edgedefend.errors import EdgeDefendError, InputError
from edgedefend.files import write_file
from edgedefend.sources import fit_image, read_image

__all__ = ["Converted", "ParityError", "convert_model"]

WORK = ".convert-work"


class ParityError(EdgeDefendError):
    """An exported model does not answer as Keras does: no bundle was written for it."""


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
    work = WorkFolder(settings.out / WORK)
    model = load_model(settings.model, weights=settings.weights, settings=settings.input_settings, seed=settings.seed)
    spec = InputSpec(*model.input_size, "RGB", settings.resize, (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    data = load_dataset(settings.data, model.labels).first(settings.limit)
    with progress("reading photographs", len(data)) as tick:
        images = _load_images(data, spec, tick)
    if fixed_table is None:
        table_file = learn_table(settings, model, data, images, work, progress)
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
    step = PrecisionStep(settings, model, spec, data, images, expected, tuned, work, progress)
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


def _load_images(data: Dataset, spec: InputSpec, tick: Callable[[int], Any]) -> list[NDArray[np.uint8]]:
    images = []
    for photograph in data:
        images.append(fit_image(read_image(photograph.path), spec.height, spec.width, spec.resize))
        tick(1)
    return images
