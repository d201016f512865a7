"""What the board does when the desktop asks: push, roll back, tell how it is, remove.

Once begun, an action goes on when the connection to the desktop is lost: a release that nobody watches still proves
itself, or is taken back. `main` takes one request (a dict), prints lines ``step TEXT``, and last ``result JSON``.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

from edgedefend.deploying.onboard.basics import FailedError, say, sync_folder, write_whole
from edgedefend.deploying.onboard.health import health_of, prove, read_sensors
from edgedefend.deploying.onboard.releases import Releases
from edgedefend.deploying.onboard.service import Process, Systemd


class Board(Releases):
    """The releases on this board, and the service that runs the current one."""

    def __init__(self, prefix: Path) -> None:
        super().__init__(prefix)
        self.service: Process | Systemd = Systemd() if Path("/run/systemd/system").is_dir() else Process(prefix)

    def _lower_serial(self, release: Path) -> None:
        """Let a release run again whose bundle is older than the newest one accepted.

        A board refuses older bundles so that nobody can hand it one. Going back on purpose is another matter, and
        whoever runs this may write the record anyway.
        """
        file = self.service.state_file()
        try:
            serial = int(json.loads((release / "bundle" / "signature.json").read_text())["serial"])
            if int(json.loads(file.read_text())["serial"]) <= serial:
                return
        except (OSError, ValueError, KeyError, TypeError):
            return
        owner = file.stat()
        write_whole(file, json.dumps({"serial": serial}).encode())
        os.chown(file, owner.st_uid, owner.st_gid)

    def start(self, release: Path) -> None:
        """Point `current` at `release`, and run it."""
        facts = self.facts_of(release)
        self.point("current", release)
        self.service.restart(release, int(facts["port"]), str(facts["user"]))

    def prove(self, release: Path, window: float, doctor: bool = False) -> dict[str, Any]:
        """Return what a release that runs has shown; raises FailedError with the first thing that does not work."""
        return prove(release, self.facts_of(release), self.service, self.step, window=window, doctor=doctor)

    def try_out(self, release: Path, previous: Path | None, window: float, doctor: bool) -> dict[str, Any]:
        """Run `release`; when it does not prove itself, run `previous` again and raise FailedError."""
        older = self.pointed("previous")
        trial = {
            "release": release.name,
            "previous": previous.name if previous else "",
            "older": older.name if older else "",
            "window": window,
        }
        write_whole(self.prefix / "trial.json", json.dumps(trial).encode())
        try:
            self.step(f"switching to {release.name}")
            if previous is not None and previous != release:
                self.point("previous", previous)
            self.start(release)
            seen = self.prove(release, window, doctor)
        except FailedError as error:
            tail = self.service.tail(10)
            raise FailedError(f"{error}{self._go_back(previous, older)}", tail) from None
        (self.prefix / "trial.json").unlink(missing_ok=True)
        sync_folder(self.prefix)
        return seen

    def _go_back(self, previous: Path | None, older: Path | None) -> str:
        """Leave a release that does not work; return what became of the board, as the end of a sentence.

        `previous` runs again, and `older` is what there was to go back to before.
        """
        if previous is None:
            self.service.stop()
            (self.prefix / "current").unlink(missing_ok=True)
            outcome = "; there is no release before it: the service is stopped"
        else:
            self.step(f"going back to {previous.name}")
            self._lower_serial(previous)
            outcome = f"; back to {previous.name}"
            try:
                self.start(previous)
                if older is not None:
                    self.point("previous", older)
                self.prove(previous, 0)
            except FailedError as error:
                outcome += f", which does not work either: {error}"
        (self.prefix / "trial.json").unlink(missing_ok=True)
        sync_folder(self.prefix)
        return outcome

    def settle(self) -> None:
        """Finish what a deploy that was cut short has left: prove the release that runs, or go back from it."""
        try:
            trial = json.loads((self.prefix / "trial.json").read_text())
        except (OSError, ValueError):
            return
        current = self.pointed("current")
        previous, older = self.whole(trial["previous"]), self.whole(trial["older"])
        if current is None or current.name != trial["release"]:
            # Cut before the switch: what there was to go back to may have been overwritten already.
            if older is not None:
                self.point("previous", older)
            (self.prefix / "trial.json").unlink(missing_ok=True)
            return
        self.step(f"a deploy was cut short: looking at {current.name}")
        try:
            self.start(current)
            self.prove(current, float(trial["window"]))
        except FailedError as error:
            self.step(f"{current.name} does not work: {error}{self._go_back(previous, older)}")
            return
        (self.prefix / "trial.json").unlink(missing_ok=True)

    # What the desktop can ask for

    def push(self, request: dict[str, Any]) -> dict[str, Any]:
        """Install a release and run it."""
        with self.lock():
            self.settle()
            current = self.pointed("current")
            upload = self.prefix / "incoming" / request["push"]
            if current is not None and self.facts_of(current).get("hash") == request["release"]["hash"]:
                shutil.rmtree(upload, ignore_errors=True)
                if health_of(self.facts_of(current)) is not None and self.service.active():
                    return {"release": current.name, "changed": "has proven itself", **self.prove(current, 0)}
                seen = self.try_out(current, self.pointed("previous"), request["window"], request["doctor"])
                return {"release": current.name, "changed": "started again", **seen}
            self.prune(request["blobs"])
            self.take_uploads(upload, request["blobs"])
            release = self.install(request)
            seen = self.try_out(release, current, request["window"], request["doctor"])
            self.prune()
            return {"release": release.name, "changed": "released", **seen}

    def rollback(self, request: dict[str, Any]) -> dict[str, Any]:
        """Run the release before the current one."""
        with self.lock():
            self.settle()
            current, previous = self.pointed("current"), self.pointed("previous")
            if previous is None or previous == current:
                raise FailedError("there is no release to go back to")
            self._lower_serial(previous)
            seen = self.try_out(previous, current, request["window"], request["doctor"])
            return {"release": previous.name, "changed": f"rolled back from {current.name if current else '?'}", **seen}

    def status(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return what runs, and how it is doing; changes nothing."""
        current = self.pointed("current")
        if current is None:
            return {"release": None, "service": self.service.kind}
        facts = self.facts_of(current)
        answer = health_of(facts)
        return {
            **facts,
            "release": current.name,
            "previous": getattr(self.pointed("previous"), "name", None),
            "service": self.service.kind,
            "healthy": answer is not None and self.service.active(),
            "proven": not (self.prefix / "trial.json").exists(),
            "latency_ms": (answer or {}).get("last_answer_ms"),
            "answers": (answer or {}).get("answers"),
            **(read_sensors(current) if request.get("sensors", True) else {}),
        }

    def logs(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return the ends of the service's and of the deploys' log."""
        lines = int(request["lines"])
        deploys = self.log.read_text(errors="replace").splitlines()[-lines:] if self.log.is_file() else []
        return {"service": self.service.tail(lines), "deploys": deploys}

    def remove(self, request: dict[str, Any]) -> dict[str, Any]:
        """Stop the service and remove everything below the prefix that is ours."""
        if not self.prefix.is_dir():
            return {"changed": ""}
        with self.lock():
            self.service.remove()
            for name in ("current", "previous", "trial.json"):
                (self.prefix / name).unlink(missing_ok=True)
            for name in ("releases", "store", "incoming", "run", "log", "state"):
                shutil.rmtree(self.prefix / name, ignore_errors=True)
            (self.prefix / ".lock").unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.prefix.rmdir()  # not ours alone if something is left in it
        return {"changed": "removed"}


def main(request: dict[str, Any]) -> int:
    """Do what the desktop asks for; return the exit code."""
    # The desktop may go away at any time: what was begun is brought to an end all the same.
    for number in (signal.SIGHUP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    os.umask(0o022)
    board = Board(Path(request["prefix"]))
    action = {
        "push": board.push,
        "rollback": board.rollback,
        "status": board.status,
        "logs": board.logs,
        "remove": board.remove,
    }[request["action"]]
    try:
        result, code = action(request), 0
    except FailedError as error:
        result, code = {"error": str(error.args[0]), "tail": error.args[1] if len(error.args) > 1 else []}, 1
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        text = "the disk is full (No space left on device)" if full else str(error)
        result, code = {"error": text, "tail": []}, 1
    if code:
        with contextlib.suppress(OSError):
            say(f"error {result['error']}", board.log if board.log.parent.is_dir() else None)
    say(f"result {json.dumps(result)}")
    return code
