"""Which boards: ssh destinations, from the command line or from an inventory file, each with its own settings."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgedefend.errors import InputError

__all__ = ["Target", "read_inventory", "unique_targets"]

# No blanks or anything that a shell could take for more than a word; ssh itself gets the name after "--".
_DESTINATION = re.compile(r"(ssh://)?[A-Za-z0-9_][A-Za-z0-9_.:@%/+\[\]-]{0,250}")
_PREFIX = re.compile(r"(/[A-Za-z0-9._-]+)+")


@dataclass(frozen=True)
class Target:
    """One board: its ssh destination, the folder for its releases, the port and the user of its service."""

    host: str
    prefix: str = "/opt/edgedefend"
    port: int = 8765
    user: str = "edgedefend"

    def __post_init__(self) -> None:
        if not _DESTINATION.fullmatch(self.host):
            raise InputError(f"{self.host!r} is not a host: expected an ssh destination, e.g. pi@192.0.2.7")
        if not _PREFIX.fullmatch(self.prefix) or ".." in self.prefix:
            raise InputError(f"{self.prefix!r} is not a folder for releases: expected an absolute path, plain letters")


def read_inventory(file: Path, default: Target) -> list[Target]:
    """Read one board a line: ``HOST [prefix=FOLDER] [port=NUMBER] [user=NAME]``; # begins a comment.

    What a line does not say is as in `default`.

    Raises
    ------
    InputError
        With the line that is not as expected.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: the inventory cannot be read: {error}") from None
    targets = []
    for number, line in enumerate(lines, 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        try:
            target = replace(default, host=words[0])
            for word in words[1:]:
                key, _, value = word.partition("=")
                if key == "port" and value.isascii() and value.isdigit() and 1 <= int(value) <= 65535:
                    target = replace(target, port=int(value))
                elif key == "prefix":
                    target = replace(target, prefix=value.rstrip("/"))
                elif key == "user":
                    target = replace(target, user=value)
                else:
                    raise InputError(f"{word!r} is not a setting: expected prefix=FOLDER, port=NUMBER or user=NAME")
        except InputError as error:
            raise InputError(f"{file} line {number}: {error}") from None
        targets.append(target)
    return targets


def unique_targets(targets: Sequence[Target]) -> list[Target]:
    """Return the targets with every host once; the first mention counts."""
    found: dict[str, Target] = {}
    for target in targets:
        found.setdefault(target.host, target)
    return list(found.values())
