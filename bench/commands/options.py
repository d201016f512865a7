"""What every measurement's command shares: a progress bar, the JSON file, the option that names it."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

__all__ = ["json_option", "progress", "read_result", "save"]


@contextlib.contextmanager
def progress(label: str, length: int) -> Iterator[Callable[[int], Any]]:
    """Show a bar on a terminal, nothing elsewhere; yields the function that is told how many steps are done."""
    if not sys.stderr.isatty():
        yield lambda count: None
        return
    with click.progressbar(length=length, label=label, file=sys.stderr, show_pos=True) as bar:
        yield bar.update


def save(result: dict[str, Any], path: Path | None) -> None:
    """Write a result as JSON, whole or not at all; without a path do nothing."""
    if path is None:
        return
    from edgedefend.files import write_file

    write_file(path, (json.dumps(result, indent=1) + "\n").encode())
    click.echo(f"wrote {path}")


def read_result(path: Path) -> dict[str, Any]:
    """Read a result that `save` wrote.

    Raises
    ------
    InputError
        If it is none.
    """
    from edgedefend.errors import InputError

    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: {(error.strerror or str(error)).lower()}") from None
    except ValueError:
        raise InputError(f"{path}: not a JSON file that a bench command wrote") from None
    if not isinstance(content, dict) or "kind" not in content:
        raise InputError(f"{path}: not a result of a bench command")
    return content


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--json FILE``."""
    return click.option("--json", "json_path", type=click.Path(path_type=Path), help="Write the result to this file.")(
        command
    )
