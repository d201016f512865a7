"""The HTTP service as its users meet it: a process of its own, real sockets, a real model, systemd's own protocol."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgedefend import server as server_module
from edgedefend.bundle import load_bundle
from edgedefend.classifier import Classifier
from edgedefend.server import MAX_BODY, Server
from tests.conftest import one_line


class Service:
    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process, self.port = process, port

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, dict]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.request(method, path, body, {key.replace("_", "-"): value for key, value in headers.items()})
        answer = connection.getresponse()
        content = json.loads(answer.read())
        connection.close()
        return answer.status, content

    def send_raw(self, data: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as channel:
            channel.sendall(data)
            received = b""
            while block := channel.recv(65536):
                received += block
        return received


def start(bundle: Path, *options: str, **env: str) -> Service:
    process = subprocess.Popen(
        [sys.executable, "-m", "edgedefend.cli", "serve", str(bundle), "--port", "0", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **env, "PYTHONUNBUFFERED": "1"},
    )
    line = process.stdout.readline()
    found = re.search(r"http://(?:127\.0\.0\.1|\[::1\]):(\d+)", line)
    assert found, (line, process.stderr.read())
    return Service(process, int(found[1]))


@pytest.fixture(scope="module")
def service(color_bundles) -> Iterator[Service]:
    running = start(color_bundles / "int8")
    yield running
    running.process.terminate()
    out, err = running.process.communicate(timeout=30)
    assert running.process.returncode == 0, err
    assert "stopped after" in out
    assert "Traceback" not in err


@pytest.fixture(scope="module")
def pictures(color_photographs) -> list[bytes]:
    return [(color_photographs.parent / f"{number}.png").read_bytes() for number in range(12)]


def test_it_answers_what_the_command_line_answers(service, pictures, run_cli, color_bundles, color_photographs):
    file = color_photographs.parent / "1.png"
    printed = json.loads(run_cli("classify", "--json", color_bundles / "int8", file).stdout)
    status, answer = service.ask("POST", "/v1/classify", pictures[1])
    assert status == 200
    assert answer.keys() == printed.keys()
    assert (answer["label"], answer["bundle"], answer["draws"]) == ("green", printed["bundle"], 1)


def test_every_picture_gets_its_own_answer(service, pictures):
    labels = [service.ask("POST", "/v1/classify?draws=2&top=1", data)[1] for data in pictures]
    assert [line["label"] for line in labels] == ["red", "green", "blue"] * 4
    assert all(line["draws"] == 2 and len(line["top"]) == 1 for line in labels)


def test_many_clients_at_once_get_the_right_answers(service, pictures):
    wrong = []

    def client(number: int) -> None:
        for _ in range(5):
            status, answer = service.ask("POST", "/v1/classify", pictures[number])
            if status != 503 and answer.get("label") != ("red", "green", "blue")[number % 3]:
                wrong.append((number, status, answer))

    threads = [threading.Thread(target=client, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_health(service, pictures, color_bundles):
    before = service.ask("GET", "/healthz")[1]
    service.ask("POST", "/v1/classify", pictures[0])
    status, health = service.ask("GET", "/healthz")
    assert status == 200
    assert health["ok"] is True
    assert health["bundle"] == load_bundle(color_bundles / "int8").sha256
    assert health["answers"] == before["answers"] + 1
    assert health["uptime_s"] > 0
    assert health["last_answer_ms"] > 0
    assert before["last_answer_ms"] is not None, "the first prediction is made before the service is ready"


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status", "says"),
    [
        ("POST", "/v1/classify", b"not an image", {}, 400, "the body"),
        ("POST", "/v1/classify", b"", {}, 400, "empty"),
        ("POST", "/v1/classify?draws=0", b"x", {}, 400, "draws"),
        ("POST", "/v1/classify?draws=1000", b"x", {}, 400, "draws"),
        ("POST", "/v1/classify?draws=%D9%A1", b"x", {}, 400, "draws"),
        ("POST", "/v1/classify?top=4", b"x", {}, 400, "1 to 3"),
        ("POST", "/v1/classify?seed=1", b"x", {}, 400, "seed"),
        ("GET", "/v1/classify", None, {}, 405, "POST"),
        ("POST", "/healthz", b"x", {}, 405, "GET"),
        ("GET", "/../../etc/passwd", None, {}, 404, "/v1/classify"),
        ("POST", "/v1/classify", b"x", {"Content_Length": "ten"}, 400, "Content-Length"),
        ("GET", "/healthz", None, {"Host": "evil.example"}, 403, "localhost"),
        ("DELETE", "/healthz", None, {}, 501, "DELETE"),
    ],
)
def test_bad_requests_are_one_line_of_json(service, method, path, body, headers, status, says):
    got, answer = service.ask(method, path, body, **headers)
    assert (got, list(answer)) == (status, ["error"])
    assert says in answer["error"]
    assert "\n" not in answer["error"]
    assert service.ask("GET", "/healthz")[0] == 200


def test_a_body_that_is_too_long_is_refused_before_it_is_read(service):
    head = f"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: {MAX_BODY + 1}\r\n"
    assert b" 413 " in service.send_raw(f"{head}\r\n".encode())
    expecting = service.send_raw(f"{head}Expect: 100-continue\r\n\r\n".encode())
    assert b" 413 " in expecting
    assert b" 100 " not in expecting


def test_a_client_that_has_sent_too_much_still_hears_why(service):
    assert "16 MB" in service.ask("POST", "/v1/classify", b"x" * (MAX_BODY + 1))[1]["error"]


def test_a_chunked_or_missing_length_is_refused(service):
    head = "POST /v1/classify HTTP/1.1\r\nHost: localhost\r\n"
    assert b" 411 " in service.send_raw(f"{head}\r\n".encode())
    assert b" 411 " in service.send_raw(f"{head}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n".encode())


def test_garbage_does_not_stop_it(service):
    for data in (b"\x00" * 100, b"GET\r\n\r\n", b"GET /healthz HTTP/9.9\r\n\r\n", b"POST /" + b"a" * 70000):
        service.send_raw(data + b"\r\n\r\n")
    assert service.ask("GET", "/healthz")[0] == 200


class TestInsideTheProcess:
    """What needs a hand on the server itself: a classifier that waits, and shorter time-outs."""

    @pytest.fixture
    def running(self, color_bundles) -> Iterator[Server]:
        server = Server(Classifier(load_bundle(color_bundles / "int8")), "127.0.0.1", 0, waiting=1)
        thread = threading.Thread(target=server.serve)
        thread.start()
        yield server
        server.stop()
        thread.join(30)
        assert not thread.is_alive()

    def ask(self, server: Server, data: bytes) -> tuple[int, dict]:
        return Service(None, server.server_address[1]).ask("POST", "/v1/classify", data)

    def test_who_comes_when_all_places_are_taken_is_told_at_once(self, running, pictures):
        answers: list[int] = []
        with running._lock:  # the interpreter is busy for as long as this block lasts
            clients = [
                threading.Thread(target=lambda: answers.append(self.ask(running, pictures[0])[0])) for _ in range(2)
            ]
            for client in clients:
                client.start()
            while running._places._value:
                time.sleep(0.005)
            assert self.ask(running, pictures[0])[0] == 503
            assert Service(None, running.server_address[1]).ask("GET", "/healthz")[0] == 200
        for client in clients:
            client.join()
        assert answers == [200, 200]
        assert self.ask(running, pictures[0])[0] == 200

    def test_a_client_that_drips_its_bytes_is_cut_off(self, running, monkeypatch):
        monkeypatch.setattr(server_module, "REQUEST_SECONDS", 0.5)
        with socket.create_connection(running.server_address[:2], timeout=30) as channel:
            channel.sendall(b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n")
            with pytest.raises(OSError):
                while True:
                    channel.sendall(b"x")
                    time.sleep(0.05)

    def test_too_many_connections(self, running, monkeypatch):
        monkeypatch.setattr(server_module, "MAX_CONNECTIONS", 2)
        idle = [socket.create_connection(running.server_address[:2]) for _ in range(2)]
        while len(running._connections) < 2:
            time.sleep(0.005)
        with socket.create_connection(running.server_address[:2], timeout=10) as third:
            assert b" 503 " in third.recv(1000)
        for channel in idle:
            channel.close()

    def test_an_interpreter_that_does_not_come_back_is_unhealthy_and_gets_no_watchdog(self, running, monkeypatch):
        said: list[tuple[str, ...]] = []
        monkeypatch.setattr(server_module, "notify", lambda *lines: said.append(lines))
        running._watchdog, running._next_ping = 0.01, 0.0
        while ("WATCHDOG=1",) not in said:
            time.sleep(0.01)
        running._busy_since = time.monotonic() - server_module.STUCK_SECONDS - 1
        status, health = Service(None, running.server_address[1]).ask("GET", "/healthz")
        assert (status, health["ok"]) == (503, False)
        said.clear()
        time.sleep(0.6)
        assert ("WATCHDOG=1",) not in said
        running._busy_since = None


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_hears_ready_watchdog_and_stopping(color_bundles, tmp_path, abstract):
    name = f"@edgedefend-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("\0" + name[1:] if abstract else name)
        listener.settimeout(60)
        running = start(color_bundles / "fp32", NOTIFY_SOCKET=name, WATCHDOG_USEC="400000")
        heard: list[str] = []

        def hear(wanted: str) -> None:
            while not any(wanted in message.split("\n") for message in heard):
                heard.append(listener.recv(4096).decode())

        hear("READY=1")
        first = [line for message in heard for line in message.split("\n")]
        assert first[0] == "STATUS=checking the bundle"
        assert "WATCHDOG=1" not in first, "a watchdog before the service is ready"
        assert running.ask("GET", "/healthz")[1]["last_answer_ms"] > 0
        heard.clear()
        hear("WATCHDOG=1")
        heard.clear()
        hear("WATCHDOG=1")
        running.process.send_signal(signal.SIGTERM)
        hear("STOPPING=1")
    running.process.communicate(timeout=30)
    assert running.process.returncode == 0


def test_a_watchdog_of_another_process_is_not_ours(monkeypatch):
    from edgedefend.notify import watchdog_interval

    monkeypatch.setenv("WATCHDOG_USEC", "10000000")
    monkeypatch.delenv("WATCHDOG_PID", raising=False)
    assert watchdog_interval() == 5.0
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid() + 1))
    assert watchdog_interval() is None
    monkeypatch.setenv("WATCHDOG_PID", "x")
    assert watchdog_interval() is None


def test_a_bundle_that_answers_otherwise_never_becomes_ready(color_bundles, tmp_path, run_cli):
    import hashlib
    import shutil

    bundle = tmp_path / "wrong"
    shutil.copytree(color_bundles / "fp32", bundle)
    golden = json.loads((bundle / "golden.json").read_text())
    golden["output"] = golden["output"][1:] + golden["output"][:1]
    (bundle / "golden.json").write_text(json.dumps(golden))
    digest = hashlib.sha256((bundle / "golden.json").read_bytes()).hexdigest()
    sums = re.sub(r"[0-9a-f]{64}(?=  golden\.json)", digest, (bundle / "SHA256SUMS").read_text())
    (bundle / "SHA256SUMS").write_text(sums)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        line = one_line(
            run_cli("serve", bundle, "--port", 0, timeout=120, env={"NOTIFY_SOCKET": str(tmp_path / "notify")}), 5
        )
        assert "gets it wrong" in line
        listener.setblocking(False)
        heard = b""
        while True:
            try:
                heard += listener.recv(4096)
            except BlockingIOError:
                break
    assert b"checking the bundle" in heard
    assert b"READY=1" not in heard


def test_a_port_in_use_is_one_line(color_bundles, run_cli):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        line = one_line(run_cli("serve", color_bundles / "int8", "--port", taken.getsockname()[1]), 6)
    assert "cannot listen" in line
