"""A real run, stopped by a real Ctrl-C, gone on with, and refused where it is another's."""

import json
import os
import signal

import pytest

from bench.conditions import Watch
from bench.soak import measure_soak
from edgedefend.bundle import load_bundle
from edgedefend.errors import InputError
from tests.boards import board
from tests.conftest import one_line


@pytest.fixture(scope="module")
def bundle(color_bundles):
    return load_bundle(color_bundles / "int8")


def interrupt_after(count: int):
    """Return a tick that sends this process a Ctrl-C after `count` points; the first call tells of earlier ones."""
    seen = []

    def tick(_):
        seen.append(None)
        if len(seen) == count + 1:
            os.kill(os.getpid(), signal.SIGINT)

    return tick


@pytest.fixture
def stopped(bundle, tmp_path):
    watch = Watch(board("pi-4", tmp_path / "pi"))
    return measure_soak(bundle, minutes=10, every_s=0.1, threads=1, watch=watch, tick=interrupt_after(3))


def test_ctrl_c_keeps_what_there_is(stopped):
    assert stopped["stopped"]
    assert len(stopped["points"]) == 3
    assert stopped["conditions"]["verdict"] == "TAINTED"
    assert stopped["conditions"]["reasons"][0].startswith("stopped after 0.0 of 10 minutes")
    for point in stopped["points"]:
        assert point["n"] >= 1
        assert point["temperature_c"] == 48.7
        assert point["true_mhz"] == 1800.0
        assert point["throttled_now"] == []
        for side in ("defended", "undefended"):
            assert 0 < point[side]["p50"] <= point[side]["p90"] <= point[side]["max"]
    times = [point["t_s"] for point in stopped["points"]]
    assert times == sorted(times)
    assert times[0] >= 0.1


def test_it_goes_on_where_it_was_stopped(bundle, stopped, tmp_path):
    watch = Watch(board("pi-4", tmp_path / "again"))
    kept = json.loads(json.dumps(stopped))
    last = kept["points"][-1]["t_s"]
    result = measure_soak(bundle, minutes=last / 60 + 0.01, every_s=0.1, threads=1, watch=watch, resume=kept)
    assert result["points"][:3] == stopped["points"]
    assert len(result["points"]) > 5
    times = [point["t_s"] for point in result["points"]]
    assert times == sorted(times)
    assert times[3] >= last
    assert times[-1] >= last + 0.6  # the minutes are of both sessions together
    assert result["starts_s"] == [0.0, last]
    assert len(result["sessions"]) == 2
    assert not result["stopped"]
    # It was stopped and is now whole; what else was against the first session is not forgotten.
    assert not any(reason.startswith("stopped") for reason in result["conditions"]["reasons"])
    assert "the governor is ondemand, not performance" in result["conditions"]["reasons"]
    assert result["drift"] is None or result["drift"]["defended"] > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "latency"}, "expected one of bench soak"),
        ({"bundle": {"sha256": "0" * 64}}, "another bundle"),
        ({"interpreter": {"backend": "ai-edge-litert", "version": "1", "threads": 9}}, "another interpreter"),
        ({"every_s": 7}, "another seconds between two points|another .* between two points"),
        ({"conditions": {"cpu": "Z80"}}, "another CPU"),
        ({"points": None}, "damaged"),
        ({"points": [{}]}, "damaged"),
        ({"sessions": 3}, "damaged"),
        ({"conditions": []}, "damaged"),
    ],
)
def test_what_it_cannot_go_on_with(bundle, stopped, tmp_path, change, message):
    watch = Watch(board("pi-4", tmp_path / "again"))
    with pytest.raises(InputError, match=message):
        measure_soak(bundle, minutes=1, every_s=0.1, threads=1, watch=watch, resume={**stopped, **change})


def test_a_power_cut_costs_no_more_than_the_last_minute(bundle, tmp_path):
    kept = []
    watch = Watch(board("pi-4", tmp_path))
    tick = interrupt_after(4)
    measure_soak(
        bundle, minutes=10, every_s=0.1, threads=1, watch=watch, keep=kept.append, keep_every_s=0.15, tick=tick
    )
    assert len(kept) >= 1
    assert kept[0]["stopped"]


def test_the_command(run_cli, color_bundles, tmp_path):
    out = tmp_path / "soak.json"
    words = ("bench", "soak", color_bundles / "int8", "--threads", 1, "--every", 0.1, "--json", out)
    result = run_cli(*words, "--minutes", 0.02, "--report", tmp_path / "report")
    assert result.returncode == 0, result.stderr
    assert "undefended p50" in result.stdout
    assert "the last fifth of the run took" in result.stdout
    assert "polyline" in (tmp_path / "report/report.html").read_text()
    first = json.loads(out.read_text())
    assert "is there already" in one_line(run_cli(*words, "--minutes", 1), 2)
    result = run_cli(*words, "--minutes", 0.04, "--resume")
    assert result.returncode == 0, result.stderr
    again = json.loads(out.read_text())
    assert again["points"][: len(first["points"])] == first["points"]
    assert len(again["points"]) > len(first["points"])
    out.write_text("{")
    assert "not JSON" in one_line(run_cli(*words, "--resume"), 3)
    out.unlink()
    assert "nothing to go on with" in one_line(run_cli(*words, "--resume"), 2)
