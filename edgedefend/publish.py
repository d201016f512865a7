"""Where results go besides standard output: a rotated file of JSON lines, and an HTTP address.

A sink never raises while the run goes on, and never makes the frames wait for a network: what cannot be written or sent
is counted and said once, and said again when it works again.
"""

from __future__ import annotations

import contextlib
import errno
import http.client
import os
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from edgedefend.capture import shown_name
from edgedefend.errors import UsageError
from edgedefend.results import encode
from edgedefend.spool import Spool

__all__ = ["HttpSink", "JsonLinesFile", "Sink", "default_queue_folder", "read_secret"]

Say = Callable[[str], None]
_BATCH = 100
_SECRET_BYTES = 4096


class Sink(Protocol):
    """What results are given to."""

    def send(self, record: dict[str, Any]) -> None:
        """Take one result."""

    def statistics(self, record: dict[str, Any]) -> None:
        """Take what the run has counted so far."""

    def counts(self) -> dict[str, int]:
        """Return what this sink has to say of itself."""

    def close(self) -> None:
        """Send what can still be sent, within seconds."""


def default_queue_folder() -> Path:
    """Return where results wait: ``$STATE_DIRECTORY`` (systemd), ``$XDG_STATE_HOME/edgedefend`` or ~/.local/state."""
    systemd = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
    return Path(systemd) / "queue" if systemd else Path(home) / "edgedefend/queue"


def read_secret(file: Path | None, variable: str) -> str | None:
    """Return the first line of a file, else an environment variable's value, else None.

    Raises
    ------
    UsageError
        If the file cannot be read, or others may read it.
    """
    if file is None:
        return os.environ.get(variable) or None
    try:
        if file.stat().st_mode & 0o077 and not os.environ.get("CREDENTIALS_DIRECTORY"):
            raise UsageError(f"{file}: others may read this secret: chmod 600 {file}")
        with file.open("rb") as secret:
            text = secret.read(_SECRET_BYTES).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: the secret cannot be read ({error})") from None
    return text.split("\n", 1)[0].strip() or None


