"""Reading and replacing files of a system below a root folder, so that a power cut leaves the old or the new one.

On a file system that renames atomically: write beside, fsync, rename, fsync the folder. FAT (the Pi's boot partition)
does not: a power cut within a rename can lose both names. There the old content is copied beside first and read back,
then the new one is written beside and read back, then they are swapped; the copy stays until `revert`, and whoever
finds the file missing puts it back (`recover`).

Links are followed inside the root only: in an image's tree /etc/x -> /y means the image's y, not this machine's.
"""

from __future__ import annotations

import contextlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from edgedefend.errors import InputError
from edgedefend.files import sync_folder

__all__ = ["Content", "SystemFiles"]

_FAT = ("vfat", "msdos", "exfat")
_NEW, _OLD = ".edgedefend-new", ".edgedefend-old"
_MAX_LINKS = 40


@dataclass(frozen=True)
class Content:
    """What stands at a path: the bytes of a file with its mode and owner, or where a link leads."""

    data: bytes = b""
    link: str | None = None
    mode: int = 0o644
    uid: int = 0
    gid: int = 0

    def same(self, other: Content | None) -> bool:
        """Tell whether a reader would see the same: bytes or link, not mode and owner."""
        return other is not None and (self.data, self.link) == (other.data, other.link)


def _mount_points(text: str) -> list[tuple[str, str]]:
    """Return (folder, type) of every line of /proc/mounts."""
    points = []
    for line in text.splitlines():
        words = line.split(" ")
        if len(words) >= 3:
            points.append((words[1].encode().decode("unicode_escape"), words[2]))
    return points


def _type_at(points: list[tuple[str, str]], path: str) -> str:
    fitting = [(len(folder), kind) for folder, kind in points if (path + "/").startswith(folder.rstrip("/") + "/")]
    # Of two mounts on one folder the later one is seen.
    best = max((length for length, _ in fitting), default=-1)
    return [kind for length, kind in fitting if length == best][-1] if fitting else ""


class SystemFiles:
    """The files of the system below `root`, by their absolute names on that system."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()

    def real(self, name: str, *, follow: bool = True) -> Path:
        """Return where `name` is on this machine; the last part is followed only with `follow`.

        Raises
        ------
        InputError
            If the links lead in a circle.
        """
        pending = [part for part in name.split("/") if part not in ("", ".")][::-1]
        found: list[str] = []
        links = 0
        while pending:
            part = pending.pop()
            if part == "..":
                found = found[:-1]
                continue
            path = self.root.joinpath(*found, part)
            if path.is_symlink() and (follow or pending):
                links += 1
                if links > _MAX_LINKS:
                    raise InputError(f"{name}: its links lead in a circle")
                target = str(path.readlink())
                found = [] if target.startswith("/") else found
                pending += [part for part in target.split("/") if part not in ("", ".")][::-1]
                continue
            found.append(part)
        return self.root.joinpath(*found)

    def read(self, name: str, *, follow: bool = False) -> Content | None:
        """Return what stands at `name`; None where nothing does.

        Raises
        ------
        InputError
            If it is a folder, a device or anything else that is neither file nor link.
        """
        path = self.real(name, follow=follow)
        try:
            facts = path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        if stat.S_ISLNK(facts.st_mode):
            return Content(link=str(path.readlink()), uid=facts.st_uid, gid=facts.st_gid)
        if not stat.S_ISREG(facts.st_mode):
            raise InputError(f"{path}: not a file: expected one, or nothing")
        return Content(path.read_bytes(), None, stat.S_IMODE(facts.st_mode), facts.st_uid, facts.st_gid)

    def is_fat(self, path: Path) -> bool:
        """Tell whether `path` is on a FAT file system, by this machine's mounts and by those in the root's /proc."""
        for mounts, name in (
            (Path("/proc/self/mounts"), str(path)),
            (self.root / "proc/mounts", "/" + str(path.relative_to(self.root))),
        ):
            with contextlib.suppress(OSError):
                if _type_at(_mount_points(mounts.read_text(errors="replace")), name) in _FAT:
                    return True
        return False

    def missing_folders(self, name: str) -> list[str]:
        """Return the names of the folders that `make_folder` would make, from the top."""
        parts = self.real(name).relative_to(self.root).parts
        folders = ["/" + "/".join(parts[: count + 1]) for count in range(len(parts))]
        return [folder for folder in folders if not (self.root / folder[1:]).exists()]

    def make_folder(self, name: str, mode: int = 0o755) -> None:
        """Make a folder and those above it, as far as they are not there."""
        for folder in self.missing_folders(name):
            path = self.root / folder[1:]
            path.mkdir(mode=mode if folder == name else 0o755)
            sync_folder(path.parent)

    def remove_folder(self, name: str) -> None:
        """Take away a folder if it is empty."""
        with contextlib.suppress(OSError):
            self.real(name).rmdir()

    def write(self, name: str, content: Content, *, follow: bool = False) -> None:
        """Put `content` at `name`, whole or not at all; the folder must be there.

        Raises
        ------
        OSError
            If the disk is full or this user may not: what stood there stands there still.
        """
        path = self.real(name, follow=follow)
        if content.link is None and self.is_fat(path.parent):
            self._swap_on_fat(path, content.data)
            return
        new = path.with_name(f".{path.name}{_NEW}")
        new.unlink(missing_ok=True)  # left by a run that was killed
        try:
            if content.link is not None:
                new.symlink_to(content.link)
            else:
                _write_new(new, content.data, content.mode)
            if os.geteuid() == 0:
                os.chown(new, content.uid, content.gid, follow_symlinks=False)
            new.replace(path)
        except BaseException:
            new.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)

    def _swap_on_fat(self, path: Path, data: bytes) -> None:
        old, new = path.with_name(path.name + _OLD), path.with_name(path.name + _NEW)
        if path.exists():
            _write_verified(old, path.read_bytes())
        _write_verified(new, data)
        new.replace(path)
        sync_folder(path.parent)
        if path.read_bytes() != data:
            raise OSError(0, "what was read back is not what was written: the card may be worn out", str(path))

    def recover(self, name: str) -> bool:
        """Put back a file on FAT that a power cut within a swap has lost; tell whether there was one."""
        path = self.real(name)
        old = path.with_name(path.name + _OLD)
        if path.exists() or not old.exists():
            return False
        _write_verified(path.with_name(path.name + _NEW), old.read_bytes())
        path.with_name(path.name + _NEW).replace(path)
        sync_folder(path.parent)
        return True

    def remove(self, name: str) -> None:
        """Take away the file or link at `name`, if there is one."""
        path = self.real(name, follow=False)
        if path.is_symlink() or path.exists():
            path.unlink()
            sync_folder(path.parent)

    def clean(self, name: str) -> None:
        """Take away what `write` left beside `name`: the copy kept on FAT, and what a killed run began."""
        for path in (self.real(name), self.real(name, follow=False)):
            for leftover in (
                path.with_name(f".{path.name}{_NEW}"),
                path.with_name(path.name + _NEW),
                path.with_name(path.name + _OLD),
            ):
                leftover.unlink(missing_ok=True)


def _write_new(path: Path, data: bytes, mode: int) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        with contextlib.suppress(PermissionError):  # FAT has no modes
            os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())


def _write_verified(path: Path, data: bytes) -> None:
    """Write a file of its own, flush it, and read it back from the card rather than from memory."""
    path.unlink(missing_ok=True)
    _write_new(path, data, 0o755)  # what FAT shows for every file
    sync_folder(path.parent)
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        if file.read() != data:
            raise OSError(0, "what was read back is not what was written: the card may be worn out", str(path))
