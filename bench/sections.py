"""What a report says of each kind of result: headline figures, tables, plots. How it looks is `bench.report`'s affair.

Nothing here trusts a result: every value is read through `bench.resultfile`, and what is missing is left away.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bench import charts
from bench.condition_rows import condition_rows
from bench.resultfile import at, label_of, number_at, numbers, text_at, texts_at

__all__ = ["Plot", "Section", "Table", "section_of"]

_STAGES = ("capture_ms", "decode_ms", "resize_ms", "prepare_ms", "defend_ms", "invoke_ms")
# The defence stands out in every plot, the model is always the same blue.
_STAGE_COLORS = {
    "defend": charts.COLORS[1],
    "invoke": charts.COLORS[0],
    "copy": "var(--soft,#64707d)",
    "decode": charts.COLORS[5],
    "capture": charts.COLORS[3],
    "resize": charts.COLORS[2],
}
_PARTS = ("p50", "p90", "p95", "p99")
# Longest list that a plot takes from a file: ours have some hundreds of points.
_MOST_POINTS = 5000


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


def _show(value: float | None, unit: str = "", digits: int = 3) -> str:
    if value is None:
        return "-"
    shown = f"{value:,.{digits}f}" if abs(value) < 1e7 else f"{value:.3g}"
    return f"{shown} {unit}".strip()


def _percentile_table(result: dict[str, Any]) -> Table | None:
    columns = [part for part in _PARTS if number_at(result, "defended", "stages", "total_ms", part) is not None]
    rows = [
        [
            name if side == "defended" else f"{name}, undefended",
            *(_show(number_at(result, side, "stages", name, part)) for part in columns),
        ]
        for side in ("defended", "undefended")
        for name in (*_STAGES, "total_ms")
        if number_at(result, side, "stages", name, "p50") is not None
        and (side == "defended" or name in ("invoke_ms", "total_ms"))
    ]
    return Table(["stage", *(f"{part} ms" for part in columns)], rows) if rows else None


def _stage_bars(result: dict[str, Any]) -> Plot | None:
    rows = []
    for side in ("defended", "undefended"):
        parts = []
        for name in _STAGES:
            value = number_at(result, side, "stages", name, "p50")
            if value is not None and value >= 0:
                copied = side == "undefended" and name == "defend_ms"
                parts.append(("copy" if copied else name.removesuffix("_ms"), value))
        if parts:
            rows.append((side, parts))
    if not rows or text_at(result, "scenario") == "offline":
        return None
    return Plot(
        "stages",
        charts.stacked_bars(rows, "ms", "Median time of each stage", _STAGE_COLORS),
        "Median time of each stage of a query. The undefended side copies a ready tensor: no program does less.",
    )


def _steps(result: dict[str, Any], side: str) -> charts.Steps | None:
    kept = at(result, side, "histogram")
    start, width = number_at(kept, "start_ms"), number_at(kept, "width_ms")
    counts = at(kept, "counts")
    if (
        start is None
        or width is None
        or width <= 0
        or not isinstance(counts, list)
        or not 0 < len(counts) <= _MOST_POINTS
    ):
        return None
    values = [max(0.0, number_at(counts, index) or 0.0) for index in range(len(counts))]
    return charts.Steps(side, start, width, values, sum(values) + (number_at(kept, "above") or 0.0))


def _latency(result: dict[str, Any], section: Section) -> None:
    name, value = text_at(result, "figure", "name"), number_at(result, "figure", "value")
    if name == "samples_per_s":
        section.headlines.append(("defended", _show(value, "images/s", 1)))
    elif value is not None:
        section.headlines.append((f"{name} of a query", _show(value, "ms", 2)))
    else:
        section.headlines.append((f"{name or 'figure'} of a query", "too few queries"))
    low, high = number_at(result, "overhead", "low"), number_at(result, "overhead", "high")
    section.headlines.append(("defended over undefended", f"{_show(number_at(result, 'overhead', 'median'))} x"))
    share = number_at(result, "defend_share", "median")
    if share is not None:
        section.headlines.append(("defence over model", _show(100 * share, "%", 1)))
    section.headlines.append(
        (f"queries in {_show(number_at(result, 'seconds'), 's', 1)}", _show(number_at(result, "queries"), "", 0))
    )
    if low is not None and high is not None:
        section.notes.append(
            f"Defended and undefended queries ran in turn. The median of their ratio lies in [{low:.3f}, {high:.3f}] "
            "with 95 % confidence; it holds on a machine where the milliseconds do not."
        )
    missing = at(result, "missing")
    parts = list(missing)[: len(_PARTS)] if isinstance(missing, dict) else []
    if parts:
        needs = ", ".join(f"{text_at([part], 0)} ({text_at(missing, part)})" for part in parts)
        section.notes.append(f"Too few queries for: {needs}.")
    section.plots.extend(plot for plot in (_stage_bars(result),) if plot)
    series = [steps for side in ("defended", "undefended") if (steps := _steps(result, side))]
    if series:
        marks = [
            (part, mark)
            for part in ("p50", "p90", "p99")
            if (mark := number_at(result, "defended", "stages", "total_ms", part)) is not None
        ]
        svg = charts.step_areas(series, "ms from scheduled to reply", "Latency histogram", marks)
        section.plots.append(
            Plot(
                "histogram",
                svg,
                "How often a query took how long, up to p99; the dashed lines are percentiles of the defended side.",
            )
        )
    table = _percentile_table(result)
    if table:
        section.tables.append(table)


def _merged(spans: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Join spans that touch, so that no seam shows between them."""
    joined: list[tuple[float, float]] = []
    for begin, end in sorted(spans):
        if joined and begin <= joined[-1][1] + 1e-6 + 0.1 * (end - begin):
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((begin, end))
    return joined


