import os
import subprocess
import sys

import numpy as np
import pytest

from edgedefend.bundle import load_bundle
from edgedefend.errors import BackendError
from edgedefend.interpreter import BACKENDS, Interpreter, available_threads, choose_backend
from tests.conftest import ROOT


def test_ai_edge_litert_comes_first():
    assert choose_backend()[0] == "ai-edge-litert"


@pytest.mark.parametrize("backend", ["ai-edge-litert", "tensorflow"])
def test_installed_backends_give_the_same(color_bundles, backend):
    if backend == "tensorflow":
        pytest.importorskip("tensorflow", reason="the backend tensorflow is not installed")
    model = load_bundle(color_bundles / "fp32").model()
    outputs = []
    for name in ("ai-edge-litert", backend):
        interpreter = Interpreter(model, threads=1, backend=name)
        view = interpreter.input_view()
        view[0] = np.random.default_rng(0).integers(0, 256, view.shape[1:])
        del view
        outputs.append(interpreter.invoke())
    assert outputs[0] == pytest.approx(outputs[1], abs=1e-4)


def test_model_from_memory_and_from_file(color_bundles):
    path = load_bundle(color_bundles / "int8").model()
    for source in (path, path.read_bytes()):
        interpreter = Interpreter(source, threads=2)
        assert interpreter.input.dtype == np.int8
        assert interpreter.input.shape == (1, 40, 48, 3)
        assert interpreter.input.scale == pytest.approx(1, abs=0.01)
        assert interpreter.input.zero_point == -128
        assert interpreter.version[0].isdigit()


def run_without(hidden: list[str]) -> str:
    """Ask for a backend in a process where some packages cannot be imported; return the error's text."""
    code = (
        "import sys\n"
        f"for name in {hidden}: sys.modules[name] = None\n"
        "from edgedefend.interpreter import choose_backend\n"
        "try: print(choose_backend()[0])\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env).stdout


def test_none_installed_names_the_command_for_this_python():
    said = run_without(["ai_edge_litert", "tflite_runtime", "tensorflow"])
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert said.startswith("BackendError no TFLite interpreter is installed")
    assert f"Python {version}" in said
    assert "-m pip install ai-edge-litert" in said


def test_a_broken_numpy_abi_is_explained(tmp_path):
    """A package that fails as a NumPy 1 wheel does under NumPy 2 (its real text)."""
    package = tmp_path / "tflite_runtime"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "interpreter.py").write_text("raise ImportError('numpy.core.multiarray failed to import')\n")
    code = (
        "from edgedefend.interpreter import choose_backend\n"
        "try: choose_backend('tflite-runtime')\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    env = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env).stdout
    assert "was built for NumPy 1 and this environment has NumPy" in said
    assert "pip install 'numpy<2'" in said


def test_unknown_and_missing_backends():
    with pytest.raises(BackendError, match="expected one of ai-edge-litert"):
        choose_backend("onnx")
    try:
        choose_backend("tflite-runtime")
    except BackendError as error:
        assert "not installed" in str(error) or "NumPy 1" in str(error)  # noqa: PT017 - either is right here


def test_threads_are_bounded():
    assert 1 <= available_threads() <= 4
    assert list(BACKENDS)[0] == "ai-edge-litert"


def test_native_noise_is_held_and_the_rest_let_through():
    code = (
        "import os\nfrom edgedefend.interpreter import native_messages\n"
        "with native_messages():\n"
        "    os.write(2, b'INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\\nWARNING: real\\n')\n"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert result.stderr == "WARNING: real\n"
