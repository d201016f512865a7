"""What a client can cost the service: full queues, slow and broken clients, a hung interpreter, our mistakes."""

from __future__ import annotations

import json
import socket
import threading
import time

import pytest

from edgedefend.serving import pool as pool_module
from edgedefend.serving import protocol, server
from edgedefend.serving.protocol import MAX_HEAD


def wait_until(condition, seconds: float = 20.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not come about"
        time.sleep(0.005)


def blocked(running) -> threading.Event:
    """Give the only worker a job that lasts until the event that is returned is set."""
    free, begun = threading.Event(), threading.Event()

    def task(classifier) -> dict:
        begun.set()
        assert free.wait(60)
        return {"stage_ms": {}}

    running.service.pool.submit(task)
    assert begun.wait(10)
    return free


def test_who_comes_when_all_places_are_taken_is_told_at_once(inside, pictures):
    running = inside(waiting=1)
    answers: list[int] = []
    free = blocked(running)
    waits = threading.Thread(target=lambda: answers.append(running.ask("POST", "/v1/classify", pictures[0])[0]))
    waits.start()
    wait_until(lambda: running.service.pool.full)
    began = time.monotonic()
    status, headers, content = running.ask_raw("POST", "/v1/classify", pictures[0])
    assert time.monotonic() - began < 1
    assert (status, headers["retry-after"]) == (503, "1")
    assert "try again" in json.loads(content)["error"]
    assert running.ask("GET", "/healthz")[0] == 200
    status, answer = running.ask("GET", "/readyz")
    assert (status, answer["reason"]) == (503, "all places are taken")
    assert running.metric("edgedefend_queue_depth") == 1
    assert running.metric("edgedefend_workers_busy") == 1
    assert running.metric('edgedefend_errors_total{reason="refused"}') == 2
    free.set()
    waits.join(20)
    assert answers == [200]
    assert running.ask("POST", "/v1/classify", pictures[0])[0] == 200
    assert running.ask("GET", "/readyz") == (200, {"ready": True, "reason": None})


def test_a_client_that_goes_away_leaves_its_place(inside, pictures):
    running = inside(waiting=1)
    free = blocked(running)
    head = f"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(pictures[0])}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", running.port)) as channel:
        channel.sendall(head.encode() + pictures[0])
        wait_until(lambda: running.service.pool.waiting == 1)
        time.sleep(0.2)  # until the service watches for it
    time.sleep(0.2)
    free.set()
    wait_until(lambda: running.service.pool.dropped == 1)
    assert running.metric("edgedefend_frames_dropped_total") == 1
    assert running.ask("POST", "/v1/classify", pictures[0])[0] == 200
    assert running.service.bodies.used == 0


@pytest.mark.parametrize(
    ("beginning", "status"),
    [
        (b"", b" 408 "),
        (b"POST /v1/classify HTTP/1.1\r\nHost: local", b" 408 "),
        (b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\nx", b" 408 "),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET /a", b" 200 "),
    ],
)
def test_a_client_that_drips_its_bytes_is_cut_off(inside, monkeypatch, beginning, status):
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.5)
    monkeypatch.setattr(protocol, "REQUEST_SECONDS", 0.5)
    monkeypatch.setattr(protocol, "LINGER_SECONDS", 0.5)
    running = inside()
    received, began = b"", time.monotonic()
    with socket.create_connection(("127.0.0.1", running.port), timeout=0.1) as channel:
        channel.sendall(beginning)
        while time.monotonic() < began + 20:
            try:
                if beginning:
                    channel.sendall(b"x")
                block = channel.recv(65536)
                if not block:
                    break
                received += block
            except TimeoutError:
                continue
            except ConnectionError:
                break
    assert time.monotonic() - began < 10
    assert status in received
    assert received.count(b"HTTP/1.1") == 1 + (status == b" 200 ")
    wait_until(lambda: not running.server.server_state.connections)
    assert running.service.bodies.used == 0


def test_too_many_connections(inside, monkeypatch):
    monkeypatch.setattr(protocol, "MAX_CONNECTIONS", 2)
    running = inside()
    idle = [socket.create_connection(("127.0.0.1", running.port)) for _ in range(2)]
    wait_until(lambda: len(running.server.server_state.connections) == 2)
    received = running.send_raw(b"")
    assert b" 503 " in received
    assert b"Retry-After: 1" in received
    for channel in idle:
        channel.close()
    wait_until(lambda: not running.server.server_state.connections)
    assert running.ask("GET", "/healthz")[0] == 200


def test_a_huge_head_is_refused(service):
    filler = b"X-Filler: " + b"a" * 8000 + b"\r\n"
    for head in (b"POST /" + b"a" * 3 * MAX_HEAD, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + 9 * filler):
        received = service.send_raw(head)
        assert b" 431 " in received.split(b"\r\n")[0], received[:100]
    whole = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + b"A: b\r\n" * 3000 + b"Connection: close\r\n\r\n"
    assert b" 431 " in service.send_raw(whole).split(b"\r\n")[0]
    assert service.ask("GET", "/healthz")[0] == 200


@pytest.mark.parametrize(
    "data",
    [
        b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\nGET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n\0\0",
    ],
)
def test_what_turns_into_garbage_is_answered_once(inside, data):
    running = inside()
    assert running.send_raw(data).count(b"HTTP/1.1") == 1
    wait_until(lambda: not running.server.server_state.connections)
    # `inside` looks at what the service has reported: a word said after the end would be an error of ours.


def test_many_unfinished_bodies_have_a_budget(inside):
    running = inside()
    running.service.bodies.limit = 1000
    received = running.send_raw(
        b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2000\r\nConnection: close\r\n\r\n"
        + b"x" * 2000
    )
    assert b" 503 " in received
    assert running.service.bodies.used == 0


def test_an_interpreter_that_does_not_come_back_is_unhealthy_and_gets_no_watchdog(inside, monkeypatch):
    said: list[tuple[str, ...]] = []
    monkeypatch.setattr(server, "notify", lambda *lines: said.append(lines))
    running = inside(waiting=1)
    running.server._watchdog, running.server._next_ping = 0.01, 0.0
    wait_until(lambda: ("WATCHDOG=1",) in said)
    free = blocked(running)
    monkeypatch.setattr(pool_module, "STUCK_SECONDS", 0.1)
    wait_until(running.service.pool.stuck)
    status, health = running.ask("GET", "/healthz")
    assert (status, health["ok"]) == (503, False)
    time.sleep(0.3)
    said.clear()
    time.sleep(0.6)
    assert ("WATCHDOG=1",) not in said
    free.set()
    wait_until(lambda: ("WATCHDOG=1",) in said)


def test_a_mistake_of_ours_is_one_line_in_the_journal_and_none_of_it_for_the_client(inside, monkeypatch, pictures):
    running = inside()

    def broken(*_) -> dict:
        raise ZeroDivisionError("a secret\nof ours")

    monkeypatch.setattr(running.service.pool, "submit", broken)
    status, answer = running.ask("POST", "/v1/classify", pictures[0])
    assert (status, answer) == (500, {"error": "internal error: see the service's journal"})
    assert running.said == ["internal error at '/v1/classify': ZeroDivisionError: a secret of ours"]
    running.said.clear()
    assert running.metric('edgedefend_errors_total{reason="internal"}') == 1
