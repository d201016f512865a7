"""`edgedefend board list|show|diff|apply|revert`."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from edgedefend.board import BoardConfig
    from edgedefend.device import Device

__all__ = ["board"]

_root_option = click.option(
    "--root",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=Path("/"),
    help="The system below this folder, e.g. a mounted image, instead of this one. No command is run then.",
)


def _service_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("--port", default=8765, show_default=True, help="The port of the service, on 127.0.0.1."),
        click.option("--user", default="edgedefend", show_default=True, help="The user the service runs as."),
        click.option("--prefix", default="/opt/edgedefend", show_default=True, help="Where releases are."),
    ):
        command = option(command)
    return command


@click.group()
def board() -> None:
    """See, apply and take back a board's settings: units, sysctl, governor, config.txt, power mode."""


@board.command("list")
def list_boards() -> None:
    """List the boards that settings exist for; the one this machine is has a star."""
    from edgedefend.board import board_names, detect, load_board
    from edgedefend.device import Device

    device = Device()
    here = detect(device).name if device.compatible else None
    configs = [load_board(name) for name in board_names()]
    width = max(len(config.name) for config in configs)
    for config in configs:
        star = "*" if config.name == here else " "
        cpu = f"{config.cores} x {config.cpu}" if config.cpu_parts else "any CPU"
        click.echo(f"{star} {config.name:<{width}}  {cpu:<16}  {config.title}")


@contextlib.contextmanager
def _as_root() -> Iterator[None]:
    """Turn a missing permission into the advice that helps."""
    from edgedefend.errors import DeviceError

    try:
        yield
    except PermissionError as error:
        words = " ".join(["edgedefend", *sys.argv[1:]])
        raise DeviceError(f"{error.filename}: only root may change it: sudo {words}") from error


def _choose(device: Device, name: str | None) -> BoardConfig:
    """Return the settings named, else those of the board that `device` is.

    Raises
    ------
    InputError
        If the machine is not a board, or is another one than was named.
    """
    from edgedefend.board import board_names, detect, load_board
    from edgedefend.errors import InputError

    found = detect(device)
    if name is None:
        if not device.compatible:
            names = ", ".join(board_names())
            raise InputError(f"{device.root}: no board that is known (it has no device tree): name one of {names}")
        return found
    config = load_board(name)
    # A board that no file names (a Pi 3, say) may be given the settings of its kind.
    other_kind = bool(device.compatible) and device.kind != config.kind
    if config.kind != "generic" and (other_kind or (found.kind != "generic" and found.name != name)):
        raise InputError(f"{device.root}: this is {device.model or found.title}, not a {config.title}")
    return config


# Not installed by `apply`: which cameras there are is for the engineer to say.
_RUN_UNIT = "edgedefend-run@.service"


@board.command()
@click.argument("name", required=False)
@_service_options
@click.option("--json", "as_json", is_flag=True, help="Print the settings as JSON.")
@click.option(
    "--file",
    "wanted",
    help="One file only: its path on the board, config.txt, edgedefend-run@.service, user-data.",
)
@click.option("--hostname", default="edgedefend", show_default=True, help="For user-data: the board's name.")
@click.option("--admin", default="admin", show_default=True, help="For user-data: the administrator's name.")
@click.option("--ssh-key", type=click.Path(path_type=Path), help="For user-data: the administrator's public key file.")
def show(
    name: str | None,
    prefix: str,
    user: str,
    port: int,
    as_json: bool,
    wanted: str | None,
    hostname: str,
    admin: str,
    ssh_key: Path | None,
) -> None:
    """Print the settings of the board NAME (this one by default) and every file they become."""
    from edgedefend.board import load_board, render_config_txt, render_files, render_run_unit, render_user_data
    from edgedefend.device import Device
    from edgedefend.errors import InputError

    config = load_board(name) if name else _choose(Device(), None)
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(config), indent=1))
        return
    files = render_files(config, prefix=prefix, user=user, port=port)
    if config.config_txt:
        files["config.txt"] = "\n".join([*render_config_txt(config), ""])
    if wanted == "user-data":
        if ssh_key is None:
            raise click.UsageError("user-data needs --ssh-key FILE: without a key nobody could log in")
        try:
            key = ssh_key.read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            raise InputError(f"{ssh_key}: {(error.strerror or str(error)).lower()}") from None
        click.echo(render_user_data(config, hostname=hostname, admin=admin, ssh_key=key), nl=False)
        return
    if wanted is not None:
        files[_RUN_UNIT] = render_run_unit(config, prefix=prefix, user=user)
        if wanted not in files:
            raise InputError(f"--file {wanted}: expected one of {', '.join([*files, 'user-data'])}")
        click.echo(files[wanted], nl=False)
        return
    for key, value in dataclasses.asdict(config).items():
        click.echo(f"{key:<22} {_readable(value)}")
    for path, text in files.items():
        click.echo(f"\n--- {path}\n{text}", nl=False)


