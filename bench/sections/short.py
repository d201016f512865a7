"""Sections of a table or a plot: accuracy, start-up, memory, throughput, and whatever has no section of its own."""

from __future__ import annotations

from typing import Any

from bench import charts
from bench.resultfile import at, number_at, numbers, text_at
from bench.sections.parts import MOST_POINTS, Plot, Section, Table, show

__all__ = ["accuracy", "anything", "distortion", "memory", "startup", "throughput"]


def accuracy(result: dict[str, Any], section: Section) -> None:
    """Fill the section of a `bench accuracy`: a row for each defence."""
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


def distortion(result: dict[str, Any], section: Section) -> None:
    """Fill the section of a `bench distortion`: what a bundle costs and buys, by how many draws make an answer."""
    report, draws = at(result, "report"), number_at(result, "draws") or 1
    table = []
    for count in sorted({1, int(draws)}):
        accuracy, found = (at(report, name, str(count)) for name in ("accuracy", "distortion"))
        ratio = f"{show(number_at(found, 'ratio'))} [{show(number_at(found, 'low'))}, {show(number_at(found, 'high'))}]"
        table.append(
            [
                str(count),
                show(number_at(accuracy, "value"), "", 3),
                ratio,
                show(number_at(found, "geometric_mean_ratio")),
                show(number_at(found, "ratios", 0)),
                show(number_at(found, "n"), "", 0),
            ]
        )
    section.headlines.append((f"distortion needed over undefended, {draws:.0f} draws an answer", table[-1][2]))
    section.headlines.append(("accuracy lost", show(number_at(report, "accuracy_drop", "value"), "", 3)))
    header = [
        "draws an answer",
        "accuracy",
        "ratio of medians [95 %]",
        "geometric mean",
        "least",
        "photographs attacked",
    ]
    section.tables.append(Table(header, table))
    section.notes.append(
        f"{text_at(result, 'name')}; attacks of {show(number_at(report, 'steps'), 'steps', 0)}: more may find less."
    )
    attacks = at(report, "attacks")
    if isinstance(attacks, dict) and len(attacks) > 1:
        each = ", ".join(f"{text_at([way], 0)} {show(number_at(attacks, way, 'ratio'))}" for way in list(attacks)[:5])
        section.notes.append(
            f"The best of several attacks on each photograph; ratio of medians of each by itself: {each}."
        )


def startup(result: dict[str, Any], section: Section) -> None:
    """Fill the section of a `bench startup`: what a process costs before it answers."""
    for key, label, unit, digits in (
        ("extra_s", "classify over the bare script", "s", 3),
        ("extra_cpu_s", "the same in CPU time", "s", 3),
        ("import_s", "import edgedefend", "s", 3),
        ("import_defense_s", "import Defense", "s", 3),
        ("extra_mb", "peak memory over the bare script", "MB", 0),
    ):
        section.headlines.append((label, show(number_at(result, key), unit, digits)))
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
                    show(number_at(rows, name, "wall_s")),
                    show(number_at(rows, name, "cpu_s")),
                    show(number_at(rows, name, "peak_mb"), "", 0),
                ]
                for name in names
            ],
        )
    )


def memory(result: dict[str, Any], section: Section) -> None:
    """Fill the section of a `bench memory`: whether memory grows."""
    slope, error = number_at(result, "slope_kb_per_1000"), number_at(result, "slope_error")
    section.headlines.append(("images", show(number_at(result, "images"), "", 0)))
    section.headlines.append(("growth a thousand images", f"{show(slope)} ± {show(error)} kB"))
    section.headlines.append(("resident memory at the end", show(number_at(result, "end_mb"), "MB", 1)))
    kept = at(result, "samples_mb")
    values = [number_at(kept, index) for index in range(min(len(kept), MOST_POINTS))] if isinstance(kept, list) else []
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


def anything(result: dict[str, Any], section: Section) -> None:
    """Show a kind of result that has no section of its own: every figure it holds."""
    rows = [[text_at([name], 0), f"{value:.6g}"] for name, value in numbers(result)]
    if rows:
        section.tables.append(Table(["figure", "value"], rows[:200]))


def throughput(result: dict[str, Any], section: Section) -> None:
    """Fill the section of a `bench throughput`: the defended rate over the bare model's."""
    section.headlines.append(("of the bare model's rate", f"{show(number_at(result, 'ratio'))} x"))
    section.headlines.append(("behind the defence", show(number_at(result, "pipeline_fps"), "images/s", 1)))
    section.headlines.append(("bare, by the runtime's own tool", show(number_at(result, "bare_fps"), "images/s", 1)))
    ratios = at(result, "ratios")
    count = min(len(ratios), 1000) if isinstance(ratios, list) else 0
    known = [value for index in range(count) if (value := number_at(ratios, index)) is not None]
    if known:
        section.notes.append(f"{len(known)} rounds in turn, ratios from {min(known):.3f} to {max(known):.3f}.")
