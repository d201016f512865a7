"""`bench robustness` as a user meets it, on a small real model; and the marks of an evaluation not to be believed."""

import contextlib
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import numpy as np
import pytest

import bench.robustness
from bench.attacks.base import Gradient
from bench.baselines.base import Ingredients
from bench.baselines.parts import Part, part_file, save_part
from bench.robustness import sanity
from bench.robustness.cells import Cell, CellChain, Photo, chains_of
from bench.robustness.detection import detect
from bench.robustness.protocols import Sizes, plan, strongest_attack, way_back
from bench.robustness.store import ResultStore
from bench.sections import section_of
from edgedefend.errors import UsageError
from tests.conftest import command_line, one_line

SCHEMA = Path(bench.robustness.__file__).with_name("result.schema.json")
# At this size of change the colour model falls, also behind the defence: its answers are means of channels.
SMALL = ["--quick", "--images", 3, "--epsilon", 0.02, "--epsilon", 0.4, "--steps", 6, "--defense", "none"]


# -- the whole of it ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(color_model_file, color_photographs, tmp_path_factory):
    out = tmp_path_factory.mktemp("robustness") / "out"
    words = ["bench", "robustness", color_model_file, "--data", color_photographs, *SMALL, "--defense", "ours"]
    result = command_line(*words, "--out", out)
    assert result.returncode == 0, result.stderr
    return words, out, result


def test_a_run_says_what_it_found_and_follows_its_schema(finished):
    _, out, run = finished
    result = json.loads((out / "robustness.json").read_text())
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).validate(result)
    assert result["missing"] == 0
    assert result["conditions"]["verdict"] == "TAINTED" and "quick" in " ".join(result["conditions"]["reasons"])
    curve = result["defenses"]["none"]["curve"]
    assert [point["epsilon"] for point in curve] == [0, 0.02, 0.4]
    assert curve[0]["robust_accuracy"]["value"] == 1
    assert curve[-1]["attack_success_rate"]["value"] == 1, "an attack that cannot break the bare model proves nothing"
    assert result["defenses"]["ours"]["clean_accuracy"]["n"] == 3
    assert "times the distortion" in run.stdout and "not to be quoted" in run.stdout
    assert {path.name for path in out.iterdir()} >= {"report.html", "report.md", "security-curve.png"}


def test_the_report_says_how_each_attack_went_through_the_defence(finished):
    _, out, _ = finished
    rows = [line.split(" | ") for line in (out / "report.md").read_text().splitlines() if " on Our method | " in line]
    ways = {row[0].removeprefix("| ").partition(" (")[0]: row[1] for row in rows}
    assert ways["pgd"] == "through the identity"
    assert ways["adaptive-soft"] == "through a smooth quantiser"
    assert {ways[name] for name in ("adaptive", "i-fgsm", "deepfool", "l-bfgs")} == {"through the defence"}


def test_a_finished_run_is_not_run_again(finished):
    words, out, _ = finished
    records = (out / "work" / "records.jsonl").read_bytes()
    again = command_line(*words, "--out", out)
    assert again.returncode == 0, again.stderr
    assert (out / "work" / "records.jsonl").read_bytes() == records
    assert "100.0 % done" in again.stderr


def test_a_killed_run_goes_on_and_ends_as_if_it_had_not_been_killed(finished, tmp_path):
    words, out, _ = finished
    command = [sys.executable, "-m", "edgedefend.cli", *map(str, words), "--out", str(tmp_path / "out")]
    records = tmp_path / "out" / "work" / "records.jsonl"
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 120
    while time.monotonic() < end and not (records.exists() and records.read_bytes().count(b"\n") >= 5):
        time.sleep(0.02)
    running.send_signal(signal.SIGKILL)
    running.wait()
    before = records.read_bytes().count(b"\n")
    whole = sorted((out / "work" / "records.jsonl").read_text().splitlines())
    assert 5 <= before < len(whole)
    assert subprocess.run(command, check=False, capture_output=True, env=os.environ.copy()).returncode == 0
    # The same records: every task has random streams of its own, whatever was done before it.
    assert sorted(records.read_text().splitlines()) == whole


