"""One task from photographs to records: how many draws stand behind what it says, how far a search goes."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="attacks need gradients (extra 'convert')")

from bench.attacks.model import GradientModel
from bench.attacks.voting import Voting
from bench.baselines.ours import Ours
from bench.robustness import attackers, descent, work
from bench.robustness.cells import Cell, Task
from bench.robustness.players import bare_model
from bench.robustness.subject import choose_photographs, open_model, subject_of
from bench.robustness.work import execute
from edgedefend.combining import Vote
from edgedefend.dataset import load_dataset

ANSWERS, PHOTOS = 4, 2
# The paper's descent is asked twice: before its only round, and after it.
CELLS = {
    "draws": (Cell("draws", "ours", draws=ANSWERS), 1),
    "rounds": (
        Cell("rounds", "ours", points=(0.4,), draws=ANSWERS,
             options={"rounds": 1, "eot_samples": 1, "learning_rate": 0.1}),
        2,
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", CELLS)
def test_an_answer_of_ours_is_made_of_as_many_draws_as_the_bundle_asks_for(
    kind, color_model_file, color_photographs, monkeypatch
):
    cell, asked = CELLS[kind]
    single = subject_of(str(color_model_file), table="feature-distillation")
    data = load_dataset(str(color_photographs), open_model(single).labels)
    photos, _, _ = choose_photographs(data, single, bare_model(single).logits, PHOTOS)
    drawn = []
    one = Ours.one
    monkeypatch.setattr(Ours, "one", lambda self, picture, rng: drawn.append(1) or one(self, picture, rng))
    made = []
    for draws in (1, 3):
        drawn.clear()
        records = execute(replace(single, draws=draws), 0, Task(cell, cell.points[0], 0, tuple(photos)))
        made.append(len(drawn))
        assert [record["judge"]["ours"]["draws"] for record in records] == [ANSWERS] * PHOTOS
    assert made[1] - made[0] == asked * ANSWERS * PHOTOS * (3 - 1)


@pytest.mark.parametrize("kind", CELLS)
def test_ours_is_judged_with_the_vote_that_the_bundle_gives(kind, color_model_file, color_photographs, monkeypatch):
    cell, _ = CELLS[kind]
    subject = replace(subject_of(str(color_model_file), table="feature-distillation"), vote=Vote(0.3))
    data = load_dataset(str(color_photographs), open_model(subject).labels)
    photos, _, _ = choose_photographs(data, subject, bare_model(subject).logits, PHOTOS)
    votes = []
    for module in (work, descent):
        monkeypatch.setattr(
            module, "ask", lambda *a, real=module.ask, **k: votes.append(k["vote"].share) or real(*a, **k)
        )
    for defense in ("ours", "jpeg"):
        execute(subject, 0, Task(replace(cell, defense=defense), cell.points[0], 0, tuple(photos)))
    assert set(votes[: len(votes) // 2]) == {0.3} and set(votes[len(votes) // 2 :]) == {0.0}


def test_ours_is_attacked_with_the_vote_that_the_bundle_gives(color_model_file):
    subject = subject_of(str(color_model_file), table="feature-distillation")
    voting, milder = (replace(subject, noise_std=20.0, vote=vote) for vote in (Vote(0.3), Vote(0.2, 5.0, 2)))
    ways = ("known", "identity", "soft")
    made = {
        (spec.vote.share, name, way): attackers._defended(spec, bare_model(spec), name, way, {"eot_samples": 2})
        for spec in (subject, voting, milder)
        for name in ("none", "ours", "jpeg")
        for way in ways
    }
    assert {key for key, model in made.items() if isinstance(model, Voting)} == {
        (vote, "ours", way) for vote in (0.3, 0.2) for way in ways
    }
    assert all(isinstance(made[0.3, "ours", way].voter, GradientModel) for way in ways)
    picture = np.full((1, 40, 48, 3), 0.5, np.float32)
    for way in ways:
        model = made[0.2, "ours", way]
        seen = [
            each.logits(np.repeat(picture, 40, axis=0), np.random.default_rng(0))
            for each in (model.defended, model.voter)
        ]
        assert seen[1].std(axis=0).max() < seen[0].std(axis=0).max() / 2, "who votes has less noise"
        assert not model.draws_alone
    options = {"eot_samples": 2, "draws_alone": True}
    assert attackers._defended(milder, bare_model(milder), "ours", "known", options).draws_alone
    assert isinstance(attackers.identity_model(voting, "ours", 1), Voting)
    assert not isinstance(attackers.identity_model(voting, "jpeg", 1), Voting)


@pytest.mark.parametrize("vote", [Vote(0.3), Vote(0.3, 4.0, 2)])
@pytest.mark.parametrize("attack", sorted(set(attackers._ATTACKS) - {"learned"}))
def test_every_attack_can_be_run_on_a_bundle_with_a_vote(attack, vote, color_model_file, color_photographs):
    subject = replace(subject_of(str(color_model_file), table="feature-distillation"), noise_std=10.0, vote=vote)
    data = load_dataset(str(color_photographs), open_model(subject).labels)
    photos, _, _ = choose_photographs(data, subject, bare_model(subject).logits, PHOTOS)
    options = {"steps": 3, "search_steps": 1, "eot_samples": 2}
    cell = Cell("attack", "ours", attack, points=(0.2,), draws=2, options=options, targeted=attack != "deepfool")
    records = execute(subject, 0, Task(cell, 0.2, 0, tuple(photos)))
    assert len(records) == PHOTOS and all(record["queries"] >= 0 for record in records)
    assert all(record["l2_rms"] <= 0.2 * (1 + 1e-3) and record["nonfinite"] == 0 for record in records)


def smallest_change(model_file, photographs, steps):
    """Return a subject and the task of searching for the smallest change behind its defence."""
    subject = subject_of(str(model_file), table="feature-distillation")
    data = load_dataset(str(photographs), open_model(subject).labels)
    photos, _, _ = choose_photographs(data, subject, bare_model(subject).logits, PHOTOS)
    options = {"steps": steps, "eot_samples": 2, "shrink": True, "way_back": "known"}
    cell = Cell("attack", "ours", "ddn", targeted=True, points=(0.5,), draws=4, options=options)
    return subject, Task(cell, 0.5, 0, tuple(photos))


def test_a_search_that_falls_short_of_the_target_is_taken_a_little_further(
    color_model_file, color_photographs, monkeypatch
):
    subject = subject_of(str(color_model_file), table="feature-distillation")
    data = load_dataset(str(color_photographs), open_model(subject).labels)
    photos, _, _ = choose_photographs(data, subject, bare_model(subject).logits, PHOTOS)
    options = {"steps": 40, "eot_samples": 2, "shrink": True, "way_back": "known"}
    task = Task(
        Cell("attack", "ours", "ddn", targeted=True, points=(0.5,), draws=4, options=options), 0.5, 0, tuple(photos)
    )
    run = attackers.run

    def short(subject, cell, clean, *others, **options):
        result = run(subject, cell, clean, *others, **options)
        return replace(result, images=clean + np.float32(0.6) * (result.images - clean))

    whole = execute(subject, 0, task)
    monkeypatch.setattr(attackers, "run", short)
    further = execute(subject, 0, task)
    for records in (whole, further):
        sent = [record for record in records if record["point"] == "0.5"]
        assert [record["image"] for record in sent] == [photo.key for photo in task.photos]
        assert all(record["select"]["hit"] >= 0.5 and 0 < record["l2_rms"] < 0.5 for record in sent)


def test_a_search_that_found_nothing_at_all_stays_one_that_found_nothing(
    color_model_file, color_photographs, monkeypatch
):
    subject, task = smallest_change(color_model_file, color_photographs, steps=1)
    run = attackers.run

    def nothing(subject, cell, clean, *others, **options):
        return replace(run(subject, cell, clean, *others, **options), images=clean.copy())

    monkeypatch.setattr(attackers, "run", nothing)
    records = execute(subject, 0, task)
    assert [record["point"] for record in records] == ["0.5"] * PHOTOS
    assert all(record["select"]["hit"] == 0 and record["l2_rms"] == 0 for record in records)
