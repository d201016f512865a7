"""A soak: what an hour of work does to latency, temperature and clock."""

from __future__ import annotations

from typing import Any

from bench import charts
from bench.resultfile import at, number_at, texts_at
from bench.sections.parts import MOST_POINTS, Plot, Section, show

__all__ = ["soak"]


def _merged(spans: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Join spans that touch, so that no seam shows between them."""
    joined: list[tuple[float, float]] = []
    for begin, end in sorted(spans):
        if joined and begin <= joined[-1][1] + 1e-6 + 0.1 * (end - begin):
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((begin, end))
    return joined


def soak(result: dict[str, Any], section: Section) -> None:
    """Fill the section of a `bench soak`: latency, temperature and clock over the run."""
    points = at(result, "points")
    points = points[:MOST_POINTS] if isinstance(points, list) else []
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
    section.headlines.append(("ran for", show(times[-1][1] / 60, "minutes", 1)))
    for side in ("defended", "undefended"):
        drift = number_at(result, "drift", side)
        if drift is not None:
            section.headlines.append((f"last fifth over first, {side}", f"{drift:.3f} x"))
    hottest = [value for index, _ in times if (value := number_at(points, index, "temperature_c")) is not None]
    if hottest:
        section.headlines.append(("hottest", show(max(hottest), "°C", 1)))
    caption = "Latency, temperature and clock over the run." + (
        " Shaded: the board said that it throttled." if shaded else ""
    )
    section.plots.append(Plot("soak", charts.curves(panels, "minutes", "Latency over time"), caption))
