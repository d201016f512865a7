"""`edgedefend bench startup`."""

from __future__ import annotations

from pathlib import Path

import click

from bench.commands.options import echo_verdict, json_option, progress, save
from edgedefend.commands.options import format_table

__all__ = ["startup"]


@click.command()
@click.argument("bundle")
@click.option("--image", type=click.Path(exists=True, path_type=Path), help="Default: the bundle's golden image.")
@click.option("--runs", type=click.IntRange(1), default=10, show_default=True)
@click.option("--threads", type=click.IntRange(1, 64), default=1, show_default=True)
@json_option
def startup(bundle: str, image: Path | None, runs: int, threads: int, json_path: Path | None) -> None:
    """Time and memory of one `classify` beside a ten-line script with the interpreter alone."""
    from bench.startup import measure_startup
    from edgedefend.bundle import load_bundle

    loaded = load_bundle(bundle)
    picture = image or Path(bundle) / "golden_image.png"
    with progress("runs", runs + 1) as tick:
        result = measure_startup(loaded, picture, runs=runs, threads=threads, tick=tick)
    rows = [
        [name, f"{row['wall_s']:.3f}", f"{row['cpu_s']:.3f}", f"{row['peak_mb']:.0f}"]
        for name, row in result["rows"].items()
    ]
    click.echo(format_table(["process", "wall s", "CPU s", "peak MB"], rows))
    click.echo(
        f"classify takes {result['extra_s']:.3f} s ({result['extra_cpu_s']:.3f} s of CPU) and {result['extra_mb']:.0f} "
        f"MB more than the bare interpreter; import edgedefend takes {result['import_s']:.3f} s "
        f"({result['import_cpu_s']:.3f} s of CPU), from edgedefend import Defense {result['import_defense_s']:.3f} s "
        f"({result['import_defense_cpu_s']:.3f}); medians of {runs} runs in turn"
    )
    echo_verdict(result["conditions"])
    save(result, json_path)
