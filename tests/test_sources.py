import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edgedefend.errors import InputError
from edgedefend.sources import decode_image, fit_image, image_format, read_image


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def picture(width: int = 30, height: int = 20) -> Image.Image:
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and holds no pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("BMP", {}), ("WEBP", {"lossless": True})])
def test_lossless_formats_equal_pillow(kind, options):
    assert (decode_image(encoded(picture(), kind, **options)) == np.asarray(picture())).all()


@pytest.mark.parametrize("mode", ["L", "P", "1", "RGBA", "LA", "I;16"])
def test_every_kind_of_png_becomes_rgb(mode):
    if mode == "I;16":
        source = Image.fromarray(np.full((20, 30), 40000, np.uint16))
    else:
        source = picture().convert(mode)
    out = decode_image(encoded(source, "PNG"))
    assert out.shape == (20, 30, 3)
    if mode == "L":
        assert (out == np.asarray(source)[..., None]).all()
    if mode == "RGBA":
        assert (out == np.asarray(picture())).all()


def test_cmyk_jpeg():
    assert decode_image(encoded(picture().convert("CMYK"), "JPEG")).shape == (20, 30, 3)


def test_a_red_square_is_red_in_every_format():
    red = Image.new("RGB", (16, 16), (250, 10, 20))
    for kind in ("PNG", "JPEG", "BMP", "WEBP"):
        mean = decode_image(encoded(red, kind)).mean(axis=(0, 1))
        assert np.abs(mean - (250, 10, 20)).max() < 6, kind


def test_exif_orientation_turns_the_picture():
    wide = Image.new("RGB", (64, 32))
    wide.paste((255, 0, 0), (0, 0, 32, 32))
    exif = Image.Exif()
    exif[0x112] = 6  # shown upright after a quarter turn clockwise: the left half comes to the top
    out = decode_image(encoded(wide, "JPEG", exif=exif, quality=95))
    assert out.shape == (64, 32, 3)
    assert out[:28, :, 0].min() > 200
    assert out[36:, :, 0].max() < 50


def test_progressive_jpeg_is_not_taken_for_cut_short():
    data = encoded(picture(200, 100), "JPEG", progressive=True)
    assert decode_image(data).shape == (100, 200, 3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP"])
def test_every_cut_of_a_file_is_refused(kind):
    data = encoded(picture(), kind)
    for length in range(0, len(data) - 1, 7):
        with pytest.raises(InputError):
            decode_image(data[:length])


def test_a_jpeg_without_its_last_marker_is_refused(sample_files):
    data = sample_files[0].read_bytes()
    assert decode_image(data).ndim == 3
    with pytest.raises(InputError, match="cut short"):
        decode_image(data[:-2])
    with pytest.raises(InputError, match="cut short"):
        decode_image(data[: len(data) // 2])


@pytest.mark.parametrize(
    "data", [b"hello, I am text\n" * 20, b"GIF89a" + bytes(50), b"\x00" * 100, b"BM", b"RIFF\0\0\0\0WEBP"]
)
def test_what_is_no_image_is_refused(data):
    with pytest.raises(InputError):
        decode_image(data, "x.jpg")


def test_too_many_pixels_are_refused_by_the_header_alone():
    import tracemalloc

    tracemalloc.start()
    with pytest.raises(InputError, match="30000x30000 pixels are more than the limit of 64 million"):
        decode_image(png_header(30000, 30000))
    assert tracemalloc.get_traced_memory()[1] < 1e6
    tracemalloc.stop()
    with pytest.raises(InputError, match="more than the limit"):
        decode_image(encoded(picture(), "JPEG"), max_pixels=599)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["JPEG", "PNG", "WEBP", "BMP"]), st.binary(max_size=80), st.integers(0, 10**9), st.booleans())
def test_damaged_files_never_escape_as_another_error(kind, junk, position, replace):
    data = encoded(picture(), kind)
    position %= len(data)
    data = data[:position] + junk + data[position + (len(junk) if replace else 0) :]
    try:
        out = decode_image(data, max_pixels=10_000_000)
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert out.dtype == np.uint8
        assert out.ndim == 3
        assert out.shape[2] == 3


def test_formats():
    assert image_format(encoded(picture(), "WEBP")) == "WebP"
    assert image_format(b"") is None


def test_read_image_names_the_file(tmp_path):
    with pytest.raises(InputError, match="missing.png: no such file"):
        read_image(tmp_path / "missing.png")
    with pytest.raises(InputError, match="is a directory"):
        read_image(tmp_path)
    (tmp_path / "empty.png").touch()
    with pytest.raises(InputError, match=r"empty.png: the file is empty"):
        read_image(tmp_path / "empty.png")


def test_fit_keeps_an_image_of_the_right_size_as_it_is(photographs):
    assert (fit_image(photographs[0], 224, 224) == photographs[0]).all()


def test_fit_rules(photographs):
    image = np.zeros((100, 300, 3), np.uint8)
    image[:, 100:200] = 255
    stretched = fit_image(image, 50, 50)
    assert stretched[:, :15].max() == 0
    assert stretched[:, 20:30].min() == 255
    assert fit_image(image, 50, 50, "center-crop").min() == 255
    for height, width in ((1, 1), (1, 300), (300, 1)):
        for rule in ("stretch", "center-crop"):
            assert fit_image(photographs[0][:height, :width], 224, 200, rule).shape == (224, 200, 3)
    with pytest.raises(InputError, match="unknown resize rule"):
        fit_image(image, 5, 5, "guess")
