"""An arm64 Debian userland with the real aarch64 wheels, and QEMU to run it, in build/arm; nothing is installed here.

``python -m tests.arm.userland bookworm trixie`` builds what is missing or out of date (about half a minute each) and
prints where it is. Wheels have the versions of the Python that builds it, so both sides run the same libraries.
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

__all__ = ["BUILD", "PYTHONS", "ROOT", "build", "in_use", "python_of", "qemu", "site_packages", "wheel_options"]

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "arm"
# Raspberry Pi OS is Debian: bookworm until 2025, trixie since.
PYTHONS = {"bookworm": "3.11", "trixie": "3.13"}
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


def python_of(suite: str) -> str:
    """Return the minor version of Python that a suite brings, e.g. "3.11"."""
    return PYTHONS[suite]


def site_packages(suite: str) -> Path:
    """Return where Debian's Python looks for what its administrator has installed."""
    return BUILD / suite / "root/usr/local/lib" / f"python{python_of(suite)}" / "dist-packages"


def wheel_options(python: str) -> list[str]:
    """Return pip's options for the aarch64 wheels of a Python; glibc 2.35 is older than both suites'."""
    platforms = ["manylinux2014_aarch64", *(f"manylinux_2_{n}_aarch64" for n in (17, 24, 26, 27, 28, 31, 34, 35))]
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


def _install_wheels(suite: str) -> list[str]:
    """Fill a userland's site-packages; return the names of what is there then."""
    site = site_packages(suite)
    shutil.rmtree(site, ignore_errors=True)
    constraints = BUILD / suite / "constraints.txt"
    constraints.write_text("".join(f"{pin}\n" for pin in pins(versions_here())))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
    pip += ["--target", str(site), "--constraint", str(constraints), *wheel_options(python_of(suite))]
    for words in ([*runtime_dependencies(), *TEST_WHEELS], ["--no-deps", *BARE_WHEELS]):
        done = subprocess.run([*pip, *words], capture_output=True, text=True, check=False)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise UnavailableError(f"pip cannot get the aarch64 wheels for Python {python_of(suite)}: {reason}")
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


def build(suite: str) -> Path:
    """Return the root folder of a userland, built where it is missing or made from something else.

    Raises
    ------
    UnavailableError
        If this machine has no way to get at the packages.
    """
    root, stamp = BUILD / suite / "root", BUILD / suite / "made-from.json"
    made_from: dict[str, object] = {
        "recipe": RECIPE,
        "sources": sources_for(suite),
        "packages": PACKAGES,
        "wheels": [*runtime_dependencies(), *TEST_WHEELS, *BARE_WHEELS],
    }

    def up_to_date() -> bool:
        if not stamp.is_file():
            return False
        seen = json.loads(stamp.read_text())
        names = seen.get("names", [])
        return bool(seen == {**made_from, "names": names, "pins": pins(names)})

    with in_use(suite):
        if up_to_date():
            return root
    with in_use(suite, exclusive=True):
        if up_to_date():
            return root  # made by another one, while this one waited
        stamp.unlink(missing_ok=True)
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)
        unpack(download(PACKAGES, suite, "arm64", BUILD / "apt" / suite), root)
        _write_settings(root)
        names = _install_wheels(suite)
        stamp.write_text(json.dumps({**made_from, "names": names, "pins": pins(names)}, indent=1))
    return root


@contextmanager
def in_use(suite: str, *, exclusive: bool = False) -> Iterator[None]:
    """Hold a userland while something runs in it: removing a folder takes away what others have mounted on it."""
    (BUILD / suite).mkdir(parents=True, exist_ok=True)
    with (BUILD / suite / "lock").open("w") as lock:
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
