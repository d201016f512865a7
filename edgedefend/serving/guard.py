"""Around the application: who may come in, what every answer carries, and nothing that escapes.

Plain ASGI, outermost. It refuses before any body is read.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgedefend.errors import InputError
from edgedefend.serving.access import is_loopback, token_matches
from edgedefend.serving.metrics import Metrics
from edgedefend.serving.protocol import MAX_HEAD
from edgedefend.serving.requests import RefusedError

__all__ = ["Guard"]

# Without the token: that it lives, what it is, and the page that asks for the token.
PUBLIC = frozenset({"/", "/healthz", "/readyz", "/openapi.json"})
PUBLIC_PREFIX = "/page/"
_CSP = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
SECURITY_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(self), microphone=(), geolocation=()"),
    (b"content-security-policy", _CSP),
]
DRAIN_SECONDS = 2.0


def _explain(error: Exception, path: str) -> RefusedError | None:
    """Return how an error is answered; None for a mistake of ours."""
    if isinstance(error, RefusedError):
        return error
    if isinstance(error, InputError):
        return RefusedError(HTTPStatus.BAD_REQUEST, str(error))
    if isinstance(error, MemoryError):
        return RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "not enough memory for this image")
    if isinstance(error, HTTPException):  # of the router: no such path, or another method
        status, headers = HTTPStatus(error.status_code), dict(error.headers or {})
        allowed = headers.get("Allow")
        message = f"{path[:100]} takes {allowed}" if allowed else f"{status.phrase}: see /openapi.json"
        return RefusedError(status, message, headers)
    return None


class Guard:
    """The outermost part of the application.

    Parameters
    ----------
    app : ASGI application
    metrics : Metrics
    loopback : bool
        Whether the service listens on this machine's own address only: then it answers to loopback's names only.
    token : str, optional
        What every request that is not public must carry.
    report : callable
        Told of a mistake of ours, in one line.
    """

    def __init__(
        self, app: ASGIApp, metrics: Metrics, *, loopback: bool, token: str | None, report: Callable[[str], object]
    ) -> None:
        self._app, self._metrics, self._loopback, self._token = app, metrics, loopback, token
        self._report = report

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, received = 0, False

        async def noting_receive() -> Message:
            nonlocal received
            message = await receive()
            received = received or not message.get("more_body", False)
            return message

        async def noting_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", []), *SECURITY_HEADERS]
            await send(message)

        headers = dict(scope["headers"])
        scope["app"] = self  # asks the router to raise what it does not find
        try:
            self._check(scope, headers)
            await self._app(scope, noting_receive, noting_send)
        except ClientDisconnect:
            pass  # nobody is left to be answered
        except Exception as error:
            refused = _explain(error, scope["path"]) or self._own_up(error, scope["path"])
            if not status:
                await _refuse(refused, headers, None if received else receive, noting_send)
        finally:
            self._metrics.count_request(scope, status)

    def _own_up(self, error: Exception, path: str) -> RefusedError:
        """Report a mistake of ours: one line for the journal, none of it for the client."""
        self._metrics.errors.labels("internal").inc()
        self._report(f"internal error at {path[:100]!r}: {type(error).__name__}: {' '.join(str(error).split())}")
        return RefusedError(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error: see the service's journal")

    def _check(self, scope: Scope, headers: dict[bytes, bytes]) -> None:
        if sum(len(name) + len(value) + 4 for name, value in scope["headers"]) > MAX_HEAD:
            raise RefusedError(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"the head has more than {MAX_HEAD} bytes")
        self._check_names(headers)
        path = scope["path"]
        if self._token is None or path in PUBLIC or path.startswith(PUBLIC_PREFIX):
            return
        if not token_matches(headers.get(b"authorization", b""), self._token):
            raise RefusedError(
                HTTPStatus.UNAUTHORIZED,
                "this service needs its token: Authorization: Bearer TOKEN",
                {"WWW-Authenticate": 'Bearer realm="edgedefend"'},
            )

    def _check_names(self, headers: dict[bytes, bytes]) -> None:
        # A page on the internet can point its own name at 127.0.0.1 (DNS rebinding); its requests then carry that
        # name. Any page can also send pictures here without reading the answers; those carry its origin.
        host = headers.get(b"host", b"").decode("latin-1")
        try:
            name, origin = urlsplit(f"//{host}").hostname or "", headers.get(b"origin")
            stranger = origin is not None and urlsplit(origin.decode("latin-1")).netloc.lower() != host.lower()
        except ValueError:
            raise RefusedError(HTTPStatus.BAD_REQUEST, "the Host or Origin header cannot be read") from None
        if self._loopback and not is_loopback(name):
            raise RefusedError(HTTPStatus.FORBIDDEN, f"this service answers on localhost only, not as {name[:100]!r}")
        if stranger:
            raise RefusedError(HTTPStatus.FORBIDDEN, "pages of other sites may not ask this service")


async def _refuse(refused: RefusedError, headers: dict[bytes, bytes], receive: Receive | None, send: Send) -> None:
    """Answer an error; `receive` gives the rest of a body that has not been read, None where there is none.

    uvicorn reads and forgets that rest, unless it is to close the connection: closing it with unread data would reset
    it, and the client would never see why it was refused. So it is read here for a moment before.
    """
    body = (json.dumps({"error": " ".join(str(refused).split())}, ensure_ascii=False) + "\n").encode()
    lines = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    lines += [(name.lower().encode(), value.encode()) for name, value in refused.headers.items()]
    if b"expect" in headers:  # it has not sent its body, and now never will: nothing can follow on this connection
        lines.append((b"connection", b"close"))
        receive = None
    if headers.get(b"connection", b"").lower() != b"close":
        receive = None
    await send({"type": "http.response.start", "status": refused.status.value, "headers": lines})
    await send({"type": "http.response.body", "body": body, "more_body": receive is not None})
    if receive is not None:
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(_read_rest(receive), DRAIN_SECONDS)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _read_rest(receive: Receive) -> None:
    while (await receive()).get("more_body", False):
        pass
