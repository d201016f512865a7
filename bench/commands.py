"""`edgedefend bench ...`: parses the options, prints the tables, writes the JSON."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from edgedefend.commands.options import backend_option, format_table, threads_option
from edgedefend.statistics import format_proportion

__all__ = ["bench"]


@contextlib.contextmanager
def _progress(label: str, length: int) -> Iterator[Callable[[int], Any]]:
    if not sys.stderr.isatty():
        yield lambda count: None
        return
    with click.progressbar(length=length, label=label, file=sys.stderr, show_pos=True) as bar:
        yield bar.update


def _save(result: dict[str, Any], path: Path | None) -> None:
    """Write a result as JSON, whole or not at all."""
    if path is None:
        return
    from edgedefend.files import write_file

    write_file(path, (json.dumps(result, indent=1) + "\n").encode())
    click.echo(f"wrote {path}")


def _json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    return click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the result to this file.")(
        command
    )


@click.group()
def bench() -> None:
    """Measure accuracy and latency, each with the conditions it was measured under."""


@bench.command()
@click.argument("bundle")
@click.option("--data", default="sample", show_default=True, help="CSV, folder of class folders, or 'sample'.")
@click.option("--limit", type=click.IntRange(1), help="Use only the first N photographs.")
@click.option(
    "--draws", type=click.IntRange(2, 256), default=5, show_default=True, help="Draws of the averaged answer."
)
@click.option("--seed", type=int, help="Make the run repeatable.")
@_json_option
@threads_option
@backend_option
def accuracy(
    bundle: str, data: str, limit: int | None, draws: int, seed: int | None, json_path: Path | None, **options: Any
) -> None:
    """Accuracy undefended, behind one draw, and behind the mean of several."""
    from bench.accuracy import measure_accuracy
    from edgedefend.bundle import load_bundle
    from edgedefend.dataset import load_dataset

    loaded = load_bundle(bundle)
    photographs = load_dataset(data, loaded.labels).first(limit)
    with _progress("photographs", len(photographs)) as tick:
        result = measure_accuracy(loaded, photographs, draws=draws, seed=seed, tick=tick, **options)
    rows = [
        [name, format_proportion(row["top1"]), format_proportion(row["top5"])] for name, row in result["rows"].items()
    ]
    click.echo(f"{loaded.model_name} {loaded.precision} on {result['data']['name']}")
    click.echo(format_table(["defence", "top-1 [95 % Wilson]", "top-5 [95 % Wilson]"], rows))
    _save(result, json_path)


@bench.command()
@click.argument("bundle")
@click.option("--image", help="The image to classify (default: the bundle's golden image).")
@click.option("--iterations", type=click.IntRange(1), default=200, show_default=True)
@click.option("--warmup", type=click.IntRange(1), default=10, show_default=True)
@_json_option
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
    with _progress("rounds", iterations) as tick:
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
    _save(result, json_path)


@bench.command()
@click.argument("bundle")
@click.option("--data", default="sample", show_default=True, help="Where the frames come from, as in accuracy.")
@click.option("--frames", type=click.IntRange(1), default=300, show_default=True, help="A round, for each side.")
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
@click.option("--threads", type=click.IntRange(1, 64), default=1, show_default=True, help="Of the interpreter.")
@_json_option
def throughput(bundle: str, data: str, frames: int, rounds: int, threads: int, json_path: Path | None) -> None:
    """Frames a second behind the defence, over those of the bare model by the runtime's own tool."""
    from bench.throughput import measure_throughput
    from edgedefend.bundle import load_bundle
    from edgedefend.dataset import load_dataset
    from edgedefend.sources import read_image

    loaded = load_bundle(bundle)
    images = [read_image(item.path) for item in load_dataset(data, loaded.labels).first(20)]
    with _progress("rounds", rounds) as tick:
        result = measure_throughput(loaded, images, frames=frames, rounds=rounds, threads=threads, tick=tick)
    ratios = sorted(result["ratios"])
    click.echo(
        f"{loaded.model_name} {loaded.precision}, {threads} threads: {result['pipeline_fps']:.1f} frames/s behind the "
        f"defence, {result['bare_fps']:.1f} bare; ratio {result['ratio']:.3f} "
        f"({ratios[0]:.3f} to {ratios[-1]:.3f} in {rounds} rounds of {frames})"
    )
    _save(result, json_path)


@bench.command()
@click.argument("bundle")
@click.option("--image", type=click.Path(exists=True, path_type=Path), help="Default: the bundle's golden image.")
@click.option("--runs", type=click.IntRange(1), default=10, show_default=True)
@click.option("--threads", type=click.IntRange(1, 64), default=1, show_default=True)
@_json_option
def startup(bundle: str, image: Path | None, runs: int, threads: int, json_path: Path | None) -> None:
    """Time and memory of one `classify` beside a ten-line script with the interpreter alone."""
    from bench.footprint import measure_startup
    from edgedefend.bundle import load_bundle

    loaded = load_bundle(bundle)
    picture = image or Path(bundle) / "golden_image.png"
    with _progress("runs", runs + 1) as tick:
        result = measure_startup(loaded, picture, runs=runs, threads=threads, tick=tick)
    rows = [[name, f"{row['wall_s']:.3f}", f"{row['peak_mb']:.0f}"] for name, row in result["rows"].items()]
    click.echo(format_table(["process", "wall s", "peak MB"], rows))
    click.echo(
        f"classify takes {result['extra_s']:.3f} s and {result['extra_mb']:.0f} MB more than the bare interpreter; "
        f"import edgedefend takes {result['import_s']:.3f} s (medians of {runs} runs in turn)"
    )
    _save(result, json_path)


@bench.command()
@click.argument("bundle")
@click.option("--images", type=click.IntRange(1000), default=100_000, show_default=True)
@_json_option
def memory(bundle: str, images: int, json_path: Path | None) -> None:
    """Resident memory over many images in one process."""
    from bench.footprint import measure_memory_growth
    from edgedefend.bundle import load_bundle

    with _progress("images", images) as tick:
        result = measure_memory_growth(load_bundle(bundle), images=images, tick=tick)
    click.echo(
        f"{images} images: {result['start_mb']:.1f} MB after the first, {result['end_mb']:.1f} MB at the end; slope of "
        f"the second half {result['slope_kb_per_1000']:.3f} +- {result['slope_error']:.3f} kB a thousand images"
    )
    _save(result, json_path)
