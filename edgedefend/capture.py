"""Where frames come from: pictures, a video file, a camera, a network stream. `open_source` tells them apart.

Files lose nothing and end. Live sources never end: what is lost is opened again, with growing pauses, until the run is
stopped. They are read as fast as they deliver, so that nothing old waits in a driver's or a socket's buffer; what is
not due is thrown away before it is decoded where the source allows that.
"""

from __future__ import annotations

import glob
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
from numpy.typing import NDArray

from edgedefend.errors import BackendError, DeviceError, InputError, UsageError
from edgedefend.mjpeg import open_mjpeg
from edgedefend.pace import Pace
from edgedefend.sources import MAX_PIXELS, decode_image, read_image
from edgedefend.stream import Frame

__all__ = ["Source", "keep_open", "open_source", "shown_name"]

_PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
_SCHEMES = ("v4l2", "csi", "rtsp", "rtsps", "http", "https")
# Containers with their pictures inside; a play list could make the library open other files and addresses.
_CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mjpeg,m4v,h264,hevc,gif,asf,flv,ogg"
_TIMEOUT_MS = 10_000
_LONGEST_PAUSE_S = 30.0
_STABLE_S = 5.0


@dataclass
class Source:
    """Something that gives frames.

    Attributes
    ----------
    name : str
        As it may be shown: without a password.
    live : bool
        Whether it delivers at its own speed, so that what is not taken is gone.
    frames : callable
        Takes a `Pace` and yields `Frame`. A live source raises `DeviceError` when it is lost.
    lost, connected : int, bool
        How often `keep_open` has lost it, and whether it gives frames now.
    """

    name: str
    live: bool
    frames: Callable[[Pace], Iterator[Frame]] = field(repr=False)
    lost: int = 0
    connected: bool = False


def shown_name(text: str) -> str:
    """Return an address without the user and the password in it."""
    scheme, slashes, rest = text.partition("://")
    if not slashes:
        return text
    host, slash, path = rest.partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{path}"


def open_source(text: str, *, live: bool = False) -> Source:
    """Tell what `text` is; nothing live is opened before its first frame is asked for.

    Parameters
    ----------
    text : str
        An image, a folder (searched with its folders), a glob pattern, a video file, ``v4l2:///dev/video0``,
        ``csi://0``, ``rtsp://``, ``http://`` (MJPEG); the cameras take ``?width=W&height=H&fps=F``.
        ``@FILE`` reads it from a file's first line, for an address with a password.
    live : bool
        Play a video file as if it were a camera: at its own speed, again and again.

    Raises
    ------
    InputError
        If there is no such file, or a folder or pattern has no pictures.
    UsageError
        If `live` is asked for pictures, or the address is not one of these.
    """
    if text.startswith("@"):
        try:
            text = Path(text[1:]).read_text(encoding="utf-8").split("\n")[0].strip()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{text[1:]}: the source cannot be read from this file ({error})") from None
    scheme, slashes, _ = text.partition("://")
    if slashes:
        return _address(text, scheme.lower())
    path = Path(text)
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in _PICTURES and file.is_file())
        kind = "folder"
    elif path.exists():
        files = [path] if path.suffix.lower() in _PICTURES else []
        kind = "file"
    else:
        files = sorted(Path(name) for name in glob.glob(text, recursive=True))  # noqa: PTH207 - absolute patterns too
        kind = "pattern"
        if not files and not glob.has_magic(text):
            raise InputError(f"{text}: there is no such file, folder or camera")
    if kind == "file" and not files:
        return Source(text, live, partial(_video_frames, text, live))
    if live:
        raise UsageError("--live plays a video file as a camera: pictures have no speed of their own")
    if not files:
        raise InputError(f"{text}: no pictures here (expected {', '.join(_PICTURES)})")
    return Source(text, False, partial(_picture_frames, files))


