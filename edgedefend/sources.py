"""Pictures from outside: decoding files, and fitting them to the size a model takes.

Every file is hostile until it has been decoded. The format and the size in pixels are read from the header
before the decoder sees anything, so that a small file cannot ask for a large allocation; only JPEG, PNG, WebP
and BMP are passed on, so that an attacker does not get to choose among two dozen decoders; and a file that was cut
short is refused, where a decoder would fill the rest with grey and the model would classify that.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgedefend.errors import InputError

__all__ = ["MAX_PIXELS", "RESIZE_RULES", "decode_image", "fit_image", "image_format", "read_image"]

MAX_PIXELS = 64_000_000  # 192 MB decoded; the largest common camera module has 64 megapixels
MAX_BYTES = 256_000_000
RESIZE_RULES = ("stretch", "center-crop")
# Each scan of a progressive JPEG is a pass over the whole picture, and a few bytes are enough for one. Encoders in use
# write about ten.
MAX_SCANS = 50
# EfficientNet's and Inception's evaluation crop: the middle 87.5 % of the shorter side.
CROP_FRACTION = 0.875


def _jpeg_size(data: bytes) -> tuple[int, int]:
    """Walk the markers of a JPEG; return (height, width). Raises ValueError if it is damaged or cut short."""
    position, size = 2, None
    while True:
        if data[position] != 0xFF:
            raise ValueError("damaged header")
        marker = data[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        (length,) = struct.unpack_from(">H", data, position + 2)
        if marker in range(0xC0, 0xD0) and marker not in (0xC4, 0xC8, 0xCC):
            size = struct.unpack_from(">HH", data, position + 5)
        position += 2 + length
        if marker == 0xDA:
            break
    if size is None:
        raise ValueError("damaged header")
    # Inside coded data 0xFF is always followed by 0x00 or a restart marker, so this can only be the end.
    if data.find(b"\xff\xd9", position) < 0:
        raise ValueError("cut short")
    if data.count(b"\xff\xda", position) >= MAX_SCANS:
        raise ValueError(f"made of more than {MAX_SCANS} scans")
    return size[0], size[1]


def _png_size(data: bytes) -> tuple[int, int]:
    if data[12:16] != b"IHDR":
        raise ValueError("damaged header")
    width, height = struct.unpack_from(">II", data, 16)
    return height, width


def _check_png_complete(data: bytes) -> None:
    position = 8
    while data[position + 4 : position + 8] != b"IEND":
        (length,) = struct.unpack_from(">I", data, position)
        position += 12 + length
        if position + 8 > len(data):
            raise ValueError("cut short")


def _webp_size(data: bytes) -> tuple[int, int]:
    (riff_length,) = struct.unpack_from("<I", data, 4)
    if len(data) < riff_length + 8:
        raise ValueError("cut short")
    kind = data[12:16]
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return height & 0x3FFF, width & 0x3FFF
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return ((bits >> 14) & 0x3FFF) + 1, (bits & 0x3FFF) + 1
    if kind == b"VP8X":
        width = int.from_bytes(data[24:27], "little") + 1
        height = int.from_bytes(data[27:30], "little") + 1
        return height, width
    raise ValueError("damaged header")


def _bmp_size(data: bytes) -> tuple[int, int]:
    # The size in the file header is often wrong in files from the wild; the decoder refuses missing rows.
    width, height = struct.unpack_from("<ii", data, 18)
    return abs(height), abs(width)


_SIZES = {"JPEG": _jpeg_size, "PNG": _png_size, "WebP": _webp_size, "BMP": _bmp_size}


def image_format(data: bytes) -> str | None:
    """Return "JPEG", "PNG", "WebP" or "BMP" by the file's first bytes, None for anything else."""
    if data[:3] == b"\xff\xd8\xff":
        return "JPEG"
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return "PNG"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    if data[:2] == b"BM":
        return "BMP"
    return None


def decode_image(data: bytes, name: str = "image", *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Decode the content of an image file.

    Parameters
    ----------
    data : bytes
        JPEG, PNG, WebP or BMP; grey, palette, alpha (ignored), 16 bit and CMYK included.
    name : str
        What to call it in an error.
    max_pixels : int
        Refuse anything larger before decoding it.

    Returns
    -------
    uint8 (H, W, 3)
        RGB, turned upright by its EXIF orientation.

    Raises
    ------
    InputError
        If it is empty, not an image of these formats, cut short, damaged or too large.
    """
    import cv2

    if not data:
        raise InputError(f"{name}: the file is empty")
    kind = image_format(data)
    if kind is None:
        raise InputError(f"{name}: not a JPEG, PNG, WebP or BMP image")
    try:
        height, width = _SIZES[kind](data)
        if height * width > max_pixels:
            raise InputError(
                f"{name}: {width}x{height} pixels are more than the limit of "
                f"{max_pixels / 1e6:.0f} million: scale it down"
            )
        if height == 0 or width == 0:
            raise ValueError("damaged header")
        if kind == "PNG":
            _check_png_complete(data)
    except (ValueError, IndexError, struct.error) as error:
        reason = error.args[0] if type(error) is ValueError else "cut short"
        raise InputError(f"{name}: this {kind} file is {reason}: copy it again") from None
    try:
        # IMREAD_COLOR turns the picture by its EXIF orientation; BGR is turned round below because
        # IMREAD_COLOR_RGB came only with OpenCV 4.11.
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        image = None
    if image is None:
        raise InputError(f"{name}: this {kind} file is damaged: copy it again")
    rgb: NDArray[np.uint8] = cv2.cvtColor(image, cv2.COLOR_BGR2RGB, image)
    return rgb


def read_image(path: str | os.PathLike[str], *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Read and decode an image file (see `decode_image`).

    Raises
    ------
    InputError
        If the file cannot be read or decoded.
    """
    name = os.fspath(path)
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"{name}: {(error.strerror or str(error)).lower()}") from None
    if len(data) > MAX_BYTES:
        raise InputError(f"{name}: the file is larger than {MAX_BYTES / 1e6:.0f} MB")
    return decode_image(data, name, max_pixels=max_pixels)


def fit_image(image: NDArray[np.uint8], height: int, width: int, rule: str = "stretch") -> NDArray[np.uint8]:
    """Resize `image` to the model's input size.

    Parameters
    ----------
    image : uint8 (H, W, 3)
    height, width : int
        Of the result.
    rule : str
        "stretch" uses the whole picture and gives up its aspect ratio; "center-crop" takes the middle
        87.5 % of its shorter side, in the aspect ratio of the result.

    Returns
    -------
    uint8 (height, width, 3)
        Averaged over the area where it gets smaller, bicubic where it grows.
    """
    import cv2

    source_height, source_width = image.shape[:2]
    if rule == "center-crop":
        unit = CROP_FRACTION * min(source_height / height, source_width / width)
        crop_height, crop_width = max(1, round(unit * height)), max(1, round(unit * width))
        top, left = (source_height - crop_height) // 2, (source_width - crop_width) // 2
        image = image[top : top + crop_height, left : left + crop_width]
        source_height, source_width = image.shape[:2]
    elif rule != "stretch":
        raise InputError(f"unknown resize rule {rule!r}: expected one of {', '.join(RESIZE_RULES)}")
    if (source_height, source_width) == (height, width):
        return np.ascontiguousarray(image)
    shrinks = source_height >= height and source_width >= width
    interpolation = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    resized: NDArray[np.uint8] = cv2.resize(image, (width, height), interpolation=interpolation)
    return resized
