"""Releases on the board's disk: each is whole, and marked so, before anything points at it.

Layout below the prefix, by default /opt/edgedefend:

    releases/<UTC time>-<hash>/   venv, bundle, kernels, wheels, edgedefend.service, release.json, and `complete`
    current, previous             links to releases; `current` is replaced by a rename, which is atomic
    store/<sha256>                what was uploaded; the releases' files are hard links to it, so nothing is sent twice
    trial.json                    there while the current release has not yet proven itself
    log/, run/, state/            of the deploys; of the service where there is no systemd

A release is finished, flushed to the disk, and only then marked `complete`; only a complete one is ever pointed at. So
whatever is cut short, whenever, leaves `current` at a whole release.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from edgedefend.deploying.onboard.basics import FailedError, run, say, sync_folder, write_whole
from edgedefend.deploying.onboard.environment import clone_venv, install_packages, make_venv, own_wheel, pip

LOCK_SECONDS = 240


class Releases:
    """The releases below one prefix."""

    def __init__(self, prefix: Path) -> None:
        self.prefix = prefix
        self.releases = prefix / "releases"
        self.store = prefix / "store"
        self.log = prefix / "log" / "deploy.log"

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

    def whole(self, name: str) -> Path | None:
        """Return the complete release called `name`, None if there is none."""
        release = self.releases / Path(str(name)).name
        return release if name and (release / "complete").is_file() else None

    def point(self, link: str, release: Path) -> None:
        """Let a link name `release`, in one step."""
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
        if same:
            self.step("environment taken over from the release before")
            exact = [r for r in same if self.facts_of(r).get("app") == facts["app"]]
            clone_venv((exact or same)[0] / "venv", venv)
            if not exact:
                pip(venv, [own_wheel(release / "wheels"), "--no-deps", "--no-index", "--force-reinstall"])
            return False
        self.step("making the environment")
        make_venv(venv, request["python"])
        self.step("installing the packages")
        install_packages(venv, request, release / "wheels")
        return True

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
