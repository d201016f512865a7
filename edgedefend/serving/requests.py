"""What a client sends, read with a limit on everything: options, bodies, multipart."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Sequence
from http import HTTPStatus

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from edgedefend.serving.answers import MAX_DRAWS, Options
from edgedefend.suspicion import DRAWS

__all__ = ["MAX_BODY", "BodyBudget", "RefusedError", "busy", "parse_options", "read_picture"]

MAX_BODY = 16 << 20
# Of all bodies that are in memory at one time, however many connections there are.
MAX_BODIES = 64 << 20
MAX_FIELD = 100
_SWITCH = {"on": True, "true": True, "1": True, "off": False, "false": False, "0": False}


class RefusedError(Exception):
    """A request that is answered with an error of one line."""

    def __init__(self, status: HTTPStatus, message: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.headers = status, headers or {}


def _too_long() -> RefusedError:
    return RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the image has more than {MAX_BODY >> 20} MB")


def _bad(message: str) -> RefusedError:
    return RefusedError(HTTPStatus.BAD_REQUEST, message)


def busy(message: str = "too many requests are waiting: try again") -> RefusedError:
    """Return the error for a service that has no place left."""
    return RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, message, {"Retry-After": "1"})


def _number(name: str, text: str, limit: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= limit):
        raise _bad(f"{name} is {text[:50]!r}, expected 1 to {limit}")
    return int(text)


def parse_options(
    pairs: Iterable[tuple[str, str]],
    classes: int,
    *,
    default_draws: int = 1,
    max_draws: int = MAX_DRAWS,
    names: Sequence[str] = ("draws", "top", "defense", "suspicion"),
) -> Options:
    """Return the options of a query string or a form.

    Where a suspicion is asked for and no number of draws, there are as many as thresholds are learned with.

    Parameters
    ----------
    pairs : iterable of (name, value)
    classes : int
        How many the model has: the most that ``top`` may ask for.
    default_draws : int
        For who does not ask for a number: the bundle's.
    max_draws : int
    names : sequence of str
        Those that are known.

    Raises
    ------
    RefusedError
        If a name is unknown or there twice, or a value is out of range.
    """
    draws, top = None, min(5, classes)
    switches = {"defense": True, "suspicion": False}
    seen: set[str] = set()
    for name, value in pairs:
        if name not in names:
            raise _bad(f"unknown option {name[:50]!r}: expected {', '.join(names[:-1])} or {names[-1]}")
        if name in seen:
            raise _bad(f"{name} is there twice")
        seen.add(name)
        if name == "draws":
            draws = _number(name, value, max_draws)
        elif name == "top":
            top = _number(name, value, classes)
        elif value in _SWITCH:
            switches[name] = _SWITCH[value]
        else:
            raise _bad(f"{name} is {value[:50]!r}, expected on or off")
    if draws is None:
        draws = min(max(default_draws, DRAWS if switches["suspicion"] else 1), max_draws)
    return Options(draws, top, **switches)


class BodyBudget:
    """How many bytes of bodies are in memory, and may be."""

    def __init__(self, limit: int = MAX_BODIES) -> None:
        self.limit, self.used = limit, 0

    async def read(self, request: Request) -> bytes:
        """Return the body; the caller gives its length back with `release`.

        Raises
        ------
        RefusedError
            If it is empty, too long (before it is read, where its length is given), or there is no memory for it.
        ClientDisconnect
            If the client goes away, or is too slow (`edgedefend.serving.protocol`).
        """
        length = request.headers.get("content-length", "0")
        if length.isdigit() and int(length[:20]) > MAX_BODY:
            raise _too_long()
        parts: list[bytes] = []
        size = 0
        try:
            while True:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect
                part = message.get("body", b"")
                size += len(part)
                self.used += len(part)
                parts.append(part)
                if size > MAX_BODY:
                    raise _too_long()
                if self.used > self.limit:
                    raise busy("too many images are being sent: try again")
                if not message.get("more_body", False):
                    break
            if size == 0:
                raise _bad("the body is empty: send the bytes of an image")
        except BaseException:
            self.release(size)
            raise
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def release(self, size: int) -> None:
        """Give back what a body of `size` bytes took."""
        self.used -= size


class _InMemory(MultiPartParser):
    spool_max_size = MAX_BODY + 1  # never a file: an SD card wears out

    def close(self) -> None:
        """Close every part that has begun; one that never ended is not in the form."""
        for file in self._files_to_close_on_error:
            file.close()


async def _once(body: bytes) -> AsyncGenerator[bytes, None]:
    yield body


async def read_picture(request: Request, body: bytes) -> tuple[bytes, list[tuple[str, str]]]:
    """Return the image in a body and the options beside it; a body that is not multipart is an image as it is.

    Raises
    ------
    RefusedError
        If a multipart body is broken, or has not exactly one file.
    """
    kind = request.headers.get("content-type", "")
    if kind.partition(";")[0].strip().lower() != "multipart/form-data":
        return body, []
    parser = _InMemory(request.headers, _once(body), max_files=1, max_fields=4, max_part_size=MAX_FIELD)
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise _bad(f"the multipart body cannot be read: {error.message.rstrip('.')}") from None
    options = [(name, value) for name, value in form.multi_items() if isinstance(value, str)]
    files = [value for value in form.values() if isinstance(value, UploadFile)]
    try:
        if len(files) != 1:
            raise _bad("the multipart body has no file: send the image as one")
        return await files[0].read(), options
    finally:
        parser.close()
