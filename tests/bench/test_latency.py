"""The scenarios on a real model. No time is asserted; what is counted, from when, and what is left away is."""

import json
import shutil

import numpy as np
import pytest

from bench.latency import SCENARIOS, histogram, measure_latency
from bench.subject import AnswerSubject, PipelineSubject, Subject, clock
from edgedefend.bundle import load_bundle
from edgedefend.classifier import Classifier
from edgedefend.errors import InputError, UsageError
from tests.test_bundle import edit_manifest


@pytest.fixture(scope="module")
def bundle(color_bundles):
    return load_bundle(color_bundles / "int8")


@pytest.fixture(scope="module")
def files(color_photographs):
    return sorted(color_photographs.parent.glob("*.png"))[:3]


def test_both_sides_are_asked_as_often_and_named_by_stage(bundle):
    result = measure_latency(bundle, min_duration=0, min_queries=70, threads=1)
    assert (result["scenario"], result["queries"], result["samples"], result["batch"]) == ("single-stream", 70, 1, 1)
    for side in ("defended", "undefended"):
        stages = result[side]["stages"]
        assert list(stages) == ["defend_ms", "invoke_ms", "total_ms"]
        assert set(stages["total_ms"]) == {"p50", "p90"}
        assert 0 < stages["invoke_ms"]["p50"] <= stages["total_ms"]["p50"] <= stages["total_ms"]["p90"]
        kept = result[side]["histogram"]
        assert sum(kept["counts"]) + kept["above"] == 70
    assert result["missing"] == {"p95": 130, "p99": 662}
    assert result["figure"] == {"name": "p90", "value": result["defended"]["stages"]["total_ms"]["p90"]}
    assert result["overhead"]["low"] <= result["overhead"]["median"] <= result["overhead"]["high"]
    assert result["interpreter"]["threads"] == 1
    assert result["bundle"]["sha256"] == bundle.sha256
    conditions = result["conditions"]
    assert conditions["verdict"] == "TAINTED"
    assert "too few samples: 70 queries, 1024 are the least to be quoted" in conditions["reasons"]
    assert any(reason.startswith("too short") for reason in conditions["reasons"])
    assert {"before", "after", "load", "device"} <= set(conditions)
    assert json.loads(json.dumps(result)) == result


def test_the_duration_is_enforced_too(bundle):
    result = measure_latency(bundle, min_duration=0.4, min_queries=1, threads=1)
    assert result["seconds"] >= 0.4
    assert result["queries"] > 10


def test_there_is_a_p99_from_662_queries_on(bundle):
    result = measure_latency(bundle, min_duration=0, min_queries=662, threads=1)
    assert "p99" in result["defended"]["stages"]["total_ms"]
    assert result["missing"] == {}


def test_multi_stream_is_one_latency_a_query_of_many(bundle):
    result = measure_latency(bundle, scenario="multi-stream", min_duration=0, min_queries=64, threads=1)
    assert (result["samples"], result["queries"], result["figure"]["name"]) == (8, 64, "p99")
    assert result["figure"]["value"] is None  # 64 queries have no p99
    assert result["defended"]["samples_per_s"] > 0
    assert any("64 queries of 8, 662 are the least" in reason for reason in result["conditions"]["reasons"])


def test_offline_is_a_rate(bundle):
    result = measure_latency(bundle, scenario="offline", samples=5, min_duration=0, min_queries=3, threads=1)
    assert result["figure"] == {"name": "samples_per_s", "value": result["defended"]["samples_per_s"]}
    assert result["defend_share"] is None
    assert "histogram" not in result["defended"]


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_files_are_read_and_decoded_inside_the_clock(bundle, files, scenario):
    result = measure_latency(bundle, files, scenario=scenario, min_duration=0, min_queries=3, threads=1)
    assert result["source"] == {"files": 3}
    stages = list(result["defended"]["stages"])
    if scenario == "offline":
        assert stages == ["prepare_ms", "invoke_ms", "total_ms"]
    else:
        assert stages == ["capture_ms", "decode_ms", "resize_ms", "defend_ms", "invoke_ms", "total_ms"]
        assert all(result["defended"]["stages"][name]["p50"] > 0 for name in stages)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scenario": "server"}, "unknown scenario 'server'"),
        ({"samples": 2}, "single-stream asks one image at a time"),
        ({"min_queries": 0}, "at least one query"),
        ({"min_duration": -1.0}, "no negative duration"),
    ],
)
def test_options_that_make_no_sense(bundle, options, message):
    with pytest.raises(UsageError, match=message):
        measure_latency(bundle, **options)


