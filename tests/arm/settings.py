"""`edgedefend board diff`, `apply` and `revert` on a live emulated board that runs the service."""

from __future__ import annotations

from collections.abc import Callable

from tests.arm.machine import Machine, WrongError

__all__ = ["apply_and_revert", "kernel_settings"]

_EDGEDEFEND = "/opt/edgedefend/current/venv/bin/edgedefend"
# Every file and link of /etc: type, mode, owner and content.
_EVERYTHING = (
    "cd /etc && sudo find . \\( -type f -printf '%y %m %u %g %p ' -exec sha256sum {} \\; \\) "
    "-o -printf '%y %m %u %g %p %l\\n' | sort -k5,5"
)
# systemd-sysusers puts the service's user into group video; that is no file of ours, and `revert` leaves it.
_ACCOUNTS = ("./group", "./group-", "./gshadow", "./gshadow-", "./passwd", "./passwd-", "./shadow", "./shadow-")


def _board(machine: Machine, action: str) -> list[str]:
    """Run `edgedefend board ACTION` on the board as its administrator would; return the lines it printed."""
    done = machine.ssh(f"sudo {_EDGEDEFEND} board {action}", seconds=300)
    if done.returncode or done.stderr:
        raise WrongError(f"board {action} ended with {done.returncode}: {done.stdout[-300:]} {done.stderr[-300:]}")
    return done.stdout.splitlines()


def _files(machine: Machine) -> dict[str, str]:
    """Return path -> description of everything in /etc but the accounts and the running system's own notes."""
    done = machine.ssh(_EVERYTHING, seconds=300)
    if done.returncode:
        raise WrongError(f"/etc cannot be read: {done.stderr[-300:]}")
    lines = {line.split()[4]: line for line in done.stdout.splitlines()}
    return {path: line for path, line in lines.items() if path not in _ACCOUNTS and path != "./.updated"}


def kernel_settings(machine: Machine) -> str:
    """Return the values that the running kernel has of what the settings change."""
    done = machine.ssh("cd /proc/sys/kernel && grep -H . panic panic_on_oops")
    if done.returncode:
        raise WrongError(f"the kernel's settings cannot be read: {done.stderr}")
    return ", ".join(done.stdout.split())


def apply_and_revert(machine: Machine, say: Callable[[str], None]) -> str:
    """Apply the settings for this board, twice, and take them back; return the kernel's settings before.

    Raises
    ------
    WrongError
        If they are not in force afterwards, the second time changes anything, the service is disturbed, or a file
        is not as it was before.
    """
    before, values = _files(machine), kernel_settings(machine)
    shown = _board(machine, "diff")
    announced = sorted(line[len("+++ then") :] for line in shown if line.startswith("+++ then/"))
    say(f"board diff: {', '.join(announced)}; running: {sum(line.startswith('running: ') for line in shown)} values")
    done = _board(machine, "apply")
    for line in done:
        say(f"    board apply: {line}")
    if not any(line.startswith("wrote") for line in done):
        raise WrongError("board apply wrote nothing")
    if kernel_settings(machine) != "panic:10, panic_on_oops:1":
        raise WrongError(f"the settings are not in force: {kernel_settings(machine)}")
    for action in ("apply", "diff"):
        again = _board(machine, action)
        if len(again) != 1 or not again[0].startswith("nothing to change"):
            raise WrongError(f"board {action} after board apply: {again}")
    say(f"in force: {kernel_settings(machine)}; apply and diff again: {again[0]}")
    for line in _board(machine, "revert"):
        say(f"    board revert: {line}")
    after = _files(machine)
    changed = sorted(path for path in {*before, *after} if before.get(path) != after.get(path))
    if changed:
        raise WrongError(f"not as it was before: {', '.join(changed)}")
    if machine.ssh("systemctl is-active edgedefend").stdout.strip() != "active":
        raise WrongError("the service does not run any more")
    say(f"the {len(after)} files and links of /etc are as they were before, to the byte; the service runs")
    return values
