"""Debian packages of any suite and architecture, unpacked into a folder; nothing is installed on this machine.

apt does the resolving, with a state of its own (no package counts as installed) and with this machine's own sources
in which only the suite is replaced: mirrors, proxies and keys stay what they are here. No root is needed.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

__all__ = ["UnavailableError", "download", "sources_for", "unpack"]


class UnavailableError(Exception):
    """This machine lacks something that emulation needs; the text is one line that says what."""


def _host_codename(root: Path) -> str:
    text = (root / "etc/os-release").read_text() if (root / "etc/os-release").is_file() else ""
    facts = dict(re.findall(r'^(\w+)="?([^"\n]*)"?$', text, re.MULTILINE))
    if facts.get("ID") != "debian":
        raise UnavailableError(
            f"packages come from a Debian machine's own apt sources, this is {facts.get('ID', 'unknown')}"
        )
    return facts["VERSION_CODENAME"]


def _one_line_sources(text: str) -> list[tuple[str, str, str, str]]:
    """Read the sources.list format: (options, address, suite, components) of each binary source."""
    pattern = re.compile(r"^\s*deb\s+(\[[^\]]*\]\s+)?(\S+)\s+(\S+)\s+([^#\n]+)", re.MULTILINE)
    return [(found[1] or "", found[2], found[3], found[4].strip()) for found in pattern.finditer(text)]


def _stanza_sources(text: str) -> list[tuple[str, str, str, str]]:
    """Read the .sources format (deb822)."""
    found = []
    for stanza in re.split(r"\n\s*\n", text):
        lines = [line for line in stanza.splitlines() if not line.startswith("#")]
        fields = dict(re.findall(r"^([\w-]+):[ \t]*(.*)$", "\n".join(lines), re.MULTILINE))
        if "deb" not in fields.get("Types", "").split() or fields.get("Enabled") == "no":
            continue
        signed = fields.get("Signed-By", "")
        options = f"[signed-by={signed}] " if signed.startswith("/") else ""
        for address in fields["URIs"].split():
            found += [(options, address, suite, fields.get("Components", "")) for suite in fields["Suites"].split()]
    return found


def sources_for(suite: str, root: Path = Path("/")) -> str:
    """Return this machine's Debian sources with its own suite replaced by `suite`, as a sources.list.

    Raises
    ------
    UnavailableError
        If this is not a Debian, or its sources name no Debian archive.
    """
    codename = _host_codename(root)
    sources = []
    for file in sorted((root / "etc/apt").glob("sources.list*")):
        for part in [file] if file.is_file() else sorted(file.iterdir()):
            if part.suffix == ".list":
                sources += _one_line_sources(part.read_text())
            elif part.suffix == ".sources":
                sources += _stanza_sources(part.read_text())
    lines = []
    for options, address, name, components in sources:
        if re.fullmatch(rf"{codename}(-updates|-security)?", name) and "main" in components.split():
            lines.append(f"deb {options}{address} {name.replace(codename, suite)} main\n")
    if not lines:
        raise UnavailableError(f"/etc/apt names no source of Debian {codename} to take packages from")
    return "".join(dict.fromkeys(lines))


def download(packages: list[str], suite: str, architecture: str, state: Path) -> list[Path]:
    """Return the .deb files of `packages` and of all they depend on, downloaded into `state` where missing."""
    for tool in ("apt-get", "dpkg-deb", "tar"):
        if shutil.which(tool) is None:
            raise UnavailableError(f"{tool} is not there: packages come from a Debian machine's own apt")
    state = state.resolve()
    lists, archives = state / "lists", state / "archives"
    for folder in (lists / "partial", archives / "partial"):
        folder.mkdir(parents=True, exist_ok=True)
    (state / "status").write_text("")
    (state / "sources.list").write_text(sources_for(suite))
    settings = {
        "APT::Architecture": architecture,
        "APT::Architectures": architecture,
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "",
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
        "Debug::NoLocking": "true",
        "Dir::Etc::SourceList": state / "sources.list",
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::Etc::Preferences": "/dev/null",
        "Dir::Etc::PreferencesParts": "/dev/null",
        "Dir::State": state,
        "Dir::State::Lists": lists,
        "Dir::State::Status": state / "status",
        "Dir::State::extended_states": state / "extended_states",
        "Dir::Cache": state,
        "Dir::Cache::Archives": archives,
        "Dir::Cache::pkgcache": state / "pkgcache.bin",
        "Dir::Cache::srcpkgcache": "",
    }
    options = [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]
    # "-y" refers to this private state only: with --download-only nothing is ever installed.
    for action in (["update"], ["install", "--download-only", "-y", *packages], ["autoclean"]):
        done = subprocess.run(["apt-get", *options, "-qq", *action], capture_output=True, text=True, check=False)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[0]
            raise UnavailableError(f"apt cannot get {architecture} packages of Debian {suite}: {reason}")
    return sorted(archives.glob("*.deb"))


def unpack(files: list[Path], root: Path) -> None:
    """Unpack .deb files into `root`, a system with /bin, /sbin and /lib merged into /usr; no script of theirs runs."""
    for name in ("bin", "sbin", "lib"):
        (root / "usr" / name).mkdir(parents=True, exist_ok=True)
        if not (root / name).is_symlink():
            (root / name).symlink_to(f"usr/{name}")
    for file in files:
        with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(file)], stdout=subprocess.PIPE) as archive:
            subprocess.run(
                ["tar", "-x", "--keep-directory-symlink", "--no-same-owner", "-C", str(root)],
                stdin=archive.stdout,
                check=True,
            )
        if archive.returncode:
            raise UnavailableError(f"{file.name} cannot be unpacked: remove {file.parent} and try again")
