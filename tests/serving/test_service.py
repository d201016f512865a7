"""The HTTP service as its users meet it: a process of its own, real sockets, a real model, systemd's own protocol."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import statistics
import threading
import time
import uuid

import pytest

from edgedefend.bundle import load_bundle
from edgedefend.serving.requests import MAX_BODY
from tests.conftest import one_line
from tests.serving.conftest import start
from tests.serving.fuzz import valid_pictures


def form(*parts: tuple[str, bytes | str]) -> tuple[bytes, str]:
    """A multipart body and its content type; a part whose value is bytes is a file."""
    boundary = uuid.uuid4().hex
    body = b""
    for name, value in parts:
        file = '; filename="x.png"' if isinstance(value, bytes) else ""
        content = value if isinstance(value, bytes) else value.encode()
        body += f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode()
        body += content + b"\r\n"
    return body + f"--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"


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


def test_an_answer_on_a_connection_in_use_does_not_wait_for_an_acknowledgement(service):
    """Two writes without TCP_NODELAY: the second one waits until the client's kernel acknowledges the first, 40 ms."""
    took = []
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
    for _ in range(20):
        began = time.perf_counter()
        connection.request("GET", "/healthz")
        assert connection.getresponse().read()
        took.append(time.perf_counter() - began)
    connection.close()
    assert statistics.median(took) < 0.03


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
        ("GET", "/../../etc/passwd", None, {}, 404, "openapi"),
        ("POST", "/v1/classify?draws=1&draws=2", b"x", {}, 400, "twice"),
        ("POST", "/v1/classify?defense=maybe", b"x", {}, 400, "on or off"),
        ("POST", "/v1/classify?suspicion=maybe", b"x", {}, 400, "suspicion is 'maybe', expected on or off"),
        ("POST", "/v1/stages?suspicion=1", b"x", {}, 400, "draws or top"),
        ("POST", "/v1/stages?defense=off", b"x", {}, 400, "draws or top"),
        ("POST", "/v1/stages?draws=9", b"x", {}, 400, "1 to 8"),
        ("POST", "/v1/classify", b"x", {"Content_Length": "ten"}, 400, "not valid HTTP"),
        ("POST", "/v1/classify", b"x", {"Content_Type": "multipart/form-data"}, 400, "boundary"),
        ("POST", "/v1/classify", b"x", {"Content_Type": "multipart/form-data; boundary=b"}, 400, "multipart"),
        ("GET", "/page/../app.py", None, {}, 404, "openapi"),
        ("GET", "/healthz", None, {"Origin": "http://evil.example"}, 403, "other sites"),
        ("POST", "/v1/classify", b"x", {"Origin": "null"}, 403, "other sites"),
        ("GET", "/healthz", None, {"Host": "[::1"}, 400, "Host"),
        ("GET", "/healthz", None, {"Host": "evil.example"}, 403, "localhost"),
        ("DELETE", "/healthz", None, {}, 405, "GET"),
    ],
)
def test_bad_requests_are_one_line_of_json(service, method, path, body, headers, status, says):
    got, answer = service.ask(method, path, body, **headers)
    assert (got, list(answer)) == (status, ["error"])
    assert says in answer["error"]
    assert "\n" not in answer["error"]
    assert service.ask("GET", "/healthz")[0] == 200


