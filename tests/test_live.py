"""A run in this process: a hot board, an interpreter that hangs, sinks that are closed."""

from __future__ import annotations

import os
import shutil
import socket
import threading
import time

import numpy as np
import pytest

from edgedefend.bundle import load_bundle
from edgedefend.capture import Source
from edgedefend.classifier import Classifier
from edgedefend.errors import InputError
from edgedefend.live import Run, RunOptions
from edgedefend.pace import Pace
from edgedefend.stream import Frame, Stream
from tests.boards import board, put
from tests.test_bundle import edit_manifest

RGB = {"red": (250, 20, 10), "green": (20, 250, 10), "blue": (10, 20, 250)}


@pytest.fixture
def classifier(color_bundles) -> Classifier:
    return Classifier(load_bundle(color_bundles / "int8"), threads=1)


def camera(fps: float = 50, live: bool = True) -> Source:
    def frames(pace: Pace):
        number = 0
        while not pace.stop.wait(1 / fps):
            if pace.due():
                name = list(RGB)[number % 3]
                yield Frame(np.full((50, 60, 3), RGB[name], np.uint8), time.monotonic(), name)
            number += 1

    return Source("camera", live, frames)


class Collected:
    def __init__(self) -> None:
        self.records, self.statistics_records, self.closed = [], [], False

    def send(self, record) -> None:
        self.records.append(record)

    def statistics(self, record) -> None:
        self.statistics_records.append(record)

    def counts(self):
        return {"collected": len(self.records)}

    def close(self) -> None:
        self.closed = True


def started(classifier, source, options, **more):
    pace, sink, said = Pace(), Collected(), []
    run = Run(classifier, source, pace, options, [sink], lambda record: None, said.append, **more)
    thread = threading.Thread(target=run.go)
    thread.start()
    return run, pace, sink, said, thread


