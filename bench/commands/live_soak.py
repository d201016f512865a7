"""`edgedefend bench live-soak`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import click

from bench.commands.options import echo_verdict, json_option, progress, save
from edgedefend.commands.options import format_table

__all__ = ["live_soak"]


@click.command("live-soak")
@click.argument("bundle")
@click.option("--minutes", type=click.FloatRange(0.5), default=60.0, show_default=True)
@click.option("--fps", type=click.FloatRange(0.5, 100), default=10.0, show_default=True, help="Of the camera.")
@click.option(
    "--requests", type=click.FloatRange(0, 1000), default=2.0, show_default=True, help="HTTP requests a second."
)
@json_option
def live_soak(bundle: str, minutes: float, fps: float, requests: float, json_path: Path | None) -> None:
    """A camera, a broker and HTTP requests at once, while one after the other fails.

    Needs mosquitto; a full disk is tried as root only. The exit code is 1 when a result was lost, or doubled by
    anything but a kill, memory or open files have grown, or answers have become slow.
    """
    from bench.live_soak import measure_live_soak

    with tempfile.TemporaryDirectory() as folder, progress("seconds", round(60 * minutes)) as tick:
        result = measure_live_soak(bundle, Path(folder), minutes=minutes, fps=fps, request_rate=requests, tick=tick)
    _print(result)
    save(result, json_path)
    if result["failures"]:
        sys.exit(1)


def _print(result: dict[str, Any]) -> None:
    rows = [
        [
            row["fault"],
            "-" if row["not_run"] else f"{row['lasted_s']:.1f}",
            "-" if row["not_run"] else str(row["answers_meanwhile"]),
            row["not_run"] or f"{row['recovered_s']:.2f}",
            str(row["doubled"]),
        ]
        for row in result["recoveries"]
    ]
    click.echo(format_table(["fault", "lasted s", "answers meanwhile", "next results after s", "sent twice"], rows))
    delivery, growth, age = result["delivery"], result["growth"], result["age_ms"]
    click.echo(
        f"{delivery['published']} results published, {delivery['received']} received: {delivery['lost']} lost, "
        f"{delivery['doubled']} doubled, {'in order' if delivery['in_order'] else 'OUT OF ORDER'}"
    )
    click.echo(
        f"memory {growth['memory_mb_begin']:.1f} MB, then {growth['memory_mb_end']:.1f} MB "
        f"({growth['memory_mb_per_minute']:+.3f} +- {growth['memory_slope_error']:.3f} MB a minute); "
        f"open files {growth['files_begin']}, then {growth['files_end']}"
    )
    if age["ratio"] is not None:
        click.echo(
            f"p99 of a result's age {age['first_p99']:.0f} ms in the first part ({age['first_n']} results), "
            f"{age['rest_p99']:.0f} ms after ({age['rest_n']}): {age['ratio']:.2f} times"
        )
    if result["requests"] is not None:
        click.echo(
            "HTTP: " + ", ".join(f"{count} times {status}" for status, count in sorted(result["requests"].items()))
        )
    click.echo("; ".join(result["failures"]) or "nothing lost, nothing doubled but by a kill, nothing grown")
    echo_verdict(result["conditions"])
