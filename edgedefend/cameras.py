"""The sources themselves: each function yields `Frame` after `Frame` from one kind of picture, video or camera.

A file is read to its end. A camera or a stream is read as fast as it delivers, so that nothing old waits in a driver's
or a socket's buffer; what is not due is thrown away before it is decoded where the source allows that. One that is lost
raises `DeviceError`, with a reason that follows the source's name.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgedefend.errors import BackendError, DeviceError, InputError
from edgedefend.mjpeg import open_mjpeg
from edgedefend.pace import Pace
from edgedefend.sources import MAX_PIXELS, decode_image, read_image
from edgedefend.stream import Frame

__all__ = ["csi_frames", "mjpeg_frames", "picture_frames", "rtsp_frames", "v4l2_frames", "video_frames"]

# Containers with their pictures inside; a play list could make the library open other files and addresses.
_CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mjpeg,m4v,h264,hevc,gif,asf,flv,ogg"
_TIMEOUT_MS = 10_000


def picture_frames(files: list[Path], pace: Pace) -> Iterator[Frame]:
    """Yield image files, to be decoded by the stream."""
    for path in files:
        if not pace.wait():
            return
        yield Frame(partial(read_image, path), time.monotonic(), str(path))


def _to_rgb(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    import cv2

    rgb: NDArray[np.uint8] = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    return rgb


def _open_ffmpeg(address: str, options: str, parameters: list[int]) -> Any:
    """Open a file or a stream with FFmpeg; its options can only be given in the environment."""
    import cv2

    # What it cannot do is told by us, in one line.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    wanted = {"OPENCV_FFMPEG_CAPTURE_OPTIONS": options, "OPENCV_FFMPEG_LOGLEVEL": "-8"}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        return cv2.VideoCapture(address, cv2.CAP_FFMPEG, parameters)
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _check_size(capture: Any, name: str) -> None:
    import cv2

    width, height = capture.get(cv2.CAP_PROP_FRAME_WIDTH), capture.get(cv2.CAP_PROP_FRAME_HEIGHT)
    if width * height > MAX_PIXELS:
        raise InputError(f"{name}: {width:.0f}x{height:.0f} pixels are more than {MAX_PIXELS / 1e6:.0f} million")


def video_frames(path: str, realtime: bool, pace: Pace) -> Iterator[Frame]:
    """Yield the frames of a video file: all of them, or as they would come from a camera."""
    import cv2

    capture = _open_ffmpeg(path, f"protocol_whitelist;file|format_whitelist;{_CONTAINERS}", [])
    try:
        if not capture.isOpened():
            raise InputError(f"{path}: neither a picture nor a video that OpenCV can read")
        _check_size(capture, path)
        fps = capture.get(cv2.CAP_PROP_FPS)
        step = 1 / fps if realtime and 0 < fps < 1000 else 0.0
        number, seen, following = 0, 0, time.monotonic()
        while realtime or pace.wait():
            if realtime and pace.stop.wait(max(0.0, following - time.monotonic())):
                return
            following = max(following + step, time.monotonic() - 1)
            if not capture.grab():
                if not (realtime and seen):
                    break
                capture.set(cv2.CAP_PROP_POS_FRAMES, 0)
                seen = 0
                continue
            seen += 1
            number += 1
            if realtime and not pace.due():
                continue
            read, image = capture.retrieve()
            if read:
                yield Frame(_to_rgb(image), time.monotonic(), f"{path}#{number - 1}")
        if number == 0 and not pace.stop.is_set():
            raise InputError(f"{path}: a video without a frame")
    finally:
        capture.release()


def _grabbed(capture: Any, name: str, pace: Pace) -> Iterator[Frame]:
    """Yield what a camera or a stream delivers, until it is lost or the run is stopped."""
    try:
        if not capture.isOpened():
            raise DeviceError("cannot be opened")
        _check_size(capture, name)
        number = 0
        while not pace.stop.is_set():
            if not capture.grab():
                raise DeviceError("gives no more frames")
            captured = time.monotonic()
            if pace.due():
                read, image = capture.retrieve()
                if read:
                    yield Frame(_to_rgb(image), captured, f"{name}#{number}")
            number += 1
    finally:
        capture.release()


def v4l2_frames(device: str, size: dict[str, int], pace: Pace) -> Iterator[Frame]:
    """Yield what a V4L2 device gives; `size` may have "width", "height" and "fps"."""
    import cv2

    if not Path(device).exists():
        raise DeviceError("is not there")
    capture = cv2.VideoCapture(device, cv2.CAP_V4L2)
    # Compressed: uncompressed frames of more than 640x480 do not fit through USB 2 at full speed.
    capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
    capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    names = {"width": cv2.CAP_PROP_FRAME_WIDTH, "height": cv2.CAP_PROP_FRAME_HEIGHT, "fps": cv2.CAP_PROP_FPS}
    for key, value in size.items():
        capture.set(names[key], value)
    yield from _grabbed(capture, f"v4l2://{device}", pace)


def rtsp_frames(address: str, name: str, pace: Pace) -> Iterator[Frame]:
    """Yield an RTSP stream; `name` is the address without its password."""
    import cv2

    # Over TCP: a lost UDP packet smears over the picture until the next key frame, and that would be classified.
    options = "rtsp_transport;tcp|fflags;nobuffer|protocol_whitelist;rtsp,rtsps,rtp,tcp,udp,tls,crypto"
    times = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _TIMEOUT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, _TIMEOUT_MS]
    yield from _grabbed(_open_ffmpeg(address, options, times), name, pace)


def mjpeg_frames(address: str, name: str, pace: Pace) -> Iterator[Frame]:
    """Yield the pictures of an MJPEG address, to be decoded by the stream."""
    connection, pictures = open_mjpeg(address, timeout=_TIMEOUT_MS / 1000)
    with closing(connection):
        for number, data in enumerate(pictures):
            if pace.stop.is_set():
                return
            if pace.due():
                label = f"{name}#{number}"
                yield Frame(partial(decode_image, data, label), time.monotonic(), label)
    raise DeviceError("has ended")


def csi_frames(number: int, size: dict[str, int], pace: Pace) -> Iterator[Frame]:
    """Yield what a Raspberry Pi camera gives, by picamera2."""
    try:
        from picamera2 import Picamera2
    except ImportError as error:
        raise BackendError(
            "csi:// needs picamera2, which comes with the system: sudo apt install python3-picamera2, and make the "
            f"environment with --system-site-packages ({error})"
        ) from error
    try:
        camera = Picamera2(number)
    except (RuntimeError, IndexError, OSError) as error:
        raise DeviceError(f"cannot be opened ({error})") from error
    try:
        # Its names are those of libcamera, which count from the last byte: "BGR888" is red first in memory.
        main = {"size": (size.get("width", 1280), size.get("height", 720)), "format": "BGR888"}
        controls = {"FrameRate": size["fps"]} if "fps" in size else {}
        camera.configure(camera.create_video_configuration(main=main, controls=controls))
        camera.start()
        taken = 0
        while not pace.stop.is_set():
            # In the background: a camera that was pulled out never answers.
            image = camera.wait(camera.capture_array("main", wait=False), timeout=_TIMEOUT_MS / 1000)
            if pace.due():
                yield Frame(np.ascontiguousarray(image[..., :3]), time.monotonic(), f"csi://{number}#{taken}")
            taken += 1
    except (RuntimeError, TimeoutError, OSError) as error:
        raise DeviceError(f"gives no more frames ({error or type(error).__name__})") from error
    finally:
        camera.close()
