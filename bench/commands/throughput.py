"""`edgedefend bench throughput`."""

from __future__ import annotations

from pathlib import Path

import click

from bench.commands.options import echo_verdict, json_option, progress, save
from edgedefend.commands.options import format_table

__all__ = ["throughput"]


@click.command()
@click.argument("bundle")
@click.option("--data", default="sample", show_default=True, help="Where the frames come from, as in accuracy.")
@click.option("--frames", type=click.IntRange(1), default=300, show_default=True, help="A round, for each side.")
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
@click.option("--threads", type=click.IntRange(1, 64), default=1, show_default=True, help="Of the interpreter.")
@json_option
def throughput(bundle: str, data: str, frames: int, rounds: int, threads: int, json_path: Path | None) -> None:
    """Frames a second behind the defence over those of the bare model, and the defence's share of one image."""
    from bench.throughput import measure_throughput
    from edgedefend.bundle import load_bundle
    from edgedefend.dataset import load_dataset
    from edgedefend.sources import read_image

    loaded = load_bundle(bundle)
    images = [read_image(item.path) for item in load_dataset(data, loaded.labels).first(20)]
    with progress("rounds", rounds) as tick:
        result = measure_throughput(loaded, images, frames=frames, rounds=rounds, threads=threads, tick=tick)

    def row(name: str, sides: list[str], key: str, all_of_them: str) -> list[str]:
        each = sorted(result[all_of_them])
        return [name, *sides, f"{result[key]:.3f}", f"{each[0]:.3f} to {each[-1]:.3f}"]

    click.echo(f"{loaded.model_name} {loaded.precision}, {threads} threads, {rounds} rounds of {frames} frames")
    fps = [f"{result[key]:.1f} /s" for key in ("pipeline_fps", "bare_fps")]
    single = [f"{result[key]:.3f} ms" for key in ("defend_ms", "invoke_ms")]
    rows = [
        row("frames behind the defence, over bare", fps, "ratio", "ratios"),
        row("defend + copy of one image, over invoke", single, "share", "shares"),
    ]
    click.echo(format_table(["measure", "defence", "model", "ratio", "rounds"], rows))
    echo_verdict(result["conditions"])
    save(result, json_path)
