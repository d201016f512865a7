"""`edgedefend bench accuracy` and `edgedefend bench agreement`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bench.commands.options import json_option, progress, save
from edgedefend.commands.options import backend_option, format_table, threads_option
from edgedefend.statistics import format_proportion

__all__ = ["accuracy", "agreement"]

_DRAWS = 5  # of the averaged answer, where a bundle's own answers are of one


@click.command()
@click.argument("bundle")
@click.option("--data", default="sample", show_default=True, help="CSV, folder of class folders, or 'sample'.")
@click.option("--limit", type=click.IntRange(1), help="Use only the first N photographs.")
@click.option(
    "--draws",
    type=click.IntRange(2, 256),
    help="Draws of the averaged answer.  [default: the bundle's, else 5]",
)
@click.option("--seed", type=int, help="Make the run repeatable.")
@json_option
@threads_option
@backend_option
def accuracy(
    bundle: str,
    data: str,
    limit: int | None,
    draws: int | None,
    seed: int | None,
    json_path: Path | None,
    **options: Any,
) -> None:
    """Accuracy undefended, behind one draw, and behind the mean of several.

    Defended answers have the undefended one's vote where the bundle gives it one.
    """
    from bench.accuracy import measure_accuracy
    from edgedefend.bundle import load_bundle
    from edgedefend.dataset import load_dataset

    loaded = load_bundle(bundle)
    photographs = load_dataset(data, loaded.labels).first(limit)
    draws = draws or (loaded.draws if loaded.draws > 1 else _DRAWS)
    with progress("photographs", len(photographs)) as tick:
        result = measure_accuracy(loaded, photographs, draws=draws, seed=seed, tick=tick, **options)
    rows = [
        [name, format_proportion(row["top1"]), format_proportion(row["top5"])] for name, row in result["rows"].items()
    ]
    click.echo(f"{loaded.model_name} {loaded.precision} on {result['data']['name']}")
    click.echo(format_table(["defence", "top-1 [95 % Wilson]", "top-5 [95 % Wilson]"], rows))
    save(result, json_path)


@click.command()
@click.argument("first", type=click.Path(path_type=Path))
@click.argument("second", type=click.Path(path_type=Path))
def agreement(first: Path, second: Path) -> None:
    """On how many photographs two `bench accuracy --json` results give the same undefended answer.

    For what cannot run in one process: two runtimes that want different versions of NumPy, a board and the desktop.
    """
    from bench.accuracy import agreement as compare
    from bench.resultfile import read_result

    results = [read_result(path) for path in (first, second)]
    for path, result in zip((first, second), results, strict=True):
        facts = {**result.get("bundle", {}), **result.get("interpreter", {})}
        click.echo(f"{path}: " + " ".join(str(facts.get(key)) for key in ("model", "precision", "backend", "version")))
    click.echo(f"same answer on {format_proportion(compare(*results))}")
