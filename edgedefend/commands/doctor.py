"""`edgedefend doctor [BUNDLE]`."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import click

__all__ = ["doctor"]

_COLORS = {"ok": "green", "warn": "yellow", "bad": "red"}


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path), required=False)
@click.option("--json", "as_json", is_flag=True, help="Print the findings as JSON.")
@click.option(
    "--root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=Path("/"),
    help="Look at the system below this folder, e.g. a mounted card, instead of this one.",
)
def doctor(bundle: Path | None, as_json: bool, root: Path) -> None:
    """Say what is wrong with this board, why it matters, and the command that mends it.

    BUNDLE is verified too (by default the deployed one). Exit code 0: nothing is bad; 1: something is.
    """
    from edgedefend.device import Device
    from edgedefend.doctor import examine
    from edgedefend.doctor.environment import of_this_process, of_tree
    from edgedefend.doctor.text import as_text

    device = Device(root)
    report = examine(device, of_this_process() if device.live else of_tree(device), bundle)
    if as_json:
        click.echo(json.dumps(report.as_json(), indent=1, ensure_ascii=False))
    else:
        width = min(max(shutil.get_terminal_size((100, 24)).columns, 80), 120)
        click.echo(as_text(report, width=width, paint=lambda text, level: click.style(text, fg=_COLORS[level])))
    if not report.healthy:
        sys.exit(1)
