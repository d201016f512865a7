"""`convert --max-accuracy-drop` as a user meets it, on a small real model; and the parts of its search."""

import contextlib
import json
import math
import os
from dataclasses import replace

import cv2
import numpy as np
import pytest

from bench.attacks.base import to_unit
from bench.attacks.model import load_gradient_model
from bench.robustness.figures import trade_off
from bench.robustness.store import ResultStore
from bench.tuning import candidates, contest, screening
from bench.tuning.answers import Ballot, bare_answers, class_probabilities, combined_answers, draw_probabilities
from bench.tuning.candidates import GRIDS, NOISES, SCALES, Series, Setting, all_series
from bench.tuning.contest import Pictures
from bench.tuning.report import by_photograph
from bench.tuning.screening import Budget, Screened, Screening, _middle, _standard_error, accuracies, never_better
from bench.tuning.search import _mean_logarithms, _strongest
from convert.commands import _echo_tuning, _one_by_one
from convert.pipeline import convert_model
from convert.settings import ConvertSettings, Tuned
from edgedefend.bundle import load_bundle
from edgedefend.classifier import Classifier
from edgedefend.combining import NOBODY, Vote
from edgedefend.defense import Defense
from edgedefend.statistics import proportion
from tests.conftest import command_line, one_line

SHORT = ["--quick", "--images", 2, "--table", 1, "--defense", "ours"]
SMALL = ["--precision", "fp32", "--steps", 2, "--tuning-images", 3, "--tuning-draws", 2, "--tuning-vote", 0.2]
SMALL += ["--tuning-report-steps", 300, "--tuning-vote-noise", 4]


@pytest.fixture(scope="module")
def tuned(color_model_file, color_photographs, tmp_path_factory):
    out = tmp_path_factory.mktemp("tuned") / "out"
    words = ["convert", "--model", color_model_file, "--data", color_photographs, "--out", out, *SMALL]
    result = command_line(*words, "--max-accuracy-drop", 0.2)
    assert result.returncode == 0, result.stderr
    return words, out, result


def test_what_was_chosen_is_what_the_board_does(tuned):
    _, out, run = tuned
    found = json.loads((out / "tuning.json").read_text())
    chosen, bundle = found["chosen"], load_bundle(out / "fp32")
    assert (bundle.num_steps, bundle.distort_limit) == (chosen["num_steps"], chosen["distort_limit"])
    assert (bundle.draws, bundle.passes, bundle.noise_std) == (chosen["draws"], chosen["passes"], chosen["noise_std"])
    assert bundle.vote == Vote(**chosen["vote"])
    assert bundle.defense().passes == chosen["passes"] and bundle.defense().noise_std == chosen["noise_std"]
    assert bundle.manifest["measured"]["tuning"]["name"] == chosen["name"]
    assert chosen["name"] in run.stdout and "times the distortion" in run.stdout
    assert (out / "tuning.png").read_bytes().startswith(b"\x89PNG")


def test_the_chosen_setting_is_the_best_of_the_last_round_and_within_the_budget(tuned):
    found = json.loads((tuned[1] / "tuning.json").read_text())
    last = max(row["n"] for row in found["attacked"])
    finalists = [row for row in found["attacked"] if row["n"] == last]
    assert found["chosen"]["name"] == max(finalists, key=lambda row: row["geometric_mean"])["name"]
    assert all(row["accuracy_drop"] <= 0.2 + 1e-9 for row in found["attacked"])
    voting = [row["name"] for row in found["attacked"] if "vote 0.2 of 2 draws behind noise 4" in row["name"]]
    assert voting and len(voting) > len({name.split(", noise")[0] for name in voting}), "less noise went on as well"
    # Halved: the first round has every series that is within the budget, the last not.
    assert len(finalists) < len(found["attacked"])


def test_the_quickest_attack_chooses_and_all_of_them_report(tuned):
    records = [json.loads(line) for line in (tuned[1] / "tuning" / "records.jsonl").read_text().splitlines()]
    found, made = json.loads((tuned[1] / "tuning.json").read_text()), {}
    for record in records:
        if record["point"] == "smallest" and "behind noise 4" in record["cell"]:
            _, _, steps, *way = record["cell"].split(" | ")
            made.setdefault(steps, set()).add(way[0] if way else contest.EVERYTHING)
    assert made.pop("200 steps") == {contest.DRAWS_ALONE}
    milder = Vote(**found["chosen"]["vote"]).milder
    assert made == ({"300 steps": {contest.EVERYTHING, contest.DRAWS_ALONE}} if milder else {})
    assert set(found["report"]["attacks"]) == ({contest.EVERYTHING, *made.get("300 steps", ())})


