"""`edgedefend bench latency`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bench.commands.options import json_option, progress, save
from edgedefend.commands.options import backend_option, format_table, threads_option

__all__ = ["latency"]


@click.command()
@click.argument("bundle")
@click.option("--image", help="The image to classify (default: the bundle's golden image).")
@click.option("--iterations", type=click.IntRange(1), default=200, show_default=True)
@click.option("--warmup", type=click.IntRange(1), default=10, show_default=True)
@json_option
@threads_option
@backend_option
def latency(
    bundle: str, image: str | None, iterations: int, warmup: int, json_path: Path | None, **options: Any
) -> None:
    """Latency of one image at a time, by stage, beside the same without the defence."""
    from bench.latency import measure_latency
    from edgedefend.bundle import load_bundle
    from edgedefend.sources import read_image

    loaded = load_bundle(bundle)
    picture = None if image is None else read_image(image)
    with progress("rounds", iterations) as tick:
        result = measure_latency(loaded, picture, iterations=iterations, warmup=warmup, tick=tick, **options)
    columns = list(next(iter(result["rows"].values())))
    rows = [[name, *(f"{row[column]:.3f}" for column in columns)] for name, row in result["rows"].items()]
    runtime = result["interpreter"]
    click.echo(
        f"{loaded.model_name} {loaded.precision}, {runtime['backend']} {runtime['version']}, "
        f"{runtime['threads']} threads, {iterations} rounds after {warmup} for warming up "
        f"(the first took {result['first_ms']:.1f} ms)"
    )
    click.echo(format_table(["stage", *columns], rows))
    click.echo(f"defended takes {result['overhead']:.3f} times as long as undefended (median of the rounds)")
    save(result, json_path)
