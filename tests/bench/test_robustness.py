"""`bench robustness` as a user meets it, on a small real model."""

import contextlib
import json
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
from bench.baselines.parts import Part, part_file, save_part
from bench.sections import section_of
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
