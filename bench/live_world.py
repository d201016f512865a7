"""What a board in the field has around it, as real processes on the loopback interface: a camera, a broker, a reader.

Each can be stopped, killed and started again at the same address. The camera serves a video file as MJPEG over HTTP,
the broker is mosquitto, the reader notes every message with the time at which it came.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgedefend.errors import DeviceError

__all__ = ["Camera", "Mosquitto", "Reader", "free_port", "make_video", "mosquitto_program"]

_BOUNDARY = "frame"


def free_port() -> int:
    """Return a TCP port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def make_video(path: Path, pictures: list[Any], *, fps: float = 10.0, repeat: int = 1) -> Path:
    """Write pictures, uint8 (H, W, 3) RGB of one size, as a video file, each `repeat` times."""
    import cv2

    height, width = pictures[0].shape[:2]
    code = cv2.VideoWriter.fourcc(*("MJPG" if path.suffix == ".avi" else "mp4v"))
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, code, fps, (width, height))
    for picture in pictures:
        for _ in range(repeat):
            writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    writer.release()
    return path


class _Process:
    """A program that can be stopped, killed and started again."""

    def __init__(self, command: list[str], port: int) -> None:
        self.command, self.port = command, port
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *, wait_s: float = 20.0) -> None:
        """Start it and wait until it listens.

        Raises
        ------
        DeviceError
            If it ends or does not listen in time.
        """
        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until = time.monotonic() + wait_s
        while time.monotonic() < until and self.process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            time.sleep(0.02)
        self.stop()
        raise DeviceError(f"{self.command[0]} does not listen on port {self.port}")

    def stop(self, how: int = signal.SIGTERM) -> None:
        """End it with a signal and wait for its end."""
        if self.process is not None:
            self.process.send_signal(how)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(10)
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            self.process = None

    def kill(self) -> None:
        """End it as a power cut would."""
        self.stop(signal.SIGKILL)


class Camera(_Process):
    """Serves a video file as MJPEG at ``url``, at `fps`, again and again; each viewer sees it from the beginning."""

    def __init__(self, video: Path, *, fps: float = 10.0, port: int | None = None) -> None:
        port = port or free_port()
        super().__init__([sys.executable, "-m", "bench.live_world", str(video), str(port), str(fps)], port)
        self.url = f"http://127.0.0.1:{port}/"


def mosquitto_program() -> str | None:
    """Return where mosquitto is, None where it is not installed."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


class Mosquitto(_Process):
    """A broker; `remembers`: sessions and messages, on disk, and `settings` are further lines of its configuration.

    Raises
    ------
    DeviceError
        If mosquitto is not installed.
    """

    def __init__(
        self, folder: Path, *, settings: str = "allow_anonymous true\n", remembers: bool = True, port: int | None = None
    ) -> None:
        program = mosquitto_program()
        if program is None:
            raise DeviceError("mosquitto is not installed: apt install mosquitto")
        port = port or free_port()
        folder.mkdir(parents=True, exist_ok=True)
        lines = f"listener {port} 127.0.0.1\nmax_queued_messages 0\n"
        if remembers:
            lines += f"persistence true\npersistence_location {folder}/\nautosave_interval 1\n"
        if os.geteuid() == 0:
            lines += "user root\n"  # else it gives up root and cannot write here
        (folder / "mosquitto.conf").write_text(lines + settings)
        super().__init__([program, "-c", str(folder / "mosquitto.conf")], port)


class Reader:
    """Subscribes to everything and notes it, in a session that the broker keeps while either is away."""

    def __init__(self, port: int, topic: str = "#", **client_options: Any) -> None:
        from paho.mqtt.client import CallbackAPIVersion, Client

        self.messages: list[tuple[float, str, bytes, bool]] = []
        self._arrived = threading.Condition()
        self._client = Client(
            CallbackAPIVersion.VERSION2, client_id=f"reader-{os.urandom(4).hex()}", clean_session=False
        )
        for name, value in client_options.items():
            getattr(self._client, name)(*value)
        self._client.reconnect_delay_set(1, 1)
        self.connections = 0
        self._topic = topic
        self._client.on_connect = self._subscribe
        self._client.on_message = self._note
        self._client.connect("127.0.0.1", port, keepalive=10)
        self._client.loop_start()

    def _subscribe(self, client: Any, *_: Any) -> None:
        client.subscribe(self._topic, qos=1)
        self.connections += 1

    def _note(self, _client: Any, _data: Any, message: Any) -> None:
        with self._arrived:
            self.messages.append((time.monotonic(), message.topic, message.payload, message.retain))
            self._arrived.notify_all()

    def publish(self, topic: str, payload: str) -> None:
        """Publish something, as Home Assistant would."""
        self._client.publish(topic, payload, qos=1).wait_for_publish(10)

    def results(self, topic: str = "/result") -> list[tuple[float, dict[str, Any]]]:
        """Return (time, record) of the messages whose topic ends so."""
        with self._arrived:
            chosen = [(when, payload) for when, name, payload, _ in self.messages if name.endswith(topic)]
        return [(when, json.loads(payload)) for when, payload in chosen]

    def wait_for(self, count: int, topic: str = "/result", *, seconds: float = 20.0) -> bool:
        """Wait until so many messages of a topic are there."""

        def enough() -> bool:
            return sum(name.endswith(topic) for _, name, _, _ in self.messages) >= count

        with self._arrived:
            return self._arrived.wait_for(enough, seconds)

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()


def _jpegs(video: str) -> list[bytes]:
    import cv2

    found: list[bytes] = []
    capture = cv2.VideoCapture(video, cv2.CAP_FFMPEG)
    while True:
        read, image = capture.read()
        if not read:
            return found
        found.append(cv2.imencode(".jpg", image)[1].tobytes())


def _serve_camera(video: str, port: int, fps: float) -> None:
    frames = _jpegs(video)

    def stream() -> Iterator[bytes]:
        due = time.monotonic()
        while True:
            for data in frames:
                due = max(due + 1 / fps, time.monotonic() - 1)
                time.sleep(max(0.0, due - time.monotonic()))
                head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                yield head.encode() + data + b"\r\n"

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={_BOUNDARY}")
            self.end_headers()
            with contextlib.suppress(OSError):
                for block in stream():
                    self.wfile.write(block)

        def log_message(self, *_: Any) -> None:
            """Keep quiet."""

    http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    _serve_camera(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
