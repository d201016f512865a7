"""Putting a board's settings on a system, and taking them off again to the byte.

`apply` first copies what it will replace and notes in its state file what it is about to write (both below
/var/lib/edgedefend-board), then writes each file whole. So whatever moment it is cut at, every file is the old or the
new one, `apply` goes on from there, and `revert` knows all that has been touched. Applying twice writes nothing.
"""

from __future__ import annotations

import contextlib
import difflib
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from edgedefend.board import PORT, PREFIX, USER, BoardConfig, render_config_txt, render_files
from edgedefend.config_txt import insert_block, remove_block
from edgedefend.device import Device
from edgedefend.errors import DeviceError, InputError
from edgedefend.system_files import Content, SystemFiles

__all__ = ["Change", "applied", "apply", "diff", "plan", "revert", "settled"]

# Not below /var/lib/edgedefend, which belongs to the service: what root reads back here only root may write.
STATE_FOLDER = "/var/lib/edgedefend-board"
_STATE = f"{STATE_FOLDER}/state.json"
_CONFIG_TXT = ("/boot/firmware/config.txt", "/boot/config.txt")
_WANTS = "/etc/systemd/system/multi-user.target.wants"


@dataclass(frozen=True)
class Change:
    """What stands at `path` now and what shall stand there; None is nothing."""

    path: str
    now: Content | None
    then: Content | None


class _State:
    """What has been done to a system: for each path what was there before, and the hashes of what we wrote."""

    def __init__(self, files: SystemFiles) -> None:
        self._files = files
        self.board = ""
        self.paths: dict[str, dict[str, Any]] = {}
        self.folders: list[str] = []
        self.pending: list[str] = []
        stored = files.read(_STATE)
        self.exists = stored is not None
        if stored is None:
            return
        try:
            table = json.loads(stored.data)
            if table["format_version"] != 1:
                raise ValueError
            self.board, self.paths = str(table["board"]), dict(table["paths"])
            self.folders, self.pending = list(table["folders"]), list(table["pending"])
        except (ValueError, KeyError, TypeError):
            raise InputError(
                f"{files.real(_STATE)}: not a state that `edgedefend board apply` has written: take it away, then what "
                "apply has changed stays as it is"
            ) from None

    def before(self, path: str) -> Content | None:
        """Return what was at `path` before the first apply; the copies are checked by their hash."""
        known = self.paths[path]["before"]
        if known is None:
            return None
        facts = {key: known[key] for key in ("mode", "uid", "gid")}
        if known["link"] is not None:
            return Content(link=known["link"], **facts)
        copy = self._files.read(f"{STATE_FOLDER}/{known['sha256']}")
        if copy is None or hashlib.sha256(copy.data).hexdigest() != known["sha256"]:
            raise DeviceError(
                f"{path}: the copy of what was there is lost or damaged: {STATE_FOLDER}/{known['sha256']}"
            )
        return Content(copy.data, None, **facts)

    def remember(self, path: str, before: Content | None) -> None:
        """Keep a copy of what is at `path`, once: content is stored under its hash."""
        if before is None:
            self.paths[path] = {"before": None, "ours": []}
            return
        entry = asdict(before) | {"sha256": _hash(before)}
        del entry["data"]
        if before.link is None:
            self._files.write(f"{STATE_FOLDER}/{entry['sha256']}", Content(before.data, mode=0o600))
        self.paths[path] = {"before": entry, "ours": []}

    def is_ours(self, path: str, content: Content | None) -> bool:
        return path in self.paths and content is not None and _hash(content) in self.paths[path]["ours"]

    def save(self) -> None:
        table = {
            "format_version": 1,
            "board": self.board,
            "paths": self.paths,
            "folders": self.folders,
            "pending": self.pending,
        }
        self._files.write(_STATE, Content((json.dumps(table, indent=1) + "\n").encode()))


def _hash(content: Content) -> str:
    return hashlib.sha256(b"link:" + content.link.encode() if content.link is not None else content.data).hexdigest()


