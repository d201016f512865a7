"""What every measurement's command shares: a progress bar, the JSON file, the option that names it."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

__all__ = ["echo_verdict", "json_option", "progress", "save"]


@contextlib.contextmanager
def progress(label: str, length: int) -> Iterator[Callable[[int], Any]]:
    """Show a bar on a terminal, nothing elsewhere; yields the function that is told how many steps are done."""
    if not sys.stderr.isatty():
        yield lambda count: None
        return
    with click.progressbar(length=length, label=label, file=sys.stderr, show_pos=True) as bar:
        yield bar.update


def save(result: dict[str, Any], path: Path | None, *, quiet: bool = False) -> None:
    """Write a result as JSON, whole or not at all; without a path do nothing."""
    if path is None:
        return
    from edgedefend.files import write_file

    write_file(path, (json.dumps(result, indent=1) + "\n").encode())
    if not quiet:
        click.echo(f"wrote {path}")


def echo_verdict(conditions: dict[str, Any]) -> None:
    """Say whether a result may be quoted, and what speaks against it."""
    click.echo(f"{conditions['verdict']}" + (": " + "; ".join(conditions["reasons"]) if conditions["reasons"] else ""))
    if conditions["unknown"]:
        click.echo(f"not known on this machine: {', '.join(conditions['unknown'])}")


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--json FILE``."""
    return click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the result to this file.")(
        command
    )
