import numpy as np
import pytest

from edgedefend.bundle import load_bundle
from edgedefend.classifier import Classifier
from edgedefend.draws import BatchChoice


def choose(batch_s: list[float], apart_s: list[float]) -> BatchChoice:
    """A choice that has seen calls of these lengths."""
    choice, waiting = BatchChoice(), {True: list(batch_s), False: list(apart_s)}
    for _ in range(len(batch_s) + len(apart_s)):
        way = choice.batched(5)
        choice.note(5, way, waiting[way].pop(0))
    return choice


@pytest.mark.parametrize(
    ("batch_s", "apart_s", "batched"),
    [
        ([9.0, 2.0, 2.5], [9.0, 3.0, 2.1], True),
        ([9.0, 2.0, 2.5], [9.0, 1.9, 9.0], False),
        ([0.1, 2.0, 2.5], [9.0, 1.9, 9.0], False),  # the first call each way is not counted
    ],
)
def test_the_faster_way_is_kept_to(batch_s, apart_s, batched):
    choice = choose(batch_s, apart_s)
    assert choice.settled(5)
    assert choice.batched(5) is batched
    choice.note(5, batched, 100.0)  # a disturbance later on changes nothing
    assert choice.batched(5) is batched
    assert not choice.settled(6)


def test_a_model_without_batches_is_not_asked_again():
    choice = BatchChoice()
    assert choice.batched(3)
    choice.rule_out_batches()
    assert not choice.batched(3)
    assert not choice.batched(4)
    assert choice.settled(4)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_both_ways_give_the_same_answers(color_bundles, photographs, precision):
    bundle = load_bundle(color_bundles / precision)
    several, single = (Classifier(bundle, threads=1, rng=np.random.default_rng(7)) for _ in range(2))
    ways = []
    for image in [*photographs[:4]] * 2:
        ways.append(several.draw_choice.batched(3))
        prediction = several.classify(image, draws=3)
        mean = np.mean([single.classify(image).probabilities for _ in range(3)], axis=0)
        assert prediction.probabilities == pytest.approx(mean, abs=2e-3)
        assert prediction.draws == 3
    assert ways[:6] == [True, True, True, False, False, False]
    assert several.draw_choice.settled(3)


def test_a_model_with_a_built_in_batch_is_called_once_a_draw(color_bundles, photographs, monkeypatch):
    several, single = (
        Classifier(load_bundle(color_bundles / "int8"), threads=1, rng=np.random.default_rng(7)) for _ in range(2)
    )
    monkeypatch.setattr(several.interpreter, "set_batch", lambda batch: batch == 1)
    prediction = several.classify(photographs[0], draws=4)
    mean = np.mean([single.classify(photographs[0]).probabilities for _ in range(4)], axis=0)
    assert prediction.probabilities == pytest.approx(mean, abs=2e-3)
    assert several.draw_choice.settled(4)


def test_bench_draws(run_cli, color_bundles, tmp_path):
    import json

    result = run_cli(
        "bench", "draws", color_bundles / "int8", "--draws", 3, "--rounds", 4, "--json", tmp_path / "d.json"
    )
    assert result.returncode == 0, result.stderr
    saved = json.loads((tmp_path / "d.json").read_text())
    assert f"{saved['ratio']:.3f}" in result.stdout
    assert saved["p10"] <= saved["ratio"] <= saved["p90"]
    assert saved["model_ratio"] > 0
    assert saved["reached"] == (saved["ratio"] < 1)