def test_what_an_unfinished_run_has_can_be_looked_at(finished, tmp_path):
    words, out, _ = finished
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "run.json").write_bytes((out / "work" / "run.json").read_bytes())
    lines = (out / "work" / "records.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "work" / "records.jsonl").write_text("".join(lines[: len(lines) // 2]))
    looked = command_line(*words, "--out", tmp_path, "--report-only")
    assert looked.returncode == 0, looked.stderr
    result = json.loads((tmp_path / "robustness.json").read_text())
    assert result["missing"] > 0 and "not finished" in " ".join(result["conditions"]["reasons"])
    assert len((tmp_path / "work" / "records.jsonl").read_text().splitlines()) == len(lines) // 2
    assert (tmp_path / "report.html").exists()


def test_a_photograph_that_stopped_halfway_up_the_curve_is_not_finished(finished, tmp_path):
    """What has not succeeded at a small distortion must be tried at a larger one before anything is said of it."""
    words, out, _ = finished
    lines = (out / "work" / "records.jsonl").read_text().splitlines(keepends=True)
    records = [json.loads(line) for line in lines]
    both = next(r for r in records if r["point"] == "0.4" and any(
        (o["cell"], o["image"], o["point"]) == (r["cell"], r["image"], "0.02") for o in records
    ))  # fmt: skip
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "run.json").write_bytes((out / "work" / "run.json").read_bytes())
    kept = [line for line, record in zip(lines, records, strict=True) if record is not both]
    (tmp_path / "work" / "records.jsonl").write_text("".join(kept))
    looked = command_line(*words, "--out", tmp_path, "--report-only")
    assert looked.returncode == 0, looked.stderr
    result = json.loads((tmp_path / "robustness.json").read_text())
    assert result["missing"] == 1 and result["conditions"]["verdict"] == "TAINTED"
    cell = next(cell for cell in result["cells"] if cell["id"] == both["cell"])
    assert cell["done"] == cell["images"] - 1


def test_the_smallest_change_counts_whichever_attack_has_found_it(finished, tmp_path):
    words, out, _ = finished
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "run.json").write_bytes((out / "work" / "run.json").read_bytes())
    result = json.loads((out / "robustness.json").read_text())
    cell = next(c["id"] for c in result["cells"] if c["role"] == "smallest" and c["defense"] == "ours")
    records = [json.loads(line) for line in (out / "work" / "records.jsonl").read_text().splitlines()]
    for record in records:
        if record["cell"] == cell:
            record["l2_rms"], record["judge"]["ours"]["hit"] = 0.000123, 1.0
    (tmp_path / "work" / "records.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    looked = command_line(*words, "--out", tmp_path, "--report-only")
    assert looked.returncode == 0, looked.stderr
    found = json.loads((tmp_path / "robustness.json").read_text())["defenses"]["ours"]
    assert found["distortion"]["median"] == 0.000123
    assert found["attacks"]["ddn (targeted)"]["l2_rms"] == 0.00012


def test_a_costly_defence_has_the_points_of_the_others(finished, tmp_path):
    words, out, _ = finished
    shutil.copytree(out / "work", tmp_path / "out" / "work")
    patches = np.random.default_rng(0).integers(0, 256, (2000, 5, 5, 3), dtype=np.uint8)
    save_part(part_file(tmp_path, "quilting"), Part({"patches": patches}, {}))
    more = ["--defense", "quilting", "--trained", tmp_path, "--out", tmp_path / "out"]
    run = command_line(*words, *more)
    assert run.returncode == 0, run.stderr
    result = json.loads((tmp_path / "out" / "robustness.json").read_text())
    assert result["missing"] == 0
    found = result["defenses"]["quilting"]
    assert [p["epsilon"] for p in found["curve"]] == [p["epsilon"] for p in result["defenses"]["ours"]["curve"]]
    assert {"ddn (targeted)", "ddn (untargeted)"} == found["attacks"].keys()
    assert "| Quilting |" in (tmp_path / "out" / "report.md").read_text()


def test_another_defence_is_compared_with_ours_on_the_same_photographs(finished, tmp_path):
    words, out, _ = finished
    shutil.copytree(out / "work", tmp_path / "work")
    run = command_line(*words, "--defense", "jpeg", "--out", tmp_path)
    assert run.returncode == 0, run.stderr
    result = json.loads((tmp_path / "robustness.json").read_text())
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).validate(result)
    # The attacker has the best of the curve's attack and of the search for the smallest change, not of it with
    # more steps, which not every defence was attacked with.
    roles = ("curve", "smallest")
    cells = [cell for cell in result["cells"] if cell["role"] in roles and cell["targeted"]]
    curves = {name: {cell["id"] for cell in cells if cell["defense"] == name} for name in ("ours", "jpeg")}
    assert len(curves["ours"]) == 2
    records = [json.loads(line) for line in (tmp_path / "work" / "records.jsonl").read_text().splitlines()]
    photograph = next(r["image"] for r in records if r["cell"] in curves["jpeg"])
    smallest = {
        name: min(
            r["l2_rms"]
            for r in records
            if r["cell"] in curves[name] and r["image"] == photograph and r["judge"][name]["hit"] >= 0.5
        )
        for name in ("ours", "jpeg")
    }
    over = result["defenses"]["jpeg"]["ours_over"]
    assert over["n"] == 1 and over["ratio"] == pytest.approx(smallest["ours"] / smallest["jpeg"])
    assert "ours_over" not in result["defenses"]["ours"]
    table = next(
        line for line in (tmp_path / "report.md").read_text().splitlines() if "| through the identity |" in line
    )
    assert f"{over['ratio']:.2f}" in table
    # It has met the untargeted attack too, or its accuracy would look better than that of ours.
    assert any(c["defense"] == "jpeg" and not c["targeted"] and c["done"] == c["images"] for c in result["cells"])