def _address(text: str, scheme: str) -> Source:
    if scheme not in _SCHEMES:
        raise UsageError(f"{shown_name(text)}: unknown kind of source: expected {'://, '.join(_SCHEMES)}:// or a file")
    try:
        address = urlsplit(text)
        hostname, _ = address.hostname, address.port
    except ValueError as error:
        raise UsageError(f"{shown_name(text)}: not an address ({error})") from None
    name = shown_name(text)
    if scheme in ("http", "https", "rtsp", "rtsps"):
        if not hostname:
            raise UsageError(f"{name}: the address has no host")
        frames = _mjpeg_frames if scheme.startswith("http") else _rtsp_frames
        return Source(name, True, partial(frames, text, name))
    size = _camera_options(address.query, name)
    if scheme == "csi":
        number = address.netloc or "0"
        if not (number.isascii() and number.isdigit()):
            raise UsageError(f"{name}: expected csi://NUMBER")
        return Source(name, True, partial(_csi_frames, int(number), size))
    if address.netloc or not address.path.startswith("/dev/"):
        raise UsageError(f"{name}: expected v4l2:///dev/videoN")
    return Source(name, True, partial(_v4l2_frames, address.path, size))


def _camera_options(query: str, name: str) -> dict[str, int]:
    given = {key: values[-1] for key, values in parse_qs(query, keep_blank_values=True).items()}
    for key, value in given.items():
        if key not in ("width", "height", "fps") or not (value.isascii() and value.isdigit() and 0 < int(value) < 1e5):
            raise UsageError(f"{name}: {key}={value!r}: expected width=, height= and fps= with whole numbers")
    return {key: int(value) for key, value in given.items()}


def _picture_frames(files: list[Path], pace: Pace) -> Iterator[Frame]:
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


def _video_frames(path: str, realtime: bool, pace: Pace) -> Iterator[Frame]:
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


def _v4l2_frames(device: str, size: dict[str, int], pace: Pace) -> Iterator[Frame]:
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


def _rtsp_frames(address: str, name: str, pace: Pace) -> Iterator[Frame]:
    import cv2

    # Over TCP: a lost UDP packet smears over the picture until the next key frame, and that would be classified.
    options = "rtsp_transport;tcp|fflags;nobuffer|protocol_whitelist;rtsp,rtsps,rtp,tcp,udp,tls,crypto"
    times = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, _TIMEOUT_MS, cv2.CAP_PROP_READ_TIMEOUT_MSEC, _TIMEOUT_MS]
    yield from _grabbed(_open_ffmpeg(address, options, times), name, pace)


def _mjpeg_frames(address: str, name: str, pace: Pace) -> Iterator[Frame]:
    connection, pictures = open_mjpeg(address, timeout=_TIMEOUT_MS / 1000)
    with closing(connection):
        for number, data in enumerate(pictures):
            if pace.stop.is_set():
                return
            if pace.due():
                label = f"{name}#{number}"
                yield Frame(partial(decode_image, data, label), time.monotonic(), label)
    raise DeviceError("has ended")


def _csi_frames(number: int, size: dict[str, int], pace: Pace) -> Iterator[Frame]:
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


def keep_open(
    source: Source, pace: Pace, say: Callable[[str], None], *, give_up_s: float | None = None
) -> Iterator[Frame]:
    """Yield the frames of a source; open a live one again whenever it is lost.

    Parameters
    ----------
    source : Source
    pace : Pace
        Its `stop` ends the iteration.
    say : callable
        Gets one line when a source is lost and one when it is back.
    give_up_s : float, optional
        Seconds without a frame after which the loss is final.

    Raises
    ------
    DeviceError
        If a live source has given no frame for `give_up_s`.
    """
    if not source.live:
        yield from source.frames(pace)
        return
    pause, attempts, last, down = 0.5, 0, time.monotonic(), False
    while not pace.stop.is_set():
        began = None
        try:
            for frame in source.frames(pace):
                last = time.monotonic()
                if began is None:
                    began = last
                    source.connected = True
                    if down:
                        say(f"{source.name}: back after {attempts} attempt{'s' * (attempts != 1)}")
                        down = False
                yield frame
        except DeviceError as error:
            reason = str(error)
        else:
            reason = "has ended"
        if pace.stop.is_set():
            return
        source.connected = False
        silent = time.monotonic() - last
        if give_up_s is not None and silent >= give_up_s:
            raise DeviceError(f"{source.name}: {reason}: no frame for {silent:.0f} s")
        if not down:
            source.lost += 1
            attempts, down = 0, True
            # One that comes and goes all the time must not be opened without a pause.
            pause = 0.5 if began is None or time.monotonic() - began >= _STABLE_S else pause
            say(f"{source.name}: {reason}: trying again until it is back")
        attempts += 1
        # Not in step with the hundred other boards that have lost the same camera.
        pace.stop.wait(pause * random.uniform(0.75, 1.25))  # noqa: S311 - no secret
        pause = min(2 * pause, _LONGEST_PAUSE_S)