@contextlib.contextmanager
def _alone(files: SystemFiles) -> Iterator[None]:
    """Hold the state folder, so that two runs never mix."""
    handle = os.open(files.real(STATE_FOLDER), os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise DeviceError("another `edgedefend board` is at work on this system: wait for it to end") from None
    finally:
        os.close(handle)


def _config_txt_path(files: SystemFiles) -> str:
    for name in _CONFIG_TXT:
        files_old = files.real(name).with_name("config.txt.edgedefend-old")
        if files.read(name, follow=True) is not None or files_old.exists():
            return name
    raise InputError(
        f"{files.root / _CONFIG_TXT[0].lstrip('/')}: not there, and this board is set up in it: "
        "mount the boot partition first"
    )


def _wanted(files: SystemFiles, board: BoardConfig, prefix: str, user: str, port: int) -> dict[str, Content]:
    """Return path -> what shall stand there, config.txt apart."""
    wanted = {
        path: Content(text.encode()) for path, text in render_files(board, prefix=prefix, user=user, port=port).items()
    }
    for path in list(wanted):
        if path.endswith(".service"):
            # What `systemctl enable` does; a link can be made in an image as well, where no systemd runs.
            wanted[f"{_WANTS}/{path.rpartition('/')[2]}"] = Content(link=path)
    return wanted


def plan(
    device: Device, board: BoardConfig, *, prefix: str = PREFIX, user: str = USER, port: int = PORT
) -> list[Change]:
    """Return what `apply` would change on the system of `device`, in the order it would; nothing is written.

    Files of an earlier apply that this board does not have are among them, with what was there before.

    Raises
    ------
    InputError
        If the board's config.txt is not there or damaged, or something that is no file is in the way.
    """
    files = SystemFiles(device.root)
    state = _State(files)
    changes = []
    for path, content in _wanted(files, board, prefix, user, port).items():
        changes.append(Change(path, files.read(path), content))
    lines = render_config_txt(board)
    if lines:
        path = _config_txt_path(files)
        now = files.read(path, follow=True)
        text = insert_block(now.data if now else b"", lines, str(files.real(path)))
        changes.append(Change(path, now, Content(text, None, now.mode, now.uid, now.gid) if now else Content(text)))
    known = {change.path for change in changes}
    for path in state.paths:
        if path not in known:
            now = files.read(path, follow=path in _CONFIG_TXT)
            changes.append(Change(path, now, _restored(state, path, now)))
    return [change for change in changes if not _same(change.now, change.then)]


def _same(one: Content | None, other: Content | None) -> bool:
    return one is other is None or (one is not None and one.same(other))


def _restored(state: _State, path: str, now: Content | None) -> Content | None:
    """Return what `path` shall be without us: what was there before, and of config.txt what others wrote since."""
    before = state.before(path)
    if path in _CONFIG_TXT and now is not None and not state.is_ours(path, now):
        return Content(remove_block(now.data, path), None, now.mode, now.uid, now.gid)
    return before


def apply(
    device: Device, board: BoardConfig, *, prefix: str = PREFIX, user: str = USER, port: int = PORT
) -> tuple[list[Change], list[str]]:
    """Make the system of `device` as `board` says.

    Returns
    -------
    (changes, pending)
        What was written now, and the paths whose settings are not in force yet: this run's, and those of a run that
        was cut before it could say `settled`.

    Raises
    ------
    InputError, DeviceError, OSError
        What `plan` raises; a disk that is full; no permission. Each file is then the old or the new one.
    """
    files = SystemFiles(device.root)
    plan(device, board, prefix=prefix, user=user, port=port)  # refuses before anything is written
    made = files.missing_folders(STATE_FOLDER)
    files.make_folder(STATE_FOLDER, mode=0o700)
    with _alone(files):
        state = _State(files)
        state.folders += made
        for name in _CONFIG_TXT:
            files.recover(name)
        changes = plan(device, board, prefix=prefix, user=user, port=port)
        if not changes:
            if made or state.board != board.name:
                state.board = board.name
                state.save()
            return [], state.pending
        for change in changes:
            ours = state.is_ours(change.path, change.now)
            if change.path not in state.paths or not (ours or _same(change.now, state.before(change.path))):
                base = change.now
                if base is not None and change.path in _CONFIG_TXT:
                    base = Content(remove_block(base.data), None, base.mode, base.uid, base.gid)
                state.remember(change.path, base)
            if change.then is not None:
                entry = state.paths[change.path]
                entry["ours"] = list(dict.fromkeys([*entry["ours"], _hash(change.then)]))[-8:]
                folders = files.missing_folders(change.path.rpartition("/")[0])
                state.folders = list(dict.fromkeys([*state.folders, *folders]))
        state.board = board.name
        state.pending = list(dict.fromkeys([*state.pending, *(change.path for change in changes)]))
        state.save()
        for change in changes:
            _put(files, change)
        return changes, state.pending


def _put(files: SystemFiles, change: Change) -> None:
    if change.then is None:
        files.remove(change.path)
    else:
        files.make_folder(change.path.rpartition("/")[0])
        files.write(change.path, change.then, follow=change.path in _CONFIG_TXT)


def settled(device: Device) -> None:
    """Note that all that was written is in force."""
    files = SystemFiles(device.root)
    with _alone(files):
        state = _State(files)
        if state.pending:
            state.pending = []
            state.save()


def applied(device: Device) -> list[str]:
    """Return the paths that `apply` has written to on this system."""
    return list(_State(SystemFiles(device.root)).paths)


def revert(device: Device, *, force: bool = False) -> tuple[list[Change], list[str]]:
    """Give back what was there before the first `apply`, byte for byte; remove what was not there.

    Of config.txt, which others edit too, only our block goes. Any other file that somebody has changed since is left
    alone and returned in `kept`, unless `force`; then the state stays as well, for another try.

    Returns
    -------
    (changes, kept)
    """
    files = SystemFiles(device.root)
    if not files.real(STATE_FOLDER).is_dir():
        return [], []
    with _alone(files):
        state = _State(files)
        for name in _CONFIG_TXT:
            files.recover(name)
        changes, kept = [], []
        for path in state.paths:
            follow = path in _CONFIG_TXT
            now = files.read(path, follow=follow)
            then = _restored(state, path, now)
            if _same(now, then):
                continue
            if not (state.is_ours(path, now) or now is None or follow or force):
                kept.append(path)
                continue
            changes.append(Change(path, now, then))
        for change in changes:
            _put(files, change)
        for path in state.paths:
            files.clean(path)
        _remove_folders(files, state)
        if not kept:
            _forget(files, state)
        return changes, kept


def _forget(files: SystemFiles, state: _State) -> None:
    """Remove our state, then the copies that it speaks of; whatever moment this is cut at, it can be done again."""
    files.remove(_STATE)
    for entry in files.real(STATE_FOLDER).iterdir():
        entry.unlink()
    files.remove_folder(STATE_FOLDER)
    _remove_folders(files, state)


def _remove_folders(files: SystemFiles, state: _State) -> None:
    """Remove the folders that we made, as far as nobody uses them."""
    for folder in sorted(state.folders, key=len, reverse=True):
        files.remove_folder(folder)


def diff(changes: list[Change]) -> str:
    """Return the changes as a unified diff; control characters are shown as such, never sent to a terminal."""
    text = []
    for change in changes:
        now, then = _lines(change.now), _lines(change.then)
        names = f"now{change.path}", f"then{change.path}"
        text += list(difflib.unified_diff(now, then, *names, lineterm="", n=2))
    return "\n".join(text)


def _lines(content: Content | None) -> list[str]:
    if content is None:
        return []
    if content.link is not None:
        return [f"link to {content.link}"]
    lines = content.data.decode(errors="replace").replace("\r\n", "\n").split("\n")
    shown = [
        "".join(c if c.isprintable() or c == "\t" else "\N{REPLACEMENT CHARACTER}" for c in line) for line in lines
    ]
    return shown[:-1] if shown and not shown[-1] else shown