@pytest.fixture
def classifier(bundle):
    return Classifier(bundle, threads=1)


def picture(bundle) -> np.ndarray:
    return bundle.golden().image


def test_latency_counts_from_when_the_query_was_scheduled(bundle, classifier):
    """A query that had to wait is as late as its wait: measuring from its start would leave that out."""
    for subject in (
        Subject(classifier, pictures=[picture(bundle)]),
        AnswerSubject(classifier, pictures=[picture(bundle)], draws=2),
        PipelineSubject(classifier, pictures=[picture(bundle)], samples=2),
    ):
        answer = subject.ask(clock() - 5.0, defended=True)
        assert answer["total_ms"] >= 5000
        assert answer["invoke_ms"] < 5000


def test_what_each_side_puts_into_the_model(bundle, classifier, monkeypatch):
    """The defended side draws a grid a query; the undefended one hands over the encoded picture, no more."""
    image = picture(bundle)
    plain = np.empty(classifier.interpreter.input.shape[1:], np.int8)
    classifier.prepare_into(image, plain, defended=False)
    subject = Subject(classifier, pictures=[image], samples=2)
    assert subject.batch == 2
    seen = []
    invoke = classifier.interpreter.invoke

    def look():
        seen.append(classifier.interpreter.input_view().copy())
        return invoke()

    monkeypatch.setattr(classifier.interpreter, "invoke", look)
    subject.ask(clock(), defended=False)
    subject.ask(clock(), defended=True)
    assert all(np.array_equal(slot, plain) for slot in seen[0])
    assert not any(np.array_equal(slot, plain) for slot in seen[1])
    assert not np.array_equal(*seen[1])


def test_the_pipeline_is_undefended_where_asked_and_defended_again_after(bundle, classifier, monkeypatch):
    subject = PipelineSubject(classifier, pictures=[picture(bundle)], samples=3)
    asked = []
    prepare = classifier.prepare_into
    monkeypatch.setattr(
        classifier, "prepare_into", lambda image, slot: (asked.append(classifier.defended), prepare(image, slot))
    )
    subject.ask(clock(), defended=False)
    subject.ask(clock(), defended=True)
    assert asked == [False] * 3 + [True] * 3
    assert classifier.defended


@pytest.fixture(scope="module")
def voting(color_bundles, tmp_path_factory):
    """A bundle that asks for two draws an answer and gives the undefended one a vote."""
    folder = tmp_path_factory.mktemp("voting") / "b"
    shutil.copytree(color_bundles / "int8", folder)
    edit_manifest(folder, "defense", "draws", value=2)
    edit_manifest(folder, "defense", "undefended_vote", value=0.25)
    return load_bundle(folder)


def counting(interpreter, monkeypatch) -> list[int]:
    runs, invoke = [], interpreter.invoke

    def counted():
        output = invoke()
        runs.append(len(output))
        return output

    monkeypatch.setattr(interpreter, "invoke", counted)
    return runs


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("with_files", [False, True])
def test_an_answer_takes_the_runs_that_the_bundle_asks_for(voting, files, scenario, with_files):
    given = files if with_files else ()
    result = measure_latency(voting, given, scenario=scenario, min_duration=0, min_queries=3, threads=1)
    assert (result["draws"], result["undefended_vote"]) == (2, 0.25)
    assert result["figure"]["name"] in ("p90", "p99", "samples_per_s")
    stages = result["defended"]["stages"]
    assert list(stages) == list(result["undefended"]["stages"])
    assert all(stages[name]["p50"] > 0 for name in stages)
    alone = measure_latency(voting, given, scenario=scenario, draws=1, min_duration=0, min_queries=3, threads=1)
    assert alone["draws"] == 1