def test_the_approximation_for_fewer_photographs_is_another_training(finished, tmp_path):
    """It learns from what is not attacked, and that depends on how many are."""
    words, _, _ = finished
    for images in (3, 2):
        drawn = command_line(*words, "--out", tmp_path, "--report-only", "--figure", 4, "--images", images)
        assert drawn.returncode == 0, drawn.stderr
    assert len(list((tmp_path / "work").glob("autoencoder-*.npz"))) == 2
    assert (tmp_path / "figure-4.png").exists()


@pytest.mark.slow
@pytest.mark.parametrize("where", ["processes", "dask"])
@pytest.mark.filterwarnings("ignore")  # Dask's own
def test_other_places_give_the_same_records(finished, tmp_path, where):
    words, out, _ = finished
    with contextlib.ExitStack() as stack:
        place = ["--workers", 2]
        if where == "dask":
            distributed = pytest.importorskip("distributed", reason="needs the extra 'dask'")
            cluster = stack.enter_context(
                distributed.LocalCluster(
                    n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
                )
            )
            place = ["--engine", "dask", "--scheduler", cluster.scheduler_address]
        result = command_line(*words, *place, "--out", tmp_path / "out")
    assert result.returncode == 0, result.stderr
    here = (out / "work" / "records.jsonl").read_text().splitlines()
    there = (tmp_path / "out" / "work" / "records.jsonl").read_text().splitlines()
    assert sorted(there) == sorted(here)


def test_results_of_another_seed_are_not_mixed_in(finished):
    words, out, _ = finished
    assert "another seed" in one_line(command_line(*words, "--out", out, "--seed", 5), 3)


def test_a_hostile_result_is_only_text(finished):
    _, out, _ = finished
    result = json.loads((out / "robustness.json").read_text())
    result["defenses"]["none"]["title"] = "<script>alert(1)</script>"
    result["defenses"]["ours"]["curve"] = [{"epsilon": "x", "robust_accuracy": []}, 7]
    result["rounds"] = {"bpda": 3}
    result["detection"] = {"a": {"area": "<b>"}}
    section = section_of("x.json", result)
    assert any("<script>" in table.header[1] or "<script>" in str(table.rows) for table in section.tables)
    from bench.report import html_page

    assert "<script" not in html_page([section], "x")


# -- bad input ---------------------------------------------------------------------------------------------------------


def test_bad_input_is_one_line(color_model_file, color_photographs, color_bundles, tmp_path):
    def run(*words, data=color_photographs):
        return command_line("bench", "robustness", "--data", data, "--out", tmp_path / "out", *SMALL, *words)

    line = one_line(run(color_bundles / "fp32" / "model.tflite"), 3)
    assert "has no gradients" in line and "give the bundle" in line
    line = one_line(run(color_bundles / "fp32"), 3)
    assert "holds only a TFLite model" in line and "--model" in line
    (tmp_path / "wrong.csv").write_text("picture,class\n1.png,2\n")
    assert "file,label[,target]" in one_line(run(color_model_file, data=tmp_path / "wrong.csv"), 3)
    line = one_line(run(color_model_file, "--images", 50), 3)
    assert "gets 12 of its 12 photographs right, 50 are asked for" in line
    assert "no defence 'nothing'" in one_line(run(color_model_file, "--defense", "nothing"), 2)
    assert not (tmp_path / "out" / "robustness.json").exists()


