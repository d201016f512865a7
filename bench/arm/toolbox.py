"""The programs that the report needs and Python cannot bring: a C compiler for ARM, llvm-mca 19, a peer's source.

What is not installed is taken from Debian's packages, unpacked into a folder of the project (``build/arm``): no
package is installed, no root is needed, and the machine's own list of sources says where they come from.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

from edgedefend.errors import EdgeDefendError

__all__ = ["PACKAGES", "Toolbox", "fetch", "find"]

# With what they depend on and the machine lacks.
PACKAGES = {"compiler": ("gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"), "llvm_mca": ("llvm-19",)}


@dataclass(frozen=True)
class Toolbox:
    """Where each tool is; None where it is missing. `folder` is where peers are built."""

    folder: Path
    compiler: Path | None
    llvm_mca: Path | None
    libjpeg: Path | None

    @property
    def environment(self) -> dict[str, str]:
        """The environment to start the tools in: unpacked ones find their libraries beside them."""
        root = self.folder / "root" / "usr"
        libraries = [str(place) for place in sorted((root / "lib").glob("*-linux-gnu")) if place.is_dir()]
        # Nothing is put before the system's own libraries for a program of the system: these folders hold no libc.
        return {**os.environ, "LD_LIBRARY_PATH": ":".join([*libraries, os.environ.get("LD_LIBRARY_PATH", "")])}

    def missing(self) -> list[str]:
        """Return one line for each tool that is not there: what is left out, and the command that brings it."""
        lines = []
        if self.compiler is None:
            lines.append(
                "no C peers: install gcc-aarch64-linux-gnu and libc6-dev-arm64-cross, or run with --fetch (Debian)"
            )
        elif self.libjpeg is None:
            lines.append("no libjpeg-turbo peer: run with --fetch (Debian), which downloads its source")
        if self.llvm_mca is None:
            lines.append("no cycle brackets: install llvm-19, or run with --fetch (Debian)")
        return lines


def find(folder: Path) -> Toolbox:
    """Look for the tools in `folder`, then among the machine's own."""
    unpacked = folder / "root" / "usr" / "bin"

    def first(*names: str) -> Path | None:
        for name in names:
            if (unpacked / name).exists():
                return (unpacked / name).absolute()
        for name in names:
            found = shutil.which(name)
            if found:
                return Path(found)
        return None

    source = folder / "libjpeg-turbo"
    return Toolbox(
        folder.resolve(),
        first("aarch64-linux-gnu-gcc"),
        first("llvm-mca-19"),
        source.resolve() if (source / "simd/arm/jidctint-neon.c").exists() else None,
    )


def fetch(folder: Path) -> Toolbox:
    """Download what is missing from Debian's packages, unpack it into `folder`, and look again.

    Raises
    ------
    EdgeDefendError
        If this is no Debian, or a download fails.
    """
    box = find(folder)
    if box.compiler and box.llvm_mca and box.libjpeg:
        return box
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise EdgeDefendError("--fetch takes the tools from Debian's packages and finds no apt-get here")
    apt = _private_apt(folder)
    _run([*apt, "update"], folder, "the package lists")
    wanted = [name for tool, names in PACKAGES.items() if getattr(box, tool) is None for name in names]
    if wanted:
        _run([*apt, "--download-only", "--no-install-recommends", "--yes", "install", *wanted], folder, *wanted)
    for package in (folder / "apt" / "archives").glob("*.deb"):
        _run(["dpkg-deb", "-x", str(package.resolve()), str(folder.resolve() / "root")], folder, package.name)
        package.unlink()
    if not box.libjpeg:
        downloads = folder / "downloads"
        downloads.mkdir(exist_ok=True)
        _run([*apt, "source", "--download-only", "libjpeg-turbo"], downloads, "the source of libjpeg-turbo")
        _unpack(next(downloads.glob("libjpeg-turbo_*.orig.tar.*")), folder / "libjpeg-turbo")
    return find(folder)


def _private_apt(folder: Path) -> list[str]:
    """Return an apt-get that shares nothing with the machine's but the addresses (and keys) of its sources."""
    state = folder.resolve() / "apt"
    sources = state / "sources"
    for place in (sources, state / "lists" / "partial", state / "archives" / "partial"):
        place.mkdir(parents=True, exist_ok=True)
    etc = Path("/etc/apt")
    for file in [*etc.glob("sources.list"), *etc.glob("sources.list.d/*.list"), *etc.glob("sources.list.d/*.sources")]:
        lines = file.read_text(encoding="utf-8").splitlines()
        if file.suffix == ".sources":
            lines = ["Types: deb deb-src" if line.startswith("Types:") else line for line in lines]
        else:
            lines += ["deb-src" + line[3:] for line in lines if line.startswith("deb ")]
        (sources / file.name).write_text("\n".join(lines) + "\n", encoding="utf-8")
    options = {
        "Dir::Etc::sourcelist": "/dev/null",
        "Dir::Etc::sourceparts": sources,
        "Dir::State::lists": state / "lists",
        "Dir::Cache": state,
        "Dir::Cache::archives": state / "archives",
        "APT::Sandbox::User": "",  # files of this user, wherever the project lies
        "Debug::NoLocking": "1",  # nothing of the machine's is changed
    }
    return ["apt-get", "-q", *(f"-o{name}={value}" for name, value in options.items())]


def _run(command: list[str], folder: Path, *what: str) -> None:
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
        reason = next((line for line in reversed(lines) if line.startswith("E:")), lines[-1])
        raise EdgeDefendError(f"{' '.join(what)} could not be fetched: {reason}")


def _unpack(archive: Path, to: Path) -> None:
    """Unpack a source archive without its outermost folder; members that point outside are refused."""
    with tarfile.open(archive) as tar:
        members = []
        for member in tar.getmembers():
            _, _, inside = member.name.partition("/")
            if inside and (member.isfile() or member.isdir()):
                members.append(member.replace(name=inside, deep=False))
        tar.extractall(to, members=members, filter="data")
