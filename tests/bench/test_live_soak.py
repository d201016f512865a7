"""The soak of a live run: a short one, with everything that fails in it, and what it calls a failure."""

import json
import os
import re

import pytest

from bench.live_faults import FAULTS
from bench.live_soak import _failures
from bench.live_world import mosquitto_program

# CI asks for ten minutes beside everything else; whoever runs the tests by hand is not kept waiting.
MINUTES = float(os.environ.get("EDGEDEFEND_SOAK_MINUTES", "0.5"))

GOOD = {
    "exit_code": 0,
    "delivery": {"lost": 0, "doubled_unexcused": 0, "in_order": True},
    "growth": {"memory_mb_begin": 100.0, "memory_mb_end": 100.2, "files_begin": 12, "files_end": 12},
    "age_ms": {"ratio": 1.1},
    "requests": {"200": 10, "503": 1},
    "recoveries": [{"said": ["edgedefend: x: trying again"], "doubled": 10, "fault": "broker killed"}],
}


def test_nothing_to_say_of_a_good_one():
    assert _failures(GOOD) == []
    assert _failures({**GOOD, "requests": None}) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"exit_code": 1}, "SIGTERM"),
        ({"delivery": {"lost": 1, "doubled_unexcused": 0, "in_order": True}}, "1 results lost"),
        ({"delivery": {"lost": 0, "doubled_unexcused": 2, "in_order": True}}, "2 doubled"),
        ({"delivery": {"lost": 0, "doubled_unexcused": 0, "in_order": False}}, "out of order"),
        ({"growth": {**GOOD["growth"], "memory_mb_end": 120.0}}, "memory has grown"),
        ({"growth": {**GOOD["growth"], "files_end": 15}}, "open files"),
        ({"age_ms": {"ratio": 2.1}}, "p99"),
        ({"age_ms": {"ratio": None}}, "p99"),
        ({"requests": {"200": 10, "no answer": 1}}, "HTTP"),
        ({"requests": {}}, "HTTP"),
        ({"recoveries": [{"said": ["Traceback (most recent call last):"], "doubled": 0}]}, "traceback"),
        ({"recoveries": [{"said": [], "doubled": 11, "fault": "broker killed"}]}, "after: broker killed"),
    ],
)
def test_what_is_a_failure(change, says):
    (line,) = _failures({**GOOD, **change})
    assert says in line


@pytest.mark.slow
@pytest.mark.skipif(mosquitto_program() is None, reason="mosquitto is not installed")
def test_everything_fails_once_and_nothing_is_lost(run_cli, color_bundles, tmp_path):
    saved = tmp_path / "soak.json"
    command = ("bench", "live-soak", color_bundles / "int8", "--minutes", MINUTES, "--json", saved)
    done = run_cli(*command, timeout=600 + 60 * MINUTES)
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    result = json.loads(saved.read_text())
    assert result["delivery"]["lost"] == 0 and result["delivery"]["in_order"], result
    assert result["delivery"]["doubled_unexcused"] == 0
    assert [row["fault"] for row in result["recoveries"]] == list(FAULTS)
    assert all(row["not_run"] or row["recovered_s"] < 60 for row in result["recoveries"])
    assert result["delivery"]["published"] > 50
    assert re.search(r"\d+ results published, \d+ received: 0 lost", done.stdout)
    # On a busy machine times may be what they like; nothing else may be wrong.
    assert (done.returncode == 0) == (not result["failures"])
    assert [line for line in result["failures"] if not line.startswith("p99")] == []
