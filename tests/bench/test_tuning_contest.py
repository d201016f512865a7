"""The attacks of a tuning: what is attacked, by whom it is judged, and which attack counts."""

from dataclasses import replace

import numpy as np
import pytest

from bench.attacks.base import to_unit
from bench.attacks.model import load_gradient_model
from bench.robustness.store import ResultStore
from bench.tuning import contest
from bench.tuning.answers import Ballot, bare_answers, class_probabilities, combined_answers, draw_probabilities
from bench.tuning.contest import Pictures
from edgedefend.defense import Defense


def test_answers_are_means_of_draws_of_their_own():
    probabilities = np.array([[[0.6, 0.4]], [[0.1, 0.9]], [[0.8, 0.2]], [[0.7, 0.3]]], np.float32)
    assert combined_answers(probabilities, 1).ravel().tolist() == [0, 1, 0, 0]
    assert combined_answers(probabilities, 2).ravel().tolist() == [1, 0]
    assert combined_answers(probabilities, 3).ravel().tolist() == [0]
    bare = np.array([[0.3, 0.7]], np.float32)
    assert combined_answers(probabilities, 2, bare, 0.4).ravel().tolist() == [1, 1]
    probabilities[0, 0, 0] = np.nan
    assert combined_answers(probabilities, 2).ravel().tolist() == [-1, 0], "an answer that is no number is none"


def test_a_setting_with_a_vote_is_attacked_and_judged_with_it(color_model_file, tmp_path, monkeypatch):
    model = load_gradient_model(color_model_file)
    grey = np.random.default_rng(0).integers(100, 150, (4, 40, 48, 3), np.uint8)
    labels = bare_answers(model, grey).astype(np.int32)
    photographs = Pictures(grey, labels, (labels + 1) % 3, tuple("abcd"))
    attacked, judged = [], []
    voting, combine = contest.Voting, contest.combined_answers
    monkeypatch.setattr(contest, "Voting", lambda *a, **k: attacked.append((a[-1], k)) or voting(*a, **k))
    monkeypatch.setattr(contest, "combined_answers", lambda *a: judged.append(a[-1]) or combine(*a))
    with ResultStore(tmp_path, {"kind": "tuning"}) as store:
        fight = contest.Contest(model, store, contest.Effort(steps=40, eot_samples=2), 0)
        defense = Defense(np.full((8, 8), 2.0), 10, 0.25, noise_std=8)
        without = fight.smallest("none", defense, photographs, 2)
        assert (attacked, set(judged)) == ([], {0.0})
        judged.clear()
        found = fight.smallest("some", defense, photographs, 2, ballot=Ballot(0.45))
    assert attacked == [(0.45, {"draws_alone": False})] and set(judged) == {0.45}
    # The undefended model falls to less than the draws do, so its vote comes early.
    assert np.median(list(found.values())) < np.median(list(without.values()))


def test_milder_draws_vote_and_are_attacked_as_such(color_model_file, tmp_path, monkeypatch):
    model = load_gradient_model(color_model_file)
    grey = np.random.default_rng(0).integers(100, 150, (4, 40, 48, 3), np.uint8)
    defense = Defense(np.full((8, 8), 2.0), 10, 0.25, noise_std=30)
    ballot = Ballot(0.3, defense.with_noise(4), 2)
    voters = ballot.voters(model, grey, 3, np.random.default_rng(1))
    drawn = draw_probabilities(model, ballot.defense, grey, draws=6, rng=np.random.default_rng(1))
    assert voters == pytest.approx(drawn.reshape(3, 2, 4, 3).mean(axis=1), abs=1e-6)
    assert Ballot(0.3).voters(model, grey, 3, None) == pytest.approx(class_probabilities(model, grey))
    assert Ballot().voters(model, grey, 3, None) is None
    attacked, voting = [], contest.Voting
    monkeypatch.setattr(contest, "Voting", lambda *a, **k: attacked.append((*a, k)) or voting(*a, **k))
    labels = bare_answers(model, grey).astype(np.int32)
    photographs = Pictures(grey, labels, (labels + 1) % 3, tuple("abcd"))
    with ResultStore(tmp_path, {"kind": "tuning"}) as store:
        fight = contest.Contest(model, store, contest.Effort(steps=3), 0)
        fight.smallest("x", defense, photographs, 2, ballot=ballot)
    (behind, voter, share, _), (*_, alone) = attacked
    assert alone == {"draws_alone": True}
    assert share == 0.3 and (behind.eot_samples, voter.eot_samples) == (4, 2)
    seen = [each.logits(to_unit(np.repeat(grey[:1], 40, axis=0)), np.random.default_rng(0)) for each in (behind, voter)]
    assert seen[1].std(axis=0).max() < seen[0].std(axis=0).max() / 2, "who votes has less noise"


