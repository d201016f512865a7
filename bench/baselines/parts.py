"""Trained parts on disk: arrays and a few facts in one .npz a defence, written whole, read without unpickling."""

from __future__ import annotations

import functools
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.baselines.base import Ingredients
from edgedefend.errors import InputError
from edgedefend.files import whole_file

__all__ = ["Part", "load_part", "part_file", "part_for", "save_part", "why_missing"]

_FACTS = "facts"


@dataclass(frozen=True)
class Part:
    """What was trained: arrays by name, and what they were trained on (``"weights_sha256"``: on which model)."""

    arrays: dict[str, NDArray[Any]]
    facts: dict[str, Any]


def part_file(folder: Path, name: str) -> Path:
    """Return where the part of a defence lies."""
    return folder / f"{name}.npz"


def save_part(path: Path, part: Part) -> None:
    """Write a part, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    facts = np.frombuffer(json.dumps(part.facts).encode(), np.uint8)
    with whole_file(path) as file:
        np.savez(file, allow_pickle=False, **{_FACTS: facts}, **part.arrays)


def load_part(path: Path) -> Part:
    """Read a part.

    Raises
    ------
    InputError
        If there is none, or it is damaged.
    """
    try:
        return _read(path, path.stat().st_mtime_ns)
    except OSError as error:
        raise InputError(f"{path}: {(error.strerror or str(error)).lower()}") from None
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: not a part written by bench train-baseline ({reason}): train it again") from None


@functools.lru_cache(maxsize=8)
def _read(path: Path, changed: int) -> Part:
    # Opened here: NumPy leaves a damaged file open.
    with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
        arrays = {name: content[name] for name in content.files}
    facts = json.loads(arrays.pop(_FACTS).tobytes())
    if not isinstance(facts, dict):
        raise ValueError("its facts are not an object")
    return Part(arrays, facts)


def why_missing(name: str, ingredients: Ingredients) -> str:
    """Return why there is no part of this name that fits, "" if there is."""
    command = f"edgedefend bench train-baseline {name} --out FOLDER"
    if ingredients.trained is None:
        return f"{name} needs a trained part: {command}, then give that folder"
    path = part_file(ingredients.trained, name)
    if not path.is_file():
        return f"{path}: no such trained part: {command}"
    trained_on = load_part(path).facts.get("weights_sha256", "")
    if trained_on and ingredients.weights_sha256 and trained_on != ingredients.weights_sha256:
        return f"{path}: was trained on another model: {command} --model MODEL"
    return ""


def part_for(name: str, ingredients: Ingredients) -> Part | None:
    """Return the part of a defence, None where `why_missing` says why."""
    if ingredients.trained is None or why_missing(name, ingredients):
        return None
    return load_part(part_file(ingredients.trained, name))
