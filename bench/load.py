"""Clients of the service, in a process of their own: ``python -m bench.load JSON``, for `bench.serve`.

Closed: ``clients`` connections with one request open each. Open: ``rate`` requests a second, each sent at its time on
a connection that is free, or on a new one. One thread and one selector: as little of the machine as can be, because
what the clients take the service does not have.
"""

from __future__ import annotations

import json
import selectors
import socket
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

__all__ = ["TARGET", "main"]

TARGET = "/v1/classify?top=1"

HANGING_SECONDS = 20.0
_STATUS = slice(9, 12)  # of "HTTP/1.1 200 OK"


class _Connection:
    """One connection: sends a request, collects the answer."""

    def __init__(self, port: int) -> None:
        self.channel = socket.create_connection(("127.0.0.1", port), timeout=HANGING_SECONDS)
        self.channel.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.scheduled = 0.0
        self.ends = False  # the service has said that it closes this connection
        self._left = b""
        self._received = bytearray()

    def send(self, request: bytes, scheduled: float) -> None:
        self.scheduled, self._left = scheduled, request
        self._received.clear()
        self.channel.setblocking(False)
        self.flush()

    def flush(self) -> None:
        """Send what the kernel takes now."""
        while self._left:
            try:
                self._left = self._left[self.channel.send(self._left) :]
            except BlockingIOError:
                return

    def is_open(self) -> bool:
        """Tell whether the service has kept this connection since its last answer."""
        try:
            return bool(self.channel.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except BlockingIOError:
            return True
        except OSError:
            return False

    @property
    def sending(self) -> bool:
        return bool(self._left)

    def receive(self) -> str | None:
        """Return the status once the answer is whole, "closed" where the other side has gone, None until then."""
        try:
            block = self.channel.recv(1 << 16)
        except BlockingIOError:
            return None
        if not block:
            return "closed"
        self._received += block
        head, separator, body = self._received.partition(b"\r\n\r\n")
        if not separator:
            return None
        head = head.lower()
        start = head.find(b"content-length:") + len(b"content-length:")
        length = int(head[start:].split(b"\r\n", 1)[0])
        self.ends = b"\r\nconnection: close" in head
        return head[_STATUS].decode() if len(body) >= length else None


class _Clients:
    """All connections, and what came back on them."""

    def __init__(self, port: int, requests: list[bytes]) -> None:
        self._port, self._requests, self._sent = port, requests, 0
        self._selector = selectors.DefaultSelector()
        self._free: list[_Connection] = []
        self.open: set[_Connection] = set()
        self.statuses: Counter[str] = Counter()
        self.took: dict[str, list[float]] = {"200": [], "503": []}

    def send(self, scheduled: float) -> None:
        try:
            connection = self._connection()
            connection.send(self._requests[self._sent % len(self._requests)], scheduled)
        except OSError:
            self.statuses["closed"] += 1
            return
        self._sent += 1
        self.open.add(connection)
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if connection.sending else 0)
        self._selector.register(connection.channel, events, connection)

    def _connection(self) -> _Connection:
        """Return a connection that is free, else a new one; the service closes those that nobody uses for a while."""
        while self._free:
            connection = self._free.pop()
            if connection.is_open():
                return connection
            connection.channel.close()
        return _Connection(self._port)

    def wait(self, until: float) -> int:
        """Take answers until that time, or until there were some; return how many came."""
        done = 0
        for key, events in self._selector.select(max(0.0, until - time.perf_counter())):
            connection: _Connection = key.data
            try:
                if events & selectors.EVENT_WRITE:
                    connection.flush()
                    if not connection.sending:
                        self._selector.modify(connection.channel, selectors.EVENT_READ, connection)
                status = connection.receive() if events & selectors.EVENT_READ else None
            except OSError:
                status = "closed"
            if status is not None:
                done += 1
                self._note(connection, status)
        return done

    def close(self) -> None:
        """Close everything, answered or not."""
        for connection in (*self._free, *self.open):
            connection.channel.close()
        self._selector.close()

    def _note(self, connection: _Connection, status: str) -> None:
        self._selector.unregister(connection.channel)
        self.open.discard(connection)
        self.statuses[status] += 1
        if status in self.took:
            self.took[status].append(1e3 * (time.perf_counter() - connection.scheduled))
        # An answer before the request was all sent: start afresh.
        if status == "closed" or connection.ends or connection.sending:
            connection.channel.close()
        else:
            self._free.append(connection)


def _requests(files: list[str]) -> list[bytes]:
    made = []
    for file in files:
        body = Path(file).read_bytes()
        head = f"POST {TARGET} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(body)}\r\n\r\n"
        made.append(head.encode() + body)
    return made


def _closed(clients: _Clients, count: int, seconds: float) -> float:
    """Keep `count` requests open; return how long it took until the last one was answered."""
    began = time.perf_counter()
    for _ in range(count):
        clients.send(time.perf_counter())
    while (now := time.perf_counter()) < began + seconds:
        for _ in range(clients.wait(now + 1)):
            clients.send(time.perf_counter())
    return _rest(clients, began)


def _open(clients: _Clients, rate: float, seconds: float) -> float:
    began, number = time.perf_counter(), 0
    while number < rate * seconds:
        scheduled = began + number / rate
        if time.perf_counter() >= scheduled:
            clients.send(scheduled)
            number += 1
        else:
            clients.wait(scheduled)
        if not number % 16:
            clients.wait(0.0)
    return _rest(clients, began)


def _rest(clients: _Clients, began: float) -> float:
    deadline = time.perf_counter() + HANGING_SECONDS
    while clients.open and time.perf_counter() < deadline:
        clients.wait(deadline)
    return time.perf_counter() - began


def main(plan: dict[str, Any]) -> dict[str, Any]:
    """Carry out a plan; return counts, seconds, this process's own CPU seconds, and the ms of each answer by kind."""
    clients = _Clients(plan["port"], _requests(plan["files"]))
    cpu_began = time.process_time()
    if "rate" in plan:
        seconds = _open(clients, plan["rate"], plan["seconds"])
    else:
        seconds = _closed(clients, plan["clients"], plan["seconds"])
    hanging = len(clients.open)
    clients.close()
    accepted, refused = clients.statuses.pop("200", 0), clients.statuses.pop("503", 0)
    return {
        "seconds": seconds,
        "cpu_seconds": time.process_time() - cpu_began,
        "accepted": accepted,
        "refused": refused,
        "other": sum(clients.statuses.values()),
        "hanging": hanging,
        "accepted_ms": clients.took["200"],
        "refused_ms": clients.took["503"],
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(json.loads(sys.argv[1]))))
