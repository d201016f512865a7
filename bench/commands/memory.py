"""`edgedefend bench memory`."""

from __future__ import annotations

from pathlib import Path

import click

from bench.commands.options import json_option, progress, save

__all__ = ["memory"]


@click.command()
@click.argument("bundle")
@click.option("--images", type=click.IntRange(1000), default=100_000, show_default=True)
@click.option("--threads", type=click.IntRange(1, 64), default=1, show_default=True)
@json_option
def memory(bundle: str, images: int, threads: int, json_path: Path | None) -> None:
    """Resident memory over many images in one process."""
    from bench.memory import measure_memory_growth
    from edgedefend.bundle import load_bundle

    with progress("images", images) as tick:
        result = measure_memory_growth(load_bundle(bundle), images=images, threads=threads, tick=tick)
    click.echo(
        f"{images} images: {result['start_mb']:.1f} MB after the first, {result['end_mb']:.1f} MB at the end; slope of "
        f"the second half {result['slope_kb_per_1000']:.3f} +- {result['slope_error']:.3f} kB a thousand images"
    )
    save(result, json_path)
