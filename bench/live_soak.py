"""A board's months in the field, in minutes: a camera, a broker and HTTP requests, and one thing after another fails.

`edgedefend run` watches an MJPEG camera (a video file, played by a process of its own) and publishes to a real broker;
`edgedefend serve` answers requests beside it. Both are processes of their own, as on a board. After an undisturbed
first part, five things happen, one after the other: the run itself is killed and started again, the camera is killed,
the broker is killed, the disk that the results are written to fills up, the clock jumps. What was published is compared
with what a subscriber got.
"""

from __future__ import annotations

import contextlib
import ctypes
import datetime
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

from bench.conditions import Watch, bundle_facts
from bench.live_world import Camera, Mosquitto, Reader, free_port, make_video
from bench.memory import slope
from bench.percentiles import percentile
from edgedefend.bundle import load_bundle
from edgedefend.errors import DeviceError

__all__ = ["FAULTS", "measure_live_soak"]

FAULTS = ("killed and started again", "camera killed", "broker killed", "disk full", "clock jumped")
_RESULT = "edgedefend/soak/result"
_DISK_BYTES = 4 << 20
_RECOVERY_S = 60.0
_SHARE_OF_FIRST = 6  # without a whole first minute, its sixth part stands for it
_GROWTH_MB = 8.0


@dataclass
class _Runner:
    """`edgedefend run`, again and again; everything it has printed is kept."""

    command: list[str]
    env: dict[str, str]
    printed: list[dict[str, Any]] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    process: subprocess.Popen[str] | None = None
    threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
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


class _Requests:
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


class _Soak:
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
        self.runner = _Runner(self._command(), {**os.environ, "PYTHONUNBUFFERED": "1"})
        self.samples: list[tuple[float, float, int]] = []
        self.marks: dict[str, float] = {}
        self.recoveries: list[dict[str, Any]] = []
        import cv2

        self._picture = cv2.imencode(".png", golden[..., ::-1])[1].tobytes()
        self._request_rate = request_rate
        self.requests: _Requests | None = None

    def _command(self) -> list[str]:
        return [
            *(sys.executable, "-m", "bench.jumping_clock", str(self.clock), "run", self.bundle, self.camera.url),
            *("--mqtt", f"mqtt://127.0.0.1:{self.broker.port}", "--name", "soak", "--home-assistant"),
            *("--queue", str(self.folder / "queue"), "--output", str(self.disk / "results.jsonl")),
            *("--rotate-mb", "1", "--keep", "1", "--statistics", "5", "--threads", "1"),
        ]

    def __enter__(self) -> _Soak:
        self.camera.start()
        self.broker.start()
        self.reader = Reader(self.broker.port, "edgedefend/soak/#")
        if self._request_rate:
            self.requests = _Requests(self.bundle, self._picture, self._request_rate)
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
        began, before = time.monotonic(), len(self.reader.results(_RESULT))
        if not self.reader.wait_for(before + count, _RESULT, seconds=_RECOVERY_S):
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
                    "said": list(self.runner.said[said:]),
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
        self.reader.wait_for(len(self.runner.printed), _RESULT, seconds=10)
        time.sleep(1)
        return code


def _p99(ages: list[float]) -> float | None:
    return percentile(sorted(ages), 0.99) if ages else None


def _delivery(soak: _Soak) -> dict[str, Any]:
    """Compare what was printed with what the subscriber got."""
    made = [record["id"] for record in soak.runner.printed]
    got = [record["id"] for _, record in soak.reader.results(_RESULT)]
    counted, known = Counter(got), set(made)
    first_times = [name for name in dict.fromkeys(got) if name in known]
    return {
        "published": len(made),
        "received": len(got),
        "lost": len([name for name in made if name not in counted]),
        "doubled": sum(count - 1 for count in counted.values()),
        "in_order": first_times == [name for name in made if name in counted],
    }


