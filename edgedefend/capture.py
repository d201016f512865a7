"""Where frames come from: pictures, a video file, a camera, a network stream. `open_source` tells them apart.

Files lose nothing and end. Live sources never end: what is lost is opened again, with growing pauses, until the run is
stopped. How each kind is read is in `edgedefend.cameras`.
"""

from __future__ import annotations

import glob
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from edgedefend.cameras import csi_frames, mjpeg_frames, picture_frames, rtsp_frames, v4l2_frames, video_frames
from edgedefend.errors import DeviceError, InputError, UsageError
from edgedefend.pace import Pace
from edgedefend.stream import Frame

__all__ = ["Source", "keep_open", "open_source", "shown_name"]

_PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
_SCHEMES = ("v4l2", "csi", "rtsp", "rtsps", "http", "https")
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
        return Source(text, live, partial(video_frames, text, live))
    if live:
        raise UsageError("--live plays a video file as a camera: pictures have no speed of their own")
    if not files:
        raise InputError(f"{text}: no pictures here (expected {', '.join(_PICTURES)})")
    return Source(text, False, partial(picture_frames, files))


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
        frames = mjpeg_frames if scheme.startswith("http") else rtsp_frames
        return Source(name, True, partial(frames, text, name))
    size = _camera_options(address.query, name)
    if scheme == "csi":
        number = address.netloc or "0"
        if not (number.isascii() and number.isdigit()):
            raise UsageError(f"{name}: expected csi://NUMBER")
        return Source(name, True, partial(csi_frames, int(number), size))
    if address.netloc or not address.path.startswith("/dev/"):
        raise UsageError(f"{name}: expected v4l2:///dev/videoN")
    return Source(name, True, partial(v4l2_frames, address.path, size))


def _camera_options(query: str, name: str) -> dict[str, int]:
    given = {key: values[-1] for key, values in parse_qs(query, keep_blank_values=True).items()}
    for key, value in given.items():
        if key not in ("width", "height", "fps") or not (value.isascii() and value.isdigit() and 0 < int(value) < 1e5):
            raise UsageError(f"{name}: {key}={value!r}: expected width=, height= and fps= with whole numbers")
    return {key: int(value) for key, value in given.items()}


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
