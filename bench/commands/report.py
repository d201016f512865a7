"""`edgedefend bench report`."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["report"]


@click.command()
@click.argument(
    "files", metavar="FILE.json ...", nargs=-1, required=True, type=click.Path(dir_okay=False, path_type=Path)
)
@click.option(
    "--out", "folder", required=True, type=click.Path(path_type=Path), help="Folder to write to, made if need be."
)
@click.option("--title", default="edgedefend measurements", show_default=True)
def report(files: tuple[Path, ...], folder: Path, title: str) -> None:
    """One report of many results: report.html (self-contained), report.md with its plots, report.json."""
    from bench.report import write_report
    from bench.resultfile import read_result

    for path in write_report([(path.name, read_result(path)) for path in files], folder, title=title):
        click.echo(f"wrote {path}")
