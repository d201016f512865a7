"""What has been measured so far: one line of JSON a result, appended as it comes, so that a killed run goes on.

A folder holds ``run.json``, which says what was evaluated (another model, other data or another seed are refused), and
``records.jsonl``. A record is appended with one write and flushed to the disk; a line that a kill cut short is dropped
when the folder is opened again; a record that is there already is never written a second time.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

from bench.resultfile import at
from edgedefend.errors import InputError, UsageError
from edgedefend.files import sync_folder, write_file

__all__ = ["Key", "Record", "ResultStore", "key_of"]

Record = dict[str, Any]
Key = tuple[str, str, str]
_RUN, _RECORDS, _LOCK = "run.json", "records.jsonl", ".lock"


def key_of(record: Record) -> Key:
    """Return what identifies a record: the cell that it belongs to, the image, and the point on the curve ("")."""
    return str(record["cell"]), str(record["image"]), str(record.get("point", ""))


class ResultStore:
    """The results of one evaluation in a folder; use it as a context manager.

    Parameters
    ----------
    folder : Path
        Made if need be. One process at a time may write to it.
    identity : dict
        What every record depends on: hashes of model and data, the defence, the seed. Kept in ``run.json``.

    Raises
    ------
    InputError
        If the folder holds results of something else, or a line that is no record.
    UsageError
        If another process is writing to it.
    """

    def __init__(self, folder: Path, identity: dict[str, Any]) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._lock = (folder / _LOCK).open("ab")
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise InputError(f"{folder}: results cannot be kept there ({reason})") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise UsageError(f"{folder}: another run is writing its results there: choose another --out") from None
        self.folder = folder
        self._records: dict[Key, Record] = {}
        try:
            self._check(identity)
            self._read()
            self._file = (folder / _RECORDS).open("ab")
        except BaseException:
            self._lock.close()
            raise

    def _check(self, identity: dict[str, Any]) -> None:
        path = self.folder / _RUN
        wanted = json.loads(json.dumps(identity))
        if not path.exists():
            if (self.folder / _RECORDS).exists():
                raise InputError(f"{self.folder}: has results but no {_RUN}: choose another --out")
            write_file(path, (json.dumps(wanted, indent=1) + "\n").encode())
            return
        try:
            kept = json.loads(path.read_bytes())
        except ValueError:
            raise InputError(f"{path}: not JSON: choose another --out") from None
        for name, value in wanted.items():
            if at(kept, name) != value:
                raise InputError(
                    f"{self.folder}: holds results of another {name.replace('_', ' ')} "
                    f"({_short(at(kept, name))}, now {_short(value)}): choose another --out"
                )

    def _read(self) -> None:
        path = self.folder / _RECORDS
        if not path.exists():
            path.touch()
            sync_folder(self.folder)
            return
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):  # the last line was being written when the run was killed
            with path.open("r+b") as file:
                file.truncate(whole)
        for number, line in enumerate(content[:whole].splitlines(), 1):
            try:
                record = json.loads(line)
                key = key_of(record)
            except (ValueError, KeyError, TypeError):
                raise InputError(f"{path}: line {number} is no result: remove it, or choose another --out") from None
            self._records.setdefault(key, record)

    def __enter__(self) -> ResultStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._lock.close()

    def __len__(self) -> int:
        return len(self._records)

    def __contains__(self, key: Key) -> bool:
        return key in self._records

    def get(self, key: Key) -> Record | None:
        """Return one record, None where it has not been measured yet."""
        return self._records.get(key)

    def of_cell(self, cell: str) -> Iterator[Record]:
        """Yield the records of one cell in the order in which they came."""
        return (record for (owner, _, _), record in self._records.items() if owner == cell)

    def append(self, records: Iterable[Record]) -> int:
        """Write what is new of `records`, all of it with one write; return how many were new."""
        new: dict[Key, Record] = {}
        for record in records:
            key = key_of(record)
            if key not in self._records:
                new.setdefault(key, record)
        if new:
            # NaN is no JSON: whoever made the record has to say what a missing figure means.
            lines = "".join(
                json.dumps(record, allow_nan=False, separators=(",", ":")) + "\n" for record in new.values()
            )
            self._file.write(lines.encode())
            self._file.flush()
            os.fsync(self._file.fileno())
            self._records.update(new)
        return len(new)


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 40 else text[:39] + "…"