def test_a_bundle_with_its_own_model_is_evaluated_with_the_bundle_s_table(
    color_model_file, color_photographs, color_bundles, tmp_path
):
    bundle = color_bundles / "int8"
    words = ["--data", color_photographs, "--out", tmp_path / "out", *SMALL, "--table", 1, "--model", color_model_file]
    result = command_line("bench", "robustness", bundle, *words)
    assert result.returncode == 0, result.stderr
    found = json.loads((tmp_path / "out" / "robustness.json").read_text())["bundle"]
    table = json.loads((bundle / "quant_table.json").read_text())["quant_table"]
    assert np.allclose(found["quant_table"], table, atol=1e-3)


def test_another_model_than_the_bundle_s_is_refused(color_photographs, color_bundles, color_model_file, tmp_path):
    from convert.tf import import_tensorflow

    keras = import_tensorflow().keras
    model = keras.models.load_model(color_model_file)
    model.get_layer("blur").set_weights([np.full((3, 3, 3, 1), 1 / 8, np.float32)])
    for name in ("colors.toml", "labels.txt"):
        (tmp_path / name).write_text((color_model_file.parent / name).read_text())
    model.save(tmp_path / "colors.keras")
    words = ["--data", color_photographs, "--out", tmp_path / "out", *SMALL, "--model", tmp_path / "colors.keras"]
    line = one_line(command_line("bench", "robustness", color_bundles / "fp32", *words), 3)
    assert "was made from other weights" in line


def test_gradients_of_nan_are_counted_and_never_a_success(color_model_file, color_photographs, tmp_path):
    """The square root of zero has an infinite slope: answers are right, gradients are not numbers."""
    from convert.tf import import_tensorflow

    keras = import_tensorflow().keras
    inputs = keras.layers.Input((40, 48, 3))
    means = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU(threshold=0.0)(inputs))
    # 0 * sqrt(0): adds nothing forwards, and 0 * infinity backwards.
    odd = keras.ops.sqrt(keras.layers.GlobalAveragePooling2D()(inputs * 0.0))
    outputs = keras.layers.Dense(3, activation="softmax", name="colors")(means + odd)
    model = keras.Model(inputs, outputs)
    model.get_layer("colors").set_weights([8 * np.eye(3, dtype=np.float32), np.zeros(3, np.float32)])
    model.save(tmp_path / "nan.keras")
    for name in ("colors.toml", "labels.txt"):
        (tmp_path / name.replace("colors", "nan")).write_text((color_model_file.parent / name).read_text())
    words = ["--data", color_photographs, "--out", tmp_path / "out", *SMALL, "--defense", "jpeg"]
    result = command_line("bench", "robustness", tmp_path / "nan.keras", *words)
    assert result.returncode == 0, result.stderr
    whole = json.loads((tmp_path / "out" / "robustness.json").read_text())
    found = whole["defenses"]["none"]
    assert any(row["nonfinite"] for row in found["attacks"].values())
    assert found["curve"][-1]["attack_success_rate"]["value"] == 0
    assert any("gradients are numbers" in reason for reason in found["unreliable"])
    # It taints the result where it is about the number to quote, and marks the row of another defence.
    assert any("No defence: gradients are numbers" in reason for reason in whole["conditions"]["reasons"])
    assert any("gradients are numbers" in reason for reason in whole["defenses"]["jpeg"]["unreliable"])
    assert not any(reason.startswith("JPEG") for reason in whole["conditions"]["reasons"])
    report = (tmp_path / "out" / "report.md").read_text()
    assert "| JPEG (unreliable) |" in report and "| No defence (unreliable) |" in report


# -- plans -------------------------------------------------------------------------------------------------------------

DEFENSES = {"none": False, "ours": True, "jpeg": False, "rand": True}


def test_every_defence_has_a_colour_of_its_own():
    from bench.baselines.registry import all_baselines
    from bench.robustness.figures import _COLORS

    others = all_baselines(Ingredients(((16.0,) * 8,) * 8)).keys() - {"none", "ours"}
    assert len(set(_COLORS)) == len(_COLORS) >= len(others) == 12


