"""Around the application: who may come in, what every answer carries, and nothing that escapes.

Plain ASGI, outermost. It refuses before any body is read.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgedefend.serving.access import is_loopback, token_matches
from edgedefend.serving.metrics import Metrics
from edgedefend.serving.protocol import MAX_HEAD
from edgedefend.serving.requests import RefusedError

__all__ = ["Guard", "error_body"]

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


def error_body(message: str) -> bytes:
    """Return the JSON of an error."""
    return (json.dumps({"error": " ".join(message.split())}, ensure_ascii=False) + "\n").encode()


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
        status = 0

        async def noting_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", []), *SECURITY_HEADERS]
            await send(message)

        headers = dict(scope["headers"])
        try:
            self._check(scope, headers)
            await self._app(scope, receive, noting_send)
        except RefusedError as refused:
            await _refuse(refused, headers, receive, noting_send)
        except Exception as error:
            # The one place where a mistake of ours ends up: one line for the journal, none of it for the client.
            self._metrics.errors.labels("internal").inc()
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            self._report(f"internal error at {scope['path'][:100]!r}: {reason}")
            if not status:
                mistake = RefusedError(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error: see the service's journal")
                await _refuse(mistake, headers, receive, noting_send)
        finally:
            self._metrics.count_request(scope, status)

    def _check(self, scope: Scope, headers: dict[bytes, bytes]) -> None:
        if sum(len(name) + len(value) + 4 for name, value in scope["headers"]) > MAX_HEAD:
            raise RefusedError(
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"the head has more than {MAX_HEAD} bytes"
            )
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
            raise RefusedError(
                HTTPStatus.FORBIDDEN, f"this service answers on localhost only, not as {name[:100]!r}"
            )
        if stranger:
            raise RefusedError(HTTPStatus.FORBIDDEN, "pages of other sites may not ask this service")


async def _refuse(refused: RefusedError, headers: dict[bytes, bytes], receive: Receive, send: Send) -> None:
    """Answer an error; what the client is still sending is read for a moment where the connection closes after it."""
    body = error_body(str(refused))
    lines = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    lines += [(name.lower().encode(), value.encode()) for name, value in refused.headers.items()]
    expecting = b"expect" in headers
    if expecting:  # it has not sent its body, and now never will: nothing can follow on this connection
        lines.append((b"connection", b"close"))
    closing = headers.get(b"connection", b"").lower() == b"close" and not expecting
    await send({"type": "http.response.start", "status": refused.status.value, "headers": lines})
    await send({"type": "http.response.body", "body": body, "more_body": closing})
    if closing:
        until = time.monotonic() + DRAIN_SECONDS
        while time.monotonic() < until and (await receive()).get("more_body", False):
            pass
        await send({"type": "http.response.body", "body": b"", "more_body": False})
