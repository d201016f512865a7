"""The load on a real service: counts that add up, an overload that is refused and never hangs."""

from __future__ import annotations

import socket
import threading

import pytest

pytest.importorskip("uvicorn", reason="the service needs the extra 'serve'")

from bench import load
from bench.serve import measure_serving
from edgedefend.bundle import load_bundle
from edgedefend.errors import InputError


def test_a_small_measurement(color_bundles, color_photographs):
    files = [color_photographs.parent / f"{number}.png" for number in range(3)]
    result = measure_serving(
        load_bundle(color_bundles / "int8"),
        files,
        workers=1,
        waiting=2,
        rounds=1,
        seconds=0.5,
        overload=5,
        overload_seconds=1.0,
    )
    assert result["ratio"] == pytest.approx(result["ratios"][0])
    assert result["served_per_s"] > 1
    flood = result["overload"]
    assert (flood["other"], flood["hanging"]) == (0, 0)
    sent = flood["accepted"] + flood["refused"]
    assert sent == pytest.approx(5 * result["served_per_s"] * 1.0, abs=1)
    assert flood["accepted"] > 0
    assert result["conditions"]["verdict"] in ("VALID", "TAINTED")


def test_without_pictures_there_is_nothing_to_send(color_bundles):
    with pytest.raises(InputError, match="image files"):
        measure_serving(load_bundle(color_bundles / "int8"), [], workers=1)


def test_a_request_that_is_never_answered_is_counted_as_hanging(tmp_path, monkeypatch):
    """And one whose connection is closed as another answer: neither may look like a success."""
    monkeypatch.setattr(load, "HANGING_SECONDS", 0.5)
    (tmp_path / "x").write_bytes(b"x")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        kept = []

        def serve() -> None:
            kept.append(listener.accept()[0])
            channel = listener.accept()[0]
            channel.recv(1000)
            channel.close()

        thread = threading.Thread(target=serve)
        thread.start()
        plan = {"port": listener.getsockname()[1], "files": [str(tmp_path / "x")], "rate": 20.0, "seconds": 0.1}
        seen = load.main(plan)
        thread.join(10)
        for channel in kept:
            channel.close()
    assert (seen["accepted"], seen["refused"], seen["hanging"], seen["other"]) == (0, 0, 1, 1)
