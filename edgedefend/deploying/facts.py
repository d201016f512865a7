"""What there is on a board before a deploy, asked for with nothing but a POSIX shell: it may have no Python at all."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from edgedefend.errors import DeviceError

__all__ = ["SCRIPT", "BoardFacts", "parse_facts"]

SUPPORTED = ((3, 10), (3, 13))
_MACHINES = ("aarch64", "x86_64")
_JETPACK = {"32": "4", "35": "5", "36": "6", "38": "7"}

# Takes the prefix as $1. One line a fact, "name value".
SCRIPT = r"""
say() { printf '%s %s\n' "$1" "$2"; }
say machine "$(uname -m)"
say bits "$(getconf LONG_BIT 2>/dev/null)"
say glibc "$(getconf GNU_LIBC_VERSION 2>/dev/null)"
say uid "$(id -u)"
[ "$(id -u)" = 0 ] || { sudo -n true >/dev/null 2>&1 && say sudo 1; }
for name in python3 python3.13 python3.12 python3.11 python3.10; do
  path=$(command -v "$name") || continue
  say python "$path $("$path" -c '
import struct, sys
try:
    import ensurepip, venv
    able = 1
except ImportError:
    able = 0
print("%d.%d.%d %d %d" % (tuple(sys.version_info[:3]) + (8 * struct.calcsize("P"), able)))' 2>/dev/null)"
done
place=$1
while [ ! -d "$place" ]; do place=$(dirname "$place"); done
[ -w "$place" ] && say writable 1
say free "$(df -Pk "$place" 2>/dev/null | { read -r _; read -r _ _ _ free _; echo "$free"; })"
[ -d /run/systemd/system ] && say systemd 1
[ -r /etc/nv_tegra_release ] && say l4t "$(head -n 1 /etc/nv_tegra_release)"
[ -r /proc/device-tree/compatible ] && say compatible "$(tr '\0' ' ' </proc/device-tree/compatible)"
[ -r /proc/device-tree/model ] && say model "$(tr -d '\0' </proc/device-tree/model)"
say parts "$(sed -n 's/^CPU part[[:space:]]*: //p' /proc/cpuinfo 2>/dev/null | sort -u | tr '\n' ' ')"
for key in "${EDGEDEFEND_TRUSTED_KEYS:-/etc/edgedefend/trusted-keys}"/*.pub; do [ -e "$key" ] && say key "$key"; done
[ -e "$1/trial.json" ] && say trial 1
[ -e "$1/current/complete" ] && say current "$(basename "$(readlink "$1/current")")"
for release in "$1"/releases/*; do
  [ -e "$release/complete" ] && say release "$(tr -d '\n' <"$release/release.json")"
done
for blob in "$1"/store/*; do [ -f "$blob" ] && say blob "${blob##*/}"; done
say end 1
"""


@dataclass(frozen=True)
class BoardFacts:
    """One board, as `SCRIPT` saw it; sizes in bytes.

    `releases` are the release.json of all whole releases, `current` the name of the one that runs ("" for none),
    `on_trial` is true when the last deploy did not come to its end.
    """

    machine: str
    python: str
    python_version: tuple[int, int]
    glibc: tuple[int, int]
    needs_sudo: bool
    free: int
    systemd: bool
    compatible: tuple[str, ...]
    model: str
    cpu_parts: frozenset[str]
    trusts_keys: bool
    on_trial: bool
    current: str
    releases: tuple[dict[str, Any], ...] = field(repr=False)
    blobs: frozenset[str] = field(repr=False)


def parse_facts(lines: Sequence[str]) -> BoardFacts:
    """Return what the script said.

    Raises
    ------
    DeviceError
        With the one reason why nothing can be released there.
    """
    said: dict[str, list[str]] = {}
    for line in lines:
        name, _, value = line.partition(" ")
        said.setdefault(name, []).append(value.strip())

    def one(name: str) -> str:
        return said.get(name, [""])[0]

    if "end" not in said:
        raise DeviceError("its login shell does not run commands: a POSIX shell is needed")
    python, version = _choose_python(said.get("python", []), one("machine"), one("bits"), one("l4t"))
    needs_sudo = one("uid") != "0" and not one("writable")
    if needs_sudo and not one("sudo"):
        raise DeviceError("no right to write there: log in as root, let this user sudo without a password, or --prefix")
    glibc = re.search(r"(\d+)\.(\d+)", one("glibc"))
    if not glibc:
        raise DeviceError("no glibc, and there are wheels for nothing else: install Debian, Ubuntu or Raspberry Pi OS")
    releases = []
    for text in said.get("release", []):
        try:
            releases.append(dict(json.loads(text)))
        except (ValueError, TypeError):
            continue  # not one of ours; the board's part of the deploy removes it
    return BoardFacts(
        machine=one("machine"),
        python=python,
        python_version=version,
        glibc=(int(glibc[1]), int(glibc[2])),
        needs_sudo=needs_sudo,
        free=int(one("free") or 0) << 10,
        systemd=bool(one("systemd")),
        compatible=tuple(one("compatible").split()),
        model=one("model"),
        cpu_parts=frozenset(one("parts").split()),
        trusts_keys="key" in said,
        on_trial="trial" in said,
        current=one("current"),
        releases=tuple(releases),
        blobs=frozenset(said.get("blob", [])),
    )


def _choose_python(found: Sequence[str], machine: str, bits: str, l4t: str) -> tuple[str, tuple[int, int]]:
    """Return the path and version of the first Python that will do."""
    if machine not in _MACHINES or bits == "32":
        what = f"{machine}, 32-bit userland" if machine in _MACHINES else machine
        raise DeviceError(f"32-bit or unknown system ({what}): there are no wheels for it; install a 64-bit system")
    usable: list[tuple[str, tuple[int, int]]] = []
    versions, unable = [], ""
    for line in found:
        match = re.fullmatch(r"(/\S+) (\d+)\.(\d+)\.(\d+) (\d+) ([01])", line)
        if not match:
            continue
        version = (int(match[2]), int(match[3]))
        versions.append(f"{version[0]}.{version[1]}")
        if match[5] == "32":
            raise DeviceError("32-bit userland (Python is 32-bit): there are no wheels for it; install a 64-bit system")
        if SUPPORTED[0] <= version <= SUPPORTED[1]:
            if match[6] == "1":
                usable.append((match[1], version))
            else:
                unable = versions[-1]
    if usable:
        return usable[0]
    if unable:
        raise DeviceError(f"Python {unable} cannot make environments: sudo apt install python{unable}-venv")
    if not versions:
        raise DeviceError("no Python: sudo apt install python3 python3-venv")
    jetpack = _JETPACK.get(re.sub(r"\D*(\d+).*", r"\1", l4t), "") if l4t else ""
    remedy = "update to JetPack 6 or later" if jetpack in ("4", "5") else "install one of them, with its venv package"
    raise DeviceError(
        f"Python {versions[0]}{f' (JetPack {jetpack})' if jetpack else ''}, "
        f"expected {SUPPORTED[0][0]}.{SUPPORTED[0][1]} to {SUPPORTED[1][0]}.{SUPPORTED[1][1]}: {remedy}"
    )
