"""Messages that wait on disk until somebody has taken them: in order, within a bound, over a kill or a power cut.

A folder holds numbered segments of lines ``SEQUENCE CRC PAYLOAD`` and a file with the last sequence number that was
acknowledged. A message is appended before it is sent. That does not wear out an SD card while the other side takes
everything: a file that is emptied within seconds never leaves the kernel's page cache, which survives the process (not
a power cut; `sync` is for outages). A line cut short by a power cut is left out when the folder is opened again.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import threading
import zlib
from collections import deque
from pathlib import Path
from typing import BinaryIO

from edgedefend.errors import EdgeDefendError

__all__ = ["Spool"]

_SEGMENT_BYTES = 1 << 20
_MEMORY_MESSAGES = 1000
_Message = tuple[int, bytes]


def _parse(line: bytes) -> _Message | None:
    """Return (sequence, payload) of a whole line, None for one that is damaged."""
    fields = line.split(b" ", 2)
    if len(fields) != 3 or not fields[0].isdigit() or not line.endswith(b"\n"):
        return None
    payload = fields[2][:-1]
    return (int(fields[0]), payload) if fields[1] == b"%08x" % zlib.crc32(fields[0] + payload) else None


class _Segment:
    """One file of messages: their sequence numbers from `first` to `last` (0: none yet), and its size in bytes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.first = self.last = self.size = 0

    def add(self, sequence: int, size: int) -> None:
        """Count one more line."""
        self.first = sequence if not self.size else self.first
        self.last = sequence
        self.size += size


