"""The settings that a tuning looks at, what they cost, and which are within the budget."""

from dataclasses import replace

import numpy as np
import pytest

from bench.attacks.model import load_gradient_model
from bench.robustness.store import ResultStore
from bench.tuning import screening
from bench.tuning.answers import Ballot, bare_answers
from bench.tuning.candidates import GRIDS, NOISES, SCALES, Series, Setting, all_series
from bench.tuning.contest import Pictures
from bench.tuning.screening import Budget, Screened, Screening, _middle, _standard_error, accuracies, never_better
from bench.tuning.search import _strongest
from edgedefend.combining import NOBODY, Vote


def test_a_loss_within_the_budget_by_luck_alone_is_not_within_it():
    screened = Screened(Setting("t", 1, *GRIDS[0], 1), {1: 0.9, 2: 0.915, 4: 0.92}, {1: 0.01, 2: 0.01, 4: 0.01})
    assert Budget(0.9).surely(screened, 1) == pytest.approx(0.9 - 1.6449 * 0.01, abs=1e-6)
    assert [Budget(floor).enough_draws(screened) for floor in (0.88, 0.9, 0.91)] == [1, 4, None]
    # As likely as not: as before where one can be sure, else with all draws, though fewer seem to do.
    unsure = [Budget(floor, 0.5).enough_draws(screened) for floor in (0.88, 0.9, 0.91, 0.92, 0.93)]
    assert unsure == [1, 4, 4, 4, None]
    assert Budget(0.88, 0.99).enough_draws(screened) == 2
    right = np.array([True, True, True, False])
    # Lost: 0, 1/2, 1, -1/4, of mean 0.3125.
    lost = np.array([0, 0.5, 1, -0.25])
    error = np.sqrt(((lost - lost.mean()) ** 2).sum() / 3 / 4)
    assert _standard_error([1, 0.5, 0, 0.25], right) == pytest.approx(error)
    assert _standard_error([1.0], right[:1]) == 0


def test_what_seems_to_gain_by_more_noise_shares_its_luck():
    settings = [Setting("t", 1, *GRIDS[1], 1, noise) for noise in NOISES[:4]]
    found = ({1: 0.9, 2: 0.95}, {1: 0.8, 2: 0.9}, {1: 0.9, 2: 0.9}, {1: 0.7, 2: 0.8})
    errors = [{1: 0.01, 2: 0.02 + place / 100} for place in range(4)]
    fitted = never_better([Screened(*each) for each in zip(settings, found, errors, strict=True)])
    assert [one.accuracy[1] for one in fitted] == pytest.approx([0.9, 0.85, 0.85, 0.7])
    assert [one.accuracy[2] for one in fitted] == pytest.approx([0.95, 0.9, 0.9, 0.8])
    assert [one.measured for one in fitted] == list(found) and [one.error for one in fitted] == errors
    assert [one.setting for one in fitted] == settings and never_better([]) == []


def test_a_screening_with_more_draws_than_the_one_before_makes_them(color_model_file, tmp_path):
    model = load_gradient_model(color_model_file)
    grey = np.random.default_rng(0).integers(100, 150, (4, 40, 48, 3), np.uint8)
    labels = bare_answers(model, grey).astype(np.int32)
    photographs = Pictures(grey, labels, labels, tuple("abcd"))
    series = [Series((Setting("t", 1.0, *GRIDS[1], 1),))]
    with ResultStore(tmp_path, {"kind": "tuning"}) as store:
        for draws in (1, 4, 4):
            table = {"t": np.full((8, 8), 25.0)}
            screening = Screening(model, table, photographs, np.ones(4, np.bool_), store, (1, draws), 0)
            assert max(screening.all_of(series, 0, lambda done: None)[0].accuracy) == draws
        assert len(store) == 2


