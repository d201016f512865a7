"""Which Python, C library and packages there are: of this process, or of a system's tree of files."""

from __future__ import annotations

import os
import platform
import re
import struct
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgedefend.device import Device

__all__ = ["Environment", "of_this_process", "of_tree"]

_MACHINES = {0x03: "i686", 0x28: "armv7l", 0x3E: "x86_64", 0xB7: "aarch64", 0xF3: "riscv64"}
PREFIX = "/opt/edgedefend/current"


@dataclass(frozen=True)
class Environment:
    """What imports and wheels depend on. `live` is whether it is this process, so that something can be tried."""

    python: tuple[int, int] | None
    version: str
    executable: str
    bits: int | None
    machine: str
    libc: str  # "glibc", "musl" or ""
    libc_version: tuple[int, ...]
    packages: dict[str, str] = field(default_factory=dict)
    live: bool = False


def _libc() -> tuple[str, tuple[int, ...]]:
    try:
        name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    except (ValueError, OSError):  # musl does not know the question
        return "musl", ()
    return name, _numbers(version)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def of_this_process() -> Environment:
    """Return what this process runs on; packages by their metadata, nothing is imported."""
    from importlib import metadata

    packages: dict[str, str] = {}
    for distribution in metadata.distributions():
        name = distribution.metadata["Name"] if distribution.metadata else None
        if name:
            packages.setdefault(_normal(name), distribution.version)
    libc, libc_version = _libc()
    return Environment(
        (sys.version_info[0], sys.version_info[1]),
        platform.python_version(),
        sys.executable,
        8 * struct.calcsize("P"),
        platform.machine(),
        libc,
        libc_version,
        packages,
        live=True,
    )


def of_tree(device: Device) -> Environment:
    """Return what the system below another root has: read from its files, nothing of it is run."""
    from edgedefend.system_files import SystemFiles

    files = SystemFiles(device.root)
    for name in (
        f"{PREFIX}/venv/bin/python",
        f"{PREFIX}/venv/bin/python3",
        "/usr/bin/python3",
        "/usr/local/bin/python3",
    ):
        real = files.real(name)
        if not real.is_file():
            continue
        with real.open("rb") as file:
            head = file.read(20)
        bits = {1: 32, 2: 64}.get(head[4]) if head[:4] == b"\x7fELF" and len(head) == 20 else None
        machine = _MACHINES.get(int.from_bytes(head[18:20], "little"), "") if bits else ""
        match = re.fullmatch(r"python(\d+)\.(\d+)", real.name)
        version = (int(match[1]), int(match[2])) if match else None
        libc = _dpkg_version(device, "libc6")
        return Environment(
            version,
            ".".join(map(str, version)) if version else "unknown",
            name,
            bits,
            machine,
            "glibc" if libc else "",
            _numbers(libc),
            _tree_packages(device),
        )
    return Environment(None, "", "", None, "", "", ())


def _dpkg_version(device: Device, package: str) -> str:
    for paragraph in (device.read("/var/lib/dpkg/status") or "").split("\n\n"):
        if re.search(rf"^Package: {re.escape(package)}$", paragraph, re.MULTILINE):
            match = re.search(r"^Version: (\S+)", paragraph, re.MULTILINE)
            return match[1] if match else ""
    return ""


def _tree_packages(device: Device) -> dict[str, str]:
    packages = {}
    for folder in device.path(f"{PREFIX}/venv/lib").glob("python3*/site-packages/*.dist-info"):
        name, _, version = folder.name[: -len(".dist-info")].partition("-")
        packages[_normal(name)] = version
    return packages
