"""Two results beside one another as ratios, with a word on everything that differs besides what is compared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.resultfile import numbers, text_at
from edgedefend.errors import UsageError

__all__ = ["compare_results"]

# What must be the same for a ratio to be about one thing: its name, and where it stands.
_CONDITIONS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("scenario", ("scenario",)),
    ("images a query", ("samples",)),
    ("bundle", ("bundle", "sha256")),
    ("model", ("bundle", "model")),
    ("precision", ("bundle", "precision")),
    ("runtime", ("interpreter", "backend")),
    ("runtime version", ("interpreter", "version")),
    ("threads", ("interpreter", "threads")),
    ("threads", ("threads",)),
    ("data", ("data", "name")),
    ("photographs", ("data", "n")),
    ("draws", ("draws",)),
    ("board", ("conditions", "device", "board")),
    ("CPU", ("conditions", "cpu")),
    ("number of CPUs", ("conditions", "cpus")),
    ("governor", ("conditions", "before", "governor")),
    ("power mode", ("conditions", "before", "power_mode")),
    ("kernel", ("conditions", "device", "kernel")),
    ("edgedefend", ("conditions", "edgedefend")),
    ("python", ("conditions", "python")),
    ("numba", ("conditions", "packages", "numba")),
    ("numpy", ("conditions", "packages", "numpy")),
)


def _short(text: str) -> str:
    return f"{text[:12]}…" if len(text) == 64 else text


def _warnings(names: Sequence[str], results: Sequence[dict[str, Any]], baseline: int) -> list[str]:
    found = []
    for name, result in zip(names, results, strict=True):
        if text_at(result, "conditions", "verdict") == "TAINTED":
            reasons = result["conditions"].get("reasons")
            said = [text_at(reasons, index) for index in range(len(reasons))] if isinstance(reasons, list) else []
            found.append(f"{name} is TAINTED: {'; '.join(said) or 'no reason given'}")
        elif not text_at(result, "conditions", "verdict"):
            found.append(f"{name} carries no verdict on its conditions")
    base = results[baseline]
    for name, result in zip(names, results, strict=True):
        if result is base:
            continue
        for what, keys in _CONDITIONS:
            before, now = text_at(base, *keys), text_at(result, *keys)
            if before != now:
                shown = (_short(before) or "unknown", _short(now) or "unknown")
                found.append(f"another {what}: {shown[0]} in {names[baseline]}, {shown[1]} in {name}")
    return list(dict.fromkeys(found))


def compare_results(names: Sequence[str], results: Sequence[dict[str, Any]], baseline: int = 0) -> dict[str, Any]:
    """Compare results of one kind with one among them.

    Parameters
    ----------
    names : sequence of str
        What to call each.
    results : sequence of dict
    baseline : int
        Which of them the others are divided by.

    Returns
    -------
    dict
        ``rows``: one for each figure that all have: its name, the values, the ratios to the baseline (None where that
        is 0); ``warnings``: one line for each TAINTED result and each condition that differs.

    Raises
    ------
    UsageError
        If there are fewer than two, or they are of different kinds, or have no figure in common.
    """
    if len(results) < 2:
        raise UsageError("comparing takes two results at least: name another file")
    kinds = list(dict.fromkeys(text_at(result, "kind") for result in results))
    if len(kinds) > 1:
        raise UsageError(f"these are results of different kinds ({', '.join(kinds)}): compare like with like")
    figures = [dict(numbers(result)) for result in results]
    common = [name for name in figures[baseline] if all(name in each for each in figures)]
    if not common:
        raise UsageError(f"these results of {kinds[0]!r} have no figure in common")
    rows = []
    for name in common:
        values = [each[name] for each in figures]
        rows.append(
            {
                "figure": name,
                "values": values,
                "ratios": [value / values[baseline] if values[baseline] else None for value in values],
            }
        )
    return {
        "kind": "comparison",
        "of": kinds[0],
        "names": list(names),
        "baseline": names[baseline],
        "rows": rows,
        "warnings": _warnings(names, results, baseline),
    }
