"""Telling sources apart, the CSI camera, and coming back after a loss."""

import sys
import time
import types
from itertools import pairwise

import numpy as np
import pytest

from edgedefend.annotate import Roi, Saver, annotate, parse_roi
from edgedefend.cameras import v4l2_frames
from edgedefend.capture import Source, keep_open, open_source, shown_name
from edgedefend.errors import DeviceError, InputError, UsageError
from edgedefend.pace import Pace
from edgedefend.stream import Frame


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://me:secret@host:1/a@b", "rtsp://host:1/a@b"),
        ("http://host/x", "http://host/x"),
        ("photo.jpg", "photo.jpg"),
        ("mqtt://a:b@c", "mqtt://c"),
    ],
)
def test_a_password_is_not_shown(text, shown):
    assert shown_name(text) == shown


def test_which_sources_are_live(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "b.mp4").write_bytes(b"")
    assert not open_source(str(tmp_path)).live
    assert not open_source(f"{tmp_path}/*.png").live
    assert not open_source(f"{tmp_path}/b.mp4").live
    assert open_source(f"{tmp_path}/b.mp4", live=True).live
    for text in ("v4l2:///dev/video0?width=640&fps=30", "csi://1", "rtsp://h/", "http://h/", "https://h/x"):
        assert open_source(text).live


@pytest.mark.parametrize("text", ["v4l2:///etc/passwd", "csi://x", "csi://0?depth=3", "rtsp://", "http://h:port/"])
def test_addresses_that_are_none(text):
    with pytest.raises(UsageError):
        open_source(text)


class FakePicamera2:
    """What picamera2 does as far as it is used here; no machine of ours has the camera or libcamera.

    Its format names count from the last byte: "RGB888" arrays have blue first, "BGR888" arrays red first.
    """

    red, lost_after, opened = (200, 30, 20), 3, 0

    def __init__(self, number: int) -> None:
        if number > 0:
            raise IndexError("list index out of range")
        self.taken, self.closed = 0, False
        FakePicamera2.opened += 1
        FakePicamera2.last = self

    def create_video_configuration(self, main, controls):
        return {"main": main, "controls": controls}

    def configure(self, configuration) -> None:
        self.configuration = configuration

    def start(self) -> None:
        self.started = True

    def capture_array(self, name, wait=True):
        assert name == "main" and wait is False and self.started
        width, height = self.configuration["main"]["size"]
        color = self.red if self.configuration["main"]["format"] == "BGR888" else self.red[::-1]
        return np.full((height, width, 3), color, np.uint8)

    def wait(self, job, timeout=None):
        self.taken += 1
        if self.taken > self.lost_after:
            raise TimeoutError("timed out")
        return job

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def picamera2(monkeypatch):
    module = types.ModuleType("picamera2")
    module.Picamera2 = FakePicamera2
    monkeypatch.setitem(sys.modules, "picamera2", module)


def test_a_csi_camera_gives_red_first_and_is_closed_when_it_is_lost(picamera2):
    frames = []
    with pytest.raises(DeviceError, match="no more frames"):
        for frame in open_source("csi://0?width=64&height=48&fps=5").frames(Pace()):
            frames.append(frame)
    assert len(frames) == 3 and frames[0].image.shape == (48, 64, 3)
    assert tuple(frames[0].image[0, 0]) == FakePicamera2.red
    assert FakePicamera2.last.closed
    assert FakePicamera2.last.configuration["controls"] == {"FrameRate": 5}


def test_a_csi_camera_that_is_not_there(picamera2):
    with pytest.raises(DeviceError, match="cannot be opened"):
        next(open_source("csi://1").frames(Pace()))


def test_a_lost_camera_is_opened_again_with_growing_pauses(monkeypatch):
    pauses, said, tries = [], [], 0
    pace = Pace()
    monkeypatch.setattr(pace.stop, "wait", pauses.append)

    def frames(_pace):
        nonlocal tries
        tries += 1
        if tries in (1, 10):
            yield Frame(np.zeros((1, 1, 3), np.uint8), time.monotonic(), "x")
        raise DeviceError("gives no more frames")

    source = Source("camera", True, frames)
    stream = keep_open(source, pace, said.append)
    next(stream)
    assert source.connected
    next(stream)
    assert said == ["camera: gives no more frames: trying again until it is back", "camera: back after 9 attempts"]
    assert len(pauses) == 9 and pauses[0] < 0.7 and 22 < pauses[-1] < 38
    assert all(later > 0.9 * earlier for earlier, later in pairwise(pauses[:5]))
    assert source.lost == 1


def test_a_camera_that_comes_and_goes_is_not_opened_without_a_pause(monkeypatch):
    pauses, pace = [], Pace()
    monkeypatch.setattr(pace.stop, "wait", pauses.append)

    def frames(_pace):
        yield Frame(np.zeros((1, 1, 3), np.uint8), time.monotonic(), "x")
        raise DeviceError("gives no more frames")

    stream = keep_open(Source("camera", True, frames), pace, lambda line: None)
    for _ in range(8):
        next(stream)
    assert pauses[-1] > 10


def test_giving_up():
    source = Source("camera", True, lambda pace: v4l2_frames("/dev/video-none", {}, pace))
    with pytest.raises(DeviceError, match="camera: is not there: no frame for"):
        list(keep_open(source, Pace(), lambda line: None, give_up_s=0.2))


@pytest.mark.parametrize("text", ["1,2,3", "a,b,c,d", "1,2,0,4", "-1,2,3,4", "1,2,3,4,5", "1.5,2,3,4"])
def test_a_roi_that_is_none(text):
    with pytest.raises(UsageError):
        parse_roi(text)


def test_roi():
    image = np.arange(20 * 30 * 3, dtype=np.uint32).reshape(20, 30, 3).astype(np.uint8)
    assert (parse_roi("3,4,10,5").crop(image) == image[4:9, 3:13]).all()
    with pytest.raises(InputError):
        Roi(25, 0, 10, 5).crop(image)


@pytest.mark.parametrize("size", [(1, 1), (30, 40), (480, 640)])
def test_annotating_leaves_the_frame_alone_and_fits_every_size(size):
    image = np.full((*size, 3), 100, np.uint8)
    out = annotate(image, "97 % caf\N{LATIN SMALL LETTER E WITH ACUTE} " + "x" * 100, Roi(0, 0, 1, 1))
    assert (image == 100).all() and out.shape == image.shape and (out != image).any()


def test_a_folder_keeps_the_newest_only_and_stops_before_the_disk_is_full(tmp_path, monkeypatch):
    said: list[str] = []
    folder = tmp_path / "frames"
    for start in (0, 5):  # as after a restart
        saver = Saver(folder, said.append, keep=4)
        for number in range(start, start + 5):
            saver.add(np.zeros((8, 8, 3), np.uint8), f"{number:03d}")
    assert sorted(path.name for path in folder.iterdir()) == [f"frame-{number:03d}.jpg" for number in (6, 7, 8, 9)]
    monkeypatch.setattr("edgedefend.annotate._FREE_BYTES", 1 << 60)
    full = Saver(folder, said.append)
    for number in range(30):
        full.add(np.zeros((8, 8, 3), np.uint8), f"{number:03d}")
    assert len(said) == 1 and "no more frames are saved" in said[0] and len(list(folder.iterdir())) == 4
