"""`edgedefend run` as its users meet it: real files, a real MJPEG stream, a real RTSP server, systemd's protocol."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from bench.live_world import Camera, free_port
from edgedefend.bundle import load_bundle
from tests.conftest import one_line
from tests.live.conftest import RGB

HERE = Path(__file__).parent
COLORS = ["red", "green", "blue"]


def labels(results: list[dict]) -> list[str]:
    return [result["label"] for result in results]


def test_a_video_loses_no_frame_and_keeps_its_order(start_run, color_video, tmp_path):
    run = start_run(color_video, "--output", tmp_path / "out.jsonl", "--save", tmp_path / "out.mp4", "--draws", "2")
    assert run.end() == 0
    assert labels(run.results) == [name for name in COLORS for _ in range(10)]
    assert [result["frame"] for result in run.results] == list(range(30))
    assert [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()] == run.results
    one = run.results[0]
    assert one["draws"] == 2 and one["agreement"] == 1.0 and one["dropped"] == 0
    assert set(one["stage_ms"]) == {"prepare_ms", "invoke_ms"} and one["age_ms"] > 0
    assert len({result["id"] for result in run.results}) == 30
    assert one["captured_at"].endswith("Z") and len(one["bundle"]) == 64
    saved = cv2.VideoCapture(str(tmp_path / "out.mp4"))
    assert saved.get(cv2.CAP_PROP_FRAME_COUNT) == 30
    # The picture is there and so is the text below it.
    _, frame = saved.read()
    assert np.abs(frame[10, 10][::-1].astype(int) - RGB["red"]).max() < 40
    assert frame[-12:].max() > 200 > frame[:60, :, 1].max()
    assert run.said == ["edgedefend: 30 answers, 30 published, 0 frames dropped"]


def test_a_suspicion_with_every_result(start_run, color_bundles, color_video):
    run = start_run(color_video, "--draws", "3", "--suspicion", "--frames", "6")
    assert run.end() == 0
    threshold = load_bundle(color_bundles / "int8").suspicion.value
    assert len(run.results) == 6
    for result in run.results:
        assert result["draws"] == 3 and 0 <= result["suspicion"] <= 1
        assert result["suspicious"] is (result["suspicion"] > threshold)


def test_pictures_a_damaged_one_is_named_and_the_rest_is_classified(start_run, color_photographs, tmp_path):
    folder = tmp_path / "pictures"
    shutil.copytree(color_photographs.parent, folder)
    (folder / "5x.png").write_bytes((folder / "5.png").read_bytes()[:500])
    run = start_run(folder)
    assert run.end() == 3
    assert len(run.results) == 12
    assert any("5x.png" in line and "cut short" in line for line in run.said)
    order = sorted(range(12), key=str)
    assert labels(run.results) == [COLORS[number % 3] for number in order]
    pattern = start_run(f"{folder}/1*.png", "--frames", "2")
    assert pattern.end() == 0
    assert labels(pattern.results) == ["green", "green"]
    single = start_run(folder / "2.png")
    assert single.end() == 0 and labels(single.results) == ["blue"]


def test_what_is_no_source_is_one_line(run_cli, color_bundles, tmp_path):
    bundle = color_bundles / "int8"
    (tmp_path / "noise.mp4").write_bytes(os.urandom(5000))
    (tmp_path / "empty").mkdir()
    (tmp_path / "list.mp4").write_text("#EXTM3U\n#EXTINF:1,\n/etc/passwd\n")
    cases = [
        (["/nowhere.mp4"], 3, "there is no such file"),
        ([tmp_path / "noise.mp4"], 3, "neither a picture nor a video"),
        ([tmp_path / "list.mp4"], 3, "neither a picture nor a video"),
        ([tmp_path / "empty"], 3, "no pictures here"),
        (["ftp://host/x"], 2, "unknown kind of source"),
        (["v4l2://video0"], 2, "v4l2:///dev/videoN"),
        (["csi://0?width=x"], 2, "whole numbers"),
        (["http://user:secret@/x"], 2, "has no host"),
        ([f"@{tmp_path}/none"], 3, "cannot be read"),
        (["x.png", "--roi", "1,2,3"], 3, "there is no such file"),
        ([tmp_path, "--live"], 2, "--live"),
        (["csi://0"], 5, "picamera2"),
        (["http://127.0.0.1:9/", "--mqtt", "mqtt://me:secret@localhost"], 2, "--mqtt-login"),
        (["http://127.0.0.1:9/", "--post", "ftp://x"], 2, "expected http"),
        (["http://127.0.0.1:9/", "--suspicion"], 2, "give --draws 5"),
        (["http://127.0.0.1:9/", "--home-assistant"], 2, "--mqtt URL"),
        (["http://127.0.0.1:9/", "--save", tmp_path / "x.gif"], 2, "--save"),
    ]
    for arguments, code, says in cases:
        line = one_line(run_cli("run", bundle, *arguments, "--queue", tmp_path / "q"), code)
        assert says in line, (arguments, line)
        assert "secret" not in line


def test_roi_classifies_a_part_and_says_when_it_is_outside(start_run, tmp_path):
    image = np.full((100, 200, 3), RGB["blue"], np.uint8)
    image[20:60, 100:150] = RGB["red"]
    cv2.imwrite(str(tmp_path / "two.png"), image[..., ::-1])
    assert labels(_ended(start_run(tmp_path / "two.png"))) == ["blue"]
    assert labels(_ended(start_run(tmp_path / "two.png", "--roi", "100,20,50,40"))) == ["red"]
    outside = start_run(tmp_path / "two.png", "--roi", "180,20,50,40")
    assert outside.end() == 3
    assert "not inside a frame of 200x100" in outside.said[0]


def _ended(run) -> list[dict]:
    assert run.end() == 0
    return run.results


def test_on_change_and_min_score(start_run, color_video):
    assert labels(_ended(start_run(color_video, "--on-change", "3"))) == COLORS
    changes = _ended(start_run(color_video, "--on-change", "3"))
    assert [result["frame"] for result in changes] == [2, 12, 22]
    assert _ended(start_run(color_video, "--min-score", "1")) == []


def test_fps_and_frames(start_run, color_video):
    run = start_run(color_video, "--fps", "10", "--frames", "11")
    run.wait_for(1)
    began = time.monotonic()
    assert run.end() == 0
    assert len(run.results) == 11
    assert 0.8 <= time.monotonic() - began < 6


def test_a_video_played_as_a_camera_drops_and_goes_on_for_ever(start_run, color_video):
    run = start_run(color_video, "--live", "--frames", "45")
    assert run.end(60) == 0
    frames = [result["frame"] for result in run.results]
    assert frames == sorted(set(frames))
    assert max(result["age_ms"] for result in run.results[5:]) < 1000
    assert set(labels(run.results)) == set(COLORS)


def test_a_camera_that_is_killed_is_opened_again(start_run, color_video):
    camera = Camera(color_video)
    camera.start()
    try:
        run = start_run(camera.url.replace("//", "//me:secret@"), "--statistics", "1")
        run.wait_for(5)
        camera.kill()
        run.wait_until(lambda: any("trying again" in line for line in run.said))
        time.sleep(1)
        before = len(run.results)
        camera.start()
        run.wait_until(lambda: any("back after" in line for line in run.said))
        run.wait_for(before + 5)
        assert run.stop() == 0
    finally:
        camera.stop()
    assert all(result["age_ms"] < 3000 for result in run.results)
    numbers = [result["frame"] for result in run.results]
    assert numbers == sorted(set(numbers))
    assert not any("secret" in line for line in [*run.said, json.dumps(run.results[0])])
    assert sum("trying again" in line for line in run.said) == 1


def test_a_source_can_be_given_up(start_run, color_video):
    run = start_run(f"http://127.0.0.1:{free_port()}/", "--give-up", "1")
    assert run.end() == 6
    assert "no frame for" in run.said[-1]


def test_a_source_out_of_a_file(start_run, color_video, tmp_path):
    (tmp_path / "source").write_text(f"{color_video}\n")
    assert len(_ended(start_run(f"@{tmp_path}/source"))) == 30


SYSTEM_PYTHON = "/usr/bin/python3"
HAS_RTSP = (
    Path(SYSTEM_PYTHON).exists()
    and subprocess.run(
        [SYSTEM_PYTHON, "-c", "import gi; gi.require_version('GstRtspServer', '1.0')"], capture_output=True, check=False
    ).returncode
    == 0
)


@pytest.mark.skipif(not HAS_RTSP, reason="no RTSP server (apt install gir1.2-gst-rtsp-server-1.0 python3-gi)")
def test_rtsp_and_its_server_killed(start_run):
    port = free_port()

    def serve() -> subprocess.Popen:
        command = [SYSTEM_PYTHON, str(HERE / "rtsp_server.py"), str(port)]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        with server.stdout as said:
            assert said.readline() == "ready\n"
        return server

    server = serve()
    try:
        run = start_run(f"rtsp://me:secret@127.0.0.1:{port}/live")
        run.wait_for(5)
        server.kill()
        server.wait()
        run.wait_until(lambda: any("trying again" in line for line in run.said))
        before = len(run.results)
        server = serve()
        run.wait_for(before + 5)
        assert run.stop() == 0
    finally:
        server.kill()
        server.wait()
    assert set(labels(run.results)) == {"red"}
    assert any("back after" in line for line in run.said)
    assert not any("secret" in line for line in run.said)


class Systemd:
    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.said: list[str] = []

    def wait_for(self, text: str, seconds: float = 30) -> None:
        until = time.monotonic() + seconds
        while not any(text in message for message in self.said):
            self.socket.settimeout(max(0.01, until - time.monotonic()))
            self.said.append(self.socket.recv(4096).decode())

    def listen(self, seconds: float) -> list[str]:
        got, until = [], time.monotonic() + seconds
        while time.monotonic() < until:
            self.socket.settimeout(max(0.01, until - time.monotonic()))
            try:
                got.append(self.socket.recv(4096).decode())
            except TimeoutError:
                break
        return got


def test_systemd_hears_of_the_first_answer_of_life_and_of_the_end(start_run, color_video, tmp_path):
    systemd = Systemd(tmp_path / "notify")
    camera = Camera(color_video)
    env = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1000000"}
    run = start_run(camera.url, env=env)
    try:
        # No camera yet: not ready, but more time is asked for.
        systemd.wait_for("EXTEND_TIMEOUT_USEC")
        assert not run.results and not any("READY" in message for message in systemd.said)
        camera.start()
        systemd.wait_for("READY=1")
        systemd.wait_for("WATCHDOG=1")
        camera.kill()
        run.wait_until(lambda: any("trying again" in line for line in run.said))
        # Without frames the thread of the model still lives, and the status says what is missing.
        systemd.wait_for("is lost, waiting for it")
        assert "WATCHDOG=1" in systemd.listen(2)
        # A process that hangs is silent.
        run.process.send_signal(signal.SIGSTOP)
        systemd.listen(0.2)
        assert systemd.listen(1.5) == []
        run.process.send_signal(signal.SIGCONT)
        began = time.monotonic()
        assert run.stop() == 0
        assert time.monotonic() - began < 10
        systemd.wait_for("STOPPING=1")
    finally:
        camera.stop()
        systemd.socket.close()


def test_a_reader_that_goes_away_is_no_error(color_bundles, color_video):
    command = f"{sys.executable} -m edgedefend.cli run {color_bundles}/int8 {color_video} --live | head -2"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert len(done.stdout.splitlines()) == 2
    assert done.stderr == ""


def test_a_file_that_is_full_is_said_once_and_goes_on_later(start_run, color_video):
    run = start_run(color_video, "--output", "/dev/full")
    assert run.end() == 0
    assert len(run.results) == 30
    assert sum("cannot be written" in line for line in run.said) == 1