def test_a_screening_shares_luck_within_a_series_and_ends_it_by_what_was_measured(tmp_path):
    """On results that are there already: nothing of it is measured again."""
    settings = [Setting("t", 1, *GRIDS[1], 1, noise) for noise in NOISES[:4]]
    found = (0.8, 0.9, 0.5, 0.95)
    ticks = []
    with ResultStore(tmp_path, {"kind": "tuning"}) as store:
        store.append(
            {
                "cell": one.name,
                "image": "all",
                "point": "accuracy of up to 1 draws",
                "accuracy": {"1": value},
                "error": {"1": 0.01},
            }
            for one, value in zip(settings, found, strict=True)
        )
        screening = Screening(None, {}, None, None, store, (1,), 0)
        screened = screening.all_of([Series(tuple(settings))], 0.6, ticks.append)
    assert [one.accuracy[1] for one in screened] == pytest.approx([0.85, 0.85, 0.5])
    assert [one.measured[1] for one in screened] == [0.8, 0.9, 0.5]
    assert sum(ticks) == len(settings), "the one that is left out is done with, too"


def test_the_most_noise_within_the_budget_is_looked_for_between_the_levels(tmp_path):
    """Of each vote by itself, down to whole levels; the accuracies were all measured before."""
    levels = {8.0: 0.9, 12.0: 0.7, 10.0: 0.86, 11.0: 0.79, 9.0: 0.5}
    with ResultStore(tmp_path, {"kind": "tuning"}) as store:
        store.append(
            {"cell": Setting("t", 1, *GRIDS[1], 1, noise).name, "image": "all", "point": "accuracy of up to 1 draws",
             "accuracy": {"1": value}, "error": {"1": 0.0}}
            for noise, value in levels.items()
        )  # fmt: skip
        screening, ticks = Screening(None, {}, None, None, store, (1,), 0), []
        series = Series(tuple(Setting("t", 1, *GRIDS[1], 1, noise) for noise in (8.0, 12.0)))
        coarse = screening.all_of([series], 0.8, lambda done: None)
        fine = screening.refined(coarse, Budget(0.8), ticks.append)
        assert [(one.setting.noise_std, one.accuracy[1]) for one in fine] == [
            (8, 0.9),
            (10, 0.86),
            (11, 0.79),
            (12, 0.7),
        ]
        assert ticks == [1] and [one.setting.noise_std for one in _strongest(fine, Budget(0.8))] == [10]
        everything = screening.refined(coarse, Budget(0.6), ticks.append)
        nothing = screening.refined(coarse, Budget(0.95), ticks.append)
        assert everything == nothing == coarse
    tables = [
        Screened(Setting("t", scale, *GRIDS[1], 1), {1: value}, {1: 0.0}) for scale, value in ((1, 0.9), (2, 0.5))
    ]
    assert _middle(tables, Budget(0.8)) is None, "a table has no levels of noise"


def test_every_vote_is_a_series_of_its_own_that_goes_on_while_any_reaches_the_floor(tmp_path):
    settings = [Setting("t", 1, *GRIDS[1], 1, noise) for noise in NOISES[:3]]
    found = {0.0: (0.8, 0.5, 0.4), 0.2: (0.9, 0.7, 0.5)}
    with ResultStore(tmp_path, {"kind": "tuning"}) as store:
        store.append(
            {"cell": replace(one, vote=Vote(vote)).name, "image": "all", "point": "accuracy of up to 1 draws",
             "accuracy": {"1": values[place]}, "error": {"1": 0.0}}
            for vote, values in found.items()
            for place, one in enumerate(settings)
        )  # fmt: skip
        screening = Screening(None, {}, None, None, store, (1,), 0)
        screened = screening.all_of([Series(tuple(settings), (NOBODY, Vote(0.2)))], 0.6, lambda done: None)
    assert [one.setting.vote.share for one in screened] == [0.0] * 3 + [0.2] * 3
    assert [one.accuracy[1] for one in screened] == pytest.approx([*found[0.0], *found[0.2]])
    strongest = _strongest(screened, Budget(0.7))
    assert [(one.setting.vote.share, one.setting.noise_std) for one in strongest] == [
        (0.0, NOISES[0]),
        (0.2, NOISES[1]),
    ]


