"""`convert --max-accuracy-drop` as a user meets it, on a small real model; who goes on in it, and its report."""

import contextlib
import json
import math
import os
from dataclasses import replace

import cv2
import numpy as np
import pytest

from bench.robustness.figures import trade_off
from bench.tuning import candidates, contest
from bench.tuning.candidates import GRIDS, NOISES, Setting
from bench.tuning.report import by_photograph
from bench.tuning.screening import Budget, Screened
from bench.tuning.search import _mean_logarithms, _strongest
from convert.commands import _echo_tuning, _one_by_one
from convert.pipeline import convert_model
from convert.settings import ConvertSettings, Tuned
from edgedefend.bundle import load_bundle
from edgedefend.classifier import Classifier
from edgedefend.combining import NOBODY, Vote
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


def test_one_attack_that_fell_short_does_not_decide_between_settings():
    """It counts as the most that this photograph needed behind any of them, and as the largest where all fell short."""
    found = {
        "stronger": {"a": 0.004, "b": 0.008, "c": 0.008, "d": math.inf},
        "weaker": {"a": 0.002, "b": math.inf, "c": 0.004, "d": math.inf},
    }
    means = _mean_logarithms(found, 0.064)
    assert math.exp(4 * means["stronger"]) == pytest.approx(0.004 * 0.008 * 0.008 * 0.064)
    assert math.exp(4 * means["weaker"]) == pytest.approx(0.002 * 0.008 * 0.004 * 0.064)


def test_a_median_does_not_hide_who_pays():
    bare = {"a": 0.001, "b": 0.002, "c": 0.001, "d": math.inf, "e": 0.001}
    found = by_photograph({"a": 0.008, "b": 0.004, "c": math.inf, "d": 0.01, "e": 0.004}, bare)
    assert found["ratios"] == [2, 4, 8, None]
    assert found["geometric_mean_ratio"] == pytest.approx(4), "without the one on which no attack worked"
    assert _one_by_one(found) == "at least 2.0, on average 4.0, 1 never"
    assert _one_by_one(by_photograph({"a": 0.003}, bare)) == "at least 3.0, on average 3.0"


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
