"""Boards for tests: real sshd processes on loopback, each with its own host key, port, folder and PATH."""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import os
import shutil
import socket
import subprocess
import sys
import time
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from packaging.requirements import Requirement

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def free_port() -> int:
    with socket.socket() as channel:
        channel.bind(("127.0.0.1", 0))
        return channel.getsockname()[1]


@dataclass
class TestBoard:
    """One sshd. `name` is what the ssh configuration calls it, `prefix` where releases go, `fakes` is first on PATH."""

    __test__ = False

    name: str
    folder: Path
    port: int
    process: subprocess.Popen[bytes]
    service_port: int = field(default_factory=free_port)

    @property
    def prefix(self) -> Path:
        return self.folder / "opt"

    @property
    def fakes(self) -> Path:
        return self.folder / "fakes"

    def fake(self, program: str, script: str) -> None:
        (self.fakes / program).write_text(f"#!/bin/sh\n{script}\n")
        (self.fakes / program).chmod(0o755)

    @property
    def current(self) -> Path | None:
        link = self.prefix / "current"
        return (self.prefix / link.readlink()) if link.is_symlink() else None


class Yard:
    """All test boards, and the ssh configuration that knows them."""

    def __init__(self, folder: Path) -> None:
        if SSHD is None or not shutil.which("ssh"):
            pytest.skip("no sshd here: apt-get install openssh-server")
        self.folder = folder
        self.config = folder / "config"
        self.known_hosts = folder / "known_hosts"
        self.known_hosts.touch()
        self.key = self.make_key(folder / "id")
        self.boards: list[TestBoard] = []
        self.config.write_text("")
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where sshd locks itself in

    @staticmethod
    def make_key(path: Path) -> Path:
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
        return path

    def entry(self, name: str, port: int, key: Path | None = None) -> None:
        """Add a host to the ssh configuration."""
        with self.config.open("a") as file:
            file.write(
                f"Host {name}\n HostName 127.0.0.1\n Port {port}\n"
                f" IdentityFile {key or self.key}\n IdentitiesOnly yes\n"
                f" UserKnownHostsFile {self.known_hosts}\n GlobalKnownHostsFile /dev/null\n"
            )

    def start(self, name: str, *, known: bool = True, force: str = "", **env: str) -> TestBoard:
        """Start an sshd whose host key is in known_hosts if `known`; `force` is what it runs whatever is asked for."""
        folder = self.folder / name
        (folder / "fakes").mkdir(parents=True)
        host_key, port = self.make_key(folder / "host_key"), free_port()
        environment = {
            "PATH": f"{folder / 'fakes'}:{Path(sys.executable).parent}:/usr/bin:/bin",
            "EDGEDEFEND_TRUSTED_KEYS": str(folder / "trusted-keys"),
            "XDG_CACHE_HOME": str(folder / "cache"),
            **env,
        }
        default = f'/usr/bin/env PATH={environment["PATH"]} /bin/sh -c "$SSH_ORIGINAL_COMMAND"'
        settings = " ".join(f"{key}={value}" for key, value in environment.items())
        (folder / "sshd_config").write_text(
            f"Port {port}\nListenAddress 127.0.0.1\nHostKey {host_key}\nAuthorizedKeysFile {self.key}.pub\n"
            f"StrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\nPidFile none\n"
            f"SetEnv {settings}\nMaxStartups 100\nMaxSessions 100\n"
            # This user's shell may read files that change PATH again: what counts is what the board is to have.
            f"ForceCommand {force or default}\n"
        )
        with (folder / "sshd.log").open("wb") as log:
            process = subprocess.Popen([SSHD, "-D", "-e", "-f", folder / "sshd_config"], stdout=log, stderr=log)
        deadline = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert process.poll() is None, (folder / "sshd.log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.05)
        if known:
            kind, key, *_ = Path(f"{host_key}.pub").read_text().split()
            with self.known_hosts.open("a") as file:
                file.write(f"[127.0.0.1]:{port} {kind} {key}\n")
        self.entry(name, port)
        board = TestBoard(name, folder, port, process)
        self.boards.append(board)
        return board

    def inventory(self, *boards: TestBoard) -> Path:
        """Write an inventory file of some boards."""
        path = self.folder / f"inventory-{'-'.join(board.name for board in boards)}"
        lines = [f"{each.name}  prefix={each.prefix}  port={each.service_port}  # a board" for each in boards]
        path.write_text("\n".join(["# boards of the tests", "", *lines, ""]))
        return path

    def stop(self) -> None:
        for board in self.boards:
            stop_service(board.prefix)
            board.process.terminate()
            board.process.wait(30)


def stop_service(prefix: Path) -> None:
    """Stop the service that a test has left on a board."""
    from edgedefend.deploying.onboard.service import Process

    Process(prefix).stop()


def make_wheelhouse(folder: Path) -> Path:
    """Fill a folder with wheels of what edgedefend needs, made of the packages installed here: no network."""
    folder.mkdir()
    wanted, seen = ["edgedefend"], set()
    while wanted:
        name = wanted.pop().lower().replace("_", "-")
        if name in seen:
            continue
        seen.add(name)
        distribution = importlib.metadata.distribution(name)
        for line in distribution.requires or []:
            requirement = Requirement(line)
            # What a board gets: edgedefend with what its service needs.
            extra = "serve" if name == "edgedefend" else ""
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                wanted.append(requirement.name)
        if name == "edgedefend":
            wanted.append("cryptography")
        else:
            write_wheel(distribution, folder)
    return folder


def write_wheel(distribution: importlib.metadata.Distribution, folder: Path) -> None:
    tags = [
        line.split(": ")[1] for line in (distribution.read_text("WHEEL") or "").splitlines() if line.startswith("Tag: ")
    ]
    pythons, abis, platforms = (
        ".".join(dict.fromkeys(part)) for part in zip(*(tag.split("-") for tag in tags), strict=True)
    )
    stem = f"{distribution.metadata['Name'].replace('-', '_').replace('.', '_')}-{distribution.version}"
    files = [file for file in distribution.files or [] if ".." not in file.parts and "__pycache__" not in file.parts]
    info = next(file.parts[0] for file in files if file.name == "METADATA")
    skipped = {f"{info}/{name}" for name in ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")}
    lines = []
    with zipfile.ZipFile(folder / f"{stem}-{pythons}-{abis}-{platforms}.whl", "w") as archive:
        for file in files:
            if str(file) in skipped:
                continue
            data = file.locate().read_bytes()
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            lines.append(f'"{file}",sha256={digest},{len(data)}')
            archive.writestr(str(file), data)
        archive.writestr(f"{info}/RECORD", "\n".join([*lines, f"{info}/RECORD,,", ""]))
