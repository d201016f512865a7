"""`edgedefend bench startup` and `edgedefend bench memory`."""

from __future__ import annotations

from pathlib import Path

import click

from bench.commands.options import json_option, progress, save
from edgedefend.commands.options import format_table

__all__ = ["memory", "startup"]


@click.command()
@click.argument("bundle")
@click.option("--image", type=click.Path(exists=True, path_type=Path), help="Default: the bundle's golden image.")
@click.option("--runs", type=click.IntRange(1), default=10, show_default=True)
@click.option("--threads", type=click.IntRange(1, 64), default=1, show_default=True)
@json_option
def startup(bundle: str, image: Path | None, runs: int, threads: int, json_path: Path | None) -> None:
    """Time and memory of one `classify` beside a ten-line script with the interpreter alone."""
    from bench.footprint import measure_startup
    from edgedefend.bundle import load_bundle

    loaded = load_bundle(bundle)
    picture = image or Path(bundle) / "golden_image.png"
    with progress("runs", runs + 1) as tick:
        result = measure_startup(loaded, picture, runs=runs, threads=threads, tick=tick)
    rows = [[name, f"{row['wall_s']:.3f}", f"{row['peak_mb']:.0f}"] for name, row in result["rows"].items()]
    click.echo(format_table(["process", "wall s", "peak MB"], rows))
    click.echo(
        f"classify takes {result['extra_s']:.3f} s and {result['extra_mb']:.0f} MB more than the bare interpreter; "
        f"import edgedefend takes {result['import_s']:.3f} s (medians of {runs} runs in turn)"
    )
    save(result, json_path)


@click.command()
@click.argument("bundle")
@click.option("--images", type=click.IntRange(1000), default=100_000, show_default=True)
@json_option
def memory(bundle: str, images: int, json_path: Path | None) -> None:
    """Resident memory over many images in one process."""
    from bench.footprint import measure_memory_growth
    from edgedefend.bundle import load_bundle

    with progress("images", images) as tick:
        result = measure_memory_growth(load_bundle(bundle), images=images, tick=tick)
    click.echo(
        f"{images} images: {result['start_mb']:.1f} MB after the first, {result['end_mb']:.1f} MB at the end; slope of "
        f"the second half {result['slope_kb_per_1000']:.3f} +- {result['slope_error']:.3f} kB a thousand images"
    )
    save(result, json_path)
