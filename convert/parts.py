"""Trained parts on disk: arrays and a few facts in one .npz, written whole, read without unpickling."""

from __future__ import annotations

import functools
import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgedefend.errors import InputError
from edgedefend.files import whole_file

__all__ = ["Part", "load_part", "save_part"]

_FACTS = "facts"


@dataclass(frozen=True)
class Part:
    """What was trained: arrays by name, and what they were trained on (``"weights_sha256"``: on which model)."""

    arrays: dict[str, NDArray[Any]]
    facts: dict[str, Any]


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
        raise InputError(f"{path}: not a trained part of this version ({reason}): train it again") from None


@functools.lru_cache(maxsize=8)
def _read(path: Path, changed: int) -> Part:
    # Opened here: NumPy leaves a damaged file open.
    with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
        arrays = {name: content[name] for name in content.files}
    facts = json.loads(arrays.pop(_FACTS).tobytes())
    if not isinstance(facts, dict):
        raise ValueError("its facts are not an object")
    return Part(arrays, facts)
