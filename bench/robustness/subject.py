"""What is evaluated: a model that has gradients, its defence, and the photographs that the bare model gets right.

A bundle holds TFLite, which has no gradients: its Keras model is found again in the zoo, and the hash of the weights
must be the one that the bundle was made from; a user's own model is named beside the bundle.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.attacks.base import to_unit
from bench.robustness.cells import Photo
from convert.learning import target_classes
from convert.models import ZOO, LoadedModel, load_model, load_settings
from edgedefend.bundle import MANIFEST, load_bundle
from edgedefend.combining import NOBODY, Vote
from edgedefend.dataset import Dataset, Photograph
from edgedefend.dct import load_quant_table
from edgedefend.defense import Defense
from edgedefend.errors import InputError
from edgedefend.sources import fit_image, read_image

__all__ = ["Approximation", "SubjectSpec", "choose_photographs", "open_model", "read_pictures", "subject_of"]


@dataclass(frozen=True)
class Approximation:
    """The auto-encoder that learns to do what the defence does: its file, and what it is trained on and how long."""

    path: str
    photos: tuple[Photo, ...]
    steps: int


@dataclass(frozen=True)
class SubjectSpec:
    """Where a worker finds the model and what its defence is; it can be pickled and hashed.

    `model` and `weights` are those of `convert.models.load_model`, `settings` the TOML of an own model; `trained` is
    the folder with the trained parts of other defences, `approximation` the auto-encoder of the learned attack.
    An answer of our method is the mean of `draws` draws, beside which `vote` says whose counts.
    """

    model: str
    weights: str
    settings: str | None
    seed: int
    resize: str
    quant_table: tuple[tuple[float, ...], ...]
    num_steps: int
    distort_limit: float
    table_name: str
    weights_sha256: str
    trained: str | None = None
    approximation: Approximation | None = None
    passes: int = 1
    noise_std: float = 0.0
    draws: int = 1
    vote: Vote = NOBODY

    def defense(self, rng: np.random.Generator | None = None) -> Defense:
        """Return the defence; `rng` makes it predictable."""
        return Defense.of(self, rng=rng)


def subject_of(
    spec: str,
    *,
    model: str | None = None,
    weights: str = "imagenet",
    settings: Path | None = None,
    table: str | None = None,
    seed: int = 0,
    trained: Path | None = None,
) -> SubjectSpec:
    """Find out what is to be evaluated.

    Parameters
    ----------
    spec : str
        A bundle, a model of the zoo, or a path to a .keras file, an .h5 file or a SavedModel.
    model : str, optional
        The Keras model of a bundle, where it is not one of the zoo.
    weights : str
        Of a zoo model, see `convert.models.load_model`.
    settings : Path, optional
        TOML of an own model.
    table : str, optional
        A shipped table's name or a JSON file; by default the bundle's, or the one learned for a zoo model.
    trained : Path, optional
        What `bench train-baseline` wrote.

    Raises
    ------
    InputError
        If it has no gradients, or the Keras model is not the one that the bundle was made from.
    """
    path = Path(spec)
    if path.suffix == ".tflite" or (path.suffix == ".zip" and not path.exists()):
        raise InputError(
            f"{spec}: a TFLite model has no gradients, so no white-box attack can be run on it: give the bundle, a "
            "model of the zoo, or the .keras, .h5 or SavedModel that it was converted from"
        )
    known_hash, num_steps, distort_limit, resize, passes, noise_std = "", 10, 0.25, "stretch", 1, 0.0
    draws, vote = 1, NOBODY
    quant_table, table_name = None, table or ""
    if spec not in ZOO and (path.suffix == ".zip" or (path / MANIFEST).exists()):
        bundle = load_bundle(path, check_trust=False)
        made_from = bundle.manifest.get("made_from")
        facts: dict[str, Any] = made_from if isinstance(made_from, dict) else {}
        origin = model or str(facts.get("model", ""))
        if origin not in ZOO and not Path(origin).exists():
            raise InputError(
                f"{spec}: holds only a TFLite model, which has no gradients: give the Keras model that it was "
                f"converted from ({origin or 'unknown'}) with --model"
            )
        if bundle.weights == "random":
            weights = "random"
        known_hash = str(facts.get("weights_sha256", ""))
        num_steps, distort_limit, resize = bundle.num_steps, bundle.distort_limit, bundle.input.resize
        passes, noise_std = bundle.passes, bundle.noise_std
        draws, vote = bundle.draws, bundle.vote
        quant_table, table_name = bundle.quant_table, table_name or str(path)
    elif model is not None:
        raise InputError(f"{spec}: --model is for a bundle; this is a model itself")
    else:
        origin = spec
    if table is not None:
        quant_table = load_quant_table(table)
    if quant_table is None:
        table_name = origin if origin in ZOO else "feature-distillation"
        quant_table = load_quant_table(table_name if table_name != "inception-v3" else "feature-distillation")
    rows = tuple(tuple(round(float(value), 4) for value in row) for row in np.asarray(quant_table))
    spec_without_hash = SubjectSpec(
        origin, weights, None if settings is None else str(settings), seed, resize, rows, num_steps, distort_limit,
        table_name, "", None if trained is None else str(trained), passes=passes,
        noise_std=noise_std, draws=draws, vote=vote,
    )  # fmt: skip
    actual = open_model(spec_without_hash).provenance.get("weights_sha256", "")
    if known_hash and actual != known_hash:
        raise InputError(
            f"{spec}: was made from other weights than those of {origin} "
            f"({known_hash[:12]}, here {actual[:12]}): give the right model with --model or its --weights"
        )
    return replace(spec_without_hash, weights_sha256=actual)


@functools.lru_cache(maxsize=1)
def _load(model: str, weights: str, settings: str | None, seed: int) -> LoadedModel:
    given = None if settings is None else load_settings(Path(settings))
    return load_model(model, weights=weights, settings=given, seed=seed)


def open_model(spec: SubjectSpec) -> LoadedModel:
    """Load the Keras model, once a process."""
    return _load(spec.model, spec.weights, spec.settings, spec.seed)


def read_pictures(photos: Sequence[Photo], spec: SubjectSpec) -> NDArray[np.uint8]:
    """Return the photographs at the model's size, uint8 (N, H, W, 3).

    Raises
    ------
    InputError
        If a photograph cannot be read or is not the one that the run began with.
    """
    height, width = open_model(spec).input_size
    pictures = []
    for photo in photos:
        content = Path(photo.path)
        if not content.is_file() or hashlib.sha256(content.read_bytes()).hexdigest() != photo.sha256:
            raise InputError(f"{photo.path}: is not there as it was when this evaluation began")
        pictures.append(fit_image(read_image(photo.path), height, width, spec.resize))
    return np.stack(pictures)


def _photo(photograph: Photograph, target: int) -> Photo:
    path = photograph.path
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Photo(path.name, str(path.resolve()), photograph.label, target, digest)


def choose_photographs(
    data: Dataset,
    spec: SubjectSpec,
    logits: Callable[[NDArray[np.float32]], NDArray[np.float32]],
    count: int,
    *,
    tick: Callable[[int], Any] = lambda seen: None,
) -> tuple[list[Photo], list[Photo], int]:
    """Return the first `count` photographs that the bare model gets right, as in the paper.

    A photograph without a target in the data is given a random one that is not its label, by the seed. With random
    weights nothing is right: the first `count` are taken as they are.

    Returns
    -------
    chosen, others : list of Photo
        The photographs to attack, and up to `count` that are not: an attacker may learn from those.
    shown : int
        How many the model was asked about.

    Raises
    ------
    InputError
        If there are fewer than `count`.
    """
    model = open_model(spec)
    size = model.input_size
    targets = target_classes(data, len(model.labels), spec.seed)
    chosen: list[Photo] = []
    seen = 0
    for photograph, target in zip(data, targets.tolist(), strict=True):
        if len(chosen) == count:
            break
        seen += 1
        picture = fit_image(read_image(photograph.path), *size, spec.resize)
        answer = np.asarray(logits(to_unit(picture[None])))[0]
        if not np.isfinite(answer).all():
            raise InputError(f"{spec.model}: its answer to {photograph.path} is not a number: check its weights")
        if model.weights == "random" or int(answer.argmax()) == photograph.label:
            chosen.append(_photo(photograph, target))
            tick(1)
    if len(chosen) < count:
        raise InputError(
            f"{data.name}: the bare model gets {len(chosen)} of its {seen} photographs right, {count} are asked for: "
            "give more --data or fewer --images"
        )
    left = list(zip(data, targets.tolist(), strict=True))[seen : seen + count]
    others = [_photo(photograph, target) for photograph, target in left]
    return chosen, others, seen