class Spool:
    """A queue of messages on disk. Safe to use from several threads.

    Parameters
    ----------
    folder : Path
        Made if it is not there. One process at a time may use it.
    max_bytes : int
        Of the messages on disk; beyond it the oldest segment is given up, and its messages are counted in `lost`.

    Attributes
    ----------
    lost : int
        Messages that were given up because there was no room.
    broken : str or None
        Why the disk does not take messages now; they wait in memory meanwhile, `_MEMORY_MESSAGES` at most.

    Raises
    ------
    EdgeDefendError
        If another process uses the folder.
    OSError
        If it cannot be made or read.
    """

    def __init__(self, folder: Path, *, max_bytes: int = 64 << 20) -> None:
        self.folder, self._max_bytes = folder, max_bytes
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._claim = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._claim)
            raise EdgeDefendError(
                f"{folder}: another edgedefend run keeps its results here: give each a name of its own (--name)"
            ) from None
        self._lock = threading.RLock()
        self.lost = 0
        self.broken: str | None = None
        self._cursor = os.open(folder / "acknowledged", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        text = os.pread(self._cursor, 32, 0).strip()
        self._acknowledged = int(text) if text.isdigit() else 0
        self._segments: deque[_Segment] = deque()
        self._memory: deque[_Message] = deque()
        self._last = self._acknowledged
        self._recover()
        self._sent = self._acknowledged
        self._writer: int | None = None
        self._reader: BinaryIO | None = None
        self._reading: _Segment | None = None

    def _recover(self) -> None:
        """Find what an earlier process has left; cut off a last line that was not written to its end."""
        for path in sorted(self.folder.glob("*.log")):
            segment = _Segment(path)
            with path.open("rb") as file:
                for line in file:
                    message = _parse(line)
                    if message is None:
                        break
                    segment.add(message[0], len(line))
            if segment.last <= self._acknowledged:
                path.unlink()
                continue
            os.truncate(path, segment.size)
            self._segments.append(segment)
            self._last = max(self._last, segment.last)

    def __len__(self) -> int:
        """Return how many messages have not been acknowledged."""
        with self._lock:
            return self._last - self._acknowledged

    def append(self, payload: bytes) -> int:
        """Add a message of one line; return its sequence number.

        It never raises for a disk that is full or broken: the message then waits in memory.
        """
        if b"\n" in payload:
            raise ValueError("a message is one line")
        with self._lock:
            self._last += 1
            self._memory.append((self._last, payload))
            self._flush()
            if len(self._memory) > _MEMORY_MESSAGES:
                gone, _ = self._memory.popleft()
                self.lost += gone > self._sent
            return self._last

    def _flush(self) -> None:
        """Write what waits in memory; stop at the first message that the disk does not take."""
        while self._memory:
            sequence, payload = self._memory[0]
            try:
                self._write(sequence, payload)
            except OSError as error:
                self.broken = error.strerror or str(error)
                return
            self.broken = None
            self._memory.popleft()

    def _write(self, sequence: int, payload: bytes) -> None:
        number = b"%d" % sequence
        line = b"%s %08x %s\n" % (number, zlib.crc32(number + payload), payload)
        if self._writer is None or self._segments[-1].size + len(line) > _SEGMENT_BYTES:
            self._close_writer()
            self._make_room(len(line))
            segment = _Segment(self.folder / f"{sequence:016d}.log")
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_TRUNC | os.O_CLOEXEC
            self._writer = os.open(segment.path, flags, 0o600)
            self._segments.append(segment)
        segment = self._segments[-1]
        if os.write(self._writer, line) < len(line):
            # The disk has become full in the middle: no half line may stay in front of the next one.
            os.ftruncate(self._writer, segment.size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        segment.add(sequence, len(line))

    def _make_room(self, needed: int) -> None:
        while self._segments and sum(segment.size for segment in self._segments) + needed > self._max_bytes:
            oldest = self._segments.popleft()
            self.lost += max(0, oldest.last - max(oldest.first - 1, self._sent))
            oldest.path.unlink(missing_ok=True)

    def _close_writer(self) -> None:
        if self._writer is not None:
            os.close(self._writer)
            self._writer = None

    def sync(self) -> None:
        """Bring what was appended to the disk itself, for an outage that may last."""
        with self._lock, contextlib.suppress(OSError):
            if self._writer is not None:
                os.fsync(self._writer)

    def next_unsent(self) -> _Message | None:
        """Return the oldest message that this has not returned before, None when there is none."""
        with self._lock:
            for segment in self._segments:
                if segment.last <= self._sent:
                    continue
                reader = self._reader_of(segment)
                while reader.tell() < segment.size:
                    message = _parse(reader.readline())
                    if message is not None and message[0] > self._sent:
                        self._sent = message[0]
                        return message
            for message in self._memory:
                if message[0] > self._sent:
                    self._sent = message[0]
                    return message
            return None

    def _reader_of(self, segment: _Segment) -> BinaryIO:
        """Return the open file of `segment`, where it was left; the one of another segment is closed."""
        if self._reader is None or segment is not self._reading:
            self._close_reader()
            self._reader, self._reading = segment.path.open("rb"), segment
        return self._reader

    def _close_reader(self) -> None:
        if self._reader is not None:
            self._reader.close()
        self._reader = self._reading = None

    def rewind(self) -> None:
        """Forget what was sent: everything that was not acknowledged will come again."""
        with self._lock:
            self._sent = self._acknowledged
            self._close_reader()

    def acknowledge(self, sequence: int) -> None:
        """Let go of every message up to and including this one."""
        with self._lock:
            if sequence <= self._acknowledged:
                return
            self._acknowledged = sequence
            self._sent = max(self._sent, sequence)
            while self._memory and self._memory[0][0] <= sequence:
                self._memory.popleft()
            with contextlib.suppress(OSError):
                os.pwrite(self._cursor, b"%-20d\n" % sequence, 0)
            while self._segments and self._segments[0].last <= sequence:
                segment = self._segments[0]
                if segment is self._reading:
                    self._close_reader()
                if len(self._segments) == 1 and self._writer is not None:
                    # Emptied in place: a new file for each message would cost the folder a write each.
                    with contextlib.suppress(OSError):
                        os.ftruncate(self._writer, 0)
                        segment.size = 0
                    return
                segment.path.unlink(missing_ok=True)
                self._segments.popleft()

    def close(self) -> None:
        """Let go of the folder; what was not acknowledged stays in it."""
        with self._lock:
            self._flush()
            self.sync()
            self._close_reader()
            self._close_writer()
            os.close(self._cursor)
            os.close(self._claim)
