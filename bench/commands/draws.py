"""`edgedefend bench draws`."""

from __future__ import annotations

from pathlib import Path

import click

from bench.commands.options import echo_verdict, json_option, progress, save
from edgedefend.commands.options import backend_option

__all__ = ["draws"]


@click.command()
@click.argument("bundle")
@click.option("--draws", "count", type=click.IntRange(2, 256), default=5, show_default=True)
@click.option("--image", help="The image to classify (default: the bundle's golden image).")
@click.option("--rounds", type=click.IntRange(1), default=40, show_default=True)
@click.option("--threads", type=click.IntRange(1, 64), default=1, show_default=True, help="Of the interpreter.")
@json_option
@backend_option
def draws(
    bundle: str, count: int, image: str | None, rounds: int, threads: int, json_path: Path | None, backend: str | None
) -> None:
    """One call with several draws, over as many calls with one."""
    from bench.draws import measure_draws
    from edgedefend.bundle import load_bundle
    from edgedefend.sources import read_image

    loaded = load_bundle(bundle)
    picture = None if image is None else read_image(image)
    with progress("rounds", rounds) as tick:
        result = measure_draws(loaded, picture, draws=count, rounds=rounds, threads=threads, backend=backend, tick=tick)
    way = "in one batch" if result["batched"] else "one by one"
    click.echo(
        f"{loaded.model_name} {loaded.precision}, {threads} threads: {count} draws in one call take "
        f"{result['ratio']:.3f} of the time of {count} calls [{result['p10']:.3f}, {result['p90']:.3f}] "
        f"(must be below 1: {'reached' if result['reached'] else 'NOT reached'}); the model was called {way}"
    )
    if result["model_ratio"] is not None:
        click.echo(f"the model alone: a batch of {count} takes {result['model_ratio']:.3f} of {count} single invokes")
    echo_verdict(result["conditions"])
    save(result, json_path)
