"""Keras to TFLite in every precision, and the comparison of the result with where it came from."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from convert.delegable import make_delegable
from convert.tf import import_tensorflow, quiet_native
from edgedefend.bundle import PRECISIONS
from edgedefend.defense import Defense
from edgedefend.errors import EdgeDefendError, InputError
from edgedefend.interpreter import Interpreter
from edgedefend.partitions import Partitions

if TYPE_CHECKING:
    from convert.models import LoadedModel

__all__ = ["Parity", "encode", "export_tflite", "keras_outputs", "measure_parity"]


def export_tflite(
    model: LoadedModel, precision: str, calibration: Sequence[NDArray[np.uint8]], *, rewrite: bool = True
) -> bytes:
    """Convert a Keras model that takes raw levels 0..255.

    Parameters
    ----------
    model : LoadedModel
    precision : str
        "fp32"; "fp16" (weights stored in half precision); "dynamic" (int8 weights, float arithmetic where it
        must be); "int8" (weights and activations, int8 input, float32 output).
    calibration : sequence of uint8 (H, W, 3)
        *Defended* images, for int8 only: the ranges must be those the model will meet behind the defence.
    rewrite : bool
        Bring the model into a form with the same answers that the runtime's delegate takes whole
        (`make_delegable`). False leaves it as TensorFlow makes it, to see what that is worth.

    Returns
    -------
    bytes
        The .tflite file.

    Raises
    ------
    EdgeDefendError
        If TensorFlow cannot convert the model.
    """
    if precision not in PRECISIONS:
        raise InputError(f"unknown precision {precision!r}: expected one of {', '.join(PRECISIONS)}")
    tf = import_tensorflow()
    converter = tf.lite.TFLiteConverter.from_keras_model(model.keras_model)
    if precision != "fp32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if precision == "fp16":
        converter.target_spec.supported_types = [tf.float16]
    if precision == "dynamic":
        # Per-channel dense layers need FULLY_CONNECTED version 12, which tflite-runtime 2.14 does not know.
        converter._experimental_disable_per_channel_quantization_for_dense_layers = True
    if precision == "int8":

        def representative() -> Iterable[list[NDArray[np.float32]]]:
            # The whole range of the input is known and must be met, or a white pixel would be clipped.
            yield [np.zeros((1, *model.input_size, 3), np.float32)]
            yield [np.full((1, *model.input_size, 3), 255, np.float32)]
            for image in calibration:
                yield [image[None].astype(np.float32)]

        converter.representative_dataset = representative
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.int8
        converter.inference_output_type = tf.float32
    try:
        with quiet_native():
            content: bytes = converter.convert()
    except Exception as error:  # TensorFlow raises whatever its MLIR passes met: nothing narrower fits
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise EdgeDefendError(f"{model.name}: TensorFlow cannot convert it to {precision}: {reason}") from error
    return make_delegable(content) if rewrite else content


def keras_outputs(
    model: LoadedModel, images: Sequence[NDArray[np.uint8]], tick: Callable[[int], Any]
) -> NDArray[np.float32]:
    """Return the Keras model's output for each image, float32 (N, classes); `tick` is told how many are done."""
    outputs = []
    for first in range(0, len(images), 16):
        batch = np.stack(images[first : first + 16]).astype(np.float32)
        outputs.append(np.asarray(model.keras_model(batch, training=False)))
        tick(len(batch))
    return np.concatenate(outputs)


def encode(image: NDArray[np.uint8], interpreter: Interpreter) -> NDArray[Any]:
    """Return raw levels as the input tensor of a model whose normalisation is inside it."""
    spec = interpreter.input
    if spec.dtype == np.float32:
        return image.astype(np.float32)
    limits = np.iinfo(spec.dtype)
    return np.clip(np.rint(image / spec.scale) + spec.zero_point, limits.min, limits.max).astype(spec.dtype)


@dataclass(frozen=True)
class Parity:
    """How one exported model compares with Keras on the data.

    `agreement` is the fraction of images with the same best class, `max_logit_error` the largest absolute
    difference of any output, `finite` whether all outputs are numbers. `correct` and `defended_correct` count
    right answers without and with one draw of the defence; `invoke_ms` is the median time of one call;
    `partitions` is how the runtime has divided the model, None where it does not tell.
    """

    precision: str
    size_bytes: int
    n: int
    agreement: float
    max_logit_error: float
    finite: bool
    correct: int
    defended_correct: int
    invoke_ms: float
    threads: int
    partitions: Partitions | None = None


def measure_parity(
    content: bytes,
    precision: str,
    images: Sequence[NDArray[np.uint8]],
    labels: Sequence[int],
    expected: NDArray[np.float32],
    defense: Defense,
    *,
    threads: int,
    tick: Callable[[int], Any],
) -> Parity:
    """Run an exported model on the data, without and with the defence, and compare it with Keras' outputs.

    Parameters
    ----------
    content : bytes
        The .tflite file.
    images : sequence of uint8 (H, W, 3)
        At the model's size.
    expected : float32 (N, classes)
        From `keras_outputs`.
    """
    interpreter = Interpreter(content, threads=threads)
    agree = correct = defended_correct = 0
    largest, finite, times = 0.0, True, []
    for image, label, reference in zip(images, labels, expected, strict=True):
        outputs = []
        for picture in (image, defense(image)):
            view = interpreter.input_view()
            view[0] = encode(picture, interpreter)
            del view
            started = time.perf_counter()
            outputs.append(interpreter.invoke()[0])
            times.append(time.perf_counter() - started)
        plain, defended = outputs
        finite = finite and bool(np.isfinite(plain).all())
        agree += int(np.isfinite(plain).all() and plain.argmax() == reference.argmax())
        largest = float(np.maximum(largest, np.abs(plain - reference).max()))  # unlike max(), keeps a NaN
        correct += int(plain.argmax() == label)
        defended_correct += int(defended.argmax() == label)
        tick(1)
    return Parity(
        precision,
        len(content),
        len(images),
        agree / len(images),
        largest,
        finite,
        correct,
        defended_correct,
        1e3 * statistics.median(times),
        threads,
        interpreter.partitions(),
    )
