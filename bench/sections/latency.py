"""Latency: how much the defence adds to a query, where its time goes, how the times are spread."""

from __future__ import annotations

from typing import Any

from bench import charts
from bench.resultfile import at, number_at, text_at
from bench.sections.parts import MOST_POINTS, Plot, Section, Table, show

__all__ = ["latency"]

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


def _percentile_table(result: dict[str, Any]) -> Table | None:
    columns = [part for part in _PARTS if number_at(result, "defended", "stages", "total_ms", part) is not None]
    rows = [
        [
            name if side == "defended" else f"{name}, undefended",
            *(show(number_at(result, side, "stages", name, part)) for part in columns),
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
        or not 0 < len(counts) <= MOST_POINTS
    ):
        return None
    values = [max(0.0, number_at(counts, index) or 0.0) for index in range(len(counts))]
    return charts.Steps(side, start, width, values, sum(values) + (number_at(kept, "above") or 0.0))


def latency(result: dict[str, Any], section: Section) -> None:
    """Fill the section of a `bench latency`: ratio of defended and undefended, stages, histogram."""
    name, value = text_at(result, "figure", "name"), number_at(result, "figure", "value")
    if name == "samples_per_s":
        section.headlines.append(("defended", show(value, "images/s", 1)))
    elif value is not None:
        section.headlines.append((f"{name} of a query", show(value, "ms", 2)))
    else:
        section.headlines.append((f"{name or 'figure'} of a query", "too few queries"))
    low, high = number_at(result, "overhead", "low"), number_at(result, "overhead", "high")
    section.headlines.append(("defended over undefended", f"{show(number_at(result, 'overhead', 'median'))} x"))
    share = number_at(result, "defend_share", "median")
    if share is not None:
        section.headlines.append(("defence over model", show(100 * share, "%", 1)))
    section.headlines.append(
        (f"queries in {show(number_at(result, 'seconds'), 's', 1)}", show(number_at(result, "queries"), "", 0))
    )
    if low is not None and high is not None:
        section.notes.append(
            f"Defended and undefended queries ran in turn. The median of their ratio lies in [{low:.3f}, {high:.3f}] "
            "with 95 % confidence; it holds on a machine where the milliseconds do not."
        )
    draws, vote = number_at(result, "draws") or 1, number_at(result, "undefended_vote") or 0
    milder = number_at(result, "milder_vote", "share") or 0
    voters = number_at(result, "milder_vote", "draws") or (1 if vote > 0 else 0)
    voting = f", with the undefended answer's vote of {vote:g}" if vote > 0 else ""
    if milder > 0:
        voting = f", with a vote of {milder:g} of {voters:.0f} draws behind less noise"
    if draws > 1 or voters:
        section.notes.append(
            f"An answer is the mean of {draws:.0f} draw{'s' if draws > 1 else ''} of the defence"
            f"{voting}: {draws + voters:.0f} runs of the model, where the undefended side makes one."
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
