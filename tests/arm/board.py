"""One emulated board: a Debian suite and a CPU, with folders of its own, and commands run on it."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from tests.arm.run import command_line
from tests.arm.userland import BUILD, ROOT, python_of

__all__ = ["EmulatedBoard", "StepError", "json_lines"]


class StepError(Exception):
    """A step went wrong; the text says how."""


def json_lines(text: str) -> list[dict[str, Any]]:
    """Return the lines that are JSON objects."""
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


class EmulatedBoard:
    """One emulated board; `kernels` are those that a desktop made for it."""

    def __init__(self, suite: str, cpu: str, kernels: Path) -> None:
        self.suite, self.cpu = suite, cpu
        self.name = f"{suite} {cpu}"
        self.folder = BUILD / "out" / f"{suite}-{cpu}"
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.folder / "home").mkdir(parents=True)
        self.python = python_of(suite)
        self.kernels = kernels

    def environment(self) -> dict[str, str]:
        """Return what every step gets: a home, and the desktop's kernels."""
        return {"HOME": str(self.folder / "home"), "EDGEDEFEND_KERNELS": str(self.kernels)}

    def run(self, *words: object, timeout: float = 1800, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a command on the board; its output is kept in the board's folder."""
        command = command_line(
            self.suite,
            self.cpu,
            [str(word) for word in words],
            writable=(self.folder,),
            env={**self.environment(), **env},
        )
        # Files, not pipes: whoever waits can see how far a long step has come.
        with (self.folder / "stdout.txt").open("w+") as out, (self.folder / "stderr.txt").open("w+") as err:
            code = subprocess.run(command, cwd=ROOT, stdout=out, stderr=err, check=False, timeout=timeout).returncode
            out.seek(0)
            err.seek(0)
            done = subprocess.CompletedProcess(command, code, out.read(), err.read())
        with (self.folder / "log.txt").open("a") as log:
            log.write(f"$ {' '.join(map(str, words))}\n{done.stdout}{done.stderr}[exit code {done.returncode}]\n\n")
        return done

    def must(self, *words: object, timeout: float = 1800, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a command that has to end well."""
        done = self.run(*words, timeout=timeout, **env)
        if done.returncode:
            raise StepError(
                f"{' '.join(map(str, words[:4]))}: exit code {done.returncode}: {done.stderr.strip()[-300:]}"
            )
        return done