def until(condition, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_hot_board_lowers_its_rate_says_so_and_recovers(classifier, tmp_path):
    device = board("pi-4", tmp_path)
    options = RunOptions(sensors_s=0.3, statistics_s=1)
    run, pace, sink, said, thread = started(classifier, camera(), options, device=device)
    try:
        until(lambda: run.statistics()["fps"] > 0)
        device.run.answers["vcgencmd get_throttled"] = "throttled=0x4\n"
        put(tmp_path, "/sys/class/thermal/thermal_zone0/temp", "84000\n")
        until(lambda: sum("at its limit (84 °C, throttled)" in line for line in said) >= 2)
        assert run.statistics()["limit_fps"] < 20
        assert run.statistics()["throttled"] == ["throttled"]
        device.run.answers["vcgencmd get_throttled"] = "throttled=0x40000\n"
        put(tmp_path, "/sys/class/thermal/thermal_zone0/temp", "55000\n")
        until(lambda: any("the full rate again" in line for line in said))
        assert run.statistics()["limit_fps"] is None
    finally:
        pace.stop.set()
        thread.join(20)
    assert not thread.is_alive() and sink.closed
    counts = sink.statistics_records[-1]
    assert counts["skipped"] > 0 and counts["answers"] == len(sink.records) == counts["collected"]
    assert counts["memory_mb"] > 10 and counts["open_files"] > 2 and counts["source_connected"]


def test_only_the_thread_of_the_model_feeds_the_watchdog(classifier, tmp_path, monkeypatch):
    """An interpreter that hangs must be started again, whatever else still goes on."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(str(tmp_path / "notify"))
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "400000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))

    def heard(seconds: float) -> list[str]:
        found, end = [], time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            listener.settimeout(left)
            try:
                found.append(listener.recv(4096).decode())
            except TimeoutError:
                break
        return found

    hangs = threading.Event()
    released = threading.Event()
    real = classifier.interpreter.invoke

    def invoke():
        if hangs.is_set():
            released.wait(30)
        return real()

    monkeypatch.setattr(classifier.interpreter, "invoke", invoke)
    run, pace, _, _, thread = started(classifier, camera(), RunOptions(statistics_s=0.2))
    try:
        until(lambda: run.answers > 0)
        said = heard(1.5)
        assert any(message.startswith("READY=1") for message in said)
        assert said.count("WATCHDOG=1") >= 3
        hangs.set()
        heard(0.5)
        assert "WATCHDOG=1" not in heard(1.5)
        hangs.clear()
        released.set()
        assert "WATCHDOG=1" in heard(1.5)
    finally:
        released.set()
        pace.stop.set()
        thread.join(20)
        listener.close()


def test_a_stage_before_the_model_that_hangs_is_no_sign_of_life_either(classifier, monkeypatch):
    monkeypatch.setattr("edgedefend.stream.STUCK_SECONDS", 0.3)
    beats, released = [], threading.Event()

    def frames():
        yield Frame(np.zeros((5, 5, 3), np.uint8), time.monotonic(), "a")
        yield Frame(lambda: released.wait(20) and np.zeros((5, 5, 3), np.uint8), time.monotonic(), "b")

    stream = Stream(classifier, heartbeat=lambda answered: beats.append((time.monotonic(), answered)))
    results = stream.run(frames())
    next(results)
    time.sleep(1.6)
    stuck = time.monotonic()
    time.sleep(1.2)
    assert beats[0][1] and not any(when > stuck for when, _ in beats)
    released.set()
    assert len(list(results)) == 1
    assert beats[-1][1]


def test_the_last_frames_are_answered_and_a_source_that_blocks_does_not_keep_it(classifier):
    released = threading.Event()

    def frames(pace: Pace):
        yield Frame(np.full((5, 5, 3), RGB["red"], np.uint8), time.monotonic(), "x")
        released.wait(30)

    run, pace, sink, _, thread = started(classifier, Source("stuck", True, frames), RunOptions())
    until(lambda: run.answers == 1)
    began = time.monotonic()
    pace.stop.set()
    thread.join(20)
    released.set()
    assert time.monotonic() - began < 8 and sink.closed and len(sink.records) == 1


def test_several_draws_in_a_stream(color_bundles):
    """The mean of as many draws, as `classify` gives it, in one batch or apart."""
    bundle = load_bundle(color_bundles / "fp32")
    picture = np.random.default_rng(3).integers(0, 256, (90, 80, 3), np.uint8)
    one = Classifier(bundle, threads=1, rng=np.random.default_rng(4))
    expected = [one.classify(picture, draws=3) for _ in range(7)]
    stream = Stream(Classifier(bundle, threads=1, rng=np.random.default_rng(4)), draws=3)
    results = list(stream.run(Frame(picture, time.monotonic(), str(number)) for number in range(7)))
    for result, prediction in zip(results, expected, strict=True):
        assert result.probabilities == pytest.approx(prediction.probabilities, abs=1e-5)
        assert result.agreement == pytest.approx(prediction.agreement)
        assert result.top[0].label == prediction.top[0].label


@pytest.mark.parametrize("frames", [1, 9])  # of nine, some go through the model in one batch and some apart
def test_a_suspicion_in_a_stream(color_bundles, frames):
    """The same as `classify` gives it for the same draws; the undefended answer does not count as a draw."""
    bundle = load_bundle(color_bundles / "fp32")
    picture = np.random.default_rng(3).integers(0, 256, (90, 80, 3), np.uint8)
    one = Classifier(bundle, threads=1, rng=np.random.default_rng(4))
    expected = [one.classify(picture, draws=3, suspicion=True) for _ in range(frames)]
    stream = Stream(Classifier(bundle, threads=1, rng=np.random.default_rng(4)), draws=3, suspicion=True)
    results = list(stream.run(Frame(picture, time.monotonic(), str(number)) for number in range(frames)))
    for result, prediction in zip(results, expected, strict=True):
        assert result.suspicion == pytest.approx(prediction.suspicion, abs=1e-5)
        assert result.suspicion > 0 and result.suspicious is prediction.suspicious
        assert result.probabilities == pytest.approx(prediction.probabilities, abs=1e-5)
        assert result.agreement == pytest.approx(prediction.agreement)


@pytest.mark.parametrize(
    "vote", [("undefended_vote", 0.3), ("milder_vote", {"share": 0.3, "noise_std": 4, "draws": 2})]
)
@pytest.mark.parametrize("draws", [1, 3])
def test_a_vote_in_a_stream(color_bundles, tmp_path, draws, vote):
    """The same answers as `classify` gives, whether one draw or several stand beside the undefended one."""
    shutil.copytree(color_bundles / "fp32", tmp_path / "voting")
    edit_manifest(tmp_path / "voting", "defense", "noise_std", value=8)
    edit_manifest(tmp_path / "voting", "defense", vote[0], value=vote[1])
    bundle = load_bundle(tmp_path / "voting")
    picture = np.random.default_rng(3).integers(0, 256, (90, 80, 3), np.uint8)
    one = Classifier(bundle, threads=1, rng=np.random.default_rng(4))
    expected = [one.classify(picture, draws=draws) for _ in range(5)]
    stream = Stream(Classifier(bundle, threads=1, rng=np.random.default_rng(4)), draws=draws)
    results = list(stream.run(Frame(picture, time.monotonic(), str(number)) for number in range(5)))
    for result, prediction in zip(results, expected, strict=True):
        assert result.suspicion is None
        assert result.probabilities == pytest.approx(prediction.probabilities, abs=1e-5)
        assert result.agreement == pytest.approx(prediction.agreement)
    assert max(result.probabilities.max() for result in results) >= 0.3


def test_a_stream_has_no_suspicion_of_a_single_draw(color_bundles):
    bundle = load_bundle(color_bundles / "int8")
    for draws, defended in ((1, True), (3, False)):
        with pytest.raises(InputError, match="at least 2 draws"):
            Stream(Classifier(bundle, threads=1, defended=defended), draws=draws, suspicion=True)


def test_frames_decoded_late_cropped_and_damaged(classifier):
    image = np.full((40, 80, 3), RGB["blue"], np.uint8)
    image[:, 40:] = RGB["red"]

    def damaged():
        raise InputError("b: cut short")

    told = []
    stream = Stream(classifier, crop=lambda frame: frame[:, 40:], keep_images=True, on_damaged=told.append)
    frames = [Frame(lambda: image, 0.0, "a"), Frame(damaged, 0.0, "b"), Frame(image, 0.0, "c")]
    results = list(stream.run(frames))
    assert [(result.name, result.top[0].label) for result in results] == [("a", "red"), ("c", "red")]
    assert "decode_ms" in results[0].stage_ms and "decode_ms" not in results[1].stage_ms
    assert results[0].image is image and [str(error) for error in told] == ["b: cut short"]
    with pytest.raises(InputError, match="cut short"):
        list(Stream(classifier).run(frames))
