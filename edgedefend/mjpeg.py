"""JPEG pictures out of an HTTP answer of type multipart/x-mixed-replace, as IP cameras send them ("MJPEG").

The other side is not trusted: every line, header and picture has a bound, a silent one a time-out, and nothing is
followed to another address. Pictures come as bytes; the caller decodes those it uses.
"""

from __future__ import annotations

import base64
import http.client
import re
import ssl
from collections.abc import Iterator
from typing import Protocol
from urllib.parse import unquote, urlsplit

from edgedefend.errors import DeviceError

__all__ = ["MAX_PICTURE", "open_mjpeg", "parts"]

MAX_PICTURE = 32 << 20
_MAX_LINE = 8192
_MAX_HEADERS = 64
_END = b"\xff\xd9"
_BLOCK = 1 << 16


class _Reader(Protocol):
    def readline(self, limit: int = ..., /) -> bytes: ...
    def read(self, amount: int = ..., /) -> bytes: ...


def _headers(stream: _Reader) -> dict[str, str] | None:
    """Read the headers of a part; None where the stream has ended instead."""
    found: dict[str, str] = {}
    for _ in range(_MAX_HEADERS):
        line = stream.readline(_MAX_LINE)
        if not line:
            return None
        if not line.strip():
            return found
        if len(line) == _MAX_LINE:
            break
        name, _, value = line.decode("latin-1").partition(":")
        found[name.strip().lower()] = value.strip()
    raise DeviceError("sent a header that does not end")


def _exactly(stream: _Reader, amount: int) -> bytes:
    data = b""
    while len(data) < amount:
        block = stream.read(min(_BLOCK, amount - len(data)))
        if not block:
            raise DeviceError("ended in the middle of a picture")
        data += block
    return data


def _until(stream: _Reader, mark: bytes) -> bytes:
    """Read a part without a length: up to the line that is the boundary."""
    lines: list[bytes] = []
    size = 0
    while True:
        line = stream.readline(_BLOCK)
        if not line:
            raise DeviceError("ended in the middle of a picture")
        if line.startswith(mark) and (not lines or lines[-1].endswith(b"\n")):
            data = b"".join(lines)
            return data[: data.rfind(_END) + 2] if _END in data else data
        lines.append(line)
        size += len(line)
        if size > MAX_PICTURE:
            raise DeviceError(f"sent a picture of more than {MAX_PICTURE >> 20} MB")


def parts(stream: _Reader, boundary: str) -> Iterator[bytes]:
    """Yield the body of every part of a multipart stream until it ends.

    Parameters
    ----------
    stream : file
        With ``readline(limit)`` and ``read(amount)``.
    boundary : str
        As in the Content-Type, with or without its leading dashes (cameras write both).

    Raises
    ------
    DeviceError
        If it breaks off inside a part, or one of its bounds is exceeded.
    """
    mark = b"--" + boundary.lstrip("-").encode("latin-1")
    found = False
    while True:
        seen = 0
        while not found:
            line = stream.readline(_MAX_LINE)
            seen += len(line)
            if not line:
                return
            if seen > MAX_PICTURE:
                raise DeviceError(f"sent no boundary {boundary!r}")
            found = line.lstrip(b"\r\n-").startswith(mark.lstrip(b"-")) and line.startswith(b"--")
        headers = _headers(stream)
        if headers is None:
            return
        length = headers.get("content-length", "")
        if length.isascii() and length.isdigit() and len(length) < 12:
            if int(length) > MAX_PICTURE:
                raise DeviceError(f"sent a picture of more than {MAX_PICTURE >> 20} MB")
            body, found = _exactly(stream, int(length)), False
        else:
            body, found = _until(stream, mark), True
        if body:
            yield body


def open_mjpeg(url: str, *, timeout: float = 10.0) -> tuple[http.client.HTTPConnection, Iterator[bytes]]:
    """Connect to an MJPEG address; return the connection, to be closed, and its pictures.

    Parameters
    ----------
    url : str
        ``http://`` or ``https://``; a user and a password in it become basic authentication.
    timeout : float
        Seconds without a byte after which it counts as lost.

    Raises
    ------
    DeviceError
        If it does not answer, or with something else; also out of the iterator.
    """
    address = urlsplit(url)
    kind = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
    connection = kind(address.hostname or "", address.port, timeout=timeout)
    headers = {"Accept": "multipart/x-mixed-replace, image/jpeg"}
    if address.username:
        login = f"{unquote(address.username)}:{unquote(address.password or '')}"
        headers["Authorization"] = "Basic " + base64.b64encode(login.encode()).decode()
    try:
        connection.request("GET", (address.path or "/") + (f"?{address.query}" if address.query else ""), None, headers)
        answer = connection.getresponse()
        content = answer.getheader("Content-Type", "")
        boundary = re.search(r'boundary="?([^";]{1,200})"?', content)
        if answer.status != http.HTTPStatus.OK:
            raise DeviceError(f"answers {answer.status} {answer.reason}"[:200])
        if not content.lower().startswith("multipart/x-mixed-replace") or boundary is None:
            raise DeviceError(f"is no MJPEG stream (Content-Type {content[:80]!r})")
    except (OSError, http.client.HTTPException, ssl.CertificateError, ValueError) as error:
        connection.close()
        raise DeviceError(f"does not answer ({error or type(error).__name__})") from error
    except DeviceError:
        connection.close()
        raise

    def pictures() -> Iterator[bytes]:
        try:
            yield from parts(answer, boundary[1])
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise DeviceError(f"broke off ({error or type(error).__name__})") from error

    return connection, pictures()
