"""The command line as a user meets it: one line for bad input, the right exit code, nothing left behind."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from edgedefend.sources import MAX_PIXELS
from tests.conftest import one_line
from tests.test_bundle import edit_manifest
from tests.test_sources import encoded, picture, png_header


@pytest.fixture(scope="module")
def bad_images(tmp_path_factory, sample_files) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bad")
    contents = {
        "text.jpg": b"I am a text, not a photograph.\n",
        "cut.jpg": sample_files[0].read_bytes()[:20000],
        "empty.png": b"",
        "huge.png": png_header(30000, 30000),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return {name: folder / name for name in [*contents, "missing.jpg"]}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.jpg", "no such file"),
        ("text.jpg", "not a JPEG, PNG, WebP or BMP image"),
        ("cut.jpg", "this JPEG file is cut short"),
        ("empty.png", "the file is empty"),
        ("huge.png", f"30000x30000 pixels are more than the limit of {MAX_PIXELS // 10**6} million"),
    ],
)
def test_bad_images(run_cli, color_bundles, bad_images, name, message):
    line = one_line(run_cli("classify", color_bundles / "fp32", bad_images[name]), 3)
    assert message in line
    assert name in line


def test_a_bad_image_does_not_stop_the_others(run_cli, color_bundles, bad_images, sample_files):
    result = run_cli("classify", "--json", color_bundles / "int8", bad_images["text.jpg"], *sample_files[:2])
    assert result.returncode == 3
    assert len(result.stderr.splitlines()) == 1
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [line["image"] for line in lines] == [str(path) for path in sample_files[:2]]
    assert all(0 <= line["score"] <= 1 for line in lines)


def test_classify_for_people(run_cli, color_bundles, tmp_path):
    (tmp_path / "red.png").write_bytes(encoded(picture().point(lambda _: 0), "PNG"))
    from PIL import Image

    for mode, color in (("RGB", (255, 0, 0)), ("RGBA", (255, 0, 0, 128)), ("L", 99)):
        Image.new(mode, (50, 30), color).save(tmp_path / f"{mode}.png")
    result = run_cli(
        "classify", color_bundles / "int8", tmp_path / "RGB.png", tmp_path / "RGBA.png", tmp_path / "L.png"
    )
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].startswith(f"{tmp_path / 'RGB.png'}  (1 draw, ")
    assert lines[1].endswith("%  red")
    assert result.stderr == ""
    result = run_cli("classify", "--draws", 4, "--seed", 3, "--top", 1, color_bundles / "int8", tmp_path / "RGB.png")
    assert "(4 draws, 4 agree" in result.stdout
    assert "predictable" in result.stderr
    assert len(result.stdout.splitlines()) == 2


def test_wrong_usage(run_cli, color_bundles, sample_files):
    assert run_cli("classify", color_bundles / "int8").returncode == 2
    assert run_cli("frobnicate").returncode == 2
    result = run_cli("classify", "--no-defense", "--draws", 3, color_bundles / "int8", sample_files[0])
    assert result.returncode == 2
    assert "does not go with --no-defense" in result.stderr
    assert run_cli("--version").stdout.startswith("edgedefend, version ")
    assert "classify" in run_cli("--help").stdout


def test_bad_bundles_and_backends(run_cli, tmp_path, color_bundles, sample_files):
    assert "no such bundle" in one_line(run_cli("verify", tmp_path / "none"), 4)
    assert "name one of them" in one_line(run_cli("classify", color_bundles, sample_files[0]), 4)
    line = one_line(run_cli("verify", "--backend", "tflite-runtime", color_bundles / "int8"), 5)
    # It has no wheels for newer Pythons: then no command would help.
    assert ("pip install" if sys.version_info < (3, 12) else "use --backend ai-edge-litert") in line


def test_verify(run_cli, color_bundles):
    result = run_cli("verify", color_bundles / "int8")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "verified"
    assert result.stderr == ""


def test_show_writes_a_picture(run_cli, color_bundles, sample_files, tmp_path):
    from edgedefend.sources import read_image

    result = run_cli("show", color_bundles / "int8", *sample_files[:2], "-o", tmp_path / "sheet.png")
    assert result.returncode == 0, result.stderr
    sheet = read_image(tmp_path / "sheet.png")
    assert sheet.shape[0] > 2 * 40
    assert sheet.std() > 20
    assert [entry.name for entry in tmp_path.iterdir()] == ["sheet.png"]
    assert "ends in .png" in one_line(run_cli("show", color_bundles / "int8", sample_files[0], "-o", "x.jpg"), 3)


def test_debug_shows_the_traceback(run_cli, tmp_path):
    assert "Traceback" in run_cli("verify", tmp_path / "none", "--debug").stderr
    assert "Traceback" not in run_cli("verify", tmp_path / "none").stderr


def test_a_closed_pipe_is_no_error(color_bundles, sample_files):
    command = [sys.executable, "-m", "edgedefend.cli", "classify", color_bundles / "int8", *sample_files]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""


def test_bench(run_cli, color_bundles, color_photographs, tmp_path):
    bundle, out = color_bundles / "int8", tmp_path / "result.json"
    result = run_cli("bench", "accuracy", bundle, "--data", color_photographs, "--json", out, "--seed", 1)
    assert result.returncode == 0, result.stderr
    saved = json.loads(out.read_text())
    assert saved["rows"]["undefended"]["top1"]["hits"] == 12
    assert saved["rows"]["5 draws"]["top1"]["n"] == 12
    assert saved["rows"]["1 draw"]["top1"]["low"] < saved["rows"]["1 draw"]["top1"]["value"]
    assert saved["conditions"]["cpu"]
    assert saved["bundle"]["sha256"]
    assert "5 draws" in result.stdout and saved["undefended_vote"] == 0
    assert saved["conditions"]["verdict"] == "VALID"
    saved["undefended_answers"][3] += 1
    (tmp_path / "other.json").write_text(json.dumps(saved))
    result = run_cli("bench", "agreement", out, tmp_path / "other.json")
    assert "same answer on 0.917" in result.stdout, result.stderr
    (tmp_path / "other.json").write_text("{}")
    assert "no result: expected what" in one_line(run_cli("bench", "agreement", out, tmp_path / "other.json"), 3)


def test_bench_accuracy_is_that_of_the_bundles_own_answer(run_cli, color_bundles, color_photographs, tmp_path):
    bundle = tmp_path / "voting"
    shutil.copytree(color_bundles / "fp32", bundle)
    edit_manifest(bundle, "defense", "draws", value=3)
    edit_manifest(bundle, "defense", "undefended_vote", value=0.25)
    result = run_cli("bench", "accuracy", bundle, "--data", color_photographs, "--limit", 2)
    assert result.returncode == 0, result.stderr
    assert "\n3 draws, vote 0.25  " in result.stdout and "\n1 draw, vote 0.25  " in result.stdout
    result = run_cli("bench", "accuracy", bundle, "--data", color_photographs, "--limit", 2, "--draws", 4)
    assert "\n4 draws, vote 0.25  " in result.stdout


CONVERT = ("convert", "--steps", 2, "--precision", "fp32")


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--data", "nowhere.csv"], 3, "no such data"),
        (["--table", "nowhere.json"], 3, "no such table"),
        (["--model", "resnet-999"], 3, "resnet-999"),
        (["--data", "sample"], 3, "the model has 3"),
    ],
)
def test_convert_with_bad_input_writes_nothing(
    run_cli, color_model_file, color_photographs, tmp_path, options, code, message
):
    words = {"--model": color_model_file, "--data": color_photographs, "--out": tmp_path / "out"}
    words.update(zip(options[::2], options[1::2], strict=True))
    line = one_line(run_cli(*CONVERT, *(word for pair in words.items() for word in pair)), code)
    assert message in line
    assert not list(tmp_path.rglob("manifest.json"))


@pytest.mark.slow
def test_convert_refuses_to_replace_without_being_told(run_cli, color_model_file, color_photographs, tmp_path):
    command = (*CONVERT, "--model", color_model_file, "--data", color_photographs, "--out", tmp_path / "out")
    assert run_cli(*command).returncode == 0
    before = (tmp_path / "out/fp32/SHA256SUMS").read_bytes()
    assert "exists already" in one_line(run_cli(*command), 3)
    assert (tmp_path / "out/fp32/SHA256SUMS").read_bytes() == before
    result = run_cli(*command, "--force", "--seed", 9)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out/fp32/SHA256SUMS").read_bytes() != before
    assert sorted(entry.name for entry in (tmp_path / "out").iterdir()) == [
        "fp32",
        "quant_table.json",
        "quant_table.png",
    ]


@pytest.mark.slow
def test_a_model_below_the_wanted_agreement_is_refused(run_cli, color_model_file, tmp_path):
    """Greys whose channels differ by less than a step of int8: only Keras and fp32 can tell them apart."""
    import cv2

    rng = np.random.default_rng(8)
    lines = ["file,label"]
    for number in range(12):
        image = np.full((40, 48, 3), 100 + 5 * number, np.uint8)
        image[rng.integers(0, 40, 20), rng.integers(0, 48, 20), number % 3] += 1
        cv2.imwrite(str(tmp_path / f"{number}.png"), image[..., ::-1])
        lines.append(f"{number}.png,{number % 3}")
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    command = ["convert", "--model", color_model_file, "--data", tmp_path / "labels.csv", "--out", tmp_path / "out"]
    command += ["--steps", 2, "--precision", "fp32", "--precision", "int8"]
    assert run_cli(*command, "--min-agreement", "1.01").returncode == 2
    result = run_cli(*command, "--min-agreement", 1)
    assert result.returncode == 1
    said = result.stderr.splitlines()[-1]
    assert "no bundle was written for: int8 agrees with Keras on" in said
    assert "--min-agreement is 100.0 %" in said
    assert "refused" in result.stdout
    assert [entry.parent.name for entry in tmp_path.rglob("manifest.json")] == ["fp32"]
    result = run_cli(*command, "--min-agreement", 0, "--force")
    assert result.returncode == 0, result.stderr
    assert sorted(entry.parent.name for entry in tmp_path.rglob("manifest.json")) == ["fp32", "int8"]


@pytest.mark.slow
def test_no_permission_and_a_full_disk(run_cli, color_model_file, color_photographs, tmp_path):
    command = (*CONVERT, "--model", color_model_file, "--data", color_photographs, "--out")
    line = one_line(run_cli(*command, "/proc/none/out"), 1)
    assert "/proc/none" in line
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    # Root may write anywhere, unless it gives that right away.
    powerless = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"] if os.getuid() == 0 else []
    words = [*powerless, sys.executable, "-m", "edgedefend.cli", *map(str, command), str(closed / "out")]
    line = one_line(subprocess.run(words, capture_output=True, text=True, check=False), 1)
    assert "no permission" in line
    assert not list(closed.iterdir())
    if os.getuid() != 0:
        pytest.skip("a full disk needs a small file system, which needs root to mount")
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40k", "none", disk], check=False).returncode:
        pytest.skip("no small file system can be mounted here")
    try:
        result = run_cli(*command, disk / "out")
        assert result.returncode == 1
        assert result.stderr.splitlines()[-1].endswith("the disk is full: free some space and run the command again")
        assert not list(disk.rglob("manifest.json"))
        assert not [entry for entry in disk.rglob("*") if ".new." in entry.name]
    finally:
        subprocess.run(["umount", disk], check=True)


@pytest.mark.slow
def test_ctrl_c_and_going_on(run_cli, color_model_file, color_photographs, tmp_path):
    """Stopped in the middle of learning: no bundle, the votes kept; the same command then ends as if never stopped."""
    command = ["convert", "--model", color_model_file, "--data", color_photographs, "--precision", "fp32"]
    whole = run_cli(*command, "--out", tmp_path / "whole", "--steps", 150)
    assert whole.returncode == 0, whole.stderr
    out = tmp_path / "stopped"
    process = subprocess.Popen(
        [sys.executable, "-m", "edgedefend.cli", *map(str, command), "--out", str(out), "--steps", "150"],
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not list(out.glob(".convert-work/votes-*.json")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert said.splitlines()[-1] == "edgedefend: stopped; the same command goes on from here"
    assert not list(out.rglob("manifest.json"))
    again = run_cli(*command, "--out", out, "--steps", 150)
    assert again.returncode == 0, again.stderr
    assert not (out / ".convert-work").exists()
    tables = [json.loads((folder / "quant_table.json").read_text()) for folder in (tmp_path / "whole", out)]
    assert tables[0]["votes"] == tables[1]["votes"]
    assert np.array(tables[0]["quant_table"]).max() == 100


def test_a_huge_header_needs_no_memory(color_bundles, bad_images):
    """The process may not take 2 GB more for a picture that claims 30000x30000."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (2 << 30, 2 << 30))

    result = subprocess.run(
        [sys.executable, "-m", "edgedefend.cli", "classify", color_bundles / "fp32", bad_images["huge.png"]],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=limit,
    )
    assert "30000" in one_line(result, 3)


def test_warmup(run_cli, tmp_path):
    assert run_cli("warmup", "--target", "cortex-a72").returncode == 2
    assert "unknown target" in one_line(run_cli("warmup", "--target", "x", "--out", tmp_path / "k"), 3)
    env = {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "EDGEDEFEND_KERNELS": ""}
    assert "0 were there, 5 compiled now" in run_cli("warmup", env=env).stdout
    assert "5 were there, 0 compiled now" in run_cli("warmup", env=env).stdout
