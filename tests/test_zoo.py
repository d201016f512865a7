"""The whole path with the real models: convert, bundle, classify, verify, bench (minutes, so marked slow)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgedefend.bundle import PRECISIONS, load_bundle
from edgedefend.classifier import Classifier
from edgedefend.dataset import load_dataset
from edgedefend.sources import read_image
from tests.conftest import ROOT, one_line

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def lite0(tmp_path_factory, run_cli) -> Path:
    out = tmp_path_factory.mktemp("lite0") / "out"
    options = ["--table", "feature-distillation", "--min-agreement", 0.8]
    result = run_cli("convert", "--model", "efficientnet-lite0", "--out", out, *options)
    assert result.returncode == 0, result.stderr
    return out


@pytest.fixture(scope="module")
def inception(tmp_path_factory, run_cli) -> Path:
    out = tmp_path_factory.mktemp("inception") / "out"
    options = ["--weights", "random", "--limit", 4, "--steps", 1]
    result = run_cli("convert", "--model", "inception-v3", "--out", out, *options, timeout=1500)
    assert result.returncode == 0, result.stderr
    assert "no accuracy is reported" in result.stdout
    return out


@pytest.mark.parametrize("precision", PRECISIONS)
def test_lite0_names_the_sample_photographs(lite0, run_cli, precision):
    assert run_cli("verify", lite0 / precision).stdout.endswith("verified\n")
    bundle = load_bundle(lite0 / precision)
    measured = bundle.manifest["measured"]
    assert measured["n"] == 20
    assert measured["clean_accuracy"]["hits"] >= 17
    classifier = Classifier(bundle, threads=2)
    data = load_dataset("sample", bundle.labels)
    hits = sum(classifier.classify(read_image(item.path), draws=5).index == item.label for item in data)
    # 17 of 20 here; each draw is random, so leave room.
    assert hits >= 13


def test_inception_goes_the_whole_way_and_claims_no_accuracy(inception, run_cli, sample_files):
    for precision in PRECISIONS:
        bundle = load_bundle(inception / precision)
        assert bundle.weights == "random"
        assert "clean_accuracy" not in bundle.manifest["measured"]
        assert run_cli("verify", inception / precision).returncode == 0
        result = run_cli("classify", "--json", inception / precision, sample_files[0])
        assert "its answers mean nothing" in result.stderr
        assert len(json.loads(result.stdout)["top"]) == 5
        result = run_cli("bench", "latency", inception / precision, "--iterations", 3, "--warmup", 1)
        assert "invoke_ms" in result.stdout
    assert "weights are random" in one_line(run_cli("bench", "accuracy", inception / "fp32"), 2)


def old_runtime() -> Path:
    """Return the `edgedefend` of the environment with tflite-runtime that the Makefile makes."""
    folder = os.environ.get("EDGEDEFEND_TFLITE_RUNTIME_VENV", ".venv-tflite-runtime")
    command = ROOT / folder / "bin" / "edgedefend"
    if not command.exists():
        why = "Python 3.12 and newer have no wheels of it" if sys.version_info >= (3, 12) else "`make test` makes it"
        pytest.skip(f"no environment with tflite-runtime: {why}")
    return command


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_tflite_runtime_gives_the_same_predictions(lite0, run_cli, precision, sample_files, tmp_path):
    command = [old_runtime(), "classify", "--backend", "tflite-runtime", "--json", "--no-defense"]
    old = subprocess.run([*command, lite0 / precision, *sample_files], capture_output=True, text=True, check=False)
    assert old.returncode == 0, old.stderr
    new = run_cli("classify", "--json", "--no-defense", lite0 / precision, *sample_files)
    labels = [[json.loads(line)["label"] for line in said.splitlines()] for said in (old.stdout, new.stdout)]
    agree = sum(a == b for a, b in zip(*labels, strict=True))
    assert agree == len(sample_files)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_tflite_runtime_verifies_or_says_what_to_use(lite0, precision):
    result = subprocess.run(
        [old_runtime(), "verify", "--backend", "tflite-runtime", lite0 / precision],
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        assert "use the" in one_line(result, 5)
        assert precision not in ("fp32", "fp16", "int8")
    else:
        assert result.stdout.endswith("verified\n")


def test_tflite_runtime_refuses_a_newer_operator(color_model_file, tmp_path):
    """A dynamic-range model as TensorFlow writes it by default: FULLY_CONNECTED version 12."""
    command = old_runtime()
    code = (
        "import sys; from pathlib import Path\n"
        "from convert.tf import import_tensorflow, quiet_native\n"
        "from convert.models import load_model\n"
        "tf = import_tensorflow(); model = load_model('efficientnet-lite0')\n"
        "converter = tf.lite.TFLiteConverter.from_keras_model(model.keras_model)\n"
        "converter.optimizations = [tf.lite.Optimize.DEFAULT]\n"
        "with quiet_native(): content = converter.convert()\n"
        "Path(sys.argv[1]).write_bytes(content)\n"
    )
    model = tmp_path / "model.tflite"
    subprocess.run([sys.executable, "-c", code, model], check=True, cwd=ROOT)
    bundle = rebuilt_bundle(model, tmp_path / "bundle")
    result = subprocess.run(
        [command, "verify", "--backend", "tflite-runtime", bundle], capture_output=True, text=True, check=False
    )
    assert "use the fp32, fp16 or int8 bundle" in one_line(result, 5)


def rebuilt_bundle(model: Path, folder: Path) -> Path:
    """Wrap a .tflite file of EfficientNet-Lite0 into a dynamic-range bundle, as `convert` would."""
    import numpy as np

    from convert.bundle_writer import write_bundle
    from convert.models import imagenet_labels
    from edgedefend import Defense, load_quant_table
    from edgedefend.bundle import Golden, InputSpec
    from edgedefend.interpreter import Interpreter
    from edgedefend.sources import fit_image

    table = load_quant_table("feature-distillation")
    defense = Defense(table, rng=np.random.default_rng(0))
    image = fit_image(read_image(load_dataset("sample", ["?"] * 1000).photographs[0].path), 224, 224)
    grid = defense.sample_grid(224, 224)
    interpreter = Interpreter(model, threads=1)
    view = interpreter.input_view()
    view[0] = defense(image, grid=grid)
    del view
    output = interpreter.invoke()[0]
    write_bundle(
        folder,
        model=model.read_bytes(),
        model_facts={"name": "lite0", "precision": "dynamic", "weights": "imagenet", "output": "logits"},
        input_spec=InputSpec(224, 224, "RGB", "stretch", (1.0, 1.0, 1.0), (0.0, 0.0, 0.0)),
        defense_facts={"num_steps": 10, "distort_limit": 0.25},
        labels=imagenet_labels(),
        table_file={"quant_table": table.tolist()},
        golden=Golden(image, defense(image, grid=grid), grid, output, 0.1 * float(np.ptp(output))),
        records={},
    )
    return folder
