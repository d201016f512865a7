"""A small part of `tests.serving.fuzz` (``make fuzz`` is the whole), and properties of what reads a client's words."""

from __future__ import annotations

import asyncio
import gc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.requests import Request

from edgedefend.serving.requests import RefusedError, parse_options, read_picture
from tests.serving.fuzz import run, valid_pictures


def test_broken_pictures_and_broken_requests(color_bundles):
    lines = list(run(color_bundles / "int8", 1200, 7, parts=2))
    assert len(lines) == 2
    assert "'classified'" in lines[0]
    assert "'200'" in lines[0]
    assert "'400'" in lines[0]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["draws", "top", "defense", "suspicion", "x"]) | st.text(max_size=5), st.text(max_size=12)
        )
    )
)
def test_options_are_in_range_or_refused(pairs):
    try:
        options = parse_options(pairs, 10)
    except RefusedError as error:
        assert error.status == 400
        assert "\n" not in str(error).replace("\\n", "")
    else:
        assert 1 <= options.draws <= 32
        assert 1 <= options.top <= 10


@settings(deadline=None)
@given(st.binary(max_size=300), st.text(st.characters(codec="latin-1", exclude_characters="\r\n"), max_size=60))
def test_a_multipart_body_is_read_or_refused(body, parameters):
    header = ("multipart/form-data; boundary=b" + parameters).encode("latin-1")
    request = Request({"type": "http", "headers": [(b"content-type", header)]})
    try:
        picture, fields = asyncio.run(read_picture(request, b"--b\r\n" + body))
    except RefusedError as error:
        assert error.status == 400
    else:
        assert isinstance(picture, bytes)
        assert len(fields) <= 3


def test_a_file_that_never_ends_is_closed_all_the_same():
    """An open one is a ResourceWarning, which is an error here."""
    part = b'--b\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\nabc'
    request = Request({"type": "http", "headers": [(b"content-type", b"multipart/form-data; boundary=b")]})
    with pytest.raises(RefusedError, match="no file"):
        asyncio.run(read_picture(request, part))
    gc.collect()


def test_a_picture_of_a_thousand_scans_costs_little(color_bundles):
    """A progressive JPEG may repeat its scans without end: each of them is a pass over the whole picture."""
    from edgedefend.errors import InputError
    from edgedefend.sources import decode_image

    progressive = valid_pictures()[1]
    start = progressive.rindex(b"\xff\xda")
    scan = progressive[start:-2]
    with pytest.raises(InputError, match="scans"):
        decode_image(progressive[:start] + 1000 * scan + b"\xff\xd9")
    assert decode_image(progressive).shape == (33, 40, 3)
