"""The service on the board: a unit where there is systemd, else a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path

from edgedefend.deploying.onboard.basics import FailedError, run, write_whole

UNIT = "edgedefend.service"
UNIT_FILE = Path("/etc/systemd/system") / UNIT
SYSTEMD_STATE = Path("/var/lib/edgedefend")
# Longer than TimeoutStartSec of the unit: systemd is to be the one who gives up.
START_SECONDS = 240


class Process:
    """The service on a system without systemd: a process of its own, found again by its number and start time.

    One whose number nobody wrote down, because the deploy was killed just then, is found by its command line: it would
    keep the port from every release after it.
    """

    kind = "process"

    def __init__(self, prefix: Path) -> None:
        self.prefix = prefix
        self.log = prefix / "log" / "serve.log"
        self.file = prefix / "run" / "serve.json"
        self.environment = {"EDGEDEFEND_STATE": str(prefix / "state")}

    def _identity(self, number: int) -> str | None:
        """Return the start time of a living process, None if there is none: numbers are used again."""
        try:
            fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] in "ZX" else fields[19]

    def _number(self) -> int | None:
        try:
            kept = json.loads(self.file.read_text())
            number = int(kept["pid"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return number if kept.get("started") == self._identity(number) else None

    def _command(self, port: int | str) -> list[str]:
        """Return what runs the service; never a release's own path, so that all services of this prefix look alike."""
        current = self.prefix / "current"
        return [str(current / "venv/bin/edgedefend"), "serve", str(current / "bundle"), "--port", str(port)]

    def _unknown(self) -> list[int]:
        """Return the numbers of services of this prefix that are not in the file."""
        found, known, start = [], self._number(), self._command("")[:-1]
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                arguments = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            except OSError:  # it has ended meanwhile
                continue
            # First comes the interpreter that the program's first line names.
            if arguments[1 : 1 + len(start)] == start and int(folder.name) != known:
                found.append(int(folder.name))
        return found

    def active(self) -> bool:
        """Tell whether the service runs."""
        return self._number() is not None

    def restarts(self) -> int:
        """Return 0: nobody starts it again."""
        return 0

    def stop(self) -> None:
        """Stop it, and any that was left over: politely, then not."""
        numbers = [*self._unknown(), *filter(None, [self._number()])]
        left = {number: started for number in numbers if (started := self._identity(number))}
        for how, seconds in ((signal.SIGTERM, 15), (signal.SIGKILL, 5)):
            for number in left:
                with contextlib.suppress(OSError):
                    os.kill(number, how)
            until = time.monotonic() + seconds
            while left and time.monotonic() < until:
                left = {number: started for number, started in left.items() if self._identity(number) == started}
                time.sleep(0.05 if left else 0)
        self.file.unlink(missing_ok=True)

    def restart(self, release: Path, port: int, user: str) -> None:
        """Start what `current` points to."""
        self.stop()
        current = self.prefix / "current"
        for folder in (self.log.parent, self.file.parent, self.prefix / "state"):
            folder.mkdir(exist_ok=True)
        with self.log.open("ab") as log:
            log.write(f"--- {release.name}\n".encode())
            log.flush()
            process = subprocess.Popen(
                self._command(port),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
                env={**os.environ, **self.environment, "EDGEDEFEND_KERNELS": str(current / "kernels")},
            )
        kept = {"pid": process.pid, "started": self._identity(process.pid)}
        write_whole(self.file, json.dumps(kept).encode())

    def tail(self, lines: int) -> list[str]:
        """Return the end of its log."""
        try:
            return self.log.read_text(errors="replace").splitlines()[-lines:]
        except OSError:
            return []

    def remove(self) -> None:
        """Stop it for good."""
        self.stop()

    def state_file(self) -> Path:
        """Return where the highest accepted serial is kept."""
        return self.prefix / "state" / "accepted-serial.json"


class Systemd:
    """The service as a unit. The unit's file is copied from the release that runs."""

    kind = "systemd"

    def __init__(self) -> None:
        self.environment: dict[str, str] = {}  # the unit has its own

    def active(self) -> bool:
        """Tell whether the service runs and is ready."""
        return self._property("ActiveState") == "active"

    def _property(self, name: str) -> str:
        with contextlib.suppress(FailedError):
            return run(["systemctl", "show", "--property", name, "--value", UNIT], "systemctl", seconds=60).strip()
        return ""

    def restarts(self) -> int:
        """Return how often systemd has started it again by itself."""
        text = self._property("NRestarts")
        return int(text) if text.isdigit() else 0

    def stop(self) -> None:
        """Stop it."""
        with contextlib.suppress(FailedError):
            run(["systemctl", "stop", UNIT], "systemctl stop", seconds=60)

    def _make_user(self, user: str) -> None:
        with contextlib.suppress(FailedError):
            run(["getent", "passwd", user], "getent", seconds=30)
            return
        command = ["useradd", "--system", "--no-create-home", "--home-dir", "/", "--shell", "/usr/sbin/nologin", user]
        run(command, f"making the user {user}", seconds=60)

    def restart(self, release: Path, port: int, user: str) -> None:
        """Install the unit of `release` and start it; returns once the service has said that it is ready."""
        self._make_user(user)
        unit = (release / UNIT).read_bytes()
        if not UNIT_FILE.is_file() or UNIT_FILE.read_bytes() != unit:
            write_whole(UNIT_FILE, unit)
            run(["systemctl", "daemon-reload"], "systemctl daemon-reload", seconds=120)
        run(["systemctl", "enable", "--quiet", UNIT], "systemctl enable", seconds=120)
        # A release that failed a moment ago must not use up the starts of this one.
        with contextlib.suppress(FailedError):
            run(["systemctl", "reset-failed", UNIT], "systemctl", seconds=60)
        try:
            run(["systemctl", "restart", UNIT], "systemctl restart", seconds=START_SECONDS)
        except FailedError:
            said = [line.strip() for line in self.tail(20) if "edgedefend: " in line]
            raise FailedError(f"the service does not start: {said[-1] if said else self.status()}") from None

    def status(self) -> str:
        """Return what systemd knows of the last end of the service."""
        return f"{self._property('Result')}, exit status {self._property('ExecMainStatus')}"

    def tail(self, lines: int) -> list[str]:
        """Return the end of its journal."""
        command = ["journalctl", "--unit", UNIT, "--no-pager", "--lines", str(lines), "--output", "cat"]
        try:
            return run(command, "journalctl", seconds=60).splitlines()
        except FailedError as error:
            return [str(error)]

    def remove(self) -> None:
        """Stop it and take the unit away."""
        with contextlib.suppress(FailedError):
            run(["systemctl", "disable", "--now", UNIT], "systemctl disable", seconds=120)
        UNIT_FILE.unlink(missing_ok=True)
        with contextlib.suppress(FailedError):
            run(["systemctl", "daemon-reload"], "systemctl daemon-reload", seconds=120)

    def state_file(self) -> Path:
        """Return where the highest accepted serial is kept: the unit's StateDirectory."""
        return SYSTEMD_STATE / "accepted-serial.json"