def _readable(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join("=".join(map(str, item)) if isinstance(item, tuple) else str(item) for item in value) or "-"
    return "-" if value is None else str(value)


@board.command()
@click.argument("name", required=False)
@_root_option
@_service_options
def diff(name: str | None, root: Path, prefix: str, user: str, port: int) -> None:
    """Show what `apply` would change, as a diff; nothing is written."""
    from edgedefend.board_activate import differences, missing_packages
    from edgedefend.board_apply import diff as as_text
    from edgedefend.board_apply import plan
    from edgedefend.device import Device

    device = Device(root)
    config = _choose(device, name)
    changes = plan(device, config, prefix=prefix, user=user, port=port)
    if changes:
        click.echo(as_text(changes))
    running = differences(device, config)
    for what, now, wanted in running:
        click.echo(f"running: {what} is {now}, {config.name} has {wanted}")
    _name_packages(missing_packages(device, config))
    if not changes and not running:
        click.echo(f"nothing to change: this system is as {config.name} says")


def _name_packages(packages: list[str]) -> None:
    if packages:
        click.echo(f"not installed: sudo apt-get install {' '.join(packages)}")


@board.command()
@click.argument("name", required=False)
@_root_option
@_service_options
def apply(name: str | None, root: Path, prefix: str, user: str, port: int) -> None:
    """Make this system as the board NAME's settings say; `revert` takes it back to the byte.

    Every file is written whole, and copied first. Applying twice changes nothing.
    """
    from edgedefend import board_apply
    from edgedefend.board_activate import activate, missing_packages
    from edgedefend.device import Device
    from edgedefend.errors import DeviceError

    device = Device(root)
    config = _choose(device, name)
    with _as_root():
        changes, pending = board_apply.apply(device, config, prefix=prefix, user=user, port=port)
    for change in changes:
        verb = "took away" if change.then is None else "wrote" if change.now is None else "changed"
        click.echo(f"{verb:<9} {change.path}")
    if not changes:
        click.echo(f"nothing to change: this system is as {config.name} says")
    _name_packages(missing_packages(device, config))
    if not device.live:
        if changes:
            click.echo(f"no command was run, {root} is not the running system: settings take effect when it starts")
        return
    done, failed = activate(device, config, pending) if pending else ([], [])
    for line in done:
        click.echo(f"ran       {line}")
    if any(path.endswith("config.txt") for path in pending):
        click.echo("config.txt is read when the board starts: sudo reboot")
    if failed:
        raise DeviceError("written, but not in force: " + "; ".join(failed) + ": apply again to go on")
    board_apply.settled(device)


@board.command()
@_root_option
@click.option("--force", is_flag=True, help="Also put back files that somebody has changed since.")
def revert(root: Path, force: bool) -> None:
    """Give back what was there before the first `apply`, byte for byte."""
    from edgedefend import board_apply
    from edgedefend.board_activate import deactivate, run_command
    from edgedefend.device import Device

    device = Device(root)
    with _as_root():
        failed = deactivate(board_apply.applied(device)) if device.live else []
        changes, kept = board_apply.revert(device, force=force)
    for change in changes:
        click.echo(f"{'removed' if change.then is None else 'restored':<9} {change.path}")
    if not changes and not kept:
        click.echo("nothing to take back: no settings are applied here")
    if device.live and changes:
        reason = run_command(["systemctl", "daemon-reload"])
        failed += [f"systemctl daemon-reload: {reason}"] if reason else []
        click.echo(
            "kernel settings, governor and power mode stay as they are until the board starts again: sudo reboot"
        )
    for line in failed:
        click.echo(f"edgedefend: {line}", err=True)
    if kept:
        click.echo(
            f"edgedefend: changed by somebody since, left alone: {', '.join(kept)} (--force puts them back)", err=True
        )
    if kept or failed:
        sys.exit(1)


@board.command(hidden=True)
@click.argument("name")
def power(name: str) -> None:
    """Set power mode and clocks of a Jetson as NAME says; its unit calls this at every start."""
    from edgedefend.board import load_board
    from edgedefend.board_activate import set_power
    from edgedefend.device import Device

    for line in set_power(Device(), load_board(name)):
        click.echo(line)