def test_what_a_query_of_answers_runs(voting, files, monkeypatch):
    classifier = Classifier(voting, threads=1)
    subject = AnswerSubject(classifier, files=files, samples=2, draws=3)
    bare = subject._undefended._interpreter
    defended, undefended = counting(classifier.interpreter, monkeypatch), counting(bare, monkeypatch)
    assert not subject.settled
    for _ in range(4):
        spent = subject.ask(clock(), defended=True)
        assert sum(defended) == 8, "two images, three draws of each and the undefended answer"
        defended.clear()
        assert sum(spent[name] for name in spent if name != "total_ms") <= spent["total_ms"]
    assert subject.settled
    assert undefended == []
    subject.ask(clock(), defended=False)
    assert (undefended, defended) == ([2], [])


def test_the_pipeline_makes_as_many_draws_as_it_is_told(voting, monkeypatch):
    classifier = Classifier(voting, threads=1)
    runs = counting(classifier.interpreter, monkeypatch)
    subject = PipelineSubject(classifier, pictures=[picture(voting)], samples=3, draws=4)
    subject.ask(clock(), defended=True)
    assert sum(runs) == 3 * (4 + 1)
    runs.clear()
    subject.ask(clock(), defended=False)
    assert sum(runs) == 3


def test_a_subject_needs_something_to_ask_about(classifier):
    for kind, options in ((Subject, {}), (AnswerSubject, {"draws": 2}), (PipelineSubject, {})):
        with pytest.raises(InputError, match="either pictures or files"):
            kind(classifier, samples=1, **options)


def test_histogram_counts_everything_once():
    values = [*np.random.default_rng(3).normal(10, 1, 990), *[1000.0] * 10]
    kept = histogram(values)
    assert sum(kept["counts"]) + kept["above"] == 1000
    assert kept["above"] == 10
    assert kept["start_ms"] + kept["width_ms"] * len(kept["counts"]) < 1001
    assert kept["largest_ms"] == 1000
    assert sum(histogram([2.0, 2.0])["counts"]) == 2


def test_the_command(run_cli, color_bundles, tmp_path):
    out = tmp_path / "result.json"
    options = ("--threads", 1, "--min-queries", 70, "--min-duration", 0)
    result = run_cli("bench", "latency", color_bundles / "int8", *options, "--json", out)
    assert result.returncode == 0, result.stderr
    assert "p90" in result.stdout
    assert "no p99: it takes 662 queries, there were 70" in result.stdout
    assert "TAINTED: too few samples" in result.stdout
    saved = json.loads(out.read_text())
    assert "--min-queries 70" in saved["conditions"]["command"]
    result = run_cli("bench", "latency", color_bundles / "int8", "--quick", "--min-queries", 7)
    assert result.returncode == 2
    assert "--quick" in result.stderr
    result = run_cli("bench", "latency", color_bundles / "int8", "--iterations", 3, "--warmup", 1, "--json", out)
    assert result.returncode == 0, result.stderr
    assert json.loads(out.read_text())["queries"] == 3


def test_the_command_says_what_an_answer_is_made_of(run_cli, voting, tmp_path):
    result = run_cli("bench", "latency", voting.path, "--iterations", 2, "--warmup", 1, "--threads", 1)
    assert result.returncode == 0, result.stderr
    said = "an answer is the mean of 2 draws with the undefended answer's vote of 0.25: 3 runs of the model"
    assert said in result.stdout
    result = run_cli("bench", "latency", voting.path, "--iterations", 2, "--warmup", 1, "--threads", 1, "--draws", 1)
    assert "an answer is one draw with the undefended answer's vote of 0.25: 2 runs of the model" in result.stdout
