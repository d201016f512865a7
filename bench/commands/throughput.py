"""`edgedefend bench throughput`."""

from __future__ import annotations

from pathlib import Path

import click

from bench.commands.options import echo_verdict, json_option, progress, save

__all__ = ["throughput"]


@click.command()
@click.argument("bundle")
@click.option("--data", default="sample", show_default=True, help="Where the frames come from, as in accuracy.")
@click.option("--frames", type=click.IntRange(1), default=300, show_default=True, help="A round, for each side.")
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
@click.option("--threads", type=click.IntRange(1, 64), default=1, show_default=True, help="Of the interpreter.")
@json_option
def throughput(bundle: str, data: str, frames: int, rounds: int, threads: int, json_path: Path | None) -> None:
    """Frames a second behind the defence, over those of the bare model by the runtime's own tool."""
    from bench.throughput import measure_throughput
    from edgedefend.bundle import load_bundle
    from edgedefend.dataset import load_dataset
    from edgedefend.sources import read_image

    loaded = load_bundle(bundle)
    images = [read_image(item.path) for item in load_dataset(data, loaded.labels).first(20)]
    with progress("rounds", rounds) as tick:
        result = measure_throughput(loaded, images, frames=frames, rounds=rounds, threads=threads, tick=tick)
    ratios = sorted(result["ratios"])
    click.echo(
        f"{loaded.model_name} {loaded.precision}, {threads} threads: {result['pipeline_fps']:.1f} frames/s behind the "
        f"defence, {result['bare_fps']:.1f} bare; ratio {result['ratio']:.3f} "
        f"({ratios[0]:.3f} to {ratios[-1]:.3f} in {rounds} rounds of {frames})"
    )
    echo_verdict(result["conditions"])
    save(result, json_path)