def test_a_table_alone_needs_only_its_own_attacks():
    attacks = {"adaptive", "pgd", "i-fgsm", "l-bfgs", "c&w"}
    one = plan("paper", DEFENSES, Sizes(), tables=[1], attacks=attacks)
    assert {item.role for item in one} == {"draws"}
    assert {item.cell.draws for item in one} == {100} and {item.images for item in one} == {100}
    three = plan("paper", DEFENSES, Sizes(), tables=[3], attacks=attacks)
    assert {item.cell.attack for item in three if item.role == "standard"} == {"i-fgsm", "l-bfgs", "c&w"}
    figure = plan("paper", DEFENSES, Sizes(), figures=[3], attacks=attacks)
    assert {item.cell.defense for item in figure if item.role == "bpda+eot"} == {"ours", "rand"}
    assert all(item.cell.options["eot_samples"] == 30 for item in figure if item.role == "bpda+eot")
    with pytest.raises(UsageError, match="Tables 1 to 3"):
        plan("paper", DEFENSES, Sizes(), tables=[4])


def test_the_adaptive_attack_comes_first_and_at_full_size():
    planned = plan("strong", DEFENSES, Sizes(), attacks={"adaptive", "pgd", "square"})
    assert (planned[0].cell.defense, planned[0].cell.attack, planned[0].images) == ("ours", "adaptive", 100)
    others = [item for item in planned if item.role == "curve" and item.cell.defense not in ("ours", "none")]
    assert {item.images for item in others} == {25}


def test_a_quick_run_looks_closer_at_the_number_to_quote():
    def curves(sizes):
        planned = plan("strong", DEFENSES, sizes, attacks={"adaptive", "pgd"}, parts=["curve"])
        return {i.cell.defense: (i.cell.options["steps"], len(i.cell.points)) for i in planned if i.role == "curve"}

    quick = curves(Sizes.quick(3))
    assert quick["ours"] == quick["none"] == (25, 5) and quick["jpeg"] == quick["rand"] == (10, 3)
    asked_for = curves(Sizes.quick(3).given(steps=6, epsilons=(0.1,)))
    assert set(asked_for.values()) == {(6, 1)}


def test_the_search_for_the_smallest_change_is_checked_with_more_steps():
    """For every defence: at one distortion, where all attacks succeed, more steps could not help."""

    def cells(sizes, *roles):
        planned = plan("strong", DEFENSES, sizes, attacks={"adaptive", "pgd", "ddn"})
        targeted = [item for item in planned if item.role in roles and item.cell.targeted]
        return {(item.cell.defense, item.cell.attack): item for item in targeted}

    full = Sizes(checked_others=3)
    found, usual, longer = (
        cells(full, *roles) for roles in (("curve", "smallest"), ("check-steps",), ("check-longer",))
    )
    assert found.keys() == usual.keys() == {(n, a) for n in DEFENSES for a in (strongest_attack(n), "ddn")}
    assert longer.keys() == {(name, "ddn") for name in DEFENSES}
    for key, item in usual.items():
        assert item.cell.id == found[key].cell.id
        assert item.images == (10 if key[0] in ("none", "ours") else 3)
    for key, item in longer.items():
        assert item.cell.options == {**usual[key].cell.options, "steps": 300}
        assert way_back(item.cell) == {"ours": "known", "rand": "known", "none": "own", "jpeg": "identity"}[key[0]]
    assert cells(Sizes(), "check-longer").keys() == {("ours", "ddn"), ("none", "ddn")}
    assert cells(Sizes.quick(4), "check-longer").keys() == {("ours", "ddn"), ("none", "ddn")}


def test_a_costly_defence_has_its_curve_from_the_search_for_the_smallest_change():
    planned = plan("strong", DEFENSES, Sizes(checked_others=3), attacks={"adaptive", "pgd", "ddn"}, costly={"rand"})
    curve = [item for item in planned if item.role in ("curve", "smallest") and item.cell.defense == "rand"]
    assert [(i.role, i.cell.attack, i.cell.targeted, i.images) for i in curve] == [
        ("curve", "ddn", True, 25), ("curve", "ddn", False, 25),
    ]  # fmt: skip
    checks = {item.cell.id for item in planned if item.role == "check-steps" and item.cell.defense == "rand"}
    assert checks == {curve[0].cell.id}


