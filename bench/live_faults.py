"""`edgedefend run` in the world of `bench.live_world`, and one thing after another that fails in it."""

from __future__ import annotations

import contextlib
import ctypes
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bench.live_world import Camera, Mosquitto, Reader, free_port, make_video
from edgedefend.bundle import load_bundle
from edgedefend.errors import DeviceError

__all__ = ["FAULTS", "MAY_DOUBLE", "MOST_DOUBLED", "RESULT", "Requests", "Runner", "Soak"]

FAULTS = ("killed and started again", "camera killed", "broker killed", "disk full", "clock jumped")
# After these the broker and the board may not know of one another what was taken: then it is sent again.
MAY_DOUBLE = (FAULTS[0], FAULTS[2])
MOST_DOUBLED = 10
RESULT = "edgedefend/soak/result"
_DISK_BYTES = 4 << 20
_RECOVERY_S = 60.0
_SHARE_OF_FIRST = 6  # without a whole first minute, its sixth part stands for it


@dataclass
class Runner:
    """`edgedefend run`, again and again; everything it has printed is kept."""

    command: list[str]
    env: dict[str, str]
    printed: list[dict[str, Any]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    process: subprocess.Popen[str] | None = None
    threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        """Start it, once more."""
        self.process = subprocess.Popen(
            self.command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self.env
        )
        self.threads = [
            threading.Thread(target=self._read, args=(self.process.stdout, self.printed, json.loads)),
            threading.Thread(target=self._read, args=(self.process.stderr, self.said, str.strip)),
        ]
        for thread in self.threads:
            thread.start()

    def _read(self, stream: Any, into: list[Any], parse: Callable[[str], Any]) -> None:
        with stream:
            for line in stream:
                with contextlib.suppress(ValueError):  # a line cut short by the kill
                    into.append(parse(line))

    def end(self, how: int) -> int:
        """End it with a signal; return its exit code."""
        if self.process is None:
            return 0
        self.process.send_signal(how)
        code = self.process.wait(30)
        for thread in self.threads:
            thread.join(10)
        self.process = None
        return code

    def usage(self) -> tuple[float, int]:
        """Return resident MB and open files of the process."""
        if self.process is None:
            raise DeviceError("edgedefend run has ended by itself: " + " | ".join(self.said[-3:]))
        folder = Path(f"/proc/{self.process.pid}")
        try:
            pages = int((folder / "statm").read_text().split()[1])
            return pages * os.sysconf("SC_PAGE_SIZE") / 1e6, len(list((folder / "fd").iterdir()))
        except OSError:
            raise DeviceError("edgedefend run has ended by itself: " + " | ".join(self.said[-3:])) from None


class Requests:
    """A client that asks `edgedefend serve` the same thing again and again, a few times a second."""

    def __init__(self, bundle: str, picture: bytes, rate: float) -> None:
        self.port = free_port()
        self.answers: Counter[str] = Counter()
        self._picture, self._pause, self._stop = picture, 1 / rate, threading.Event()
        command = [sys.executable, "-m", "edgedefend.cli", "serve", bundle, "--port", str(self.port), "--threads", "1"]
        self._server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def _ask(self) -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        with contextlib.closing(connection):
            connection.request("POST", "/v1/classify", self._picture, {"Content-Type": "image/png"})
            answer = connection.getresponse()
            answer.read()
            return str(answer.status)

    def _work(self) -> None:
        while not self._stop.wait(self._pause):
            try:
                self.answers[self._ask()] += 1
            except (OSError, http.client.HTTPException):
                if self.answers:  # not before it has been up
                    self.answers["no answer"] += 1

    def close(self) -> None:
        """Stop asking, and stop the server."""
        self._stop.set()
        self._thread.join()
        self._server.terminate()
        self._server.wait(20)


def _small_disk(folder: Path) -> Callable[[], object] | None:
    """Mount a small disk at `folder`; return what takes it away, None where that is not allowed."""
    libc = ctypes.CDLL(None, use_errno=True)
    options = f"size={_DISK_BYTES}".encode()
    if libc.mount(b"tmpfs", bytes(folder), b"tmpfs", 0, options) != 0:
        return None
    return lambda: libc.umount2(bytes(folder), 2)


class Soak:
    """The world and what happens in it; `measure_live_soak` says what comes out."""

    def __init__(self, bundle: str, folder: Path, *, minutes: float, fps: float, request_rate: float) -> None:
        self.bundle, self.folder, self.seconds = bundle, folder, 60 * minutes
        loaded = load_bundle(bundle)
        golden = loaded.golden().image
        # The golden picture, moved a little from frame to frame: every frame is another one.
        pictures = [np.roll(golden, (3 * shift, 5 * shift), (0, 1)) for shift in range(40)]
        self.camera = Camera(make_video(folder / "camera.mp4", pictures, fps=fps), fps=fps)
        self.broker = Mosquitto(folder / "broker")
        self.disk = folder / "disk"
        self.disk.mkdir()
        self.unmount = _small_disk(self.disk)
        self.clock = folder / "clock"
        self.clock.write_text("0")
        self.runner = Runner(self._command(), {**os.environ, "PYTHONUNBUFFERED": "1"})
        self.samples: list[tuple[float, float, int]] = []
        self.marks: dict[str, float] = {}
        self.recoveries: list[dict[str, Any]] = []
        import cv2

        self._picture = cv2.imencode(".png", golden[..., ::-1])[1].tobytes()
        self._request_rate = request_rate
        self.requests: Requests | None = None

    def _command(self) -> list[str]:
        return [
            *(sys.executable, "-m", "bench.jumping_clock", str(self.clock), "run", self.bundle, self.camera.url),
            *("--mqtt", f"mqtt://127.0.0.1:{self.broker.port}", "--name", "soak", "--home-assistant"),
            *("--queue", str(self.folder / "queue"), "--output", str(self.disk / "results.jsonl")),
            *("--rotate-mb", "1", "--keep", "1", "--statistics", "5", "--threads", "1"),
        ]

    def __enter__(self) -> Soak:
        self.camera.start()
        self.broker.start()
        self.reader = Reader(self.broker.port, "edgedefend/soak/#")
        if self._request_rate:
            self.requests = Requests(self.bundle, self._picture, self._request_rate)
        self.runner.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            self.runner.end(signal.SIGKILL)
        if self.requests is not None:
            self.requests.close()
        self.reader.close()
        self.camera.stop()
        self.broker.stop()
        if self.unmount is not None:
            self.unmount()

    def live_for(self, seconds: float, tick: Callable[[int], Any]) -> None:
        """Let time pass; look at the process once a second."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.samples.append((time.monotonic(), *self.runner.usage()))
            tick(1)
            time.sleep(min(1.0, left))

    def wait_for_results(self, count: int) -> float:
        """Return after how many seconds so many further results have come to the subscriber.

        Raises
        ------
        DeviceError
            If they do not come.
        """
        began, before = time.monotonic(), len(self.reader.results(RESULT))
        if not self.reader.wait_for(before + count, RESULT, seconds=_RECOVERY_S):
            raise DeviceError(f"no results for {_RECOVERY_S:.0f} s: " + " | ".join(self.runner.said[-3:]))
        return time.monotonic() - began

    def faults(self, pause: float) -> Iterator[tuple[str, Callable[[], str | None], Callable[[], None]]]:
        """Yield the name of each fault, what brings it about (a text: why it cannot be), and what ends it."""

        def kill_run() -> None:
            self.runner.end(signal.SIGKILL)

        def fill() -> str | None:
            if self.unmount is None:
                return "no small disk can be mounted here (needs root)"
            with contextlib.suppress(OSError), (self.disk / "filler").open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(4096))
            return None

        def jump() -> None:
            self.clock.write_text(str(-3 * 86400))
            time.sleep(pause / 2)
            self.clock.write_text(str(400 * 86400))

        yield FAULTS[0], kill_run, self.runner.start
        yield FAULTS[1], self.camera.kill, self.camera.start
        yield FAULTS[2], self.broker.kill, self.broker.start
        yield FAULTS[3], fill, lambda: (self.disk / "filler").unlink(missing_ok=True)
        yield FAULTS[4], jump, lambda: None

    def disturb(self, tick: Callable[[int], Any]) -> None:
        """Let the five things happen, with quiet between them."""
        first = min(60.0, self.seconds / _SHARE_OF_FIRST)
        self.wait_for_results(1)
        self.marks["begin"] = time.monotonic()
        self.live_for(first, tick)
        self.marks["first"] = time.monotonic()
        each = (self.seconds - first) / (len(FAULTS) + 1)
        down = min(10.0, each / 3)
        for name, begin, end in self.faults(down):
            said, printed, began = len(self.runner.said), len(self.runner.printed), time.monotonic()
            reason = begin()
            if self.runner.process is not None:
                self.live_for(down, tick)
            else:
                time.sleep(down)
            during = len(self.runner.printed) - printed
            end()
            recovered = None if reason else self.wait_for_results(3)
            self.recoveries.append(
                {
                    "fault": name,
                    "not_run": reason,
                    "lasted_s": round(down, 1),
                    "answers_meanwhile": during,
                    "recovered_s": None if recovered is None else round(recovered, 2),
                    "doubled": 0,
                    # A result is shown to others: the name of a folder that is gone says nothing there.
                    "said": [line.replace(f"{self.folder}/", "") for line in self.runner.said[said:]],
                    "window": (began, time.monotonic()),
                }
            )
            if name == FAULTS[0]:
                self.samples.clear()  # another process
            self.live_for(max(0.0, each - (time.monotonic() - began)), tick)
        self.live_for(max(0.0, self.seconds - (time.monotonic() - self.marks["begin"])), tick)

    def finish(self) -> int:
        """Stop the run as systemd would, and wait for what is still on the way; return its exit code."""
        code = self.runner.end(signal.SIGTERM)
        self.reader.wait_for(len(self.runner.printed), RESULT, seconds=10)
        time.sleep(1)
        return code
