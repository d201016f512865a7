"""Options that several commands share, and how progress and tables are printed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from edgedefend.interpreter import BACKENDS

__all__ = ["backend_option", "format_table", "threads_option"]


def threads_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--threads``."""
    return click.option(
        "--threads",
        type=click.IntRange(1, 64),
        help="CPU threads of the interpreter (default: those this process may use, at most 4).",
    )(command)


def backend_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--backend``."""
    return click.option(
        "--backend",
        type=click.Choice(list(BACKENDS)),
        help="Force one interpreter (default: the first installed).",
    )(command)


def format_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Lay out a table: texts to the left, everything else to the right; two spaces between columns."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in [list(header), *cells]) for i in range(len(header))]
    right = [
        bool(rows) and all(not isinstance(row[i], str) or _numeric(str(row[i])) for row in rows)
        for i in range(len(header))
    ]

    def line(row: Sequence[str]) -> str:
        parts = [
            cell.rjust(width) if flush else cell.ljust(width)
            for cell, width, flush in zip(row, widths, right, strict=True)
        ]
        return "  ".join(parts).rstrip()

    return "\n".join([line(header), "  ".join("-" * width for width in widths), *map(line, cells)])


def _numeric(text: str) -> bool:
    return text[:1].isdigit() or text[:1] in "-+.<>" or text == ""
