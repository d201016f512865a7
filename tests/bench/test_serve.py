"""The load on a real service: counts that add up, an overload that is refused and never hangs."""

from __future__ import annotations

import socket
import threading

import numpy as np
import pytest

pytest.importorskip("uvicorn", reason="the service needs the extra 'serve'")

from bench import load
from bench.serve import fitted_files, measure_serving
from bench.wrk import load_with_wrk, wrk_path
from edgedefend.bundle import load_bundle
from edgedefend.errors import EdgeDefendError, InputError
from edgedefend.sources import fit_image, read_image
from tests.serving.conftest import start


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
    assert result["ratio_ready"] == pytest.approx(result["served_per_s"] / result["ready"]["per_s"])
    assert result["served_per_s"] == result["served"]["per_s"] > 1
    # No thread can have had more of the CPUs than there was time, and each of them does something for a picture.
    for side in ("served", "offline", "ready"):
        shares = {who: ms * result[side]["per_s"] / 1e3 for who, ms in result[side]["cpu_ms"].items()}
        assert all(0 < share < 1.2 for who, share in shares.items() if who in ("http", "client")), shares
    assert result["served"]["cpu_ms"].keys() == {"workers", "http", "client"}
    flood = result["overload"]
    assert (flood["other"], flood["hanging"]) == (0, 0)
    sent = flood["accepted"] + flood["refused"]
    assert sent == pytest.approx(5 * result["served_per_s"] * 1.0, abs=1)
    assert flood["accepted"] > 0
    assert result["conditions"]["verdict"] in ("VALID", "TAINTED")


def test_fitted_pictures_have_the_model_s_size(color_bundles, color_photographs, tmp_path):
    bundle = load_bundle(color_bundles / "int8")
    files = [color_photographs.parent / f"{number}.png" for number in range(2)]
    made = fitted_files(bundle, files, tmp_path)
    for file, source in zip(made, files, strict=True):
        sent = read_image(file)
        assert sent.shape == (bundle.input.height, bundle.input.width, 3)
        fitted = fit_image(read_image(source), *sent.shape[:2], bundle.input.resize)
        # These pictures are noise, of which JPEG keeps little: the means tell whether the channels are in order.
        assert np.abs(sent.mean(axis=(0, 1)) - fitted.mean(axis=(0, 1))).max() < 2


@pytest.mark.skipif(wrk_path() is None, reason="wrk is not installed: apt-get install wrk")
def test_wrk_sends_the_same_requests(color_bundles, color_photographs):
    files = [color_photographs.parent / f"{number}.png" for number in range(3)]
    running = start(color_bundles / "int8", "--waiting", 8)
    seen = load_with_wrk(running.port, files, clients=2, seconds=1)
    pictures = running.metric("edgedefend_predictions_total")
    names = 'path="/v1/classify",status="200"'
    assert running.metric(f"edgedefend_requests_total{{{names}}}") == pictures
    running.stop()
    # It may leave as many unfinished at its end as it has connections.
    assert seen["accepted"] <= pictures <= seen["accepted"] + 2
    assert (seen["refused"], seen["other"]) == (0, 0) and seen["accepted"] > 5
    assert 0 < seen["cpu_seconds"] < 2 * seen["seconds"]


def test_what_wrk_counts_as_refused_is_no_answer(color_bundles, tmp_path):
    if wrk_path() is None:
        pytest.skip("wrk is not installed: apt-get install wrk")
    (tmp_path / "it's no picture").write_bytes(b"x")
    running = start(color_bundles / "int8")
    seen = load_with_wrk(running.port, [tmp_path / "it's no picture"], clients=1, seconds=1)
    running.stop()
    assert seen["accepted"] == 0 and seen["refused"] > 5


def test_without_wrk_it_says_so(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EdgeDefendError, match="apt-get install wrk"):
        load_with_wrk(1, [], clients=1, seconds=1)


def test_without_pictures_there_is_nothing_to_send(color_bundles):
    with pytest.raises(InputError, match="image files"):
        measure_serving(load_bundle(color_bundles / "int8"), [], workers=1)


def test_a_connection_that_was_closed_while_it_was_idle_is_not_used_again(tmp_path):
    (tmp_path / "x").write_bytes(b"x")
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for _ in range(2):
                channel = listener.accept()[0]
                channel.recv(1000)
                channel.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                channel.close()

        thread = threading.Thread(target=serve)
        thread.start()
        plan = {"port": listener.getsockname()[1], "files": [str(tmp_path / "x")], "rate": 4.0, "seconds": 0.5}
        seen = load.main(plan)
        thread.join(10)
    assert (seen["accepted"], seen["refused"], seen["hanging"], seen["other"]) == (2, 0, 0, 0)


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
