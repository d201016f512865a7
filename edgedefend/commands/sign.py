"""`edgedefend keygen` and `edgedefend sign`."""

from __future__ import annotations

from pathlib import Path

import click

__all__ = ["keygen", "sign"]


@click.command()
@click.argument("name", type=click.Path(path_type=Path), default="edgedefend-signing")
def keygen(name: Path) -> None:
    """Make a key pair to sign bundles with: the private key NAME and the public one NAME.pub.

    Keep NAME where only you can read it. Put NAME.pub into /etc/edgedefend/trusted-keys of a board, and that board
    takes only bundles signed with NAME from then on.
    """
    from edgedefend.signing import make_keys, trusted_keys_folder

    identity = make_keys(name)
    click.echo(f"key {identity}: private in {name} (keep it), public in {name}.pub")
    click.echo(f"on a board: copy {name.name}.pub to {trusted_keys_folder()}/")


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--key", required=True, type=click.Path(path_type=Path), help="The private key that keygen wrote.")
@click.option("--serial", type=int, help="Higher than that of every bundle before (default: the time, in seconds).")
def sign(bundle: Path, key: Path, serial: int | None) -> None:
    """Sign BUNDLE, a folder or a packed one, in place."""
    from edgedefend.signing import sign_bundle

    signature = sign_bundle(bundle, key, serial=serial)
    click.echo(f"{bundle}: signed with key {signature.key}, serial {signature.serial}")
