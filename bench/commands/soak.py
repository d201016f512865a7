"""`edgedefend bench soak`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bench.commands.options import echo_verdict, progress, save
from edgedefend.commands.options import backend_option, format_table, threads_option

__all__ = ["soak"]


@click.command()
@click.argument("bundle")
@click.option("--minutes", type=click.FloatRange(0, min_open=True), default=30.0, show_default=True)
@click.option(
    "--every", type=click.FloatRange(0.1, 600), default=5.0, show_default=True, help="Seconds a point of the curve."
)
@click.option(
    "--json",
    "json_path",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("soak.json"),
    show_default=True,
    help="Written every minute and at the end.",
)
@click.option("--resume", is_flag=True, help="Go on with the file of --json, which an earlier run has left.")
@click.option("--report", "report_folder", type=click.Path(path_type=Path), help="Draw the curve in this folder.")
@threads_option
@backend_option
def soak(
    bundle: str,
    minutes: float,
    every: float,
    json_path: Path,
    resume: bool,
    report_folder: Path | None,
    **options: Any,
) -> None:
    """Latency and temperature over time, as JSON and as a plot.

    Ctrl-C stops it and writes what there is; the same command with --resume goes on from there.
    """
    from bench.resultfile import read_result
    from bench.soak import measure_soak
    from edgedefend.bundle import load_bundle
    from edgedefend.errors import UsageError

    if not json_path.parent.is_dir():
        raise UsageError(f"{json_path}: the folder {json_path.parent} does not exist: make it first")
    if json_path.exists() and not resume:
        raise UsageError(f"{json_path} is there already: add --resume to go on with it, or name another file")
    if resume and not json_path.exists():
        raise UsageError(f"{json_path}: there is nothing to go on with: leave --resume away")
    earlier = read_result(json_path) if resume else None
    with progress("seconds", round(60 * minutes)) as tick:
        result = measure_soak(
            load_bundle(bundle),
            minutes=minutes,
            every_s=every,
            resume=earlier,
            keep=lambda so_far: save(so_far, json_path, quiet=True),
            tick=tick,
            **options,
        )
    _print(result)
    save(result, json_path)
    if report_folder is not None:
        from bench.report import write_report

        for path in write_report([(json_path.name, result)], report_folder):
            click.echo(f"wrote {path}")


def _print(result: dict[str, Any]) -> None:
    points = result["points"]
    if not points:
        click.echo("stopped before the first point")
        return
    # Ten lines say enough on a terminal: the curve is in the file.
    shown = points if len(points) <= 10 else [points[round(i * (len(points) - 1) / 9)] for i in range(10)]
    rows = [
        [
            f"{point['t_s'] / 60:.1f}",
            *(f"{point[side][name]:.3f}" for side in ("defended", "undefended") for name in ("p50", "p90")),
            "-" if point["temperature_c"] is None else f"{point['temperature_c']:.1f}",
            "-" if point["true_mhz"] is None else f"{point['true_mhz']:.0f}",
            ", ".join(point["throttled_now"] or []) or "-",
        ]
        for point in shown
    ]
    header = ["minute", "p50 ms", "p90 ms", "undefended p50", "p90", "°C", "MHz", "throttled"]
    click.echo(format_table(header, rows))
    if result["drift"]:
        click.echo(
            f"the last fifth of the run took {result['drift']['defended']:.3f} times as long an image as the first "
            f"(undefended {result['drift']['undefended']:.3f})"
        )
    echo_verdict(result["conditions"])
