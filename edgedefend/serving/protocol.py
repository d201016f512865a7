"""One connection: uvicorn's HTTP protocol with a limit on time, on the size of a head, and on how many there are.

uvicorn itself waits for ever for the rest of a head or a body. `sweep` is called once a second for every connection;
nothing is scheduled a request. A client that is refused here is told why, and what it still sends is read and thrown
away for a moment: closing at once would reset the connection, and it would never see the answer.
"""

from __future__ import annotations

import asyncio
import json
import socket
import time
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

__all__ = ["HEAD_SECONDS", "MAX_CONNECTIONS", "MAX_HEAD", "REQUEST_SECONDS", "GuardedProtocol"]

MAX_CONNECTIONS = 256
MAX_HEAD = 16 << 10
HEAD_SECONDS = 10.0
# From the end of the head to the end of the answer; also what a body may take to arrive.
REQUEST_SECONDS = 30.0
LINGER_SECONDS = 2.0


class GuardedProtocol(HttpToolsProtocol):
    """A connection that does not outstay its welcome."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # When the client began to owe us something: a head, the rest of one, a body, reading our answer. None: nothing.
        self._since: float | None = None
        self._head_size = 0
        self._refused = False
        self._unanswered: list[RequestResponseCycle] = []  # more than one where the client does not wait for answers

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a connection, unless there are too many."""
        super().connection_made(transport)
        # asyncio does this only for sockets that were made with TCP's number, which `socket.create_server` is not told.
        # Without it an answer's body waits for the client to acknowledge its head, which takes it 40 ms.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._since = time.monotonic()
        if len(self.connections) > MAX_CONNECTIONS:
            self.refuse(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections: try again")

    def _between_requests(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def data_received(self, data: bytes) -> None:
        """Feed the parser; a head must end within `MAX_HEAD` bytes."""
        if self._refused:
            return
        idle, cycle = self._between_requests(), self.cycle
        if idle and self._since is None:
            self._since = time.monotonic()
        super().data_received(data)
        if self.cycle is not cycle:
            self._since, self._head_size = time.monotonic(), 0
        elif idle:
            # What follows an answered request may be the rest of its body: that is no head.
            self._head_size += len(data)
            if self._head_size > MAX_HEAD and (cycle is None or not cycle.more_body):
                self.refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"the head has more than {MAX_HEAD} bytes")

    def on_headers_complete(self) -> None:
        """Called by the parser: a request begins."""
        super().on_headers_complete()
        self._unanswered = [cycle for cycle in (*self._unanswered, self.cycle) if not cycle.response_complete]

    def on_response_complete(self) -> None:
        """After an answer the client owes nothing until it begins to send again."""
        self._since, self._head_size = None, 0
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Called by uvicorn for what is not HTTP."""
        self.refuse(HTTPStatus.BAD_REQUEST, "the request cannot be read: it is not valid HTTP")

    def refuse(self, status: HTTPStatus, message: str) -> None:
        """Answer an error from below the application, and close."""
        if self._refused or self.transport.is_closing():
            return
        self._refused = True
        self._unset_keepalive_if_required()
        body = json.dumps({"error": message}).encode() + b"\n"
        again = "Retry-After: 1\r\n" if status == HTTPStatus.SERVICE_UNAVAILABLE else ""
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: application/json\r\n{again}"
            f"Content-Length: {len(body)}\r\nConnection: close\r\nX-Content-Type-Options: nosniff\r\n\r\n"
        )
        unanswered = [cycle for cycle in self._unanswered if not cycle.response_complete]
        if not any(cycle.response_started for cycle in unanswered):
            self.transport.write(head.encode() + body)
        for cycle in unanswered:
            # Whatever the application still says would come after our answer, and there is an end to what is sent.
            cycle.disconnected, cycle.waiting_for_100_continue = True, False
            cycle.message_event.set()
        self._since = time.monotonic()
        self.transport.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()

    def eof_received(self) -> None:
        """Returning None closes the transport: a client that has finished sending a refused request is done."""

    def sweep(self, now: float) -> None:
        """End what has taken too long."""
        if self._since is None:
            return
        waited = now - self._since
        if self._refused or self.transport.is_closing():
            if waited > LINGER_SECONDS:
                self.transport.abort()
        elif self._between_requests():
            if waited > HEAD_SECONDS:
                self.refuse(HTTPStatus.REQUEST_TIMEOUT, f"no whole request within {HEAD_SECONDS:.0f} s")
        elif waited > REQUEST_SECONDS:
            if self.cycle.more_body:
                self.refuse(HTTPStatus.REQUEST_TIMEOUT, f"the body has not arrived within {REQUEST_SECONDS:.0f} s")
            elif waited > 2 * REQUEST_SECONDS:  # it does not read what it asked for
                self.transport.abort()
