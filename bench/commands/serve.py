"""`edgedefend bench serve`."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import click

from bench.commands.options import echo_verdict, json_option, progress, save
from edgedefend.commands.options import format_table

__all__ = ["serve"]


@click.command()
@click.argument("bundle")
@click.option("--data", default="sample", show_default=True, help="Where the pictures come from, as in accuracy.")
@click.option("--fitted", is_flag=True, help="Send them at the model's size (JPEG): decoding costs little then.")
@click.option("--workers", type=click.IntRange(1, 64), help="Of the service (default: the CPUs it may use).")
@click.option("--threads", type=click.IntRange(1, 64), default=1, show_default=True, help="Of each worker.")
@click.option("--waiting", type=click.IntRange(0, 1024), default=8, show_default=True, help="As of edgedefend serve.")
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
@click.option("--seconds", type=click.FloatRange(0.1), default=5.0, show_default=True, help="Of each side of a round.")
@click.option("--overload", type=click.FloatRange(1), default=5.0, show_default=True, help="Times the capacity.")
@click.option("--client", type=click.Choice(["python", "wrk"]), default="python", show_default=True, help="Who asks.")
@json_option
def serve(
    bundle: str,
    data: str,
    fitted: bool,
    workers: int | None,
    threads: int,
    waiting: int,
    rounds: int,
    seconds: float,
    overload: float,
    client: str,
    json_path: Path | None,
) -> None:
    """Requests a second over loopback beside the pipeline without HTTP, and what an overload does."""
    from bench.serve import fitted_files, measure_serving
    from edgedefend.bundle import load_bundle
    from edgedefend.dataset import load_dataset
    from edgedefend.interpreter import available_threads

    loaded = load_bundle(bundle)
    files = [item.path for item in load_dataset(data, loaded.labels).first(20)]
    with progress("rounds", rounds) as tick, TemporaryDirectory() as folder:
        if fitted:
            files = fitted_files(loaded, files, Path(folder))
        result = measure_serving(
            loaded,
            files,
            workers=workers or available_threads(),
            threads=threads,
            waiting=waiting,
            rounds=rounds,
            seconds=seconds,
            overload=overload,
            overload_seconds=2 * seconds,
            client=client,
            tick=tick,
        )
    result["source"]["fitted"] = fitted
    each = sorted(result["ratios"])
    click.echo(
        f"{loaded.model_name} {loaded.precision}, {result['workers']} workers of {threads} threads, "
        f"{result['clients']} clients: {result['served_per_s']:.1f} answers/s over HTTP, "
        f"{result['offline_per_s']:.1f} images/s offline, ratio {result['ratio']:.3f} ({each[0]:.3f} to {each[-1]:.3f})"
    )
    click.echo(
        f"beside pictures that are decoded and resized already, {result['ready']['per_s']:.1f} images/s offline: "
        f"ratio {result['ratio_ready']:.3f}"
    )
    sides = {"service": result["served"], "pipeline": result["offline"], "pipeline, ready": result["ready"]}
    rows = []
    for side, measured in sides.items():
        for who, cpu_ms in measured["cpu_ms"].items():
            rows.append([f"{side}: {who}" if who != "pipeline" else side, f"{cpu_ms:.2f}"])
    click.echo(format_table(["CPU time a picture", "ms"], rows))
    flood = result["overload"]
    rows = [
        ["answered", flood["accepted"], f"{flood['accepted_ms'].get('p50', float('nan')):.1f}"],
        ["refused (503)", flood["refused"], f"{flood['refused_ms'].get('p50', float('nan')):.1f}"],
        ["other answers", flood["other"], ""],
        ["no answer", flood["hanging"], ""],
    ]
    click.echo(format_table([f"{overload:g} times that", "requests", "p50 ms"], rows))
    if flood["accepted"]:
        p99 = flood["accepted_ms"].get("p99")
        click.echo(
            f"slowest of the answered {flood['slowest_accepted_ms']:.1f} ms, "
            + (f"p99 {p99:.1f} ms" if p99 else "too few for a p99")
            + f"; a full queue takes {flood['bound_ms']:.1f} ms at the rate without overload"
        )
    echo_verdict(result["conditions"])
    save(result, json_path)
