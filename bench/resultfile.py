"""Reading results back. A result file may come from anywhere: its shape is checked, and no value is trusted."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgedefend.errors import InputError

__all__ = ["at", "label_of", "number_at", "numbers", "read_result", "text_at", "texts_at"]

MAX_BYTES = 16_000_000
MAX_DEPTH = 20
# What is no figure of the measurement itself: conditions, settings, and raw material for plots.
_NOT_FIGURES = frozenset(
    {
        "bundle", "conditions", "counts", "data", "histogram", "interpreter", "points", "samples_mb", "sessions",
        "source", "starts_s", "hits", "n", "seed", "queries", "seconds", "warmup", "samples", "batch", "runs", "rounds",
        "images", "frames", "threads", "draws", "minutes", "every_s", "missing", "ratios",
        "undefended_answers", "undefended_vote", "milder_vote", "clients", "workers", "waiting",
    }
)  # fmt: skip


def _depth(value: Any) -> int:
    """Return how deeply lists and objects are nested, without recursion."""
    deepest, waiting = 0, [(value, 1)]
    while waiting:
        item, level = waiting.pop()
        deepest = max(deepest, level)
        if level > MAX_DEPTH:
            return level
        if isinstance(item, dict):
            waiting += [(child, level + 1) for child in item.values()]
        elif isinstance(item, list):
            waiting += [(child, level + 1) for child in item]
    return deepest


def read_result(path: Path) -> dict[str, Any]:
    """Read one result, as ``--json`` writes it.

    Raises
    ------
    InputError
        If it cannot be read, is too large, is not JSON, is nested too deeply, or is no result.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path}: larger than {MAX_BYTES / 1e6:.0f} MB, which no result of edgedefend bench is")
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: {(error.strerror or str(error)).lower()}") from None
    except (ValueError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise InputError(f"{path}: not JSON ({reason}): expected what edgedefend bench writes with --json") from None
    if not isinstance(content, dict) or not isinstance(content.get("kind"), str):
        raise InputError(f"{path}: no result: expected what edgedefend bench writes with --json")
    if _depth(content) > MAX_DEPTH:
        raise InputError(f"{path}: nested too deeply to be a result of edgedefend bench")
    return content


def at(result: Any, *keys: str | int) -> Any:
    """Return ``result[key][key]...``, None where anything on the way is missing or of another kind."""
    for key in keys:
        if isinstance(result, dict):
            result = result.get(key)
        elif isinstance(result, list) and isinstance(key, int) and key < len(result):
            result = result[key]
        else:
            return None
    return result


def number_at(result: Any, *keys: str | int) -> float | None:
    """Return the number at that place, None where there is none that a measurement could have given."""
    value = at(result, *keys)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    if not math.isfinite(number) or abs(number) > 1e15:
        return None
    return number if abs(number) > 1e-12 else 0.0


def text_at(result: Any, *keys: str | int) -> str:
    """Return the value at that place as one line of at most 200 characters, "" where there is none."""
    value = at(result, *keys)
    if value is None or isinstance(value, (dict, list)):
        return ""
    line = " ".join("".join(character if character.isprintable() else " " for character in str(value)[:1000]).split())
    return line if len(line) <= 200 else line[:199] + "…"


def texts_at(result: Any, *keys: str | int, most: int = 50) -> list[str]:
    """Return the texts of the list at that place, at most `most` of them."""
    value = at(result, *keys)
    if not isinstance(value, list):
        return []
    return [text for index in range(min(len(value), most)) if (text := text_at(value, index))]


def numbers(result: Any, prefix: str = "") -> Iterator[tuple[str, float]]:
    """Yield (dotted name, value) of every finite figure of a result, without conditions and settings."""
    if not isinstance(result, dict):
        return
    for key, value in result.items():
        if not prefix and key == "figure":  # stands among the others once more
            continue
        if key in _NOT_FIGURES:
            continue
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            yield from numbers(value, f"{name}.")
        elif (number := number_at(result, key)) is not None:
            yield name, number


def label_of(result: dict[str, Any]) -> str:
    """Return what a result is about in a few words, e.g. "latency single-stream, efficientnet-lite0 int8"."""
    about = " ".join(part for part in (text_at(result, "kind"), text_at(result, "scenario")) if part)
    model = " ".join(
        part for part in (text_at(result, "bundle", "model"), text_at(result, "bundle", "precision")) if part
    )
    return f"{about}, {model}" if model else about
