"""What several tests share: real photographs, a real small model, and the command line as a user meets it."""

from __future__ import annotations

import contextlib
import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgedefend.dataset import load_dataset
from edgedefend.sources import read_image

ROOT = Path(__file__).resolve().parent.parent
# What a child needs beyond an environment of its own to run on the same emulated CPU as this process (tests/arm).
EMULATED = {name: value for name, value in os.environ.items() if name == "QEMU_CPU"}


def command_line(*words: object) -> subprocess.CompletedProcess[str]:
    """Run ``edgedefend ...`` in this process: a process of its own would import TensorFlow again."""
    from edgedefend.cli import main

    out, err = io.StringIO(), io.StringIO()
    with pytest.raises(SystemExit) as stop, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        main([str(word) for word in words])
    return subprocess.CompletedProcess(words, int(stop.value.code or 0), out.getvalue(), err.getvalue())


@pytest.fixture(scope="session")
def photographs() -> list[np.ndarray]:
    """The 20 sample photographs that foolbox carries, uint8 (224, 224, 3)."""
    from edgedefend.sources import fit_image

    return [fit_image(read_image(item.path), 224, 224) for item in load_dataset("sample", ["?"] * 1000)]


@pytest.fixture(scope="session")
def sample_files() -> list[Path]:
    return [item.path for item in load_dataset("sample", ["?"] * 1000)]


@pytest.fixture(scope="session")
def run_cli():
    """Run ``python -m edgedefend.cli`` in a process of its own."""

    def run(*arguments: object, env: dict[str, str] | None = None, timeout: float = 600, **options):
        return subprocess.run(
            [sys.executable, "-m", "edgedefend.cli", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=timeout,
            env={**os.environ, **(env or {})},
            check=False,
            **options,
        )

    return run


def one_line(result: subprocess.CompletedProcess[str], code: int) -> str:
    """Assert that a command ended with `code` and one line on stderr; return the line."""
    assert result.returncode == code, (result.returncode, result.stdout, result.stderr)
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("edgedefend: ")
    return lines[0]


COLORS = ("red", "green", "blue")


# On a board (real or emulated) there is no TensorFlow: bundles made beforehand are handed over in this folder.
READY_BUNDLES = os.environ.get("EDGEDEFEND_TEST_BUNDLES")


@pytest.fixture(scope="session")
def color_model_file(tmp_path_factory) -> Path:
    """A real Keras model whose right answers are known, see `write_color_model`."""
    pytest.importorskip("tensorflow", reason="makes its model with TensorFlow (extra 'convert')")
    return write_color_model(tmp_path_factory.mktemp("color-model"))


def write_color_model(folder: Path) -> Path:
    """Write a real Keras model whose right answers are known: the mean of each channel is its logit.

    It names the strongest of red, green and blue, so a swapped channel order gives a wrong answer. A depthwise
    convolution and a dense layer give the quantisers something to do.
    """
    from convert.tf import import_tensorflow

    tf = import_tensorflow()
    layers = tf.keras.layers
    inputs = layers.Input((40, 48, 3))
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="blur")(inputs)
    x = layers.ReLU()(x)
    x = layers.GlobalAveragePooling2D()(x)
    outputs = layers.Dense(3, name="colors", activation="softmax")(x)
    model = tf.keras.Model(inputs, outputs)
    model.get_layer("blur").set_weights([np.full((3, 3, 3, 1), 1 / 9, np.float32)])
    model.get_layer("colors").set_weights([8 * np.eye(3, dtype=np.float32), np.zeros(3, np.float32)])
    path = folder / "colors.keras"
    model.save(path)
    (folder / "colors.toml").write_text('[input]\nscale = 0.00392156862745098\n\n[output]\nlabels = "labels.txt"\n')
    (folder / "labels.txt").write_text("".join(f"{name}\n" for name in COLORS))
    return path


@pytest.fixture(scope="session")
def color_photographs(tmp_path_factory) -> Path:
    """A CSV of 12 noisy pictures, each with one colour stronger than the others."""
    return write_color_photographs(tmp_path_factory.mktemp("color-data"))


def write_color_photographs(folder: Path) -> Path:
    """Write 12 noisy pictures, each with one colour stronger than the others, and the CSV that names them."""
    import cv2

    rng = np.random.default_rng(5)
    lines = ["file,label,target"]
    for number in range(12):
        label = number % 3
        image = rng.integers(0, 120, (60, 70, 3), np.uint8)
        image[..., label] = rng.integers(130, 256, (60, 70), np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), image[..., ::-1])
        lines.append(f"{number}.png,{label},{(label + 1) % 3}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return folder / "labels.csv"


@pytest.fixture(scope="session")
def color_bundles(tmp_path_factory, request, run_cli) -> Path:
    """The colour model converted in all precisions by the command line: a folder with one bundle each."""
    if READY_BUNDLES:
        return Path(READY_BUNDLES)
    model = request.getfixturevalue("color_model_file")
    photographs = request.getfixturevalue("color_photographs")
    out = tmp_path_factory.mktemp("color-bundles") / "out"
    result = run_cli(*convert_colors(model, photographs, out))
    assert result.returncode == 0, result.stderr
    return out


def convert_colors(model: Path, photographs: Path, out: Path) -> list[object]:
    """Return the words after `edgedefend` that make the bundles of `color_bundles` in `out`."""
    return ["convert", "--model", model, "--data", photographs, "--out", out, "--pack", "--steps", 3]
