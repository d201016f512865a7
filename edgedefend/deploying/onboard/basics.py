"""Errors, lines for the desktop, files that are whole, programs that end."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path


class FailedError(Exception):
    """Something went wrong; the message is the one line that the user sees."""


def say(text: str, log: Path | None = None) -> None:
    """Print one line, and keep it in the log. Nobody may be listening any more."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    if log is not None:
        with contextlib.suppress(OSError), log.open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {text}\n")


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that a power cut leaves the old one or the new one."""
    temporary = path.with_name(f".{path.name}.new")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.chmod(0o644)
    temporary.replace(path)
    sync_folder(path.parent)


def last_line(text: str) -> str:
    """Return the line of a program's complaint that says most: the full disk, else the last one."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    for line in lines:
        if "No space left on device" in line:
            return "the disk is full (No space left on device)"
    return lines[-1] if lines else "no reason given"


def run(command: Sequence[str | Path], what: str, *, seconds: float, env: dict[str, str] | None = None) -> str:
    """Run a program to its end and return what it printed.

    Raises
    ------
    FailedError
        If it fails or takes too long.
    """
    try:
        done = subprocess.run(
            list(map(str, command)),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
            env={**os.environ, **(env or {})},
        )
    except FileNotFoundError:
        raise FailedError(f"{what}: {command[0]} is missing") from None
    except subprocess.TimeoutExpired:
        raise FailedError(f"{what}: no end after {seconds:.0f} s") from None
    if done.returncode:
        raise FailedError(f"{what}: {last_line(done.stderr or done.stdout)}")
    return done.stdout
