"""Telling systemd how a service is doing: the sd_notify protocol, in the few lines that it takes.

Source: sd_notify(3) and sd_watchdog_enabled(3). Without ``NOTIFY_SOCKET``, that is outside a unit of
``Type=notify``, every call does nothing, so the same program runs in a terminal.
"""

from __future__ import annotations

import contextlib
import os
import socket

__all__ = ["notify", "watchdog_interval"]


def notify(*lines: str) -> bool:
    """Send ``READY=1``, ``STATUS=…``, ``WATCHDOG=1`` or ``STOPPING=1`` to systemd; tell whether it was sent.

    A service manager that does not listen is no reason for the service to fail: errors are swallowed.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return False
    if address.startswith("@"):  # the abstract name space: a leading zero byte, and no file
        address = "\0" + address[1:]
    message = "\n".join(" ".join(line.split("\n")) for line in lines)
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.settimeout(1)
        channel.sendto(message.encode(), address)
        return True
    return False


def watchdog_interval() -> float | None:
    """Return the seconds between two ``WATCHDOG=1`` (half of what the unit allows), None without a watchdog."""
    try:
        allowed = int(os.environ.get("WATCHDOG_USEC", ""))
        process = int(os.environ.get("WATCHDOG_PID", str(os.getpid())))
    except ValueError:
        return None
    return allowed / 2e6 if allowed > 0 and process == os.getpid() else None
