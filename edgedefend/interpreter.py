"""One TFLite interpreter, whichever package brings it, behind one small face.

Order of choice: ai-edge-litert (maintained), tflite-runtime 2.14 (its last predecessor), tensorflow. The number
of threads is always given: the runtimes' own defaults differ and one of them is 1.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import platform
import struct
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgedefend.errors import BackendError
from edgedefend.partitions import Partitions, find_partitions

__all__ = ["BACKENDS", "Interpreter", "TensorSpec", "available_threads", "choose_backend"]

BACKENDS = {
    "ai-edge-litert": "ai_edge_litert.interpreter",
    "tflite-runtime": "tflite_runtime.interpreter",
    "tensorflow": "tensorflow.lite.python.interpreter",
}
_PINNED = {"tflite-runtime": "'tflite-runtime==2.14.0' 'numpy<2'"}


@dataclass(frozen=True)
class TensorSpec:
    """What a model takes or gives: `scale` is 0 where the tensor is not quantised."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    scale: float
    zero_point: int


def available_threads() -> int:
    """Return how many CPUs this process may use, at most 4: more never helped a batch of one on these boards."""
    return min(4, len(os.sched_getaffinity(0)))


def _how_to_install() -> str:
    """Return the advice for this very Python and machine."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    machine = platform.machine()
    if struct.calcsize("P") == 4:
        return (
            f"this is a 32-bit Python ({machine}), for which neither ai-edge-litert nor llvmlite publishes wheels: "
            "install a 64-bit system (Raspberry Pi OS 64-bit)"
        )
    if machine not in ("x86_64", "aarch64", "arm64", "AMD64"):
        return f"ai-edge-litert publishes no wheels for {machine}"
    if not (3, 10) <= sys.version_info[:2] <= (3, 14):
        return f"ai-edge-litert publishes no wheels for Python {version}: use Python 3.10 to 3.13"
    return f"for Python {version} on {machine}: {sys.executable} -m pip install ai-edge-litert"


def _import(name: str) -> Any:
    """Import the interpreter module of a backend.

    Raises
    ------
    ModuleNotFoundError
        If the package is not installed.
    BackendError
        If it is installed and cannot be loaded, with the reason in a sentence.
    """
    try:
        with native_messages() as said:
            return importlib.import_module(BACKENDS[name])
    except ModuleNotFoundError as error:
        if error.name and BACKENDS[name].split(".", maxsplit=1)[0] == error.name.split(".", maxsplit=1)[0]:
            raise
        raise BackendError(f"{name} needs the package {error.name!r}: pip install {error.name}") from error
    except Exception as error:
        # A wheel built for NumPy 1 fails under NumPy 2 with ImportError, AttributeError or SystemError,
        # whichever C call comes first; all of them name the array API or multiarray.
        text = f"{error} {said.text}"
        if "ARRAY_API" in text or "multiarray" in text or "compiled using NumPy 1" in text:
            raise BackendError(
                f"{name} was built for NumPy 1 and this environment has NumPy {np.__version__}: "
                f"{sys.executable} -m pip install 'numpy<2', or use --backend ai-edge-litert"
            ) from error
        raise BackendError(f"{name} is installed but cannot be loaded: {error}") from error


def choose_backend(name: str | None = None) -> tuple[str, Any]:
    """Return ``(name, module)`` of the interpreter to use: `name`, or the first that is installed.

    Raises
    ------
    BackendError
        If `name` is unknown or not installed, or nothing is; the message holds the pip command.
    """
    if name is not None:
        if name not in BACKENDS:
            raise BackendError(f"unknown backend {name!r}: expected one of {', '.join(BACKENDS)}")
        try:
            return name, _import(name)
        except ModuleNotFoundError as error:
            command = f"{sys.executable} -m pip install {_PINNED.get(name, name)}"
            if name == "tflite-runtime" and sys.version_info >= (3, 12):
                command = "it has no wheels for Python 3.12 and newer: use --backend ai-edge-litert"
            raise BackendError(f"the backend {name} is not installed: {command}") from error
    broken = None
    for candidate in BACKENDS:
        try:
            return candidate, _import(candidate)
        except ModuleNotFoundError:
            continue
        except BackendError as error:
            broken = broken or error
    raise broken or BackendError(f"no TFLite interpreter is installed; {_how_to_install()}")


class _Said:
    """What native code wrote to file descriptor 2 while `native_messages` held it."""

    text = ""


@contextlib.contextmanager
def native_messages() -> Iterator[_Said]:
    """Hold what native code writes to standard error, and let go of all but the runtime's INFO lines.

    The runtimes log "INFO: Created TensorFlow Lite XNNPACK delegate" from C++ for each interpreter; nothing
    but the file descriptor can be asked to keep still. What remains is kept as `text` on an error, else
    written out, so that no warning is lost.
    """
    said = _Said()
    try:
        sys.stderr.flush()
        saved = os.dup(2)
    except (OSError, AttributeError):  # no standard error at all: nothing to hold
        yield said
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        failed = True
        try:
            yield said
            failed = False
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            held.seek(0)
            lines = held.read().decode(errors="replace").splitlines()
            said.text = "\n".join(line for line in lines if not line.startswith(("INFO:", "W0000", "I0000")))
            if said.text and not failed:
                os.write(2, (said.text + "\n").encode())


class Interpreter:
    """A loaded model. Not safe for use from two threads at once: give each thread its own.

    Parameters
    ----------
    model : Path or bytes
        A .tflite file (mapped, not read) or its content.
    threads : int
        CPU threads of the interpreter.
    backend : str, optional
        One of `BACKENDS`; by default the first that is installed.

    Raises
    ------
    BackendError
        If no backend can be used, or it cannot run this model.
    """

    def __init__(self, model: Path | bytes, *, threads: int, backend: str | None = None) -> None:
        self.backend, module = choose_backend(backend)
        self.threads = threads
        self._precision_hint = ""
        source = {"model_path": str(model)} if isinstance(model, Path) else {"model_content": model}
        try:
            with native_messages(), warnings.catch_warnings():
                # TensorFlow warns that its copy of the interpreter will go: it is the last choice here already.
                warnings.simplefilter("ignore", UserWarning)
                self._interpreter = module.Interpreter(num_threads=threads, **source)
                self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise BackendError(f"{self.backend} cannot run this model: {reason}") from error
        inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        if len(inputs) != 1 or len(outputs) != 1:
            raise BackendError(f"the model has {len(inputs)} inputs and {len(outputs)} outputs, expected one of each")
        self._input_index, self._output_index = inputs[0]["index"], outputs[0]["index"]
        self.input, self.output = _spec(inputs[0]), _spec(outputs[0])
        self._batch = self.input.shape[0]

    @property
    def version(self) -> str:
        """The version of the package that brings the interpreter, "unknown" where it does not say."""
        from importlib import metadata

        try:
            return metadata.version(self.backend)
        except metadata.PackageNotFoundError:
            return "unknown"

    def partitions(self) -> Partitions | None:
        """Return how the runtime has divided the model between its delegate and its plain kernels.

        None where this version of the runtime does not tell: there is no public call for it, but all three
        packages have had the same private one for years.
        """
        try:
            return find_partitions(self._interpreter._get_ops_details())
        except (AttributeError, KeyError, RuntimeError, ValueError):
            return None

    def set_batch(self, batch: int) -> bool:
        """Make room for `batch` inputs in one call; tell whether the model can take that many."""
        if batch == self._batch:
            return True
        before = self._batch
        for size in (batch, before):
            try:
                with native_messages():
                    self._interpreter.resize_tensor_input(self._input_index, [size, *self.input.shape[1:]])
                    self._interpreter.allocate_tensors()
            except (ValueError, RuntimeError):
                continue
            self._batch = size
            break
        return self._batch == batch

    def input_view(self) -> NDArray[Any]:
        """Return the input tensor's own memory, (batch, H, W, 3), to be written in place.

        Let go of it before `invoke`: the runtime refuses to run while a view is held.
        """
        view: NDArray[Any] = self._interpreter.tensor(self._input_index)()
        return view

    def invoke(self) -> NDArray[np.float32]:
        """Run the model on what the input tensor holds; return float32 (batch, classes), dequantised.

        Raises
        ------
        BackendError
            If the runtime fails.
        """
        try:
            self._interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            raise BackendError(f"{self.backend} failed while running the model: {error}") from error
        output = self._interpreter.get_tensor(self._output_index)
        output = output.reshape(output.shape[0], -1)
        if self.output.scale:
            return (output.astype(np.float32) - self.output.zero_point) * np.float32(self.output.scale)
        return output.astype(np.float32, copy=False)


def _spec(details: dict[str, Any]) -> TensorSpec:
    scale, zero_point = details["quantization"]
    return TensorSpec(
        tuple(int(size) for size in details["shape"]),
        np.dtype(details["dtype"]),
        float(scale),
        int(zero_point),
    )
