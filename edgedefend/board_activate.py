"""Making what `board_apply` has written take effect on the running system, and the power mode of a Jetson."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence

from edgedefend.board import BoardConfig
from edgedefend.device import Device
from edgedefend.errors import DeviceError

__all__ = ["activate", "deactivate", "differences", "missing_packages", "run_command", "set_power"]

Command = Callable[[Sequence[str]], str]
_TIMEOUT_S = 60.0


def run_command(command: Sequence[str]) -> str:
    """Run a program to its end; return "", or in one line why it failed."""
    try:
        done = subprocess.run(
            list(command), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except FileNotFoundError:
        return f"{command[0]} is not installed"
    except subprocess.TimeoutExpired:
        return f"it did not end within {_TIMEOUT_S:g} s"
    if done.returncode == 0:
        return ""
    said = (done.stderr.strip() or done.stdout.strip()).splitlines()
    return said[-1] if said else f"it ended with {done.returncode}"


def _commands(paths: Sequence[str]) -> list[list[str]]:
    """Return what must be run after these files have changed."""
    commands = []
    for path in paths:
        if path.startswith("/etc/sysusers.d/"):
            commands.append(["systemd-sysusers", path])
        elif path.startswith("/etc/sysctl.d/"):
            commands.append(["sysctl", "--quiet", "--load", path])
        elif path.startswith("/etc/tmpfiles.d/"):
            commands.append(["systemd-tmpfiles", "--create", path])
    if any(path.startswith("/etc/systemd/system.conf.d/") for path in paths):
        commands.append(["systemctl", "daemon-reexec"])
    elif any(path.startswith("/etc/systemd/system/") for path in paths):
        commands.append(["systemctl", "daemon-reload"])
    return commands


def activate(
    device: Device, board: BoardConfig, paths: Sequence[str], command: Command = run_command
) -> tuple[list[str], list[str]]:
    """Bring what was written to `paths` into force on this machine.

    Returns
    -------
    (done, failed)
        A line each for people; what failed does not stop the rest.
    """
    done, failed = [], []
    existing = [path for path in paths if device.path(path).exists()]
    for words in _commands(existing):
        reason = command(words)
        if reason:
            failed.append(f"{' '.join(words)}: {reason}")
        else:
            done.append(" ".join(words))
    if board.power_modes and any("edgedefend-jetson" in path for path in existing):
        try:
            done += set_power(device, board, command)
        except DeviceError as error:
            failed.append(str(error))
    return done, failed


def deactivate(paths: Sequence[str], command: Command = run_command) -> list[str]:
    """Stop the services whose units are about to go, and tell systemd afterwards; return what failed."""
    units = [path.rpartition("/")[2] for path in paths if path.startswith("/etc/systemd/system/edgedefend")]
    commands = [["systemctl", "stop", *units]] if units else []
    reasons = [(words, command(words)) for words in commands]
    return [f"{' '.join(words)}: {reason}" for words, reason in reasons if reason]


def set_power(device: Device, board: BoardConfig, command: Command = run_command) -> list[str]:
    """Set the first of the board's power modes that this Jetson has, then its clocks; return a line for each step.

    The board is never restarted: a mode that needs a restart is named, with the command.

    Raises
    ------
    DeviceError
        If nvpmodel or jetson_clocks fails, or the mode was not taken.
    """
    if not board.power_modes:
        return []
    there = device.power_modes()
    wanted = next((mode for mode in board.power_modes if mode in there), None)
    if wanted is None:
        has, expected = ", ".join(there) or "no nvpmodel", ", ".join(board.power_modes)
        raise DeviceError(f"power mode: this Jetson has {has}, expected one of {expected}")
    steps = []
    if device.power_mode() == wanted:
        steps.append(f"power mode {wanted} is set")
    else:
        # nvpmodel asks before a change that needs a restart; it gets no answer, and then nothing has changed.
        reason = command(["nvpmodel", "-m", str(there[wanted])])
        if device.power_mode() != wanted:
            raise DeviceError(
                f"power mode {wanted} was not taken ({reason or 'it needs a restart'}): run "
                f"`sudo nvpmodel -m {there[wanted]}`, answer YES, and the board starts again in it"
            )
        steps.append(f"nvpmodel -m {there[wanted]} ({wanted})")
    if board.jetson_clocks:
        reason = command(["jetson_clocks"])
        if reason:
            raise DeviceError(f"jetson_clocks: {reason}")
        steps.append("jetson_clocks")
    return steps


def missing_packages(device: Device, board: BoardConfig) -> list[str]:
    """Return the Debian packages of the board that its system does not have; empty where it has no dpkg."""
    status = device.read("/var/lib/dpkg/status")
    if status is None:
        return []
    installed = set()
    for paragraph in status.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in paragraph.splitlines() if ": " in line and line[0] != " ")
        if fields.get("Status", "").endswith(" installed"):
            installed.add(fields.get("Package", ""))
    return [name for name in board.packages if name not in installed]


def differences(device: Device, board: BoardConfig) -> list[tuple[str, str, str]]:
    """Return (what, now, wanted) of the running settings that are not as the board's file says."""
    found = []
    governor = device.governor()
    if governor is not None and governor != board.governor:
        found.append(("governor", governor, board.governor))
    for name, wanted in board.sysctl:
        now = device.read("/proc/sys/" + name.replace(".", "/"))
        if now is not None and now != str(wanted):
            found.append((name, now, str(wanted)))
    modes = device.power_modes()
    mode = next((name for name in board.power_modes if name in modes), None)
    if mode is not None and device.power_mode() not in (None, mode):
        found.append(("power mode", str(device.power_mode()), mode))
    return found
