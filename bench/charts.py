"""Plots as SVG text: stacked bars, histograms and curves, with nothing to install and nothing to load.

Each function returns one ``<svg>`` element. Colours are CSS variables with a value of their own to fall back on, so
that the same text follows the page's light or dark theme when it is put inside, and stands alone as a file. Every
text that comes in is escaped here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

__all__ = ["COLORS", "Curve", "Panel", "Steps", "curves", "stacked_bars", "step_areas", "ticks"]

WIDTH = 760
# A categorical palette that stays apart for colour-blind readers (Okabe and Ito), the strongest two first; what comes
# after the first six is for a plot of many lines, whose legend stands in the same order.
COLORS = (
    "var(--c1,#0072b2)",
    "var(--c2,#d55e00)",
    "var(--c3,#009e73)",
    "var(--c4,#cc79a7)",
    "var(--c5,#e69f00)",
    "var(--c6,#56b4e9)",
    "var(--c7,#8c564b)",
    "var(--c8,#7f7f7f)",
    "var(--c9,#9467bd)",
    "var(--c10,#bcbd22)",
    "var(--c11,#17becf)",
    "var(--c12,#e377c2)",
    "var(--c13,#637939)",
    "var(--c14,#393b79)",
)
_INK, _SOFT, _GRID = "var(--ink,#1f2933)", "var(--soft,#64707d)", "var(--grid,#e3e7ec)"
_FONT = "system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif"


def _figure(value: float) -> str:
    """Return a number with three significant digits and no exponent where people would not write one."""
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{min(digits, 6)}f}" if abs(value) < 1e9 else f"{value:.3g}"


def ticks(low: float, high: float, wanted: int = 6) -> list[float]:
    """Return about `wanted` round numbers from `low` to `high`: multiples of 1, 2 or 5 times a power of ten."""
    if not high > low:
        return [low]
    raw = (high - low) / max(1, wanted)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [number * step for number in range(first, last + 1)]


def _text(x: float, y: float, content: str, *, anchor: str = "start", size: int = 12, soft: bool = False) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" '
        f'fill="{_SOFT if soft else _INK}">{escape(content)}</text>'
    )


def _svg(height: float, parts: Sequence[str], title: str) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" role="img" '
        f'aria-label="{escape(title, quote=True)}" font-family="{_FONT}">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>\n"
    )


def _legend(entries: Sequence[tuple[str, str]], y: float, x: float = 0.0) -> tuple[list[str], float]:
    """Return the legend's parts and the y below it; entries go on in the next line where the width is used up."""
    parts, left = [], x
    for label, color in entries:
        room = 22 + 6.8 * len(label) + 18
        if left > x and left + room > WIDTH:
            left, y = x, y + 20
        parts.append(f'<rect x="{left:.1f}" y="{y - 9:.1f}" width="11" height="11" rx="2" fill="{color}"/>')
        parts.append(_text(left + 17, y + 1, label))
        left += room
    return parts, y + 20


def stacked_bars(
    rows: Sequence[tuple[str, Sequence[tuple[str, float]]]],
    unit: str,
    title: str,
    fixed: Mapping[str, str] | None = None,
) -> str:
    """Draw one horizontal bar a row, made of its (name, value) parts; equal names have equal colours.

    `fixed` gives some names a colour, so that they have it in every plot; the others get what is next.
    """
    names = list(dict.fromkeys(name for _, parts in rows for name, _ in parts))
    colors = {name: COLORS[number % len(COLORS)] for number, name in enumerate(names)} | dict(fixed or {})
    left, bar = 16 + 7.8 * max(len(label) for label, _ in rows), 34
    totals = [sum(max(0.0, value) for _, value in parts) for _, parts in rows]
    longest = max(*totals, 1e-12)
    scale = (WIDTH - left - 110) / longest
    out, y = _legend([(name, colors[name]) for name in names], 12)
    y += 4
    for (label, parts), total in zip(rows, totals, strict=True):
        out.append(_text(left - 10, y + bar / 2 + 4, label, anchor="end", size=13))
        x = float(left)
        for name, value in parts:
            width = max(0.0, value) * scale
            out.append(
                f'<rect x="{x:.2f}" y="{y:.1f}" width="{width:.2f}" height="{bar}" fill="{colors[name]}">'
                f"<title>{escape(f'{label}, {name}: {_figure(value)} {unit}')}</title></rect>"
            )
            if width > 7 * len(_figure(value)) + 8:
                out.append(
                    f'<text x="{x + width / 2:.1f}" y="{y + bar / 2 + 4:.1f}" text-anchor="middle" font-size="12" '
                    f'fill="#fff">{_figure(value)}</text>'
                )
            x += width
        out.append(_text(x + 8, y + bar / 2 + 4, f"{_figure(total)} {unit}", size=13))
        y += bar + 12
    return _svg(y, out, title)


@dataclass(frozen=True)
class Steps:
    """A histogram to draw: `counts` in bins of `width` from `start`, and how many values there were in all."""

    label: str
    start: float
    width: float
    counts: Sequence[float]
    total: float


def _x_axis(low: float, high: float, box: tuple[float, float, float, float], label: str) -> list[str]:
    left, top, right, bottom = box
    out = []
    for value in ticks(low, high, 8):
        x = left + (value - low) / (high - low) * (right - left)
        out.append(f'<line x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{bottom}" stroke="{_GRID}"/>')
        out.append(_text(x, bottom + 17, f"{value:g}", anchor="middle", soft=True))
    out.append(_text(right, bottom + 34, label, anchor="end", soft=True))
    return out


