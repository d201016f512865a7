"""Pictures out of a multipart stream, as cameras write it and as an attacker would."""

import base64
import io
import socket
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgedefend import mjpeg
from edgedefend.errors import DeviceError
from edgedefend.mjpeg import open_mjpeg, parts

ONE, TWO = b"\xff\xd8one\r\n--x\n\xff\xd9", b"\xff\xd8two\xff\xd9"


def part(body: bytes, *headers: str, length: bool = True, end: bytes = b"\r\n") -> bytes:
    lines = ["Content-Type: image/jpeg", *headers, *([f"Content-Length: {len(body)}"] if length else [])]
    return b"--frame" + end + b"".join(line.encode() + end for line in lines) + end + body + end


def read(data: bytes, boundary: str = "frame") -> list[bytes]:
    return list(parts(io.BytesIO(data), boundary))


@pytest.mark.parametrize("boundary", ["frame", "--frame"])
@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
def test_with_lengths(boundary, end):
    assert read(part(ONE, end=end) + part(TWO, "X-Time: 1", end=end), boundary) == [ONE, TWO]


def test_without_lengths():
    two = b"\xff\xd8two\nlines\r\n\xff\xd9"
    assert read(part(TWO, length=False) + part(two, length=False) + b"--frame\r\n") == [TWO, two]


def test_a_preamble_and_empty_parts_are_passed_over():
    assert read(b"hello\r\n" + part(b"") + part(TWO)) == [TWO]


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (part(ONE)[:-8], "in the middle"),
        (part(TWO, length=False), "in the middle"),
        (b"--frame\r\nContent-Length: 99999999999\r\n\r\n", "more than 32 MB"),
        (b"--frame\r\n" + b"a: b\r\n" * 100, "header that does not end"),
        (b"--frame\r\n" + b"a" * 20000, "header that does not end"),
    ],
)
def test_what_breaks_off_or_does_not_end(data, says):
    with pytest.raises(DeviceError, match=says):
        read(data)


def test_bounds_of_what_has_no_end(monkeypatch):
    monkeypatch.setattr(mjpeg, "MAX_PICTURE", 1000)
    for data in (b"x\n" * 2000, b"--frame\r\n\r\n" + b"x\n" * 2000, b"y" * 9000):
        with pytest.raises(DeviceError):
            read(data)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([b"--frame", b"\r\n", b"Content-Length: 5", b": ", b"\xff\xd9", b"abc", b"\0" * 9])))
def test_garbage_gives_pictures_or_one_error(pieces):
    try:
        read(b"".join(pieces))
    except DeviceError as error:
        assert "\n" not in str(error)


class OneAnswer:
    """Answers one request with given bytes, and keeps what was asked."""

    def __init__(self, answer: bytes, *, hold: bool = False) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"127.0.0.1:{self.listener.getsockname()[1]}/stream?a=b"
        self.asked = b""
        self._answer, self._hold, self._done = answer, hold, threading.Event()
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        channel, _ = self.listener.accept()
        with channel:
            while b"\r\n\r\n" not in self.asked:
                self.asked += channel.recv(4096)
            channel.sendall(self._answer)
            if self._hold:
                self._done.wait(10)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._done.set()
        self.thread.join(5)
        self.listener.close()


HEAD = b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=frame\r\n\r\n"


def test_over_http_with_a_password():
    with OneAnswer(HEAD + part(ONE) + part(TWO)) as server:
        connection, pictures = open_mjpeg("http://me:pass%3Aword@" + server.url)
        assert list(pictures) == [ONE, TWO]
        connection.close()
    assert server.asked.startswith(b"GET /stream?a=b HTTP/1.1\r\n")
    assert base64.b64encode(b"me:pass:word") in server.asked


def test_a_camera_that_falls_silent_is_lost():
    with OneAnswer(HEAD + part(ONE) + b"--frame\r\n", hold=True) as server:
        connection, pictures = open_mjpeg("http://" + server.url, timeout=0.3)
        assert next(pictures) == ONE
        with pytest.raises(DeviceError, match="broke off"):
            next(pictures)
        connection.close()


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"HTTP/1.0 401 Unauthorized\r\n\r\n", "answers 401"),
        # It is not followed: not to another host, not to a file.
        (b"HTTP/1.0 302 Found\r\nLocation: file:///etc/passwd\r\n\r\n", "answers 302"),
        (b"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n", "no MJPEG stream"),
        (b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace\r\n\r\n", "no MJPEG stream"),
        (b"SSH-2.0-OpenSSH\r\n", "does not answer"),
        (b"", "does not answer"),
    ],
)
def test_other_answers(answer, says):
    with OneAnswer(answer) as server, pytest.raises(DeviceError, match=says):
        open_mjpeg("http://" + server.url)


def test_nobody_there():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(DeviceError, match="does not answer"):
        open_mjpeg(f"http://127.0.0.1:{port}/")
