"""Disagreement of answers: the score, the threshold, and both as `classify` shows them."""

import json
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgedefend.bundle import load_bundle
from edgedefend.classifier import Classifier
from edgedefend.errors import BundleError, InputError
from edgedefend.prediction import prediction_record
from edgedefend.suspicion import learn_threshold, suspicion_score
from tests.test_bundle import edit_manifest


def one_hot(*classes: int) -> np.ndarray:
    return np.eye(4, dtype=np.float32)[list(classes)]


def test_the_score_of_known_answers():
    assert suspicion_score(one_hot(1, 1, 1), one_hot(1)[0]) == 0
    assert suspicion_score(one_hot(1, 1, 1), one_hot(2)[0]) == pytest.approx(0.5), "only the bare model disagrees"
    # Two of three pairs differ; the mean of the draws has 2/3 where the bare answer has 1.
    assert suspicion_score(one_hot(1, 1, 2), one_hot(1)[0]) == pytest.approx((2 / 3 + 1 / 3) / 2)
    assert suspicion_score(one_hot(0, 1, 2), one_hot(3)[0]) == pytest.approx(1)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 9))
def test_the_score_is_a_fraction_whatever_the_answers(seed, draws):
    rng = np.random.default_rng(seed)
    answers = rng.dirichlet(np.full(7, 0.2), draws + 1).astype(np.float32)
    assert 0 <= suspicion_score(answers[:-1], answers[-1]) <= 1


def test_more_draws_do_not_raise_the_score():
    rng = np.random.default_rng(1)
    answers = rng.dirichlet(np.full(5, 0.5), 400).astype(np.float32)
    few = np.mean([suspicion_score(answers[i : i + 2], answers.mean(axis=0)) for i in range(0, 400, 2)])
    pairs_only = 2 * few - np.mean(
        [np.abs(answers[i : i + 2].mean(0) - answers.mean(0)).sum() / 2 for i in range(0, 400, 2)]
    )
    many = 2 * suspicion_score(answers, answers.mean(axis=0))
    assert pairs_only == pytest.approx(many, rel=0.1)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=200))
def test_at_most_one_clean_picture_in_twenty_is_above(scores):
    learned = learn_threshold(np.array(scores), 5)
    assert sum(score > learned.value for score in scores) <= 0.05 * len(scores)
    assert learned.n == len(scores)


def test_the_threshold_is_not_needlessly_high():
    scores = np.arange(100) / 100
    learned = learn_threshold(scores, 5)
    assert learned.value == pytest.approx(0.94)
    assert learned.false_alarms == 0.05


@pytest.fixture
def bundle_with(color_bundles, tmp_path):
    def make(value):
        shutil.copytree(color_bundles / "fp32", tmp_path / "b")
        edit_manifest(tmp_path / "b", "defense", "suspicion", value=value)
        return tmp_path / "b"

    return make


def test_convert_has_learned_a_threshold(color_bundles, run_cli, sample_files):
    for precision in ("fp32", "int8"):
        learned = load_bundle(color_bundles / precision).suspicion
        assert learned is not None and learned.n == 12 and learned.draws == 5
    result = run_cli("classify", "--draws", 5, "--suspicion", color_bundles / "fp32", sample_files[0])
    assert result.returncode == 0, result.stderr
    assert "suspicion 0." in result.stdout and "(threshold 0." in result.stdout


def test_a_bundle_without_a_threshold_still_gives_the_score(color_bundles, tmp_path, photographs):
    shutil.copytree(color_bundles / "fp32", tmp_path / "old")
    manifest = json.loads((tmp_path / "old" / "manifest.json").read_text())
    del manifest["defense"]["suspicion"]
    edit_manifest(tmp_path / "old", "defense", value=manifest["defense"])
    bundle = load_bundle(tmp_path / "old")
    prediction = Classifier(bundle, threads=1).classify(photographs[0], draws=3, suspicion=True)
    assert prediction.suspicion is not None and prediction.suspicious is None
    record = prediction_record(prediction, "x", bundle)
    assert record["suspicious"] is None and 0 <= record["suspicion"] <= 1


def test_what_exceeds_the_threshold_is_suspicious(bundle_with, photographs):
    facts = {"threshold": 0.0, "draws": 5, "false_alarms": 0.05, "n": 20}
    folder = bundle_with(facts)
    prediction = Classifier(load_bundle(folder), threads=1).classify(photographs[3], draws=4, suspicion=True)
    assert prediction.suspicion > 0 and prediction.suspicious is True
    edit_manifest(folder, "defense", "suspicion", "threshold", value=1.0)
    prediction = Classifier(load_bundle(folder), threads=1).classify(photographs[3], draws=4, suspicion=True)
    assert prediction.suspicious is False
    plain = Classifier(load_bundle(folder), threads=1).classify(photographs[3], draws=4)
    assert plain.suspicion is None and "suspicion" not in prediction_record(plain, "x", load_bundle(folder))


@pytest.mark.parametrize(
    "value",
    [
        7,
        {"threshold": 2, "draws": 5, "false_alarms": 0.05, "n": 20},
        {"threshold": 0.5, "draws": 1, "false_alarms": 0.05, "n": 20},
        {"threshold": 0.5, "draws": 5, "false_alarms": 0.05},
    ],
)
def test_a_threshold_that_is_none_is_named(bundle_with, value):
    with pytest.raises(BundleError, match=r"defense\.suspicion"):
        load_bundle(bundle_with(value))


def test_there_must_be_something_to_compare(color_bundles, photographs, run_cli, sample_files):
    bundle = load_bundle(color_bundles / "fp32")
    with pytest.raises(InputError, match="at least 2 draws"):
        Classifier(bundle, threads=1).classify(photographs[0], suspicion=True)
    with pytest.raises(InputError, match="at least 2 draws"):
        Classifier(bundle, threads=1, defended=False).classify(photographs[0], draws=5, suspicion=True)
    result = run_cli("classify", "--suspicion", color_bundles / "fp32", sample_files[0])
    assert result.returncode == 2
    assert "--draws 5" in result.stderr
