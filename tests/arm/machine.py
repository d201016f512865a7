"""A whole emulated board: qemu-system-aarch64 started, reached by ssh, killed like a power cut, started again."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from tests.arm.debian import UnavailableError, download, unpack
from tests.arm.image import Image
from tests.arm.userland import BUILD

__all__ = ["Machine", "WrongError", "system_qemu"]


class WrongError(Exception):
    """The board is not as it should be."""


def system_qemu() -> list[str]:
    """Return the words that start qemu-system-aarch64, unpacked from its packages where this machine has none."""
    installed = shutil.which("qemu-system-aarch64")
    if installed:
        return [installed]
    folder = BUILD / "system"
    program = folder / "usr/bin/qemu-system-aarch64"
    if not program.is_file():
        if platform.machine() != "x86_64":
            raise UnavailableError(f"boards are emulated on x86_64 machines, this is {platform.machine()}")
        suite = platform.freedesktop_os_release().get("VERSION_CODENAME", "")
        unpack(download(["qemu-system-arm"], suite, "amd64", BUILD / "apt/system"), folder)
    # Its own loader and libraries: nothing of this machine's is mixed in.
    libraries = folder / "usr/lib/x86_64-linux-gnu"
    paths = [libraries, *(path for path in libraries.iterdir() if path.is_dir() and any(path.glob("*.so*")))]
    loader = folder / "usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"
    words = [str(loader), "--library-path", ":".join(map(str, paths)), str(program)]
    return [*words, "-L", str(folder / "usr/share/qemu")]


def free_port() -> int:
    """Return a port of the loopback interface that nobody uses now."""
    with socket.socket() as channel:
        channel.bind(("127.0.0.1", 0))
        return int(channel.getsockname()[1])


class Machine:
    """One board with a disk of its own; a context manager that leaves no process behind."""

    def __init__(self, image: Image, folder: Path, cpu: str = "cortex-a72") -> None:
        self.image, self.folder, self.cpu = image, folder, cpu
        folder.mkdir(parents=True, exist_ok=True)
        self.disk = folder / "disk.img"
        subprocess.run(["cp", "--sparse=always", "--reflink=auto", str(image.disk), str(self.disk)], check=True)
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None
        (folder / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {image.host_key}")
        self.ssh_config = folder / "ssh_config"
        self.ssh_config.write_text(
            f"Host board\n  HostName 127.0.0.1\n  Port {self.port}\n  User pi\n  IdentityFile {image.key}\n"
            f"  IdentitiesOnly yes\n  UserKnownHostsFile {folder / 'known_hosts'}\n  StrictHostKeyChecking yes\n"
            "  LogLevel ERROR\n"
        )

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def start(self) -> None:
        """Power on; returns at once."""
        forward = f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{self.port}-:22"
        words = [*system_qemu(), "-M", "virt", "-cpu", self.cpu, "-smp", "2", "-m", "2048", "-nographic", "-no-reboot"]
        words += ["-accel", "tcg,thread=multi", "-kernel", str(self.image.kernel), "-initrd", str(self.image.initrd)]
        words += ["-append", "console=ttyAMA0 quiet panic=1 root=/dev/vda rw"]
        words += ["-drive", f"if=none,id=disk,format=raw,file={self.disk}", "-device", "virtio-blk-pci,drive=disk"]
        words += ["-netdev", forward, "-device", "virtio-net-pci,netdev=net,romfile=", "-device", "virtio-rng-pci"]
        with (self.folder / "console.txt").open("ab") as console:
            self.process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=console, stderr=console, start_new_session=True
            )

    def kill(self) -> None:
        """Cut the power: what the board has not flushed to its disk is gone."""
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def ssh(self, command: str, *, seconds: float = 120, data: bytes | None = None) -> subprocess.CompletedProcess[str]:
        """Run a shell command on the board."""
        words = ["ssh", "-F", str(self.ssh_config), "-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "board", command]
        done = subprocess.run(
            words,
            capture_output=True,
            check=False,
            timeout=seconds,
            input=data,
            stdin=None if data is not None else subprocess.DEVNULL,
        )
        return subprocess.CompletedProcess(words, done.returncode, done.stdout.decode(), done.stderr.decode())

    def wait_for_ssh(self, seconds: float = 600) -> float:
        """Wait until somebody can log in; return how long it took.

        Raises
        ------
        TimeoutError
            If it never does, with the end of the console's output.
        """
        begin = time.monotonic()
        while time.monotonic() - begin < seconds:
            if self.process is None or self.process.poll() is not None:
                break
            try:
                if self.ssh("true", seconds=30).returncode == 0:
                    return time.monotonic() - begin
            except subprocess.TimeoutExpired:
                pass
            time.sleep(1)
        tail = (self.folder / "console.txt").read_bytes()[-1500:].decode(errors="replace")
        raise TimeoutError(f"nobody can log in after {time.monotonic() - begin:.0f} s; the console says: {tail}")

    def wait_until_settled(self, seconds: float = 300) -> str:
        """Wait until systemd has started everything; return what it calls the state ("running", "degraded")."""
        return self.ssh("systemctl is-system-running --wait", seconds=seconds).stdout.strip()

    def forward(self, port: int) -> tuple[subprocess.Popen[bytes], int]:
        """Open an ssh tunnel to a port of the board; return its process and the local port."""
        local = free_port()
        words = ["ssh", "-F", str(self.ssh_config), "-N", "-o", "BatchMode=yes", "-o", "ExitOnForwardFailure=yes"]
        words += ["-L", f"127.0.0.1:{local}:127.0.0.1:{port}", "board"]
        return subprocess.Popen(words, stdin=subprocess.DEVNULL, env={**os.environ}), local