def _soak(result: dict[str, Any], section: Section) -> None:
    points = at(result, "points")
    points = points[:_MOST_POINTS] if isinstance(points, list) else []
    times = [(index, time) for index in range(len(points)) if (time := number_at(points, index, "t_s")) is not None]
    if not times:
        section.notes.append("It was stopped before its first point.")
        return

    def curve(label: str, color: int, *keys: str, dashed: bool = False) -> charts.Curve:
        return charts.Curve(
            label, [(time / 60, number_at(points, index, *keys)) for index, time in times], color, dashed
        )

    def known(key: str) -> bool:
        return any(number_at(points, index, key) is not None for index, _ in times)

    half = (number_at(result, "every_s") or 5.0) / 120
    throttled = [time / 60 for index, time in times if texts_at(points, index, "throttled_now")]
    shaded = _merged([(minute - 2 * half, minute) for minute in throttled])
    latency = [
        curve("defended p90", 1, "defended", "p90", dashed=True),
        curve("defended p50", 0, "defended", "p50"),
        curve("undefended p50", 2, "undefended", "p50"),
    ]
    panels = [charts.Panel("ms", latency, from_zero=True, shaded=shaded)]
    if known("temperature_c"):
        panels.append(charts.Panel("°C", [curve("temperature", 1, "temperature_c")], shaded=shaded))
    else:
        section.notes.append("This machine does not tell its temperature.")
    if known("true_mhz") or known("requested_mhz"):
        clocks = [curve("true clock", 0, "true_mhz"), curve("requested clock", 4, "requested_mhz", dashed=True)]
        panels.append(
            charts.Panel("MHz", [c for c in clocks if any(y is not None for _, y in c.points)], shaded=shaded)
        )
    section.headlines.append(("ran for", _show(times[-1][1] / 60, "minutes", 1)))
    for side in ("defended", "undefended"):
        drift = number_at(result, "drift", side)
        if drift is not None:
            section.headlines.append((f"last fifth over first, {side}", f"{drift:.3f} x"))
    hottest = [value for index, _ in times if (value := number_at(points, index, "temperature_c")) is not None]
    if hottest:
        section.headlines.append(("hottest", _show(max(hottest), "°C", 1)))
    caption = "Latency, temperature and clock over the run." + (
        " Shaded: the board said that it throttled." if shaded else ""
    )
    section.plots.append(Plot("soak", charts.curves(panels, "minutes", "Latency over time"), caption))


def _accuracy(result: dict[str, Any], section: Section) -> None:
    rows = at(result, "rows")
    table = []
    for name in list(rows)[:50] if isinstance(rows, dict) else []:
        cells = [text_at([name], 0)]
        for top in ("top1", "top5"):
            values = [number_at(rows, name, top, key) for key in ("value", "low", "high", "n")]
            known = [value for value in values if value is not None]
            cells.append("{:.3f} [{:.3f}, {:.3f}] n={:.0f}".format(*known) if len(known) == 4 else "-")
        table.append(cells)
    section.tables.append(Table(["defence", "top-1 [95 % Wilson]", "top-5 [95 % Wilson]"], table))


