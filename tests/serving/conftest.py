"""A service to ask: in a process of its own as users run it, or in this one where a test needs a hand on it."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

pytest.importorskip("uvicorn", reason="the service needs the extra 'serve'")

from edgedefend.bundle import load_bundle
from edgedefend.serving.server import Server, listen, make_service


class Client:
    """Asks a service on loopback."""

    def __init__(self, port: int, *, secure: ssl.SSLContext | None = None) -> None:
        self.port, self.secure = port, secure

    def ask_raw(self, method: str, path: str, body: bytes | None = None, **headers: str):
        where = ("127.0.0.1", self.port)
        connection = (
            http.client.HTTPSConnection(*where, timeout=60, context=self.secure)
            if self.secure
            else http.client.HTTPConnection(*where, timeout=60)
        )
        try:
            connection.request(method, path, body, {key.replace("_", "-"): value for key, value in headers.items()})
            answer = connection.getresponse()
            return answer.status, dict(answer.headers), answer.read()
        finally:
            connection.close()

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, dict]:
        status, _, content = self.ask_raw(method, path, body, **headers)
        return status, json.loads(content)

    def send_raw(self, data: bytes) -> bytes:
        """Send bytes as they are; return all that comes back until the other side closes, or is quiet for long."""
        received = b""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as channel:
            try:
                channel.sendall(data)
                while block := channel.recv(65536):
                    received += block
            except ConnectionError:
                pass
        return received

    def metric(self, name: str) -> float:
        """The value of one sample of /metrics, by its name with labels."""
        text = self.ask_raw("GET", "/metrics")[2].decode()
        return float(re.search(rf"^{re.escape(name)} (\S+)$", text, re.M)[1])


class Running(Client):
    """A service in a process of its own."""

    def __init__(self, process: subprocess.Popen[str], port: int, **options) -> None:
        super().__init__(port, **options)
        self.process = process

    def stop(self) -> tuple[str, str]:
        self.process.terminate()
        return self.process.communicate(timeout=30)


def start(bundle: Path, *options: object, secure: ssl.SSLContext | None = None, **env: str) -> Running:
    process = subprocess.Popen(
        [sys.executable, "-m", "edgedefend.cli", "serve", str(bundle), "--port", "0", *map(str, options)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **env, "PYTHONUNBUFFERED": "1"},
    )
    line = process.stdout.readline()
    found = re.search(r"https?://\S+:(\d+)$", line)
    assert found, (line, process.stderr.read())
    return Running(process, int(found[1]), secure=secure)


@pytest.fixture(scope="module")
def service(color_bundles) -> Iterator[Running]:
    running = start(color_bundles / "int8")
    yield running
    out, err = running.stop()
    assert running.process.returncode == 0, err
    assert "stopped after" in out
    assert err == "", "a service has nothing to say about its clients"


@pytest.fixture(scope="session")
def pictures(color_photographs) -> list[bytes]:
    return [(color_photographs.parent / f"{number}.png").read_bytes() for number in range(12)]


class Inside(Client):
    """A service in a thread of this process."""

    def __init__(self, server: Server) -> None:
        super().__init__(server.port)
        self.server, self.service, self.said = server, server.service, []
        self._thread = threading.Thread(target=server.serve_forever)
        self._thread.start()

    def stop(self) -> None:
        self.server.stop()
        self._thread.join(30)
        assert not self._thread.is_alive()


@pytest.fixture
def inside(color_bundles) -> Iterator[Callable[..., Inside]]:
    """Start services in this process; what they had to report must be nothing unless the test takes it away."""
    running: list[Inside] = []

    def begin(*, token: str | None = None, **options) -> Inside:
        said: list[str] = []
        service = make_service(load_bundle(color_bundles / "int8"), threads=1, **options)
        made = Inside(Server(service, listen("127.0.0.1", 0), token=token, report=said.append))
        made.said = said
        running.append(made)
        return made

    yield begin
    for each in running:
        each.stop()
        assert each.said == []