def test_damaged_pictures_are_refused_and_leave_no_line_in_the_journal(service):
    for number, data in enumerate(valid_pictures()):
        for place in (len(data) // 2, len(data) - 20):
            broken = data[:place] + bytes(8) + data[place + 8 :]
            status, answer = service.ask("POST", "/v1/classify", broken)
            assert status in (200, 400), (number, answer)
    # The decoders' own complaints would be on standard error, which the fixture `service` looks at in the end.


def test_a_body_that_is_too_long_is_refused_before_it_is_read(service):
    head = f"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: {MAX_BODY + 1}\r\n"
    expecting = service.send_raw(f"{head}Expect: 100-continue\r\n\r\n".encode())
    assert b" 413 " in expecting
    assert b" 100 " not in expecting


def test_a_client_that_has_sent_too_much_still_hears_why(service):
    for headers in ({}, {"Connection": "close"}):
        assert "16 MB" in service.ask("POST", "/v1/classify", b"x" * (MAX_BODY + 1), **headers)[1]["error"]


def test_a_body_in_chunks(service, pictures):
    head = b"POST /v1/classify HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    chunk = f"{len(pictures[1]):x}\r\n".encode() + pictures[1] + b"\r\n"
    received = service.send_raw(head + b"Transfer-Encoding: chunked\r\n\r\n" + chunk + b"0\r\n\r\n")
    assert b" 200 " in received
    assert b'"green"' in received
    assert b" 400 " in service.send_raw(head + b"\r\n")
    endless = b"Transfer-Encoding: chunked\r\n\r\n" + b"100000\r\n" + b"x" * (1 << 20) + b"\r\n"
    assert b" 413 " in service.send_raw(head + endless + 20 * (b"100000\r\n" + b"x" * (1 << 20) + b"\r\n"))


def test_a_form_may_carry_the_picture_and_the_options(service, pictures):
    body, kind = form(("image", pictures[2]), ("draws", "3"), ("top", "2"))
    status, answer = service.ask("POST", "/v1/classify", body, Content_Type=kind)
    assert (status, answer["label"], answer["draws"], len(answer["top"])) == (200, "blue", 3, 2)
    answer = service.ask("POST", "/v1/classify?draws=1&top=3", body, Content_Type=kind)[1]
    assert (answer["draws"], len(answer["top"])) == (3, 2), "what is said beside the picture wins"
    for parts, says in (
        ([("draws", "3")], "no file"),
        ([("image", pictures[0]), ("image", pictures[1])], "Too many files"),
        ([("image", pictures[0]), ("draws", "x")], "draws"),
        ([("image", pictures[0]), ("draws", "1" * 1000)], "maximum size"),
        ([("image", pictures[0]), ("weight", "1")], "weight"),
        ([("image", b"")], "empty"),
    ):
        body, kind = form(*parts)
        status, answer = service.ask("POST", "/v1/classify", body, Content_Type=kind)
        assert status == 400
        assert says in answer["error"], answer


def test_without_the_defence_there_is_no_draw(service, pictures):
    status, answer = service.ask("POST", "/v1/classify?defense=off", pictures[0])
    assert (status, answer["label"], answer["draws"]) == (200, "red", 0)
    assert service.ask("POST", "/v1/classify", pictures[0])[1]["draws"] == 1, "it is for one request only"


def test_a_suspicion_where_it_is_asked_for(service, pictures, color_bundles):
    threshold = load_bundle(color_bundles / "int8").suspicion.value
    for query, draws in (("suspicion=1", 5), ("suspicion=on&draws=2", 2)):
        status, answer = service.ask("POST", f"/v1/classify?{query}", pictures[0])
        assert (status, answer["draws"]) == (200, draws)
        assert 0 <= answer["suspicion"] <= 1
        assert answer["suspicious"] is (answer["suspicion"] > threshold)
    assert "suspicion" not in service.ask("POST", "/v1/classify?draws=5&suspicion=off", pictures[0])[1]
    body, kind = form(("image", pictures[0]), ("suspicion", "on"), ("draws", "3"), ("top", "1"), ("defense", "on"))
    status, answer = service.ask("POST", "/v1/classify?draws=1", body, Content_Type=kind)
    assert (status, answer["draws"], "suspicion" in answer) == (200, 3, True)
    for query in ("suspicion=1&draws=1", "suspicion=1&defense=off"):
        status, answer = service.ask("POST", f"/v1/classify?{query}", pictures[0])
        assert (status, answer["suspicion"], answer["suspicious"]) == (200, None, None), "nothing to compare"
    assert service.ask("GET", "/v1/model")[1]["suspicion"]["threshold"] == threshold


def test_the_model_and_the_status(service, color_bundles):
    bundle = load_bundle(color_bundles / "int8")
    status, model = service.ask("GET", "/v1/model")
    assert status == 200
    assert model["labels"] == list(bundle.labels)
    assert model["defense"]["quant_table"] == bundle.quant_table.tolist()
    assert (model["input"]["height"], model["input"]["width"]) == (40, 48)
    before = service.metric("edgedefend_predictions_total")
    assert service.ask("GET", "/v1/status")[1]["answers"] == before


def test_what_is_counted(service, pictures):
    def counts() -> list[float]:
        names = ["edgedefend_predictions_total", 'edgedefend_errors_total{reason="bad_request"}']
        names += [f'edgedefend_stage_seconds_count{{stage="{stage}"}}' for stage in ("decode", "invoke", "total")]
        names.append('edgedefend_requests_total{path="/v1/classify",status="200"}')
        return [service.metric(name) for name in names]

    service.ask("POST", "/v1/classify", b"x")
    service.ask("POST", "/v1/classify", pictures[0])
    before = counts()
    service.ask("POST", "/v1/classify", b"x")
    service.ask("POST", "/v1/classify", pictures[0])
    assert [after - number for after, number in zip(counts(), before, strict=True)] == [1, 1, 1, 1, 1, 1]
    service.ask("GET", "/made/up")
    text = service.ask_raw("GET", "/metrics")[2].decode()
    assert "made" not in text, "a stranger must not be able to make up time series"
    assert 'path="other",status="404"' in text


def test_every_answer_carries_the_headers_that_browsers_obey(service):
    for path in ("/", "/page/page.js", "/healthz", "/nothing"):
        headers = service.ask_raw("GET", path)[1]
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert "server" not in headers


def test_garbage_does_not_stop_it(service):
    for data in (b"\x00" * 100, b"GET\r\n\r\n", b"GET /healthz HTTP/9.9\r\n\r\n", b"POST / HTTP/1.1\r\nA\r\n\r\n"):
        assert b" 400 " in service.send_raw(data)
    assert service.ask("GET", "/healthz")[0] == 200


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


def test_without_its_extra_it_says_what_to_install(run_cli, color_bundles, tmp_path):
    (tmp_path / "httptools.py").write_text("raise ModuleNotFoundError('hidden', name='httptools')\n")
    path = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    line = one_line(run_cli("serve", color_bundles / "int8", "--port", 0, env={"PYTHONPATH": path}), 1)
    assert line.endswith("serve needs the Python package 'httptools': pip install 'edgedefend[serve]'")
