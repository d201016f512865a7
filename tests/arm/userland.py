"""Debian userlands with the real wheels, and QEMU to run the arm64 ones, in build/arm; nothing is installed here.

"bookworm" and "trixie" are what a board has; "trixie-amd64" is a desktop with that suite's Python, for making a board's
kernels where this machine has another one. ``python -m tests.arm.userland bookworm trixie`` builds what is missing or
out of date (about half a minute each) and prints where it is. Wheels have the versions of the Python that builds it, so
all sides run the same libraries.
"""

from __future__ import annotations

import fcntl
import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.arm.debian import UnavailableError, download, sources_for, unpack

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = [
    "BUILD",
    "DESKTOPS",
    "PYTHONS",
    "ROOT",
    "build",
    "in_use",
    "python_of",
    "qemu",
    "root_of",
    "site_packages",
    "wheel_options",
]

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "arm"
# Raspberry Pi OS is Debian: bookworm until 2025, trixie since.
PYTHONS = {"bookworm": "3.11", "trixie": "3.13"}
# A desktop's userland -> its suite. Programs of these run on this machine's own CPU.
DESKTOPS = {f"{suite}-amd64": suite for suite in PYTHONS}
PACKAGES = [
    "base-files",
    "base-passwd",
    "bash",
    "coreutils",
    "dash",
    "findutils",
    "grep",
    "libc-bin",
    "libgomp1",
    "libstdc++6",
    "procps",
    "python3",
    "python3-venv",
    "sed",
    "util-linux",
]
RECIPE = 4  # to be counted up when a userland is made in another way
TEST_WHEELS = ["cryptography", "hypothesis", "pillow", "pytest", "scipy"]
# Only for its photographs: its own dependencies (a deep-learning stack) have no business on a board.
BARE_WHEELS = ["foolbox"]


def _host_suite() -> str:
    facts = platform.freedesktop_os_release()
    return facts.get("VERSION_CODENAME", "")


def qemu() -> Path:
    """Return a static qemu-aarch64 for this machine, unpacked from its package where it is not there yet."""
    program = BUILD / "tools" / "usr/bin/qemu-aarch64-static"
    if not program.is_file():
        architecture = {"x86_64": "amd64"}.get(platform.machine())
        if architecture is None:
            raise UnavailableError(f"arm64 is emulated on x86_64 machines, this is {platform.machine()}")
        files = download(["qemu-user-static"], _host_suite(), architecture, BUILD / "apt" / "tools")
        unpack(files, BUILD / "tools")
    return program


def python_of(userland: str) -> str:
    """Return the minor version of Python that a userland has, e.g. "3.11"."""
    return PYTHONS[DESKTOPS.get(userland, userland)]


def root_of(userland: str) -> Path:
    """Return the root folder of a userland, whether it has been built or not."""
    return BUILD / userland / "root"


def site_packages(userland: str) -> Path:
    """Return where Debian's Python looks for what its administrator has installed."""
    return root_of(userland) / "usr/local/lib" / f"python{python_of(userland)}" / "dist-packages"


def wheel_options(python: str, machine: str = "aarch64") -> list[str]:
    """Return pip's options for the wheels of a Python on a machine; glibc 2.35 is older than both suites'."""
    versions = ("2014", *(f"_2_{minor}" for minor in (17, 24, 26, 27, 28, 31, 34, 35)))
    platforms = [f"manylinux{version}_{machine}" for version in versions]
    options = [f"--platform={name}" for name in platforms]
    return [*options, f"--python-version={python}", "--implementation=cp", "--only-binary=:all:"]


def versions_here() -> dict[str, str]:
    """Return the versions of all packages of this Python, by normalised name."""
    found = ((each.metadata["Name"], each.version) for each in importlib.metadata.distributions())
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in found if name}


def pins(names: Iterable[str]) -> list[str]:
    """Return constraints that give `names`, where they are installed here, the version they have here."""
    here = versions_here()
    return sorted(f"{name}=={here[name]}" for name in names if name in here and name != "edgedefend")


