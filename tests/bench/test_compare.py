import json

import pytest

from bench.compare import compare_results
from bench.resultfile import numbers, read_result
from edgedefend.errors import InputError, UsageError


def result(**changes):
    kept = {
        "kind": "latency",
        "scenario": "single-stream",
        "samples": 1,
        "queries": 1024,
        "figure": {"name": "p90", "value": 4.0},
        "defended": {"stages": {"total_ms": {"p50": 3.0, "p90": 4.0}}, "samples_per_s": 300.0},
        "overhead": {"median": 1.05, "low": 1.04, "high": 1.06},
        "zero": 0.0,
        "bundle": {"sha256": "a" * 64, "model": "m", "precision": "int8"},
        "interpreter": {"backend": "ai-edge-litert", "version": "2.3.0", "threads": 1},
        "conditions": {
            "verdict": "VALID",
            "reasons": [],
            "cpu": "Cortex-A72",
            "cpus": 4,
            "device": {"board": "Pi 4"},
            "before": {"governor": "performance"},
        },
    }
    return {**kept, **changes}


def ratios(found, index=1):
    return {row["figure"]: row["ratios"][index] for row in found["rows"]}


def test_ratios_of_what_both_have():
    slower = result(defended={"stages": {"total_ms": {"p50": 6.0, "p90": 4.0, "p99": 9.0}}, "samples_per_s": 150.0})
    found = compare_results(["a", "b"], [result(), slower])
    assert ratios(found) == {
        "defended.stages.total_ms.p50": 2.0,
        "defended.stages.total_ms.p90": 1.0,
        "defended.samples_per_s": 0.5,
        "overhead.median": 1.0,
        "overhead.low": 1.0,
        "overhead.high": 1.0,
        "zero": None,
    }
    assert found["warnings"] == []
    assert ratios(compare_results(["a", "b"], [result(), slower], baseline=1), 0)["defended.samples_per_s"] == 2.0


@pytest.mark.parametrize(
    ("change", "warning"),
    [
        (
            {"bundle": {**result()["bundle"], "sha256": "b" * 64}},
            "another bundle: aaaaaaaaaaaa… in a, bbbbbbbbbbbb… in b",
        ),
        ({"interpreter": {**result()["interpreter"], "threads": 4}}, "another threads: 1 in a, 4 in b"),
        ({"scenario": "offline"}, "another scenario: single-stream in a, offline in b"),
        (
            {"conditions": {**result()["conditions"], "device": {"board": "Pi 5"}}},
            "another board: Pi 4 in a, Pi 5 in b",
        ),
        (
            {"conditions": {**result()["conditions"], "before": {"governor": "ondemand"}}},
            "another governor: performance in a, ondemand in b",
        ),
        (
            {"conditions": {**result()["conditions"], "verdict": "TAINTED", "reasons": ["it was hot", "and dark"]}},
            "b is TAINTED: it was hot; and dark",
        ),
        ({"conditions": {}}, "b carries no verdict on its conditions"),
    ],
)
def test_what_else_differs_is_said(change, warning):
    assert warning in compare_results(["a", "b"], [result(), result(**change)])["warnings"]


@pytest.mark.parametrize(
    ("results", "message"),
    [
        ([result()], "two results at least"),
        ([result(), result(kind="soak")], "different kinds"),
        ([{"kind": "x", "a": 1}, {"kind": "x", "b": 1}], "no figure in common"),
    ],
)
def test_what_cannot_be_compared(results, message):
    with pytest.raises(UsageError, match=message):
        compare_results(["a", "b"][: len(results)], results)


def test_numbers_are_figures_and_nothing_else():
    odd = {
        "kind": "k",
        "a": 1,
        "b": True,
        "c": "3",
        "d": [1, 2],
        "e": {"f": 2.5, "n": 9},
        "g": float("inf"),
        "h": 10**400,
    }
    assert dict(numbers(odd)) == {"a": 1.0, "e.f": 2.5}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "not JSON"),
        (b"\xff\xfe{}", "not JSON"),
        (b"[1]", "no result"),
        (b'{"kind": 3}', "no result"),
        (b'{"kind": "x", "a": ' + b"[" * 30 + b"]" * 30 + b"}", "nested too deeply"),
        (b"[" * 200_000, "nested too deeply|not JSON"),
        (b'{"kind": "' + b"x" * 16_000_001 + b'"}', "larger than 16 MB"),
    ],
)
def test_files_that_are_no_results(tmp_path, content, message):
    path = tmp_path / "r.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_result(path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_result(tmp_path / "none.json")


def test_the_command(run_cli, tmp_path):
    for name, threads in (("a", 1), ("b", 4)):
        changed = result(interpreter={**result()["interpreter"], "threads": threads})
        changed["defended"] = {"stages": {"total_ms": {"p50": 3.0 / threads}}, "samples_per_s": 300.0 * threads}
        (tmp_path / f"{name}.json").write_text(json.dumps(changed))
    ran = run_cli("bench", "compare", "a.json", "b.json", "--json", "c.json", cwd=tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert "4.000" in next(line for line in ran.stdout.splitlines() if line.startswith("defended.samples_per_s"))
    assert "warning: another threads: 1 in a.json, 4 in b.json" in ran.stderr
    assert json.loads((tmp_path / "c.json").read_text())["baseline"] == "a.json"
    ran = run_cli("bench", "compare", "a.json", "b.json", "--baseline", "b.json", cwd=tmp_path)
    assert "0.250" in next(line for line in ran.stdout.splitlines() if line.startswith("defended.samples_per_s"))
