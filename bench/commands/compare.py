"""`edgedefend bench compare`."""

from __future__ import annotations

from pathlib import Path

import click

from bench.commands.options import json_option, save
from edgedefend.commands.options import format_table

__all__ = ["compare"]

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("files", metavar="A.json B.json ...", nargs=-1, required=True, type=_FILE)
@click.option("--baseline", type=_FILE, help="Divide by this one (default: the first).")
@json_option
def compare(files: tuple[Path, ...], baseline: Path | None, json_path: Path | None) -> None:
    """Ratios of the figures of two or more results of one kind.

    A ratio of two separate runs holds only where their conditions are the same: what differs is said below the
    table. What a run measured in turn itself ("overhead") compares better than its milliseconds.
    """
    from bench.compare import compare_results
    from bench.resultfile import read_result

    paths = list(files)
    if baseline is not None and baseline not in paths:
        paths.insert(0, baseline)
    names = [path.name for path in paths]
    if len(set(names)) < len(names):
        names = [str(path) for path in paths]
    result = compare_results(
        names, [read_result(path) for path in paths], 0 if baseline is None else paths.index(baseline)
    )
    others = [index for index, name in enumerate(names) if name != result["baseline"]]
    header = ["figure", result["baseline"], *(part for index in others for part in (names[index], "ratio"))]
    rows = []
    for row in result["rows"]:
        cells = [row["figure"], _show(row["values"][names.index(result["baseline"])])]
        for index in others:
            ratio = row["ratios"][index]
            cells += [_show(row["values"][index]), "-" if ratio is None else f"{ratio:.3f}"]
        rows.append(cells)
    click.echo(format_table(header, rows))
    for warning in result["warnings"]:
        click.echo(f"warning: {warning}", err=True)
    save(result, json_path)


def _show(value: float) -> str:
    return f"{value:.0f}" if float(value).is_integer() and abs(value) < 1e15 else f"{value:.4g}"
