"""`edgedefend warmup`."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["warmup"]


@click.command()
@click.option("--target", default="host", show_default=True, help="A board's CPU, e.g. cortex-a72; needs --out.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the kernels here instead of this user's cache.")
def warmup(target: str, out: Path | None) -> None:
    """Compile every kernel now, so that no later run has to.

    With --target the kernels are made here for a board's CPU: copy the folder to the board and name it in
    EDGEDEFEND_KERNELS, or make it share/edgedefend/kernels of the environment there. It must have the same
    versions of Python (minor), Numba and edgedefend; where anything differs the board compiles for itself.
    """
    from edgedefend.warmup import warm_up, warm_up_for

    if out is None:
        if target != "host":
            raise click.UsageError("--target needs --out: this machine cannot use the kernels of another")
        folder, found, compiled = warm_up()
        click.echo(f"{found + compiled} kernels in {folder}: {found} were there, {compiled} compiled now")
    else:
        count = warm_up_for(target, out)
        click.echo(f"{count} kernels for {target} in {out}")
