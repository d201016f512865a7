"""What a section of a report is made of: tables, plots, headline figures."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["MOST_POINTS", "Plot", "Section", "Table", "show"]

# Longest list that a plot takes from a file: ours have some hundreds of points.
MOST_POINTS = 5000


@dataclass(frozen=True)
class Table:
    """A header and rows of texts; all columns but the first are figures. `caption` is a sentence above."""

    header: list[str]
    rows: list[list[str]]
    caption: str = ""


@dataclass(frozen=True)
class Plot:
    """An SVG (from `bench.charts`), a file name for it, and a sentence below."""

    name: str
    svg: str
    caption: str


@dataclass(frozen=True)
class Section:
    """One result, ready to be laid out. All texts are plain: whoever writes them somewhere escapes them."""

    title: str
    file: str
    verdict: str
    reasons: list[str]
    unknown: list[str]
    headlines: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    plots: list[Plot] = field(default_factory=list)
    facts: list[tuple[str, str]] = field(default_factory=list)


def show(value: float | None, unit: str = "", digits: int = 3) -> str:
    """Return a figure as text, "-" where it is unknown."""
    if value is None:
        return "-"
    shown = f"{value:,.{digits}f}" if abs(value) < 1e7 else f"{value:.3g}"
    return f"{shown} {unit}".strip()
