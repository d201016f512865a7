"""The rotated file and the HTTP sink, against a real disk and a real server."""

import http.server
import json
import os
import resource
import threading
import time

import pytest

from edgedefend.errors import UsageError
from edgedefend.publish import HttpSink, JsonLinesFile, default_queue_folder, read_secret
from edgedefend.spool import Spool


def numbers(path) -> list[int]:
    return [json.loads(line)["n"] for line in path.read_text().splitlines()]


def test_a_file_is_rotated_and_no_line_is_cut(tmp_path):
    path = tmp_path / "out.jsonl"
    sink = JsonLinesFile(path, pytest.fail, max_bytes=100, keep=2)
    for number in range(100):
        sink.send({"n": number})
    sink.close()
    files = [tmp_path / "out.jsonl.2", tmp_path / "out.jsonl.1", path]
    assert sorted(tmp_path.iterdir()) == sorted(files)
    assert all(file.stat().st_size <= 100 for file in files)
    kept = [number for file in files for number in numbers(file)]
    assert kept == list(range(100 - len(kept), 100)) and len(kept) > 20
    again = JsonLinesFile(path, pytest.fail, max_bytes=10**6)
    again.send({"n": 100})
    again.close()
    assert numbers(path)[-2:] == [99, 100]


def test_without_older_files(tmp_path):
    sink = JsonLinesFile(tmp_path / "out", pytest.fail, max_bytes=100, keep=0)
    for number in range(100):
        sink.send({"n": number})
    sink.close()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert numbers(tmp_path / "out")[-1] == 99


def test_a_line_that_power_cut_short_does_not_spoil_the_next(tmp_path):
    path = tmp_path / "out"
    path.write_bytes(b'{"n":0}\n{"n":')
    sink = JsonLinesFile(path, pytest.fail)
    sink.send({"n": 1})
    sink.close()
    assert path.read_text().splitlines() == ['{"n":0}', '{"n":', '{"n":1}']


def test_a_full_disk_costs_lines_and_never_half_ones(tmp_path):
    """The limit on a file's size stands for the disk: the kernel writes what still fits and then refuses."""
    said: list[str] = []
    sink = JsonLinesFile(tmp_path / "out", said.append)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        for number in range(20):
            sink.send({"n": number})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    lost = sink.counts()["file_lost"]
    assert 0 < lost < 20 and len(said) == 1 and "cannot be written" in said[0]
    sink.send({"n": 20})
    sink.close()
    assert numbers(tmp_path / "out") == [*range(20 - lost), 20]
    assert said[1].endswith(f"{lost} were left out so far")


class Receiver:
    """A real HTTP server that answers with `status` and keeps what it was sent."""

    def __init__(self, port: int = 0) -> None:
        outer = self
        self.status, self.lines, self.tokens, self.delay = 200, [], [], 0.0

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                time.sleep(outer.delay)
                outer.tokens.append(self.headers.get("Authorization"))
                if outer.status < 300:
                    outer.lines += body.decode().splitlines()
                self.send_response(outer.status)
                self.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def until(condition, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_results_are_posted_in_order_with_the_token_and_wait_for_a_server_that_is_away(tmp_path):
    said: list[str] = []
    receiver = Receiver()
    sink = HttpSink(f"http://127.0.0.1:{receiver.port}/in?x=1", Spool(tmp_path), said.append, token="t0ken")
    for number in range(10):
        sink.send({"n": number})
    until(lambda: len(receiver.lines) == 10)
    receiver.close()
    for number in range(10, 30):
        sink.send({"n": number})
    until(lambda: said)
    assert "results wait" in said[0] and sink.counts()["http_queued"] >= 20
    receiver, before = Receiver(receiver.port), receiver
    until(lambda: len(receiver.lines) == 20)
    until(lambda: sink.counts() == {"http_queued": 0, "http_lost": 0})
    sink.close()
    receiver.close()
    assert [json.loads(line)["n"] for line in before.lines + receiver.lines] == list(range(30))
    assert set(before.tokens) == {"Bearer t0ken"}
    assert said[1].endswith("takes results again")
    assert "t0ken" not in " ".join(said)


def test_what_a_server_refuses_for_good_is_not_sent_for_ever(tmp_path):
    said: list[str] = []
    receiver = Receiver()
    receiver.status = 422
    sink = HttpSink(f"http://127.0.0.1:{receiver.port}/", Spool(tmp_path), said.append)
    sink.send({"n": 0})
    until(lambda: sink.counts() == {"http_queued": 0, "http_lost": 1})
    receiver.status = 503
    sink.send({"n": 1})
    until(lambda: any("answers 503" in line for line in said))
    assert sink.counts() == {"http_queued": 1, "http_lost": 1}
    sink.close()
    receiver.close()
    # It waits for the next run.
    again = Spool(tmp_path)
    assert again.next_unsent()[1] == b'{"n":1}'
    again.close()


@pytest.mark.parametrize("url", ["ftp://x/", "http://", "localhost:80"])
def test_addresses_that_are_none(url):
    with pytest.raises(UsageError, match="expected http"):
        HttpSink(url, None, pytest.fail)


def test_no_password_in_an_address():
    with pytest.raises(UsageError, match="--post-token") as refused:
        HttpSink("http://me:secret@host/", None, pytest.fail)
    assert "secret" not in str(refused.value)


def test_secrets(tmp_path, monkeypatch):
    file = tmp_path / "secret"
    file.write_text("one\ntwo\n")
    file.chmod(0o600)
    assert read_secret(file, "NOT_SET") == "one"
    file.chmod(0o640)
    with pytest.raises(UsageError, match="chmod 600"):
        read_secret(file, "NOT_SET")
    with pytest.raises(UsageError, match="cannot be read"):
        read_secret(tmp_path / "none", "NOT_SET")
    monkeypatch.setenv("A_SECRET", "three")
    assert (read_secret(None, "A_SECRET"), read_secret(None, "NOT_SET")) == ("three", None)


def test_where_results_wait(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    assert default_queue_folder() == tmp_path / "edgedefend/queue"
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/edgedefend")
    assert str(default_queue_folder()) == "/var/lib/edgedefend/queue"
    assert os.fspath(default_queue_folder())