def test_the_report_is_about_other_photographs(tuned):
    out = tuned[1]
    records = [json.loads(line) for line in (out / "tuning" / "records.jsonl").read_text().splitlines()]
    asked = [record["image"] for record in records if record["cell"].startswith("undefended")]
    found = json.loads((out / "tuning.json").read_text())
    choosing, reporting = (
        {record["image"] for record in records if record["cell"] == f"undefended | 1 | {steps} steps"}
        for steps in (200, 300)
    )
    assert choosing | reporting == set(asked)
    assert choosing and reporting and not choosing & reporting
    assert found["report"]["distortion"][str(found["chosen"]["draws"])]["n"] == 3
    assert found["report"]["undefended_accuracy"]["n"] + found["chosen_on"]["n"] == 12
    assert found["report"]["steps"] == 300
    report, draws = found["report"], str(found["chosen"]["draws"])
    lost = report["undefended_accuracy"]["value"] - report["accuracy"][draws]["value"]
    assert report["accuracy_drop"]["value"] == pytest.approx(lost)
    assert f"it drops by {lost:.3f}" in tuned[2].stdout
    assert ("more than the" in tuned[2].stderr) == (lost > 0.2)


def test_what_older_readers_do_not_know_is_written_only_where_it_is_used():
    plain = Tuned({}, 10, 0.25)
    assert plain.as_json() == {"num_steps": 10, "distort_limit": 0.25}
    tuned = replace(plain, passes=4, noise_std=7.5, draws=2, vote=Vote(0.2))
    used = {"passes": 4, "noise_std": 7.5, "draws": 2, "undefended_vote": 0.2}
    assert tuned.as_json() == {**plain.as_json(), **used}
    milder = replace(plain, vote=Vote(0.2, 4.0, 2)).as_json()
    assert milder == {**plain.as_json(), "milder_vote": {"share": 0.2, "noise_std": 4, "draws": 2}}


@pytest.mark.parametrize(("drop", "told"), [(0.07, True), (0.05, False), (-0.01, False)])
def test_a_drop_beyond_the_budget_on_others_is_said(drop, told, tmp_path, capsys):
    accuracy = proportion(8, 10)
    distortion = {"1": {"ratio": None, "low": None, "high": None, "n": 3, **by_photograph({"a": math.inf}, {"a": 1})}}
    measured = {
        "name": "x", "draws": 1, "undefended_accuracy": accuracy, "accuracy": {"1": accuracy}, "distortion": distortion,
        "accuracy_drop": {"value": drop, "low": drop - 0.02, "high": drop + 0.02, "n": 10},
        "attacks": {contest.EVERYTHING: distortion["1"], contest.DRAWS_ALONE: {**distortion["1"], "ratio": 7.25}},
    }  # fmt: skip
    _echo_tuning(measured, tmp_path, 0.05)
    said = capsys.readouterr()
    assert f"it drops by {drop:.3f} [" in said.out and "no attack worked" in said.out
    assert "of one by itself: everything -, the draws alone 7.2 times" in said.out
    assert ("more than the 0.05 of --max-accuracy-drop" in said.err) == told


def test_a_search_that_was_killed_goes_on_and_ends_the_same(tuned, tmp_path):
    words, out, _ = tuned
    other = tmp_path / "out"
    (other / "tuning").mkdir(parents=True)
    lines = (out / "tuning" / "records.jsonl").read_bytes().splitlines(keepends=True)
    (other / "tuning" / "run.json").write_bytes((out / "tuning" / "run.json").read_bytes())
    # Killed in the middle of a line, all but at the end; what is there is taken as it is.
    (other / "tuning" / "records.jsonl").write_bytes(b"".join(lines[:-2]) + lines[-2][:10])
    again = [other if word == out else word for word in words]
    result = command_line(*again, "--max-accuracy-drop", 0.2)
    assert result.returncode == 0, result.stderr
    assert (other / "tuning.json").read_text() == (out / "tuning.json").read_text()
    assert len((other / "tuning" / "records.jsonl").read_bytes().splitlines()) == len(lines)


def test_too_few_photographs_are_said_before_anything_is_attacked(color_model_file, color_photographs, tmp_path):
    words = ["convert", "--model", color_model_file, "--data", color_photographs, "--out", tmp_path / "out"]
    result = command_line(*words, "--steps", 2, "--max-accuracy-drop", 0.05)
    assert result.returncode == 3
    line = result.stderr.splitlines()[-1]
    assert "what settings cost" not in result.stderr
    assert "12 photographs" in line and "tuning needs 24" in line and "--tuning-images" in line