@pytest.mark.parametrize("better", contest.ways(Ballot(0.3, Defense(np.full((8, 8), 2.0)))))
def test_the_better_of_two_attacks_counts_and_both_are_kept(better, color_model_file, tmp_path, monkeypatch):
    """What one of them has found before is not looked for again: so a longer attack adds to a shorter one."""
    model = load_gradient_model(color_model_file)
    grey = np.random.default_rng(0).integers(100, 150, (4, 40, 48, 3), np.uint8)
    labels = bare_answers(model, grey).astype(np.int32)
    photographs = Pictures(grey, labels, (labels + 1) % 3, tuple("abcd"))
    defense = Defense(np.full((8, 8), 2.0), 10, 0.25, noise_std=20)
    ballot, attack = Ballot(0.3, defense.with_noise(4), 2), contest.Contest._attack
    made = []

    def told(self, purpose, *args):
        made.append(args[-1])
        records = attack(self, purpose, *args)
        if args[-1] == better:
            return records
        return [{**record, "verdicts": {"2": [{"l2_rms": 0.9, "hit": 1.0}]}} for record in records]

    monkeypatch.setattr(contest.Contest, "_attack", told)
    with ResultStore(tmp_path, {"kind": "tuning"}) as store:
        fight = contest.Contest(model, store, contest.Effort(steps=40, eot_samples=2, largest=0.5), 0)
        ticks = []
        found = fight.smallest("x", defense, photographs, 2, ballot=ballot, tick=ticks.append)
        assert ticks == [4, 4]
        each = {
            way: fight.smallest("x", defense, photographs, 2, ballot=ballot, only=way) for way in contest.ways(ballot)
        }
    assert made == list(contest.ways(ballot))
    assert found == each[better] and max(found.values()) < 0.5
    assert all(set(each[way].values()) == {0.9} for way in each if way != better)
    assert contest.ways(Ballot(0.3)) == contest.ways(Ballot()) == (contest.EVERYTHING,)


def test_an_attack_that_falls_short_is_not_a_photograph_that_holds(color_model_file, tmp_path, monkeypatch):
    """Of a change that stops a little before the target an attacker makes one that is a little larger."""
    model = load_gradient_model(color_model_file)
    grey = np.random.default_rng(0).integers(100, 150, (4, 40, 48, 3), np.uint8)
    labels = bare_answers(model, grey).astype(np.int32)
    photographs = Pictures(grey, labels, (labels + 1) % 3, tuple("abcd"))
    defense = Defense(np.full((8, 8), 2.0), 10, 0.25, noise_std=8)
    short = type("Short", (contest.Decoupled,), {"run": lambda self, request: shortened(request, self)})

    def shortened(request, attack):
        result = real(attack, request)
        return replace(result, images=request.images + np.float32(0.6) * (result.images - request.images))

    real, found = contest.Decoupled.run, {}
    for name, attack in (("whole", contest.Decoupled), ("short", short)):
        monkeypatch.setattr(contest, "Decoupled", attack)
        with ResultStore(tmp_path / name, {"kind": "tuning"}) as store:
            fight = contest.Contest(model, store, contest.Effort(steps=40, eot_samples=2, largest=0.5), 0)
            found[name] = fight.smallest("some", defense, photographs, 2)
    assert np.isfinite(list(found["short"].values())).all()
    assert np.array(list(found["short"].values())) == pytest.approx(np.array(list(found["whole"].values())), rel=0.4)