def test_every_attack_gets_the_gradient_that_is_known_of_ours():
    names = {"fgsm", "i-fgsm", "mi-fgsm", "deepfool", "l-bfgs", "c&w"}
    planned = plan("strong", DEFENSES, Sizes(), attacks={*names, "pgd", "learned"}, parts=["attacks"])
    ways = {(item.cell.defense, item.cell.attack): way_back(item.cell) for item in planned if item.role == "attack"}
    assert ways == {
        **{("ours", name): "known" for name in names},
        **{("none", name): "own" for name in names},
        ("ours", "pgd"): "identity",
        ("ours", "learned"): "learned",
    }


def photo(name):
    return Photo(name, f"/{name}", 0, 1, "0" * 64)


def test_an_early_success_saves_the_larger_epsilons(tmp_path):
    cell = Cell("attack", "none", "adaptive", points=(0.1, 0.2, 0.3))
    chain = CellChain(cell, 0, (photo("a"), photo("b")))
    with ResultStore(tmp_path, {}) as store:
        assert chain.left(store) == 6
        assert [p.name for p in chain.next_task(store).photos] == ["a", "b"]
        for name, hit in (("a", 1.0), ("b", 0.9)):
            store.append(
                [{"cell": cell.id, "image": photo(name).key, "point": "0.1", "select": {"hit": hit, "right": 0.0}}]
            )
        task = chain.next_task(store)
        assert task.point == 0.2 and [p.name for p in task.photos] == ["b"]
        assert chain.left(store) == 2


def test_every_purpose_and_task_has_a_stream_of_its_own():
    cell = Cell("attack", "ours", "adaptive")
    draws = {
        cell.rng(seed, first, point, purpose).random()
        for seed in (0, 1)
        for first in (0, 8)
        for point in (0.01, 0.02)
        for purpose in ("attack", "select", "judge")
    }
    assert len(draws) == 24
    assert cell.rng(0, 0, 0.01, "judge").random() == cell.rng(0, 0, 0.01, "judge").random()
    assert Cell("attack", "ours", "adaptive", options={"steps": 5}).id != cell.id


def test_chunks_do_not_depend_on_how_many_photographs_there_are():
    cell = Cell("attack", "none", chunk=4)
    few = chains_of([cell], [photo(str(n)) for n in range(8)])
    many = chains_of([cell], [photo(str(n)) for n in range(11)])
    assert [chain.photos for chain in many[:2]] == [chain.photos for chain in few]
    assert len(many[2].photos) == 3
    assert sum(len(chain.photos) for chain in chains_of([cell], [photo(str(n)) for n in range(11)], {cell.id: 5})) == 5


# -- sanity ------------------------------------------------------------------------------------------------------------


def judged(image, *, hit=0.0, right=1.0, draws=10, l2_rms=0.01, judged_on="fresh", nonfinite=0):
    verdict = {"hit": hit, "right": right, "draws": draws}
    return {
        "image": image,
        "judge": {"ours": verdict},
        "l2_rms": l2_rms,
        "judged_on": judged_on,
        "nonfinite": nonfinite,
    }


def both(good, bad):
    """Assert that a check passes on the one and fails on the other."""
    assert good["passed"] is True
    assert bad["passed"] is False
    assert sanity.unreliable([good]) == []
    assert sanity.unreliable([bad]) == [f"{bad['name']}: {bad['detail']}"]