def test_the_draws_of_a_setting_serve_all_of_its_votes(color_model_file, monkeypatch):
    """Each accuracy is that of answers with the vote, and no draw is made twice for another vote."""
    model = load_gradient_model(color_model_file)
    rng = np.random.default_rng(0)
    grey = rng.integers(100, 150, (12, 40, 48, 3), np.uint8)
    labels = bare_answers(model, grey).astype(np.int32)
    photographs = Pictures(grey, labels, labels, tuple("abcdefghijkl"))
    tables = {"feature-distillation": np.full((8, 8), 25, np.float32)}
    setting = Setting("feature-distillation", 1.0, *GRIDS[1], 1, 40.0)
    asked = []
    drawn = screening.draw_probabilities
    monkeypatch.setattr(screening, "draw_probabilities", lambda *a, **k: asked.append(k["draws"]) or drawn(*a, **k))
    found = accuracies(model, setting, tables, photographs, (1, 4), np.random.default_rng(0), (NOBODY, Vote(0.45)))
    assert asked == [4] and set(found) == {NOBODY, Vote(0.45)}
    several = accuracies(model, setting, tables, photographs, (1, 4), np.random.default_rng(0), answers=3)[NOBODY]
    assert asked == [4, 12]
    for draws, answers in ((4, 3), (1, 12)):
        right = answers * np.array(several[draws])
        assert right == pytest.approx(np.rint(right))
    assert any(2 * each % 1 for each in several[4]), "a fraction that only three answers have"
    right = (bare_answers(model, photographs.pictures) == photographs.labels).mean()
    assert right == 1 and np.mean(found[NOBODY][1]) < np.mean(found[Vote(0.45)][1]) <= right


def test_every_series_is_random_ascends_and_has_the_published_setting_among_it():
    tables = {name: np.full((8, 8), 25, np.float32) for name in ("learned", "feature-distillation")}
    series = list(all_series(tables))
    settings = [setting for one in series for setting in one.settings]
    assert Setting("learned", 1.0, 10, 0.25, 1) in settings
    assert all(setting.distort_limit > 0 for setting in settings)
    assert len({setting.name for setting in settings}) == len(settings)
    assert len({one.settings[0].series for one in series}) == len(series)
    assert all(len({setting.series for setting in one.settings}) == 1 for one in series)
    for one in series:
        steps = [(setting.scale, setting.noise_std) for setting in one.settings]
        assert steps == sorted(steps) and len(steps) == len(set(steps))
    assert all(one.votes == (NOBODY,) for one in series), "a vote is looked at only where it is asked for"
    votes = (Vote(0.1), Vote(0.2))
    voting = list(all_series(tables, votes))
    assert {one.votes for one in voting} == {(NOBODY,), (NOBODY, *votes)}
    milder = Vote(0.15, 8.0, 4)
    added = [one for one in all_series(tables, (milder,)) if one.votes == (milder,)]
    assert len(added) == 3 and all(one.settings[0].noise_std == 14 for one in added), "noisier than those who vote"
    setting = replace(added[0].settings[0], vote=milder)
    ballot = setting.ballot(tables)
    assert "noise 14, vote 0.15 of 4 draws behind noise 8" in setting.name
    assert (ballot.share, ballot.defense.noise_std, ballot.draws) == (0.15, 8, 4)
    assert replace(setting, vote=Vote(0.1)).ballot(tables) == Ballot(0.1)
    assert all(len(one.votes) == 1 for one in voting if not one.settings[0].noise_std)
    assert "vote" not in settings[0].name and "vote 0.2" in replace(settings[0], vote=Vote(0.2)).name
    assert any(setting.noise_std for setting in settings) and any(not setting.noise_std for setting in settings)
    noisy = Setting("learned", 1.0, 10, 0.25, 1, 8.0)
    assert noisy.defense(tables).noise_std == 8 and "noise 8" in noisy.name
    assert Setting("learned", SCALES[-1], 10, 0.25, 1).quant_table(tables)[0, 0] == 25 * SCALES[-1]
