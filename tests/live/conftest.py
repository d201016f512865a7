"""A video whose right answers are known, a run as a process of its own, a broker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from bench.live_world import Mosquitto, make_video, mosquitto_program
from tests.conftest import COLORS

RGB = {"red": (230, 30, 20), "green": (20, 230, 30), "blue": (30, 20, 230)}


@pytest.fixture(scope="session")
def color_video(tmp_path_factory) -> Path:
    """30 frames of 10 a second: red, green and blue, ten frames each."""
    pictures = [np.full((120, 160, 3), RGB[name], np.uint8) for name in COLORS]
    return make_video(tmp_path_factory.mktemp("video") / "colors.mp4", pictures, repeat=10)


class RunProcess:
    """`edgedefend run` in a process of its own; `results` grow while it runs."""

    def __init__(self, arguments: list[str], env: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "edgedefend.cli", "run", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **env, "PYTHONUNBUFFERED": "1"},
        )
        self.results: list[dict] = []
        self.said: list[str] = []
        self.threads = [
            threading.Thread(target=self._read, args=(self.process.stdout, self.results, json.loads)),
            threading.Thread(target=self._read, args=(self.process.stderr, self.said, str.strip)),
        ]
        for thread in self.threads:
            thread.start()

    def _read(self, stream, into: list, parse) -> None:
        with stream:
            for line in stream:
                into.append(parse(line))

    def wait_until(self, condition, seconds: float = 30) -> None:
        until = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < until, (self.said, len(self.results), self.process.poll())
            time.sleep(0.02)

    def wait_for(self, count: int) -> None:
        self.wait_until(lambda: len(self.results) >= count)

    def end(self, seconds: float = 20) -> int:
        """Wait for its end; nothing on stderr may be a traceback."""
        code = self.process.wait(seconds)
        for thread in self.threads:
            thread.join(5)
        assert not any("Traceback" in line for line in self.said), self.said
        return code

    def stop(self) -> int:
        self.process.terminate()
        return self.end()


@pytest.fixture
def start_run(color_bundles, tmp_path) -> Iterator:
    running: list[RunProcess] = []

    def start(source: object, *options: object, env: dict[str, str] | None = None, precision="int8") -> RunProcess:
        arguments = [color_bundles / precision, source, "--queue", tmp_path / "queue", *options]
        running.append(RunProcess([*map(str, arguments)], env or {}))
        return running[-1]

    yield start
    for run in running:
        if run.process.poll() is None:
            run.process.kill()
        run.process.wait()
        for thread in run.threads:
            thread.join(5)


@pytest.fixture
def broker(tmp_path) -> Iterator[Mosquitto]:
    if mosquitto_program() is None:
        pytest.skip("mosquitto is not installed (apt install mosquitto)")
    running = Mosquitto(tmp_path / "broker")
    running.start()
    yield running
    running.stop()
