"""Verdicts and curves on records whose right answer is known."""

import math

import numpy as np
import pytest

from bench.robustness.curve import (
    distortion_ratio,
    queries_to_success,
    security_curve,
    smallest_distortions,
    strongest,
)
from bench.robustness.judge import ask


def record(image, l2_rms, *, hit, right=0.0, select_hit=None, select_right=None, queries=10):
    verdict = {"hit": hit, "right": right, "draws": 10, "nonfinite": 0}
    select = {**verdict, "hit": hit if select_hit is None else select_hit}
    select["right"] = right if select_right is None else select_right
    return {"image": image, "l2_rms": l2_rms, "select": select, "judge": {"ours": verdict}, "queries": queries}


# -- verdicts ----------------------------------------------------------------------------------------------------------


class MeanLevel:
    """Class 0 for dark images, 1 for bright ones, NaN for white."""

    def logits(self, images):
        mean = images.mean(axis=(1, 2, 3))
        out = np.stack([1 - mean, mean], axis=1)
        out[mean > 0.99] = np.nan
        return out


def test_the_verdict_counts_fresh_draws():
    pictures = np.stack([np.full((4, 4, 3), level, np.uint8) for level in (40, 200, 255)])
    labels, targets = np.array([0, 0, 0], np.int32), np.array([1, 1, 1], np.int32)

    def defend(batch, rng):
        return np.where(rng.random((len(batch), 1, 1, 1)) < 0.5, 255 - batch, batch).astype(np.uint8)

    rng = np.random.default_rng(0)
    dark, bright, white = ask(MeanLevel(), lambda b, r: b, pictures, labels, targets, draws=2, rng=rng)
    assert (dark["right"], dark["hit"]) == (1.0, 0.0)
    assert (bright["right"], bright["hit"]) == (0.0, 1.0)
    assert (white["right"], white["hit"], white["nonfinite"]) == (0.0, 0.0, 2), "NaN is never a success"
    often = ask(MeanLevel(), defend, pictures[:1], labels[:1], targets[:1], draws=200, rng=rng)[0]
    assert 0.35 < often["right"] < 0.65
    assert often["right"] + often["hit"] == pytest.approx(1)
    untargeted = ask(MeanLevel(), lambda b, r: b, pictures, labels, None, draws=1, rng=rng)
    assert [verdict["hit"] for verdict in untargeted] == [0.0, 1.0, 0.0]


# -- curves ------------------------------------------------------------------------------------------------------------


def test_the_attacker_has_the_best_of_what_he_could_afford():
    records = [record("a", 0.01, hit=1.0), record("a", 0.02, hit=0.2), record("b", 0.02, hit=0.6)]
    chosen = strongest(records, 0.03, "ours", targeted=True)
    assert chosen["a"]["l2_rms"] == 0.01
    assert chosen["b"]["l2_rms"] == 0.02
    assert set(strongest(records, 0.015, "ours", targeted=True)) == {"a"}
    clean = {"a": {"right": 1.0, "hit": 0.0}, "b": {"right": 0.9, "hit": 0.0}}
    rates = [
        point["attack_success_rate"]["value"] for point in security_curve(clean, records, [], [0.01, 0.02], "ours")
    ]
    assert rates == pytest.approx([0.0, 0.5, 0.8])


def test_he_chooses_by_his_own_draws_and_is_judged_by_others():
    """Were he judged by the draws that he chose by, the best of many lucky pictures would count as success."""
    lucky, good = record("a", 0.01, hit=0.1, select_hit=0.9), record("a", 0.01, hit=0.6, select_hit=0.7)
    assert strongest([good, lucky], 0.05, "ours", targeted=True)["a"] is lucky
    curve = security_curve({"a": {"right": 1.0, "hit": 0.0}}, [good, lucky], [], [0.05], "ours")
    assert curve[-1]["attack_success_rate"]["value"] == pytest.approx(0.1)
    # Of two that fooled all of his draws the one with more distortion is the surer one.
    just, surely = record("a", 0.01, hit=0.6, select_hit=1.0), record("a", 0.02, hit=1.0)
    for both in ([just, surely], [surely, just]):
        assert strongest(both, 0.05, "ours", targeted=True)["a"] is surely
        assert strongest(both, 0.015, "ours", targeted=True)["a"] is just


def test_untargeted_attacks_cost_accuracy_but_are_no_targeted_success():
    clean = {"a": {"right": 1.0, "hit": 0.0}}
    curve = security_curve(clean, [], [record("a", 0.01, hit=1.0, right=0.25)], [0.01], "ours")
    assert [point["robust_accuracy"]["value"] for point in curve] == [1.0, 0.25]
    assert [point["attack_success_rate"]["value"] for point in curve] == [0.0, 0.0]
    assert curve[0]["robust_accuracy"]["n"] == 1


def test_a_photograph_that_was_spared_one_attack_does_not_look_more_robust():
    clean = {"a": {"right": 1.0, "hit": 0.0}, "b": {"right": 1.0, "hit": 0.0}}
    targeted = [record("a", 0.01, hit=0.0, right=1.0), record("b", 0.01, hit=0.0, right=1.0)]
    curve = security_curve(clean, targeted, [record("a", 0.01, hit=1.0, right=0.0)], [0.01], "ours")
    assert curve[-1]["robust_accuracy"]["value"] == 0.0 and curve[-1]["robust_accuracy"]["n"] == 1
    assert curve[-1]["attack_success_rate"]["n"] == 2


def test_the_ratio_is_that_of_the_medians():
    bare = {f"{n}": 0.001 * (n + 1) for n in range(9)}
    ours = {name: 5 * value for name, value in bare.items()}
    result = distortion_ratio(ours, bare)
    assert result["ratio"] == pytest.approx(5)
    assert result["median"] == pytest.approx(0.025)
    assert result["low"] <= 5 <= result["high"]
    assert result["n"] == 9


def test_a_ratio_that_is_not_known_is_not_invented():
    never = dict.fromkeys("abc", math.inf)
    result = distortion_ratio(never, dict.fromkeys("abc", 0.001))
    assert result["median"] is None and result["ratio"] is None
    assert distortion_ratio({}, {})["n"] == 0
    assert distortion_ratio(never, never)["low"] is None


def test_an_attack_that_fails_has_no_smallest_distortion():
    records = [record("a", 0.01, hit=0.4), record("a", 0.02, hit=0.6), record("b", 0.05, hit=0.0)]
    assert smallest_distortions(records, "ours") == {"a": 0.02, "b": math.inf}
    assert queries_to_success(records, "ours") == {"median": 10.0, "succeeded": 1, "n": 2}