def _growth(samples: list[tuple[float, float, int]]) -> dict[str, Any]:
    """Say how memory and open files of the process that ran to the end have changed, after it has warmed up."""
    settled = samples[len(samples) // 5 :]
    fifth = max(1, len(settled) // 5)
    memory = [sample[1] for sample in settled]
    files = [sample[2] for sample in settled]
    minutes = [(sample[0] - settled[0][0]) / 60 for sample in settled]
    steepness, error = slope(minutes, memory)
    return {
        "memory_mb_begin": round(float(np.median(memory[:fifth])), 2),
        "memory_mb_end": round(float(np.median(memory[-fifth:])), 2),
        "memory_mb_per_minute": round(steepness, 4),
        "memory_slope_error": round(error, 4),
        "files_begin": int(np.median(files[:fifth])),
        "files_end": int(np.median(files[-fifth:])),
    }


def measure_live_soak(
    bundle: str,
    folder: Path,
    *,
    minutes: float = 60.0,
    fps: float = 10.0,
    request_rate: float = 2.0,
    tick: Callable[[int], Any] = lambda count: None,
) -> dict[str, Any]:
    """Run the world for `minutes` and return what came of it.

    Parameters
    ----------
    bundle : str
    folder : Path
        Empty; videos, queues and the broker's files go there.
    minutes : float
        The undisturbed first part is one minute, or a sixth of a shorter run.
    fps : float
        Of the camera.
    request_rate : float
        HTTP requests a second beside it; 0 leaves the server out.
    tick : callable
        Told of each second.

    Returns
    -------
    dict
        ``delivery`` (published, received, lost, doubled, in_order), ``growth`` (memory and open files of the process),
        ``age_ms`` (p99 of the first part and of the rest, and their ratio), ``recoveries`` (one a fault), ``requests``
        (by status), ``failures`` (one line for each requirement that was not met).

    Raises
    ------
    DeviceError
        If mosquitto is not installed, a part of the world does not start, or the run does not recover.
    """
    watch = Watch()
    began = datetime.datetime.now(datetime.timezone.utc)
    with _Soak(bundle, folder, minutes=minutes, fps=fps, request_rate=request_rate) as soak:
        soak.disturb(tick)
        code = soak.finish()
        requests = None if soak.requests is None else dict(soak.requests.answers)
    ages = [(when, record["age_ms"]) for when, record in soak.reader.results(_RESULT)]
    first = [age for when, age in ages if soak.marks["begin"] <= when < soak.marks["first"]]
    rest = [age for when, age in ages if when >= soak.marks["first"]]
    before, after = _p99(first), _p99(rest)
    result: dict[str, Any] = {
        "kind": "live-soak",
        "minutes": minutes,
        "fps": fps,
        "request_rate": request_rate,
        "exit_code": code,
        "delivery": _delivery(soak),
        "growth": _growth(soak.samples),
        "age_ms": {
            "first_p99": before,
            "first_n": len(first),
            "rest_p99": after,
            "rest_n": len(rest),
            "ratio": after / before if before and after else None,
        },
        "recoveries": [{key: value for key, value in row.items() if key != "window"} for row in soak.recoveries],
        "requests": requests,
        "bundle": bundle_facts(load_bundle(bundle)),
        "began": began.isoformat(timespec="seconds"),
        "conditions": watch.finish(),
    }
    result["failures"] = _failures(result)
    return result


def _failures(result: dict[str, Any]) -> list[str]:
    """Return what was not as it must be."""
    delivery, growth, age = result["delivery"], result["growth"], result["age_ms"]
    found = []
    if result["exit_code"]:
        found.append(f"SIGTERM ended it with {result['exit_code']}")
    if delivery["lost"] or delivery["doubled"] or not delivery["in_order"]:
        order = "in order" if delivery["in_order"] else "out of order"
        found.append(f"{delivery['lost']} results lost, {delivery['doubled']} doubled, {order}")
    grown = growth["memory_mb_end"] - growth["memory_mb_begin"]
    if grown > _GROWTH_MB:
        found.append(f"memory has grown by {grown:.1f} MB")
    if growth["files_end"] > growth["files_begin"]:
        found.append(f"open files have grown from {growth['files_begin']} to {growth['files_end']}")
    if age["ratio"] is None or age["ratio"] > 2:
        found.append(f"p99 of the age is {age['ratio'] and round(age['ratio'], 2)} times that of the first minute")
    requests = result["requests"] or {}
    other = {status: count for status, count in requests.items() if status not in ("200", "503")}
    if other or (result["requests"] is not None and not requests.get("200")):
        found.append(f"HTTP requests: {requests}")
    if any("Traceback" in line for row in result["recoveries"] for line in row["said"]):
        found.append("a traceback")
    return found