class JsonLinesFile:
    """A file of JSON lines that is renamed to FILE.1, FILE.2 … when it has grown to its limit.

    Parameters
    ----------
    path : Path
        Gone on with if it is there.
    max_bytes : int
        Of one file.
    keep : int
        How many older ones stay.

    Raises
    ------
    OSError
        If it cannot be opened.
    """

    def __init__(self, path: Path, say: Say, *, max_bytes: int = 10 << 20, keep: int = 5) -> None:
        self._path, self._say, self._max_bytes, self._keep = path, say, max_bytes, keep
        self._lost = 0
        self._broken = False
        self._open()

    def _open(self) -> None:
        self._handle: int | None = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self._size = os.fstat(self._handle).st_size
        if self._size and os.pread(self._handle, 1, self._size - 1) != b"\n":
            # Power went in the middle of a line: it stays readable as a damaged line, the next one is whole.
            self._size += os.write(self._handle, b"\n")

    def _rotate(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
        names = [self._path, *(Path(f"{self._path}.{number}") for number in range(1, self._keep + 1))]
        for older, newer in zip(reversed(names[1:]), reversed(names[:-1]), strict=True):
            if newer.exists():
                newer.replace(older)
        if not self._keep:
            self._path.unlink(missing_ok=True)
        self._open()

    def send(self, record: dict[str, Any]) -> None:
        """Append one line, whole or not at all."""
        line = encode(record) + b"\n"
        try:
            if self._handle is None:
                self._open()
            if self._size and self._size + len(line) > self._max_bytes:
                self._rotate()
            handle = self._handle
            if handle is None or os.write(handle, line) < len(line):
                if handle is not None:
                    os.ftruncate(handle, self._size)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as error:
            self._lost += 1
            if not self._broken:
                self._broken = True
                self._say(
                    f"{self._path}: results cannot be written ({error.strerror}): they are left out until they can"
                )
            return
        self._size += len(line)
        if self._broken:
            self._broken = False
            self._say(f"{self._path}: results are written again, {self._lost} were left out so far")

    def statistics(self, record: dict[str, Any]) -> None:
        """Leave them out: the file holds results."""

    def counts(self) -> dict[str, int]:
        """Return how many lines could not be written."""
        return {"file_lost": self._lost}

    def close(self) -> None:
        """Bring it to the disk and close it."""
        if self._handle is not None:
            with contextlib.suppress(OSError):
                os.fsync(self._handle)
            os.close(self._handle)
            self._handle = None


class HttpSink:
    """POSTs results to an address as JSON lines (application/x-ndjson), those that waited together.

    A result counts as taken with an answer of 2xx. It may be sent twice when the answer gets lost: its ``id`` tells.
    4xx other than 408 and 429 means that the other side will never take it: the batch is dropped and counted.

    Parameters
    ----------
    url : str
        ``http://`` or ``https://``.
    spool : Spool
        Where results wait.
    token : str, optional
        Sent as ``Authorization: Bearer``.
    """

    def __init__(self, url: str, spool: Spool, say: Say, *, token: str | None = None, timeout: float = 10.0) -> None:
        self._url, self._name = urlsplit(url), shown_name(url)
        if self._url.scheme not in ("http", "https") or not self._url.hostname:
            raise UsageError(f"{self._name}: expected http://HOST/PATH or https://HOST/PATH")
        if self._url.username or self._url.password:
            raise UsageError(f"{self._name}: a password in the address can be seen by others: use --post-token")
        self._spool, self._say, self._token, self._timeout = spool, say, token, timeout
        self._refused = 0
        self._wake, self._stop = threading.Event(), threading.Event()
        self._down = False
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def send(self, record: dict[str, Any]) -> None:
        """Put one result in the queue."""
        self._spool.append(encode(record))
        self._wake.set()

    def statistics(self, record: dict[str, Any]) -> None:
        """Leave them out: the address gets results."""

    def counts(self) -> dict[str, int]:
        """Return what waits, and what was given up."""
        return {"http_queued": len(self._spool), "http_lost": self._spool.lost + self._refused}

    def _post(self, body: bytes) -> int:
        kind = http.client.HTTPSConnection if self._url.scheme == "https" else http.client.HTTPConnection
        connection = kind(self._url.hostname or "", self._url.port, timeout=self._timeout)
        headers = {"Content-Type": "application/x-ndjson"}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        target = (self._url.path or "/") + (f"?{self._url.query}" if self._url.query else "")
        with contextlib.closing(connection):
            connection.request("POST", target, body, headers)
            answer = connection.getresponse()
            answer.read(_SECRET_BYTES)
            return answer.status

    def _deliver(self, batch: list[tuple[int, bytes]]) -> str | None:
        """Send some messages; return why they were not taken, None when they are done with."""
        try:
            status = self._post(b"".join(payload + b"\n" for _, payload in batch))
        except (OSError, http.client.HTTPException, ssl.CertificateError) as error:
            return str(error) or type(error).__name__
        if 400 <= status < 500 and status not in (408, 429):
            if not self._refused:
                self._say(f"{self._name}: answers {status}: these results are not sent again")
            self._refused += len(batch)
        elif not 200 <= status < 300:
            return f"answers {status}"
        return None

    def _work(self) -> None:
        pause = 1.0
        while not self._stop.is_set():
            batch: list[tuple[int, bytes]] = []
            while len(batch) < _BATCH and (message := self._spool.next_unsent()) is not None:
                batch.append(message)
            if not batch:
                self._wake.wait(1.0)
                self._wake.clear()
                continue
            reason = self._deliver(batch)
            if reason is None:
                self._spool.acknowledge(batch[-1][0])
                pause = 1.0
                if self._down:
                    self._down = False
                    self._say(f"{self._name}: takes results again")
                continue
            self._spool.rewind()
            if not self._down:
                self._down = True
                self._spool.sync()
                self._say(f"{self._name}: {reason}: results wait until it takes them")
            self._stop.wait(pause)
            pause = min(2 * pause, 60.0)

    def close(self) -> None:
        """Give what waits two seconds to go out; the rest stays on disk for the next run."""
        for _ in range(20):
            if self._down or not len(self._spool):
                break
            self._wake.set()
            self._stop.wait(0.1)
        self._stop.set()
        self._wake.set()
        self._thread.join(self._timeout + 1 if not self._down else 1)
        self._spool.close()