def step_areas(series: Sequence[Steps], unit: str, title: str, marks: Sequence[tuple[str, float]] = ()) -> str:
    """Draw histograms over one another, each of the same area; `marks` are vertical lines with a label."""
    low = min(steps.start for steps in series)
    high = max(steps.start + steps.width * len(steps.counts) for steps in series)
    high = max(high, low + 1e-9)
    out, top = _legend([(steps.label, COLORS[number]) for number, steps in enumerate(series)], 12)
    top += 14.0
    bottom, left, right = top + 200, 10.0, WIDTH - 10.0
    heights = [[count / (steps.width * max(1.0, steps.total)) for count in steps.counts] for steps in series]
    tallest = max(max(values, default=0.0) for values in heights) or 1.0

    def place(value: float) -> float:
        return left + (value - low) / (high - low) * (right - left)

    out += _x_axis(low, high, (left, top, right, bottom), unit)
    for number, (steps, values) in enumerate(zip(series, heights, strict=True)):
        points = [(place(steps.start), bottom)]
        for index, value in enumerate(values):
            y = bottom - value / tallest * (bottom - top)
            points += [
                (place(steps.start + index * steps.width), y),
                (place(steps.start + (index + 1) * steps.width), y),
            ]
        points.append((points[-1][0], bottom))
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        out.append(
            f'<polygon points="{path}" fill="{COLORS[number]}" fill-opacity="0.28" stroke="{COLORS[number]}" '
            f'stroke-width="1.5" stroke-linejoin="round"/>'
        )
    for label, value in marks:
        if low <= value <= high:
            x = place(value)
            out.append(
                f'<line x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{bottom}" stroke="{_INK}" stroke-dasharray="4 3"/>'
            )
            at_edge = x > right - 40
            out.append(_text(x + (-4 if at_edge else 4), top + 4, label, anchor="end" if at_edge else "start", size=11))
    return _svg(bottom + 42, out, title)


@dataclass(frozen=True)
class Curve:
    """A line through (x, y); a y of None interrupts it."""

    label: str
    points: Sequence[tuple[float, float | None]]
    color: int = 0
    dashed: bool = False


@dataclass(frozen=True)
class Panel:
    """Curves that share a y axis. `from_zero` begins it at 0."""

    label: str
    curves: Sequence[Curve]
    from_zero: bool = False
    shaded: Sequence[tuple[float, float]] = field(default=())


def curves(panels: Sequence[Panel], x_label: str, title: str) -> str:
    """Draw panels below one another with one x axis; `shaded` spans of x are marked (throttling, for instance)."""
    xs = [x for panel in panels for curve in panel.curves for x, _ in curve.points]
    low, high = min(xs), max(xs)
    high = max(high, low + 1e-9)
    left, right, y = 58.0, WIDTH - 10.0, 4.0
    out: list[str] = []
    for number, panel in enumerate(panels):
        entries = [(curve.label, COLORS[curve.color]) for curve in panel.curves]
        legend, top = _legend(entries, y + 10, left)
        out += legend
        top += 2
        bottom = top + (190 if number == 0 else 110)
        values = [value for curve in panel.curves for _, value in curve.points if value is not None]
        floor, ceiling = (min(values), max(values)) if values else (0.0, 1.0)
        floor = 0.0 if panel.from_zero else floor
        margin = (ceiling - floor) * 0.08 or max(abs(ceiling) * 0.05, 1e-6)
        ceiling += margin
        floor -= 0.0 if panel.from_zero else margin

        def place(point: tuple[float, float], bounds: tuple[float, ...] = (floor, ceiling, top, bottom)) -> str:
            share = (point[1] - bounds[0]) / (bounds[1] - bounds[0])
            return (
                f"{left + (point[0] - low) / (high - low) * (right - left):.1f},"
                f"{bounds[3] - share * (bounds[3] - bounds[2]):.1f}"
            )

        for begin, end in panel.shaded:
            x1, x2 = (left + (edge - low) / (high - low) * (right - left) for edge in (begin, end))
            out.append(
                f'<rect x="{x1:.1f}" y="{top:.1f}" width="{max(2.0, x2 - x1):.1f}" height="{bottom - top:.1f}" '
                f'fill="var(--warn,#e8590c)" fill-opacity="0.16"/>'
            )
        for value in ticks(floor, ceiling, 5 if number == 0 else 3):
            height = float(place((low, value)).split(",")[1])
            out.append(f'<line x1="{left}" y1="{height}" x2="{right}" y2="{height}" stroke="{_GRID}"/>')
            out.append(_text(left - 8, height + 4, f"{value:g}", anchor="end", soft=True))
        out.append(_text(right, top - 6, panel.label, anchor="end", soft=True))
        for curve in panel.curves:
            for piece in _pieces(curve.points):
                path = " ".join(place(point) for point in piece)
                dash = ' stroke-dasharray="5 4"' if curve.dashed else ""
                out.append(
                    f'<polyline points="{path}" fill="none" stroke="{COLORS[curve.color]}" stroke-width="1.8" '
                    f'stroke-linejoin="round"{dash}/>'
                )
        if number == len(panels) - 1:
            out += _x_axis(low, high, (left, bottom, right, bottom), x_label)
            bottom += 24
        y = bottom + 18
    return _svg(y, out, title)


def _pieces(points: Sequence[tuple[float, float | None]]) -> list[list[tuple[float, float]]]:
    """Return the runs of points between the gaps."""
    pieces: list[list[tuple[float, float]]] = [[]]
    for x, value in points:
        if value is None:
            pieces.append([])
        else:
            pieces[-1].append((x, value))
    return [piece for piece in pieces if piece]
