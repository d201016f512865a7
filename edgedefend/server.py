"""Classifying over HTTP: one classifier, one lock, and a bound on everything that a client can ask for.

``POST /v1/classify`` takes the bytes of an image and answers what ``edgedefend classify --json`` prints;
``GET /healthz`` says which bundle runs and how it is doing. Every error is JSON with one line, ``{"error": …}``.

The bounds: a connection lives at most `REQUEST_SECONDS`, there are at most `MAX_CONNECTIONS`, a body has at most
`MAX_BODY` bytes and a picture `MAX_REQUEST_PIXELS`, and only `waiting` requests may wait for the one that is being
answered; the next one gets 503 before its body is read. Decoding is done under the lock as well: one
decoded picture at a time is in memory.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import socket
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import edgedefend
from edgedefend.classifier import Classifier, prediction_record
from edgedefend.errors import EdgeDefendError, InputError
from edgedefend.notify import notify, watchdog_interval
from edgedefend.sources import decode_image

__all__ = ["MAX_BODY", "Server"]

MAX_BODY = 16 << 20
MAX_REQUEST_PIXELS = 32_000_000
MAX_REQUEST_DRAWS = 32
MAX_CONNECTIONS = 64
REQUEST_SECONDS = 30.0
# Longer than any model here takes for MAX_REQUEST_DRAWS on the slowest board; beyond it the interpreter hangs.
STUCK_SECONDS = 60.0


class _RefusedError(Exception):
    """A request that is answered with an error; the connection is closed after it."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