def test_a_budget_that_nothing_meets_names_what_comes_nearest(color_model_file, tmp_path, monkeypatch):
    # A step of 2048 leaves nothing of dark pictures, whatever the grid.
    monkeypatch.setattr(candidates, "SCALES", (1000.0,))
    monkeypatch.setattr(candidates, "_BEHIND_NOISE", ())
    lines = ["file,label"]
    for number in range(9):
        image = np.full((40, 48, 3), 20, np.uint8)
        image[..., number % 3] = 90 + number
        cv2.imwrite(str(tmp_path / f"{number}.png"), image[..., ::-1])
        lines.append(f"{number}.png,{number % 3}")
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    words = ["convert", "--model", color_model_file, "--data", tmp_path / "labels.csv", "--out", tmp_path / "out"]
    result = command_line(*words, *SMALL, "--max-accuracy-drop", 0.01, "--tuning-confidence", 0.8)
    line = result.stderr.splitlines()[-1]
    assert result.returncode == 2, result.stderr
    assert "no setting keeps the accuracy within 0.01 of the undefended 1.000" in line and "x1000" in line
    assert "(80 %), which is what counts" in line and "--tuning-confidence" in line
    assert not (tmp_path / "out" / "fp32").exists()


def test_random_weights_have_no_accuracy_to_keep(tmp_path):
    from bench.tuning.search import Tuner
    from convert.models import load_model
    from edgedefend.dataset import Dataset
    from edgedefend.errors import InputError

    model = load_model("inception-v3", weights="random")
    with pytest.raises(InputError, match="random weights"):
        Tuner(0.05)(
            model, Dataset("none", ()), [], np.full((8, 8), 20, np.float32), folder=tmp_path, seed=0, progress=None
        )


def test_a_missing_library_is_named_with_what_brings_it(run_cli, tmp_path):
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "__init__.py").write_text("raise ModuleNotFoundError('no', name='scipy')")
    words = ["convert", "--model", "efficientnet-lite0", "--out", tmp_path / "out", "--max-accuracy-drop", 0.05]
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    line = one_line(run_cli(*words, env={"PYTHONPATH": path}, cwd=tmp_path), 1)
    assert line.endswith("pip install 'edgedefend[convert,bench]'") and "--max-accuracy-drop" in line


# -- parts -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("high", [5.0, None])
def test_the_picture_takes_any_result(high):
    row = {"name": "x", "accuracy_drop": 0.04, "ratio": 3.0, "low": 2.0, "high": high, "n": 3}
    others = {**row, "name": "y", "accuracy_drop": 0.07}
    pictures = [
        trade_off([], 0.05, "x", {**others, "ratio": None}),
        trade_off([row], 0.05, "x"),
        trade_off([row], 0.05, "x", others),
    ]
    decoded = [cv2.imdecode(np.frombuffer(one, np.uint8), cv2.IMREAD_COLOR) for one in pictures]
    assert len({one.tobytes() for one in decoded}) == 3


def test_answers_are_means_of_draws_of_their_own():
    probabilities = np.array([[[0.6, 0.4]], [[0.1, 0.9]], [[0.8, 0.2]], [[0.7, 0.3]]], np.float32)
    assert combined_answers(probabilities, 1).ravel().tolist() == [0, 1, 0, 0]
    assert combined_answers(probabilities, 2).ravel().tolist() == [1, 0]
    assert combined_answers(probabilities, 3).ravel().tolist() == [0]
    bare = np.array([[0.3, 0.7]], np.float32)
    assert combined_answers(probabilities, 2, bare, 0.4).ravel().tolist() == [1, 1]
    probabilities[0, 0, 0] = np.nan
    assert combined_answers(probabilities, 2).ravel().tolist() == [-1, 0], "an answer that is no number is none"


def test_of_each_series_the_strongest_within_the_budget_goes_on():
    fine, coarse, other = (
        Setting("t", scale, *grid, 1) for scale, grid in ((1, GRIDS[1]), (2, GRIDS[1]), (1, GRIDS[0]))
    )
    quiet, loud = (Setting("t", 1, *GRIDS[1], 1, noise) for noise in NOISES[:2])
    none = {1: 0.0, 2: 0.0}
    screened = [
        Screened(fine, {1: 0.9, 2: 0.9}, none),
        Screened(coarse, {1: 0.7, 2: 0.85}, none),
        Screened(other, {1: 0.5, 2: 0.6}, none),
        Screened(quiet, {1: 0.9, 2: 0.91}, none),
        Screened(loud, {1: 0.8, 2: 0.9}, none),
    ]
    assert [one.setting for one in _strongest(screened, Budget(0.9))] == [fine, loud]
    assert [one.setting for one in _strongest(screened, Budget(0.85))] == [coarse, loud]
    assert Budget(0.85).enough_draws(screened[1]) == 2 and Budget(0.85).enough_draws(screened[0]) == 1
    assert _strongest(screened, Budget(0.99)) == []


