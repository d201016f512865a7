"""Frames with their answer written on them, kept as pictures or as a video."""

from __future__ import annotations

import os
import shutil
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgedefend.errors import InputError, UsageError
from edgedefend.files import write_file

__all__ = ["Roi", "Saver", "annotate", "parse_roi"]

_VIDEOS = {".avi": "MJPG", ".mp4": "mp4v"}
# A full disk would stop more than this program.
_FREE_BYTES = 256 << 20
_CHECK_EVERY = 20


class Roi:
    """The part of a frame that is classified, in pixels: `left`, `top`, `width`, `height`."""

    def __init__(self, left: int, top: int, width: int, height: int) -> None:
        self.left, self.top, self.width, self.height = left, top, width, height

    def crop(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return that part of a frame.

        Raises
        ------
        InputError
            If it is not wholly inside.
        """
        height, width = image.shape[:2]
        if self.left + self.width > width or self.top + self.height > height:
            raise InputError(
                f"--roi {self.left},{self.top},{self.width},{self.height} is not inside a frame of {width}x{height}"
            )
        return image[self.top : self.top + self.height, self.left : self.left + self.width]


def parse_roi(text: str) -> Roi:
    """Return the part that ``LEFT,TOP,WIDTH,HEIGHT`` names.

    Raises
    ------
    UsageError
        If it is not that.
    """
    numbers = text.split(",")
    if len(numbers) != 4 or not all(number.isascii() and number.isdigit() and len(number) < 6 for number in numbers):
        raise UsageError(f"--roi {text!r}: expected LEFT,TOP,WIDTH,HEIGHT in pixels")
    left, top, width, height = map(int, numbers)
    if not (width and height):
        raise UsageError(f"--roi {text!r}: a width and a height of at least 1")
    return Roi(left, top, width, height)


def annotate(image: NDArray[np.uint8], text: str, roi: Roi | None = None) -> NDArray[np.uint8]:
    """Return a copy of a frame with a line of text at its lower edge, and a frame around the part that was classified.

    Parameters
    ----------
    image : uint8 (H, W, 3)
        RGB.
    text : str
        OpenCV's fonts know ASCII only: other characters become question marks.
    roi : Roi, optional

    Returns
    -------
    uint8 (H, W, 3)
    """
    import cv2

    out: NDArray[np.uint8] = image.copy()
    height, width = out.shape[:2]
    text = text.encode("ascii", "replace").decode()
    font, scale = cv2.FONT_HERSHEY_SIMPLEX, max(0.4, height / 900)
    (text_width, text_height), _ = cv2.getTextSize(text, font, scale, 1)
    scale *= min(1.0, 0.96 * width / max(1, text_width))
    band = min(height, round(1.8 * text_height) + 4)
    out[height - band :] //= 3
    cv2.putText(out, text, (round(0.02 * width), height - band // 3), font, scale, (255, 255, 255), 1, cv2.LINE_AA)
    if roi is not None:
        corner = (roi.left + roi.width - 1, roi.top + roi.height - 1)
        cv2.rectangle(out, (roi.left, roi.top), corner, (255, 220, 0), 1)
    return out


class Saver:
    """Keeps annotated frames: the newest as JPEG files in a folder, or all of them in a video.

    Parameters
    ----------
    path : Path
        A folder, made if it is not there; or a file that ends in .avi or .mp4.
    fps : float
        Of the video.
    keep : int
        How many pictures stay in the folder.

    Notes
    -----
    It stops by itself, and says so, before the disk is full.

    Raises
    ------
    UsageError
        If the path is neither.
    """

    def __init__(self, path: Path, say: Callable[[str], None], *, fps: float = 10.0, keep: int = 1000) -> None:
        self._path, self._say, self._fps, self._keep = path, say, fps, keep
        self._video = path.suffix.lower() if path.suffix.lower() in _VIDEOS else None
        self._writer: Any = None
        self._size = (0, 0)
        self._number = 0
        self._stopped = False
        if self._video is None:
            if path.suffix and not path.is_dir():
                raise UsageError(f"--save {path}: expected a folder, or a file that ends in .avi or .mp4")
            path.mkdir(parents=True, exist_ok=True)
            # An earlier run's pictures count, so that restarts do not fill the disk.
            self._kept = deque(sorted(path.glob("frame-*.jpg")))
        elif not path.parent.is_dir():
            raise UsageError(f"--save {path}: the folder {path.parent} does not exist")

    def add(self, image: NDArray[np.uint8], name: str) -> None:
        """Keep one frame, uint8 (H, W, 3) RGB, already annotated."""
        import cv2

        if self._stopped or (self._number % _CHECK_EVERY == 0 and not self._room()):
            return
        self._number += 1
        bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        try:
            if self._video is None:
                self._add_picture(bgr, name)
            else:
                self._add_to_video(bgr)
        except OSError as error:
            self._stop(error.strerror or str(error))

    def _room(self) -> bool:
        free = shutil.disk_usage(self._path if self._video is None else self._path.parent).free
        if free < _FREE_BYTES:
            self._stop(f"only {free >> 20} MB are free")
        return not self._stopped

    def _stop(self, reason: str) -> None:
        self._stopped = True
        self._say(f"{self._path}: no more frames are saved: {reason}")
        self.close()

    def _add_picture(self, bgr: NDArray[np.uint8], name: str) -> None:
        import cv2

        _, encoded = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 85])
        file = self._path / f"frame-{name}.jpg"
        write_file(file, encoded.tobytes())
        self._kept.append(file)
        while len(self._kept) > self._keep:
            self._kept.popleft().unlink(missing_ok=True)

    def _add_to_video(self, bgr: NDArray[np.uint8]) -> None:
        import cv2

        size = (bgr.shape[1], bgr.shape[0])
        if self._writer is None:
            self._size = size
            code = cv2.VideoWriter.fourcc(*_VIDEOS[self._video or ".avi"])
            self._writer = cv2.VideoWriter(os.fspath(self._path), cv2.CAP_FFMPEG, code, self._fps, size)
            if not self._writer.isOpened():
                self._writer = None
                raise InputError(f"--save {self._path}: the video cannot be written")
        # A folder's pictures have many sizes, a video has one.
        self._writer.write(bgr if size == self._size else cv2.resize(bgr, self._size))

    def close(self) -> None:
        """Finish the video."""
        if self._writer is not None:
            self._writer.release()
            self._writer = None
