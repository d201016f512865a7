"""`bench distortion` on a bundle whose defence was named by hand, on a small real model."""

import json

import pytest

from bench.tuning.contest import DRAWS_ALONE, EVERYTHING
from edgedefend.bundle import load_bundle
from edgedefend.combining import Vote
from edgedefend.statistics import format_proportion
from tests.conftest import command_line

GIVEN = ["--noise-std", 12, "--passes", 2, "--draws", 2, "--vote", 0.3, "--vote-noise", 4, "--vote-draws", 3]


@pytest.fixture(scope="module")
def noisy(color_model_file, color_photographs, tmp_path_factory):
    out = tmp_path_factory.mktemp("noisy") / "out"
    words = ["convert", "--model", color_model_file, "--data", color_photographs, "--out", out, "--precision", "fp32"]
    result = command_line(*words, "--table", "feature-distillation", *GIVEN)
    assert result.returncode == 0, result.stderr
    return out / "fp32"


@pytest.fixture(scope="module")
def measured(noisy, color_model_file, color_photographs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("distortion")
    words = ["bench", "distortion", noisy, "--model", color_model_file, "--data", color_photographs, "--images", 3]
    words += ["--steps", 40, "--largest", 0.5, "--out", folder / "d", "--json", folder / "r.json"]
    result = command_line(*words)
    assert result.returncode == 0, result.stderr
    return words, folder, result


def test_a_defence_named_by_hand_is_what_the_bundle_has(noisy):
    bundle = load_bundle(noisy)
    assert (bundle.noise_std, bundle.passes, bundle.draws, bundle.vote) == (12, 2, 2, Vote(0.3, 4, 3))


def test_it_says_what_the_bundle_costs_and_buys(measured):
    _, folder, run = measured
    found = json.loads((folder / "r.json").read_text())
    assert found["draws"] == 2 and found["vote"] == {"share": 0.3, "noise_std": 4, "draws": 3}
    report = found["report"]
    assert report["steps"] == 40 and set(report["distortion"]) == set(report["accuracy"]) == {"1", "2"}
    assert report["undefended_accuracy"]["n"] == 12 == found["data"]["n"]
    assert all(each["n"] == len(each["ratios"]) == 3 for each in report["distortion"].values())
    assert report["distortion"]["2"]["undefended"] > 0
    assert set(report["attacks"]) == {EVERYTHING, DRAWS_ALONE}
    best, each = report["distortion"]["2"]["ratios"], [one["ratios"] for one in report["attacks"].values()]
    assert all(least <= min(pair) for least, *pair in zip(best, *each, strict=True)) and "of two attacks" in run.stdout
    assert "attacks of 40 steps" in run.stdout and "vote 0.3 of 3 draws behind noise 4" in run.stdout
    assert format_proportion(report["accuracy"]["2"]) in run.stdout
    assert f"{report['distortion']['2']['ratio']:.1f} times the distortion" in run.stdout


def test_a_report_has_it(measured):
    _, folder, _ = measured
    result = command_line("bench", "report", folder / "r.json", "--out", folder / "report")
    assert result.returncode == 0, result.stderr
    (text,) = [path.read_text() for path in (folder / "report").rglob("*.md")]
    found = json.loads((folder / "r.json").read_text())["report"]
    assert "ratio of medians of each by itself: everything " in text
    assert "distortion needed over undefended, 2 draws an answer" in text and "attacks of 40 steps" in text
    assert f"{found['distortion']['2']['geometric_mean_ratio']:.2f}" in text
    assert f"{found['accuracy_drop']['value']:.3f}" in text


def test_an_evaluation_makes_both_searches_as_well(noisy, color_model_file, color_photographs, tmp_path):
    words = ["bench", "robustness", noisy, "--model", color_model_file, "--data", color_photographs, "--images", 2]
    words += ["--quick", "--part", "curve", "--steps", 4, "--epsilon", 0.4, "--defense", "none", "--defense", "ours"]
    result = command_line(*words, "--out", tmp_path)
    assert result.returncode == 0, result.stderr
    found = json.loads((tmp_path / "robustness.json").read_text())["defenses"]
    searches = {name: {attack for attack in found[name]["attacks"] if attack.startswith("ddn")} for name in found}
    assert searches == {"none": {"ddn (targeted)"}, "ours": {"ddn (targeted)", "ddn, the draws alone (targeted)"}}
    assert "one search for the smallest change the others alone" in (tmp_path / "report.md").read_text()


def test_the_same_command_goes_on_and_more_steps_are_another_attack(measured):
    words, folder, _ = measured
    path = folder / "d" / "records.jsonl"
    before, result = path.read_bytes(), json.loads((folder / "r.json").read_text())["report"]
    path.write_bytes(before[:-20])  # killed while it wrote its last line
    assert command_line(*words).returncode == 0
    again = json.loads((folder / "r.json").read_text())["report"]
    assert again["accuracy"] == result["accuracy"], "its draws are those of the seed"
    # The photograph that was lost is attacked anew, by itself.
    assert again["distortion"]["2"]["median"] == pytest.approx(result["distortion"]["2"]["median"], rel=0.1)
    assert len(path.read_bytes().splitlines()) == len(before.splitlines()) == 9
    longer = [60 if word == 40 else word for word in words]
    assert command_line(*longer).returncode == 0
    assert len(path.read_bytes().splitlines()) == 18


def test_too_few_photographs_are_said_before_anything_is_attacked(measured, tmp_path):
    words = [20 if word == 3 else tmp_path / "d" if str(word).endswith("/d") else word for word in measured[0]]
    result = command_line(*words)
    *done, line = result.stderr.splitlines()
    assert result.returncode == 3 and done == ["reading photographs: 12 of 12"]
    assert "of its 12 photographs right, 20 are asked for" in line


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--vote-noise", 4], "give --vote as well"),
        (["--vote", 0.2, "--vote-draws", 4], "give --vote-noise as well"),
        (["--vote", 0.2, "--vote-noise", 4, "--noise-std", 4], "a larger --noise-std"),
        (["--noise-std", 4, "--max-accuracy-drop", 0.1], "chooses --passes, --noise-std"),
        (["--max-accuracy-drop", 0.1, "--tuning-vote-noise", 4], "give --tuning-vote as well"),
    ],
)
def test_a_defence_that_is_none_is_refused(given, said, tmp_path):
    result = command_line("convert", "--model", "efficientnet-lite0", "--out", tmp_path / "out", *given)
    assert result.returncode == 2 and said in result.stderr and not (tmp_path / "out").exists()