def test_with_a_vote_less_noise_goes_on_as_well():
    def screened(vote, noises):
        settings = [Setting("t", 1, *GRIDS[1], 1, noise, vote) for noise in noises]
        return [Screened(setting, {1: 0.9}, {1: 0.0}) for setting in settings]

    noises = (10.0, 14.0, 16.0, 17.0, 20.0)
    several = [*screened(NOBODY, noises), *screened(Vote(0.2), noises), *screened(Vote(0.2, 5.0, 2), noises[3:])]
    went_on = [(str(one.setting.vote), one.setting.noise_std) for one in _strongest(several, Budget(0.8))]
    milder = str(Vote(0.2, 5.0, 2))
    assert sorted(went_on) == [("", 20), ("vote 0.2", 14), ("vote 0.2", 20), (milder, 20)]


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


def test_one_attack_that_fell_short_does_not_decide_between_settings():
    """It counts as the most that this photograph needed behind any of them, and as the largest where all fell short."""
    found = {
        "stronger": {"a": 0.004, "b": 0.008, "c": 0.008, "d": math.inf},
        "weaker": {"a": 0.002, "b": math.inf, "c": 0.004, "d": math.inf},
    }
    means = _mean_logarithms(found, 0.064)
    assert math.exp(4 * means["stronger"]) == pytest.approx(0.004 * 0.008 * 0.008 * 0.064)
    assert math.exp(4 * means["weaker"]) == pytest.approx(0.002 * 0.008 * 0.004 * 0.064)


def test_what_seems_to_gain_by_more_noise_shares_its_luck():
    settings = [Setting("t", 1, *GRIDS[1], 1, noise) for noise in NOISES[:4]]
    found = ({1: 0.9, 2: 0.95}, {1: 0.8, 2: 0.9}, {1: 0.9, 2: 0.9}, {1: 0.7, 2: 0.8})
    errors = [{1: 0.01, 2: 0.02 + place / 100} for place in range(4)]
    fitted = never_better([Screened(*each) for each in zip(settings, found, errors, strict=True)])
    assert [one.accuracy[1] for one in fitted] == pytest.approx([0.9, 0.85, 0.85, 0.7])
    assert [one.accuracy[2] for one in fitted] == pytest.approx([0.95, 0.9, 0.9, 0.8])
    assert [one.measured for one in fitted] == list(found) and [one.error for one in fitted] == errors
    assert [one.setting for one in fitted] == settings and never_better([]) == []


def test_a_median_does_not_hide_who_pays():
    bare = {"a": 0.001, "b": 0.002, "c": 0.001, "d": math.inf, "e": 0.001}
    found = by_photograph({"a": 0.008, "b": 0.004, "c": math.inf, "d": 0.01, "e": 0.004}, bare)
    assert found["ratios"] == [2, 4, 8, None]
    assert found["geometric_mean_ratio"] == pytest.approx(4), "without the one on which no attack worked"
    assert _one_by_one(found) == "at least 2.0, on average 4.0, 1 never"
    assert _one_by_one(by_photograph({"a": 0.003}, bare)) == "at least 3.0, on average 3.0"


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


@pytest.mark.parametrize("vote", [Vote(0.2), Vote(0.2, 3.0, 2)])
def test_an_evaluation_of_a_tuned_bundle_says_what_it_was_of(vote, color_model_file, color_photographs, tmp_path):
    def tuner(model, data, images, learned, **rest):
        table = {"name": "t", "quant_table": learned.tolist()}
        return Tuned(table, 10, 0.1, passes=2, noise_std=6.0, draws=2, vote=vote)

    settings = ConvertSettings(
        str(color_model_file), tmp_path / "out", str(color_photographs), precisions=("fp32",), steps=2, tuner=tuner
    )
    convert_model(settings, lambda label, length: contextlib.nullcontext(lambda count: None))
    words = ["--model", color_model_file, "--data", color_photographs, "--out", tmp_path / "r", *SHORT]
    result = command_line("bench", "robustness", tmp_path / "out" / "fp32", *words)
    assert result.returncode == 0, result.stderr
    found = json.loads((tmp_path / "r" / "robustness.json").read_text())["bundle"]
    assert (found["passes"], found["noise_std"], found["distort_limit"], found["draws"]) == (2, 6.0, 0.1, 2)
    assert found.get("undefended_vote") == (None if vote.milder else 0.2)
    assert found.get("milder_vote") == ({"share": 0.2, "noise_std": 3, "draws": 2} if vote.milder else None)
    report = (tmp_path / "r" / "report.md").read_text()
    assert "mean of 2 draws" in report and "vote of 0.2" in report and ("noise of 3 levels" in report) == vote.milder


def test_a_bundle_s_own_number_of_draws_is_the_default(tuned, color_photographs, run_cli):
    bundle = tuned[1] / "fp32"
    loaded = load_bundle(bundle)
    result = run_cli("classify", "--json", bundle, color_photographs.parent / "0.png")
    assert json.loads(result.stdout)["draws"] == loaded.draws
    assert Classifier(loaded).defense.passes == loaded.passes