class _Handler(BaseHTTPRequestHandler):
    server: Server
    # 1.1 so that `Expect: 100-continue` is understood; every answer closes its connection all the same, because
    # idle connections would take the places of those who want an answer.
    protocol_version = "HTTP/1.1"
    server_version = f"edgedefend/{edgedefend.__version__}"
    sys_version = ""
    timeout = REQUEST_SECONDS

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet: a log line a request would wear out an SD card."""

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer an error in JSON; also called by the base class for requests it cannot parse."""
        self._reply(HTTPStatus(code), {"error": message or HTTPStatus(code).phrase})

    def _reply(self, status: HTTPStatus, content: dict[str, Any]) -> None:
        self.close_connection = True
        body = (json.dumps(content, ensure_ascii=False) + "\n").encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.send_header("X-Content-Type-Options", "nosniff")
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            self.send_header("Retry-After", "1")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _check_host(self) -> None:
        # A page on the internet can point its own name at 127.0.0.1 (DNS rebinding); its requests then carry that
        # name. A service that listens on loopback only answers to loopback's names only.
        name = urlsplit(f"//{self.headers.get('Host', '')}").hostname or ""
        if self.server.loopback and name != "localhost" and not _is_loopback(name):
            raise _RefusedError(HTTPStatus.FORBIDDEN, f"this service answers on localhost only, not as {name[:100]!r}")

    def _length(self) -> int:
        text = self.headers.get("Content-Length")
        if text is None or self.headers.get("Transfer-Encoding"):
            raise _RefusedError(HTTPStatus.LENGTH_REQUIRED, "send the image with a Content-Length")
        if not (text.isascii() and text.isdigit() and len(text) < 20):
            raise _RefusedError(HTTPStatus.BAD_REQUEST, "Content-Length is not a number")
        if int(text) > MAX_BODY:
            raise _RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the image has more than {MAX_BODY >> 20} MB")
        if int(text) == 0:
            raise _RefusedError(HTTPStatus.BAD_REQUEST, "the body is empty: send the bytes of an image")
        return int(text)

    def handle_expect_100(self) -> bool:
        """Refuse a body that is too long before it is sent."""
        try:
            self._length()
        except _RefusedError as refused:
            self.send_error(refused.status, str(refused))
            return False
        return super().handle_expect_100()

    def _options(self, query: str) -> dict[str, int]:
        limits = {"draws": MAX_REQUEST_DRAWS, "top": len(self.server.classifier.bundle.labels)}
        options = {}
        for name, values in parse_qs(query, keep_blank_values=True, max_num_fields=10).items():
            if name not in limits:
                raise _RefusedError(HTTPStatus.BAD_REQUEST, f"unknown option {name[:50]!r}: expected draws or top")
            text, limit = values[-1], limits[name]
            if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= limit):
                raise _RefusedError(HTTPStatus.BAD_REQUEST, f"{name} is {text[:50]!r}, expected 1 to {limit}")
            options[name] = int(text)
        return options

    def _answer(self, allowed: str) -> None:
        try:
            self._check_host()
            url = urlsplit(self.path)
            wanted = {"/healthz": "GET", "/v1/classify": "POST"}.get(url.path)
            if wanted is None:
                raise _RefusedError(HTTPStatus.NOT_FOUND, "there is POST /v1/classify and GET /healthz")
            if wanted != allowed:
                raise _RefusedError(HTTPStatus.METHOD_NOT_ALLOWED, f"{url.path} takes {wanted}")
            if wanted == "GET":
                health = self.server.health()
                self._reply(HTTPStatus.OK if health["ok"] else HTTPStatus.SERVICE_UNAVAILABLE, health)
            else:
                self._classify(url.query)
        except _RefusedError as refused:
            self.send_error(refused.status, str(refused))
        except InputError as error:
            self.send_error(HTTPStatus.BAD_REQUEST, str(error))
        except (EdgeDefendError, MemoryError) as error:
            self.send_error(HTTPStatus.INTERNAL_SERVER_ERROR, str(error) or "not enough memory for this image")
        except ValueError:
            self.send_error(HTTPStatus.BAD_REQUEST, "the request cannot be read")

    def _classify(self, query: str) -> None:
        options, length = self._options(query), self._length()
        with self.server.place_in_the_queue():
            body = self.rfile.read(length)
            if len(body) < length:
                raise _RefusedError(HTTPStatus.BAD_REQUEST, f"the body ends after {len(body)} of {length} bytes")
            self._reply(HTTPStatus.OK, self.server.classify(body, **options))

    def do_GET(self) -> None:
        """``GET /healthz``."""
        self._answer("GET")

    def do_POST(self) -> None:
        """``POST /v1/classify``."""
        self._answer("POST")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Server(ThreadingHTTPServer):
    """An HTTP server around one classifier, which has answered before.

    Parameters
    ----------
    classifier : Classifier
    host, port
        Where to listen; port 0 takes a free one, `server_address` says which.
    waiting : int
        How many requests may wait while one is answered.

    Raises
    ------
    OSError
        If the address cannot be listened on.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, classifier: Classifier, host: str, port: int, *, waiting: int = 8) -> None:
        self.classifier = classifier
        self.loopback = _is_loopback(host)
        self.started = time.monotonic()
        self.answers = 0
        self.last_answer_ms: float | None = None
        self._busy_since: float | None = None
        self._places = threading.BoundedSemaphore(1 + waiting)
        self._all_places = 1 + waiting
        self._lock = threading.Lock()
        self._connections: dict[socket.socket, float] = {}
        self._watchdog = watchdog_interval()
        self._next_ping = 0.0
        self._next_status = 0.0
        if ":" in host:
            self.address_family = socket.AF_INET6
        super().__init__((host, port), _Handler)

    @contextlib.contextmanager
    def place_in_the_queue(self) -> Any:
        """Hold one of the places; raises 503 where none is free."""
        if not self._places.acquire(blocking=False):
            raise _RefusedError(HTTPStatus.SERVICE_UNAVAILABLE, "too many requests are waiting: try again")
        try:
            yield
        finally:
            self._places.release()

    def classify(self, data: bytes, *, draws: int = 1, top: int = 5) -> dict[str, Any]:
        """Decode and classify an image; the answer is what ``edgedefend classify --json`` prints.

        Raises
        ------
        InputError
            If `data` is not an image, or too large a one.
        """
        with self._lock:
            self._busy_since = time.monotonic()
            try:
                image = decode_image(data, "the body", max_pixels=MAX_REQUEST_PIXELS)
                prediction = self.classifier.classify(image, draws=draws, top=top)
            finally:
                began, self._busy_since = self._busy_since, None
            self.last_answer_ms = 1e3 * (time.monotonic() - began)
            self.answers += 1
        return prediction_record(prediction, "body", self.classifier.bundle)

    def _is_stuck(self) -> bool:
        began = self._busy_since
        return began is not None and time.monotonic() - began > STUCK_SECONDS

    def health(self) -> dict[str, Any]:
        """Return what ``/healthz`` answers; ``ok`` is false when the interpreter does not come back."""
        bundle = self.classifier.bundle
        return {
            "ok": not self._is_stuck(),
            "bundle": bundle.sha256,
            "model": bundle.model_name,
            "precision": bundle.precision,
            "version": edgedefend.__version__,
            "backend": f"{self.classifier.interpreter.backend} {self.classifier.interpreter.version}",
            "uptime_s": round(time.monotonic() - self.started, 1),
            "answers": self.answers,
            "last_answer_ms": None if self.last_answer_ms is None else round(self.last_answer_ms, 3),
        }

    def service_actions(self) -> None:
        """Called by the accept loop twice a second: systemd's watchdog, and connections that take too long."""
        now = time.monotonic()
        if self._watchdog is not None and now >= self._next_ping and not self._is_stuck():
            notify("WATCHDOG=1")
            self._next_ping = now + self._watchdog
        if now >= self._next_status:
            last = "" if self.last_answer_ms is None else f", last in {self.last_answer_ms:.1f} ms"
            notify(f"STATUS={self.answers} answers{last}")
            self._next_status = now + 10
        # The time-out of a socket starts anew with every byte, so a client that drips them would stay for ever.
        for connection, begun in list(self._connections.items()):
            if now - begun > REQUEST_SECONDS:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Start a thread for a connection, unless there are too many."""
        if len(self._connections) >= MAX_CONNECTIONS:
            with contextlib.suppress(OSError):
                request.setblocking(False)
                request.send(b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            super().shutdown_request(request)
            return
        self._connections[request] = time.monotonic()
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection, after reading what is left of a body that nobody wants.

        Closing with unread data resets the connection, and the client would never see why it was refused.
        """
        try:
            with contextlib.suppress(OSError):
                request.shutdown(socket.SHUT_WR)
                request.settimeout(0.5)
                until = time.monotonic() + 2
                while time.monotonic() < until and request.recv(1 << 16):
                    pass
            self.close_request(request)
        finally:
            self._connections.pop(request, None)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that went away is no error of ours."""

    def serve(self) -> None:
        """Answer until `stop`; then let the requests that are being answered end, and close."""
        address, port = self.server_address[:2]
        notify("READY=1", f"STATUS=listening on {address!s}:{port}")
        try:
            self.serve_forever(poll_interval=0.25 if self._watchdog is None else min(0.25, self._watchdog / 2))
        finally:
            notify("STOPPING=1")
            # Stop listening first, so that nobody new comes while the last ones are answered.
            self.socket.close()
            until = time.monotonic() + 5
            while self._connections and time.monotonic() < until:
                time.sleep(0.01)
            self.server_close()

    def stop(self) -> None:
        """Make `serve` return; safe in a signal handler."""
        threading.Thread(target=self.shutdown, daemon=True).start()
