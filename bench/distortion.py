"""How many times the undefended distortion an attacker needs for a bundle, and what its defence costs in accuracy.

What a tuning reports of the setting that it chose, for any bundle, any photographs and as long an attack as one likes:
whether more steps find less is the first thing to ask of such a figure.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from bench.conditions import Watch
from bench.robustness.players import bare_model
from bench.robustness.store import ResultStore
from bench.robustness.subject import SubjectSpec, open_model
from bench.tuning.answers import bare_answers
from bench.tuning.candidates import DRAWS, Setting
from bench.tuning.contest import Contest, Effort, Pictures
from bench.tuning.report import report
from convert.learning import target_classes
from convert.settings import Progress
from edgedefend.dataset import Dataset
from edgedefend.errors import InputError
from edgedefend.sources import fit_image, read_image

__all__ = ["measure_distortion"]

_TABLE = "the bundle's table"


def measure_distortion(
    subject: SubjectSpec, data: Dataset, *, images: int, effort: Effort, folder: Path, progress: Progress
) -> dict[str, Any]:
    """Attack a bundle's defence as a tuning does (`bench.tuning.contest`), and measure its accuracy.

    Parameters
    ----------
    subject : SubjectSpec
        Of a bundle (`bench.robustness.subject.subject_of`).
    data : Dataset
        The accuracy is that on all of it; attacked are the first that the bare model gets right.
    images : int
        How many of these.
    effort : Effort
        Of the attack.
    folder : Path
        Keeps every photograph's result: what it has is not measured again.

    Returns
    -------
    dict
        ``"report"`` as in tuning.json, with the conditions beside it.

    Raises
    ------
    InputError
        If the weights are random, or the bare model gets too few photographs right.
    """
    loaded = open_model(subject)
    if loaded.weights == "random":
        raise InputError(
            f"{subject.model}: has random weights: there is no accuracy to keep, and no distortion to need"
        )
    watch = Watch(timed=False)
    read = []
    with progress("reading photographs", len(data)) as tick:
        for photograph in data:
            read.append(fit_image(read_image(photograph.path), *loaded.input_size, subject.resize))
            tick(1)
    names = tuple(
        f"{photograph.path.name}:{hashlib.sha256(image.tobytes()).hexdigest()[:12]}"
        for photograph, image in zip(data, read, strict=True)
    )
    labels = np.array([photograph.label for photograph in data], np.int32)
    pictures = Pictures(np.stack(read), labels, target_classes(data, len(loaded.labels), subject.seed), names)
    model = bare_model(subject)
    right = bare_answers(model, pictures.pictures) == pictures.labels
    attacked = pictures.part(np.flatnonzero(right)[:images])
    if len(attacked) < images:
        raise InputError(
            f"{data.name}: the bare model gets {len(attacked)} of its {len(data)} photographs right, {images} are "
            "asked for: give more --data or fewer --images"
        )
    setting = Setting(
        _TABLE, 1.0, subject.num_steps, subject.distort_limit, subject.passes, subject.noise_std, subject.vote
    )
    tables = {_TABLE: np.asarray(subject.quant_table, np.float32)}
    identity = {
        "kind": "distortion",
        "model": subject.model,
        "weights_sha256": subject.weights_sha256,
        "resize": subject.resize,
        "quant_table": tables[_TABLE].tolist(),
        "seed": subject.seed,
        "effort": [effort.eot_samples, effort.largest],  # how many steps is in the name of every record
    }
    with ResultStore(folder, identity) as store:
        found = report(
            setting, subject.draws, model, tables, pictures, right, attacked,
            Contest(model, store, effort, subject.seed),
            numbers=sorted({1, *(draws for draws in DRAWS if draws < subject.draws), subject.draws}),
            rng=np.random.default_rng([subject.seed, *b"accuracy of the report"]), progress=progress,
        )  # fmt: skip
    return {
        "kind": "distortion",
        "bundle": {
            "model": subject.model,
            "quant_table": tables[_TABLE].tolist(),
            "num_steps": subject.num_steps,
            "distort_limit": subject.distort_limit,
        },
        "name": setting.name,
        "images": images,
        "draws": subject.draws,
        "vote": asdict(subject.vote),
        "data": {"name": data.name, "n": len(data)},
        "report": found,
        "identity": identity,
        "conditions": watch.finish(),
    }
