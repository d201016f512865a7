"""Where the trained part of a defence lies, and why one may not be used."""

from __future__ import annotations

from pathlib import Path

from bench.baselines.base import Ingredients
from convert.parts import Part, load_part

__all__ = ["part_file", "part_for", "why_missing"]


def part_file(folder: Path, name: str) -> Path:
    """Return where the part of a defence lies."""
    return folder / f"{name}.npz"


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