def runtime_dependencies() -> list[str]:
    """Return what pyproject.toml says a board needs, its service included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [*project["dependencies"], *project["optional-dependencies"]["serve"]]


def _wheels(userland: str) -> tuple[list[str], list[str]]:
    """Return what pip is to install with its dependencies, and what without; a desktop runs no tests."""
    return (
        (runtime_dependencies(), [])
        if userland in DESKTOPS
        else (
            [*runtime_dependencies(), *TEST_WHEELS],
            BARE_WHEELS,
        )
    )


def _install_wheels(userland: str) -> list[str]:
    """Fill a userland's site-packages; return the names of what is there then."""
    site, python = site_packages(userland), python_of(userland)
    machine = "x86_64" if userland in DESKTOPS else "aarch64"
    shutil.rmtree(site, ignore_errors=True)
    constraints = BUILD / userland / "constraints.txt"
    constraints.write_text("".join(f"{pin}\n" for pin in pins(versions_here())))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    pip += ["--target", str(site), "--constraint", str(constraints), *wheel_options(python, machine)]
    whole, bare = _wheels(userland)
    for words in (whole, ["--no-deps", *bare] if bare else []):
        done = subprocess.run([*pip, *words], capture_output=True, text=True, check=False) if words else None
        if done is not None and done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise UnavailableError(f"pip cannot get the {machine} wheels for Python {python}: {reason}")
    return sorted(re.sub(r"[-_.]+", "-", entry.name.split("-")[0]).lower() for entry in site.glob("*.dist-info"))


def _write_settings(root: Path) -> None:
    """Write what the packages' scripts, which do not run, would have written."""
    for folder in ("etc", "root", "tmp", "proc", "sys", "dev", "run", "usr/local/bin", "var/tmp"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534::/nonexistent:/bin/false\n")
    (root / "etc/group").write_text("root:x:0:\nvideo:x:44:\nnogroup:x:65534:\n")
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n")
    command = root / "usr/local/bin/edgedefend"
    command.write_text('#!/bin/sh\nexec python3 -m edgedefend.cli "$@"\n')
    command.chmod(0o755)


def build(userland: str) -> Path:
    """Return the root folder of a userland, built where it is missing or made from something else.

    Raises
    ------
    UnavailableError
        If this machine has no way to get at the packages.
    """
    suite = DESKTOPS.get(userland, userland)
    root, stamp = root_of(userland), BUILD / userland / "made-from.json"
    made_from: dict[str, object] = {
        "recipe": RECIPE,
        "sources": sources_for(suite),
        "packages": PACKAGES,
        "wheels": [name for names in _wheels(userland) for name in names],
    }

    def up_to_date() -> bool:
        if not stamp.is_file():
            return False
        seen = json.loads(stamp.read_text())
        names = seen.get("names", [])
        return bool(seen == {**made_from, "names": names, "pins": pins(names)})

    with in_use(userland):
        if up_to_date():
            return root
    with in_use(userland, exclusive=True):
        if up_to_date():
            return root  # made by another one, while this one waited
        stamp.unlink(missing_ok=True)
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)
        architecture = "amd64" if userland in DESKTOPS else "arm64"
        unpack(download(PACKAGES, suite, architecture, BUILD / "apt" / userland), root)
        _write_settings(root)
        names = _install_wheels(userland)
        stamp.write_text(json.dumps({**made_from, "names": names, "pins": pins(names)}, indent=1))
    return root


@contextmanager
def in_use(userland: str, *, exclusive: bool = False) -> Iterator[None]:
    """Hold a userland while something runs in it: removing a folder takes away what others have mounted on it."""
    (BUILD / userland).mkdir(parents=True, exist_ok=True)
    with (BUILD / userland / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        yield


if __name__ == "__main__":
    os.chdir(ROOT)
    try:
        print(f"qemu      {qemu()}")
        for wanted in sys.argv[1:] or PYTHONS:
            begin = time.monotonic()
            print(f"{wanted:9} {build(wanted)} ({time.monotonic() - begin:.1f} s)")
    except UnavailableError as error:
        sys.exit(f"no arm64 userland: {error}")