def test_each_check_can_fail():
    low, high = [judged("a", hit=0.1, right=0.9)], [judged("a", hit=0.9, right=0.0)]
    few, many = {"a": 0.008, "b": 0.004, "c": math.inf}, {"a": 0.005, "b": 0.004, "c": math.inf}
    both(sanity.more_steps(few, few, 0.05, 3), sanity.more_steps(few, many, 0.05, 3))
    # One that withstood until there were more steps counts with the largest distortion tried.
    both(sanity.more_steps(few, {"c": 0.048}, 0.05, 3), sanity.more_steps(few, {"c": 0.02}, 0.05, 3))
    # What is quoted is a ratio: where the bare model's distortion falls as much, it stays.
    bare = {"a": 0.002, "b": 0.001}, {"a": 0.0018, "b": 0.0009}
    fewer = {"a": 0.0068, "b": 0.0034}
    both(sanity.more_steps(few, fewer, 0.05, 3, bare), sanity.more_steps(few, fewer, 0.05, 3))
    both(sanity.more_steps(few, fewer, 0.05, 3, bare), sanity.more_steps(few, {"a": 0.006, "b": 0.003}, 0.05, 3, bare))
    assert sanity.more_steps(few, fewer, 0.05, 3, ({"z": 0.1}, {"z": 0.01}))["passed"] is False
    # What fell only where the longer attack has not been tried cannot count as a gain of it.
    assert sanity.more_steps({"a": 0.016}, {"a": math.inf}, 0.008, 3)["passed"]
    both(sanity.black_box(high, {"square": low}, "ours"), sanity.black_box(low, {"square": high}, "ours"))
    both(sanity.unbounded(high * 2 + [judged("b", hit=1.0)] * 8, "ours"), sanity.unbounded(low, "ours"))
    once = [judged("a", draws=1)]
    both(sanity.several_draws(high, "ours", randomised=True), sanity.several_draws(once, "ours", randomised=True))
    assert sanity.several_draws(once, "ours", randomised=False)["passed"]
    both(sanity.fresh_draws(high), sanity.fresh_draws([judged("a", judged_on="own")]))
    both(sanity.finite_gradients(high), sanity.finite_gradients([judged("a", nonfinite=3)]))
    assert sanity.more_steps({}, {}, 0.05, 3)["passed"] is None


class Slope:
    """A model whose gradient is one everywhere, or nothing."""

    randomised = False

    def __init__(self, value=1.0):
        self.value = value

    def gradient(self, images, classes, *, targeted, loss="cross_entropy", rng=None):
        count = len(images)
        gradient = np.full(images.shape, self.value, np.float32)
        return Gradient(gradient, np.zeros((count, 1, 2), np.float32), np.zeros(count), np.zeros(count, np.int64), 1)

    def logits(self, images, rng=None):
        return np.zeros((len(images), 2), np.float32)


def attack_at(model, images, *, honest):
    current = images.copy()
    for _ in range(4):
        found = model.gradient(current if honest else images, np.zeros(len(images), np.int32), targeted=True)
        current = current - np.float32(0.01) * found.gradient
    return current


def test_an_attack_that_looks_only_at_the_clean_image_is_found_out():
    """The published evaluation of this defence took its gradient there."""
    images = np.full((2, 4, 4, 3), 0.5, np.float32)
    checks = {}
    for honest in (True, False):
        probe = sanity.GradientProbe(Slope())
        checks[honest] = sanity.current_iterate(probe, attack_at(probe, images, honest=honest))
    assert [checks[honest]["passed"] for honest in (True, False)] == [True, False]
    assert sanity.unreliable(checks.values()) == [f"{checks[False]['name']}: {checks[False]['detail']}"]


def test_our_attack_takes_its_gradient_where_it_stands():
    from bench.attacks.adaptive import adaptive_attack

    probe = sanity.GradientProbe(Slope())
    images = np.full((2, 8, 8, 3), 0.5, np.float32)
    result = adaptive_attack(5)(
        probe, images, np.zeros(2, np.int32), np.ones(2, np.int32), epsilon=0.1, norm="l2_rms",
        rng=np.random.default_rng(0),
    )  # fmt: skip
    assert sanity.current_iterate(probe, result.images)["passed"] is True


def test_gradients_of_zero_are_found_out():
    images = np.full((2, 4, 4, 3), 0.5, np.float32)
    checks = []
    for value in (1.0, 0.0):
        probe = sanity.GradientProbe(Slope(value))
        attack_at(probe, images, honest=True)
        checks.append(sanity.nonzero_gradients(probe))
    both(*checks)
    assert probe.zero == probe.total == 8


# -- detection ---------------------------------------------------------------------------------------------------------


def test_detection_of_what_is_apart_and_of_what_is_not():
    clean, attacked = [0.1, 0.2, 0.3] * 20, [0.7, 0.8] * 30
    apart = detect(clean, attacked)
    assert apart["area"] == 1 and apart["false_alarms"]["value"] == 0 and apart["detected"]["value"] == 1
    same = detect(clean, clean)
    assert same["area"] == pytest.approx(0.5)
    assert same["false_alarms"]["value"] == 1
    assert detect(attacked, clean)["area"] == 0
    assert detect([], attacked) is None
    assert apart["false"][0] == 0 and apart["true"][-1] == 1
