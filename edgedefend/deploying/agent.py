"""What happens on the board during `edgedefend deploy`. Sent there and run by its Python: standard library only.

Layout below the prefix, by default /opt/edgedefend:

    releases/<UTC time>-<hash>/   venv, bundle, kernels, edgedefend.service, release.json, and `complete`
    current, previous             links to releases; `current` is replaced by a rename, which is atomic
    store/<sha256>                what was uploaded; the releases' files are hard links to it, so nothing is sent twice
    trial.json                    there while the current release has not yet proven itself
    log/, run/, state/            of the deploys; of the service where there is no systemd

A release is finished, flushed to the disk, and only then marked `complete`; only a complete one is ever pointed at. So
whatever is cut short, whenever, leaves `current` at a whole release. Once started, an action goes on when the
connection to the desktop is lost: a release that nobody watches still proves itself, or is rolled back.

`main` takes one request (a dict), prints lines ``step TEXT``, and last ``result JSON``.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

UNIT = "edgedefend.service"
UNIT_FILE = Path("/etc/systemd/system") / UNIT
SYSTEMD_STATE = Path("/var/lib/edgedefend")
LOCK_SECONDS = 240
START_SECONDS = 240
INSTALL_SECONDS = 3600


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


class Process:
    """The service on a system without systemd: a process of its own, found again by its number and start time."""

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

    def active(self) -> bool:
        """Tell whether the service runs."""
        return self._number() is not None

    def restarts(self) -> int:
        """Return 0: nobody starts it again."""
        return 0

    def stop(self) -> None:
        """Stop it: politely, then not."""
        number = self._number()
        for how, seconds in ((signal.SIGTERM, 15), (signal.SIGKILL, 5)):
            if number is None:
                break
            with contextlib.suppress(OSError):
                os.kill(number, how)
            until = time.monotonic() + seconds
            while self._number() is not None and time.monotonic() < until:
                time.sleep(0.05)
            number = self._number()
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
                [current / "venv/bin/edgedefend", "serve", current / "bundle", "--port", str(port)],
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
            said = [line for line in self.tail(20) if "edgedefend: " in line]
            raise FailedError(
                f"the service does not start: {said[-1].strip() if said else last_line(self.status())}"
            ) from None

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


class Board:
    """The releases below one prefix, and the service that runs the current one."""

    def __init__(self, prefix: Path) -> None:
        self.prefix = prefix
        self.releases = prefix / "releases"
        self.store = prefix / "store"
        self.log = prefix / "log" / "deploy.log"
        self.service: Process | Systemd = Systemd() if Path("/run/systemd/system").is_dir() else Process(prefix)

    def step(self, text: str) -> None:
        """Tell the desktop, and the log, what is done now."""
        say(f"step {text}", self.log)

    # The links

    def pointed(self, link: str) -> Path | None:
        """Return the release that `current` or `previous` names, None if it is not a whole one."""
        path = self.prefix / link
        if not path.is_symlink():
            return None
        release = self.releases / path.readlink().name
        return release if (release / "complete").is_file() else None

    def _whole(self, name: str) -> Path | None:
        release = self.releases / Path(str(name)).name
        return release if name and (release / "complete").is_file() else None

    def _point(self, link: str, release: Path) -> None:
        temporary = self.prefix / f".{link}.new"
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(Path("releases") / release.name)
        temporary.replace(self.prefix / link)
        sync_folder(self.prefix)

    def facts_of(self, release: Path | None) -> dict[str, Any]:
        """Return what release.json says."""
        if release is None:
            return {}
        try:
            return dict(json.loads((release / "release.json").read_text()))
        except (OSError, ValueError):
            return {}

    def whole_releases(self) -> list[Path]:
        """Return the complete releases, newest name first."""
        if not self.releases.is_dir():
            return []
        return sorted((r for r in self.releases.iterdir() if (r / "complete").is_file()), reverse=True)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Work on this board alone."""
        for folder in (self.prefix, self.releases, self.store, self.log.parent):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o755)
        with (self.prefix / ".lock").open("w") as file:
            until, said = time.monotonic() + LOCK_SECONDS, False
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > until:
                        raise FailedError("another deploy is at work on this board") from None
                    if not said:
                        self.step("waiting for another deploy on this board")
                        said = True
                    time.sleep(0.2)
            yield

    # Making a release

    def take_uploads(self, folder: Path, wanted: dict[str, str]) -> None:
        """Move what was uploaded into the store, each file checked; `wanted` is sha256 -> name."""
        for digest, name in wanted.items():
            kept, upload = self.store / digest, folder / digest
            if kept.is_file():
                continue
            if not upload.is_file():
                raise FailedError(f"the upload of {name} is not here: push again")
            actual = hashlib.sha256()
            with upload.open("rb") as file:
                while block := file.read(1 << 20):
                    actual.update(block)
                os.fsync(file.fileno())
            if actual.hexdigest() != digest:
                raise FailedError(f"the upload of {name} was damaged on the way: push again")
            upload.chmod(0o644)
            upload.replace(kept)
        sync_folder(self.store)
        shutil.rmtree(folder, ignore_errors=True)

    def install(self, request: dict[str, Any]) -> Path:
        """Make a complete release out of what is in the store."""
        facts = request["release"]
        release = self.releases / str(facts["name"])
        if release.exists():
            shutil.rmtree(release)
        release.mkdir()
        for target, digest in request["files"].items():
            place = release / target
            place.parent.mkdir(parents=True, exist_ok=True)
            os.link(self.store / digest, place)
        fresh = self._make_venv(release, request)
        if not (release / "kernels" / "target.json").is_file():
            self.step("compiling the kernels on the board")
            edgedefend = release / "venv" / "bin" / "edgedefend"
            run([edgedefend, "warmup", "--out", release / "kernels"], "compiling the kernels", seconds=900)
        write_whole(release / "release.json", json.dumps(facts, indent=1).encode())
        self._flush(release, fresh)
        # From here on the release may be pointed at.
        write_whole(release / "complete", b"")
        sync_folder(self.releases)
        return release

    def _make_venv(self, release: Path, request: dict[str, Any]) -> bool:
        """Make the environment; tell whether it is new, not a copy (by hard links) of an earlier one."""
        facts, venv = request["release"], release / "venv"
        same = [r for r in self.whole_releases() if self.facts_of(r).get("packages") == facts["packages"]]
        wheels = [release / "wheels" / name for name in request["wheels"]]
        own = [wheel for wheel in wheels if wheel.name.startswith("edgedefend-")]
        if same:
            self.step("environment taken over from the release before")
            exact = [r for r in same if self.facts_of(r).get("app") == facts["app"]]
            donor = (exact or same)[0]
            _clone_venv(donor / "venv", venv)
            if exact:
                return False
            self._pip(venv, [*own, "--no-deps", "--no-index", "--force-reinstall"])
            return False
        self.step("making the environment")
        run([request["python"], "-m", "venv", venv], "making the environment", seconds=INSTALL_SECONDS)
        self.step("installing the packages")
        if request["index"]:
            self._pip(venv, [f"{own[0]}{request['extras']}", *request["pins"]])
        else:
            self._pip(venv, [*wheels, "--no-deps", "--no-index"])
        return True

    def _pip(self, venv: Path, arguments: Sequence[str | Path]) -> None:
        command: list[str | Path] = [
            venv / "bin" / "python",
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ]
        command += ["--no-cache-dir", "--no-warn-script-location", "--no-input", *map(str, arguments)]
        run(command, "installing the packages", seconds=INSTALL_SECONDS, env={"PYTHONPATH": ""})

    def _flush(self, release: Path, fresh: bool) -> None:
        """Have everything in `release` on the disk."""
        if fresh:
            os.sync()  # thousands of new files: one flush of the file system is quicker than one each
            return
        folders = [release]
        for folder in folders:
            for entry in os.scandir(folder):
                if entry.is_dir(follow_symlinks=False):
                    folders.append(Path(entry.path))
                elif entry.is_file(follow_symlinks=False) and entry.stat().st_nlink == 1:
                    # A file with several links was flushed with the release that it came from, or with the store.
                    handle = os.open(entry.path, os.O_RDONLY)
                    os.fsync(handle)
                    os.close(handle)
            sync_folder(folder)

    # Running a release

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
        self._point("current", release)
        self.service.restart(release, int(facts["port"]), str(facts["user"]))

    def _ask(self, port: int, path: str, body: bytes | None = None) -> dict[str, Any]:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"http://127.0.0.1:{port}{path}", data=body, timeout=60) as answer:
            return dict(json.loads(answer.read()))

    def health(self, facts: dict[str, Any]) -> dict[str, Any] | None:
        """Return what the service of this release says of itself, None if it does not answer."""
        try:
            answer = self._ask(int(facts["port"]), "/healthz")
        except (OSError, ValueError, KeyError):
            return None
        return answer if answer.get("ok") and answer.get("bundle") == facts["bundle"] else None

    def prove(self, release: Path, window: float) -> dict[str, Any]:
        """Return the measurements of a release that has shown that it works.

        Raises
        ------
        FailedError
            With the first thing that does not.
        """
        facts = self.facts_of(release)
        until = time.monotonic() + START_SECONDS
        self.step("waiting for the service")
        while self.health(facts) is None:
            if not self.service.active():
                said = [line for line in self.service.tail(20) if line.startswith("edgedefend: ")]
                raise FailedError(f"the service ends at once: {said[-1] if said else last_line('')}")
            if time.monotonic() > until:
                raise FailedError(f"the service does not answer on port {facts['port']} with this bundle")
            time.sleep(0.1)
        restarts, begun = self.service.restarts(), time.monotonic()
        self.step("first prediction")
        try:
            image = (release / "bundle" / "golden_image.png").read_bytes()
            first = self._ask(int(facts["port"]), "/v1/classify", image)
        except (OSError, ValueError) as error:
            raise FailedError(f"the service does not classify: {error}") from None
        if first.get("bundle") != facts["bundle"]:
            raise FailedError("the service answers with another bundle")
        self.step("verify")
        edgedefend = release / "venv" / "bin" / "edgedefend"
        environment = {**self.service.environment, "EDGEDEFEND_KERNELS": str(release / "kernels")}
        run([edgedefend, "verify", release / "bundle"], "verify", seconds=600, env=environment)
        self._doctor(release, environment)
        self.step("watching")
        while time.monotonic() < begun + window:
            time.sleep(0.1)
            if not self.service.active() or self.service.restarts() != restarts:
                raise FailedError(f"the service has not stayed up for {window:g} s")
        if self.health(facts) is None:
            raise FailedError("the service no longer answers")
        return {"label": first.get("label"), "first_ms": first.get("stage_ms", {}).get("total_ms")}

    def _doctor(self, release: Path, environment: dict[str, str]) -> None:
        """Ask the board's doctor, where this version has one; only what it calls an error counts against a release."""
        edgedefend = release / "venv" / "bin" / "edgedefend"
        if not list(release.glob("venv/lib/python3*/site-packages/edgedefend/commands/doctor.py")):
            return
        self.step("doctor")
        command = [edgedefend, "doctor", "--json", "--bundle", release / "bundle"]
        done = subprocess.run(
            list(map(str, command)),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
            env={**os.environ, **environment},
        )
        if done.returncode:
            raise FailedError(f"doctor: {_worst_finding(done.stdout) or last_line(done.stderr)}")

    def try_out(self, release: Path, previous: Path | None, window: float) -> dict[str, Any]:
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
                self._point("previous", previous)
            self.start(release)
            seen = self.prove(release, window)
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
                    self._point("previous", older)
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
        if current is None or current.name != trial["release"]:
            (self.prefix / "trial.json").unlink(missing_ok=True)
            return
        self.step(f"a deploy was cut short: looking at {current.name}")
        previous, older = self._whole(trial["previous"]), self._whole(trial["older"])
        try:
            self.start(current)
            self.prove(current, float(trial["window"]))
        except FailedError as error:
            self.step(f"{current.name} does not work: {error}{self._go_back(previous, older)}")
            return
        (self.prefix / "trial.json").unlink(missing_ok=True)

    def prune(self, wanted: Sequence[str] = ()) -> None:
        """Remove what neither `current` nor `previous` needs; `wanted` are digests that stay in the store."""
        kept = {self.pointed("current"), self.pointed("previous")}
        for release in self.releases.iterdir():
            if release not in kept:
                # The mark first: from then on nothing takes a half-removed release for a whole one.
                (release / "complete").unlink(missing_ok=True)
                sync_folder(release)
                shutil.rmtree(release, ignore_errors=True)
        for blob in self.store.iterdir():
            if blob.stat().st_nlink == 1 and blob.name not in wanted:
                blob.unlink(missing_ok=True)
        for upload in (self.prefix / "incoming").glob("*"):
            if time.time() - upload.stat().st_mtime > 86400:
                shutil.rmtree(upload, ignore_errors=True)
        if self.log.is_file() and self.log.stat().st_size > 1 << 20:
            write_whole(self.log, self.log.read_bytes()[-(1 << 18) :])

    # What the desktop can ask for

    def push(self, request: dict[str, Any]) -> dict[str, Any]:
        """Install a release and run it."""
        with self.lock():
            self.settle()
            current = self.pointed("current")
            upload = self.prefix / "incoming" / request["push"]
            if current is not None and self.facts_of(current).get("hash") == request["release"]["hash"]:
                shutil.rmtree(upload, ignore_errors=True)
                seen = self.try_out(current, self.pointed("previous"), request["window"])
                return {"release": current.name, "changed": "the service was started again", **seen}
            self.prune(request["blobs"])
            self.take_uploads(upload, request["blobs"])
            release = self.install(request)
            seen = self.try_out(release, current, request["window"])
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
            seen = self.try_out(previous, current, request["window"])
            return {"release": previous.name, "changed": f"rolled back from {current.name if current else '?'}", **seen}

    def status(self, request: dict[str, Any]) -> dict[str, Any]:
        """Return what runs, and how it is doing; changes nothing."""
        current = self.pointed("current")
        if current is None:
            return {"release": None, "service": self.service.kind}
        facts = self.facts_of(current)
        answer = self.health(facts)
        return {
            **facts,
            "release": current.name,
            "previous": getattr(self.pointed("previous"), "name", None),
            "service": self.service.kind,
            "healthy": answer is not None and self.service.active(),
            "proven": not (self.prefix / "trial.json").exists(),
            "latency_ms": (answer or {}).get("last_answer_ms"),
            "answers": (answer or {}).get("answers"),
            **(_sensors(current) if request.get("sensors", True) else {}),
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


def _clone_venv(donor: Path, venv: Path) -> None:
    """Copy an environment by hard links; what names its place in its text is written anew."""
    old, new = os.fsencode(donor), os.fsencode(venv)
    venv.mkdir()
    for entry in os.scandir(donor):
        source, target = Path(entry.path), venv / entry.name
        if entry.is_symlink():
            target.symlink_to(source.readlink())
        elif entry.is_dir():
            _clone_tree(source, target, old, new, texts=entry.name == "bin")
        else:
            _clone_file(source, target, old, new)


def _clone_tree(donor: Path, folder: Path, old: bytes, new: bytes, *, texts: bool) -> None:
    folder.mkdir()
    for entry in os.scandir(donor):
        source, target = Path(entry.path), folder / entry.name
        if entry.is_symlink():
            target.symlink_to(source.readlink())
        elif entry.is_dir():
            _clone_tree(source, target, old, new, texts=False)
        elif texts:
            _clone_file(source, target, old, new)
        else:
            os.link(source, target)


def _clone_file(source: Path, target: Path, old: bytes, new: bytes) -> None:
    content = source.read_bytes()
    if old in content:
        target.write_bytes(content.replace(old, new))
        shutil.copymode(source, target)
    else:
        os.link(source, target)


def _worst_finding(text: str) -> str:
    try:
        findings = json.loads(text)["findings"]
        bad = [finding for finding in findings if finding.get("level") in ("error", "fail")]
        return str(bad[0].get("what") or bad[0].get("message") or bad[0])
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        return ""


def _sensors(release: Path) -> dict[str, Any]:
    """Ask the release's own `edgedefend.device` for temperature and throttling."""
    code = "import json; from edgedefend.device import Device; print(json.dumps(Device().snapshot()))"
    try:
        text = run([release / "venv" / "bin" / "python", "-I", "-c", code], "sensors", seconds=60)
        return {"sensors": json.loads(text)}
    except (FailedError, ValueError):
        return {"sensors": {}}


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
