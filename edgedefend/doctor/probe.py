"""Trying something risky in a child process: how it ends, as a sentence."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

__all__ = ["Outcome", "try_code"]

TIMEOUT_S = 180.0
_REASONS = {
    signal.SIGILL: "an illegal instruction (SIGILL)",
    signal.SIGSEGV: "a segmentation fault (SIGSEGV)",
    signal.SIGBUS: "a bus error (SIGBUS)",
    signal.SIGABRT: "an abort (SIGABRT)",
    signal.SIGFPE: "an arithmetic fault (SIGFPE)",
    signal.SIGKILL: "being killed (SIGKILL), as the kernel does when memory runs out",
}


@dataclass(frozen=True)
class Outcome:
    """How a child ended: `value` is what it reported; else `missing` a module, dead of `signal`, or `error`."""

    value: Any = None
    missing: str = ""
    signal: int = 0
    error: str = ""

    @property
    def died_of(self) -> str:
        """What killed the child, in words; "" if nothing did."""
        if not self.signal:
            return ""
        return _REASONS.get(self.signal, f"signal {self.signal}")  # type: ignore[call-overload]


_FRAME = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
def report(value):
    sys.stdout.write("\\n@" + json.dumps(value) + "\\n")
    sys.stdout.flush()
try:
    exec(compile(sys.argv[2], "<doctor>", "exec"), {"report": report})
except ModuleNotFoundError as error:
    report({"missing": error.name or str(error)})
except BaseException as error:
    report({"error": type(error).__name__ + ": " + " ".join(str(error).split())})
"""


def try_code(
    code: str, *, environment: dict[str, str] | None = None, timeout: float = TIMEOUT_S, python: str | None = None
) -> Outcome:
    """Run `code` in a fresh interpreter with this process's import path; it calls ``report(value)`` when it is done.

    `environment` is added to this process's; `python` is the interpreter, this one's by default.
    """
    path = json.dumps([os.path.abspath(entry) for entry in sys.path])  # noqa: PTH100 - "" means the working folder
    try:
        done = subprocess.run(
            [python or sys.executable, "-c", _FRAME, path, code],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            env={**os.environ, **(environment or {})},
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Outcome(error=f"it did not end within {timeout:g} s")
    except OSError as error:
        return Outcome(error=f"the child process could not be started: {error.strerror or error}")
    if done.returncode < 0:
        return Outcome(signal=-done.returncode)
    return _said(done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"), done.returncode)


def _said(output: str, errors: str, code: int) -> Outcome:
    """Return what a child that ended by itself has reported."""
    lines = [line for line in output.splitlines() if line.startswith("@")]
    try:
        value = json.loads(lines[-1][1:])
    except (IndexError, ValueError):
        said = errors.strip().splitlines()
        return Outcome(error=said[-1] if said else f"it ended with {code} and said nothing")
    if isinstance(value, dict) and "missing" in value:
        return Outcome(missing=str(value["missing"]))
    if isinstance(value, dict) and "error" in value:
        return Outcome(error=str(value["error"]))
    return Outcome(value=value)