def _startup(result: dict[str, Any], section: Section) -> None:
    for key, label, unit, digits in (
        ("extra_s", "classify over the bare script", "s", 3),
        ("extra_cpu_s", "the same in CPU time", "s", 3),
        ("import_s", "import edgedefend", "s", 3),
        ("import_defense_s", "import Defense", "s", 3),
        ("extra_mb", "peak memory over the bare script", "MB", 0),
    ):
        section.headlines.append((label, _show(number_at(result, key), unit, digits)))
    rows = at(result, "rows")
    names = [name for name in rows if number_at(rows, name, "wall_s") is not None] if isinstance(rows, dict) else []
    names = names[:20]
    bars = [(text_at([name], 0), [("wall time", number_at(rows, name, "wall_s") or 0.0)]) for name in names]
    if bars:
        section.plots.append(
            Plot(
                "startup",
                charts.stacked_bars(bars, "s", "Wall time of a process"),
                "Wall time of a whole process, from start to end.",
            )
        )
    section.tables.append(
        Table(
            ["process", "wall s", "CPU s", "peak MB"],
            [
                [
                    text_at([name], 0),
                    _show(number_at(rows, name, "wall_s")),
                    _show(number_at(rows, name, "cpu_s")),
                    _show(number_at(rows, name, "peak_mb"), "", 0),
                ]
                for name in names
            ],
        )
    )


def _memory(result: dict[str, Any], section: Section) -> None:
    slope, error = number_at(result, "slope_kb_per_1000"), number_at(result, "slope_error")
    section.headlines.append(("images", _show(number_at(result, "images"), "", 0)))
    section.headlines.append(("growth a thousand images", f"{_show(slope)} ± {_show(error)} kB"))
    section.headlines.append(("resident memory at the end", _show(number_at(result, "end_mb"), "MB", 1)))
    kept = at(result, "samples_mb")
    values = [number_at(kept, index) for index in range(min(len(kept), _MOST_POINTS))] if isinstance(kept, list) else []
    images = number_at(result, "images") or float(len(values))
    if any(value is not None for value in values):
        curve = charts.Curve(
            "resident memory", [((i + 1) * images / len(values) / 1000, value) for i, value in enumerate(values)]
        )
        section.plots.append(
            Plot(
                "memory",
                charts.curves([charts.Panel("MB", [curve], from_zero=True)], "thousand images", "Resident memory"),
                "Resident memory over the run; pictures of changing sizes.",
            )
        )


def _anything(result: dict[str, Any], section: Section) -> None:
    """Show a kind of result that has no section of its own: every figure it holds."""
    rows = [[text_at([name], 0), f"{value:.6g}"] for name, value in numbers(result)]
    if rows:
        section.tables.append(Table(["figure", "value"], rows[:200]))


def _throughput(result: dict[str, Any], section: Section) -> None:
    section.headlines.append(("of the bare model's rate", f"{_show(number_at(result, 'ratio'))} x"))
    section.headlines.append(("behind the defence", _show(number_at(result, "pipeline_fps"), "images/s", 1)))
    section.headlines.append(("bare, by the runtime's own tool", _show(number_at(result, "bare_fps"), "images/s", 1)))
    ratios = at(result, "ratios")
    count = min(len(ratios), 1000) if isinstance(ratios, list) else 0
    known = [value for index in range(count) if (value := number_at(ratios, index)) is not None]
    if known:
        section.notes.append(f"{len(known)} rounds in turn, ratios from {min(known):.3f} to {max(known):.3f}.")


def _robustness(result: dict[str, Any], section: Section) -> None:
    from bench.robustness.section import describe

    describe(result, section)


_KINDS: dict[str, Callable[[dict[str, Any], Section], None]] = {
    "latency": _latency,
    "soak": _soak,
    "accuracy": _accuracy,
    "startup": _startup,
    "throughput": _throughput,
    "memory-growth": _memory,
    "robustness": _robustness,
}


def section_of(file: str, result: dict[str, Any]) -> Section:
    """Return what a report says of one result; kinds it does not know are shown as a table of their figures."""
    verdict = text_at(result, "conditions", "verdict")
    section = Section(
        title=label_of(result),
        file=file,
        verdict=verdict if verdict in ("VALID", "TAINTED") else "NO VERDICT",
        reasons=texts_at(result, "conditions", "reasons"),
        unknown=texts_at(result, "conditions", "unknown"),
        facts=condition_rows(result),
    )
    _KINDS.get(text_at(result, "kind"), _anything)(result, section)
    return section
