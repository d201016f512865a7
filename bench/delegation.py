"""What a form that the runtime's delegate takes whole is worth: time and answers of each form, side by side."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from bench.conditions import Watch, interpreter_facts
from convert.delegable import builtin_code, make_delegable, pack_model, unpack_model
from convert.export import encode, export_tflite, keras_outputs
from convert.models import LoadedModel
from edgedefend.defense import Defense
from edgedefend.interpreter import Interpreter

__all__ = ["measure_delegation", "without_average_pools"]


def without_average_pools(content: bytes) -> bytes | None:
    """Return a .tflite file that leaves its shape-keeping average pools out; None if there are none.

    Another model, whose answers mean nothing: no way to compute these pools can make it faster than this.
    """
    model = unpack_model(content)
    found = False
    for graph in model.subgraphs:
        instead: dict[int, int] = {}
        kept = []
        for operator in graph.operators:
            operator.inputs = [instead.get(int(index), int(index)) for index in operator.inputs]
            source, target = int(operator.inputs[0]), int(operator.outputs[0])
            same = list(graph.tensors[source].shape) == list(graph.tensors[target].shape)
            if builtin_code(model, operator) == schema.BuiltinOperator.AVERAGE_POOL_2D and same:
                instead[target] = source
            else:
                kept.append(operator)
        found = found or bool(instead)
        graph.operators = kept
        graph.outputs = [instead.get(int(index), int(index)) for index in graph.outputs]
    return pack_model(model, len(content)) if found else None


def _answers(interpreter: Interpreter, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
    outputs = []
    for image in images:
        view = interpreter.input_view()
        view[0] = encode(image, interpreter)
        del view
        outputs.append(interpreter.invoke()[0].copy())
    return np.stack(outputs)


def measure_delegation(
    model: LoadedModel,
    precision: str,
    images: Sequence[NDArray[np.uint8]],
    *,
    defense: Defense,
    rounds: int = 50,
    threads: int = 1,
    tick: Callable[[int], Any] = lambda count: None,
) -> dict[str, Any]:
    """Export a model as TensorFlow makes it and as `convert` writes it, and time both in turn.

    Parameters
    ----------
    model : LoadedModel
    precision : str
        One of `edgedefend.bundle.PRECISIONS`.
    images : sequence of uint8 (H, W, 3)
        At the model's size: compared on, and, defended, calibrated with.
    defense : Defense
    rounds : int
        Each round calls every form once.
    threads : int
        Of the interpreter.

    Returns
    -------
    dict
        ``"rows"``, one a form: ``ms`` (median), ``ratio`` (median over the rounds of its time over that of the first
        form), ``partitions``, ``undelegated``, ``agreement`` with Keras, ``max_error`` and ``rms_error`` of the
        outputs against Keras', ``max_change`` against the first form's outputs, ``bytes``. The last form, where
        there is one, leaves the average pools out: the floor of what can be had from them.
    """
    calibration = [defense(image) for image in images] if precision == "int8" else []
    converted = export_tflite(model, precision, calibration, rewrite=False)
    forms = {
        "as TensorFlow converts it": converted,
        "delegable": make_delegable(converted),
    }
    floor = without_average_pools(converted)
    if floor is not None:
        forms["without the pools (another model)"] = floor
    tick(1)
    expected = keras_outputs(model, images, lambda count: None)
    interpreters = {name: Interpreter(content, threads=threads) for name, content in forms.items()}
    answers = {name: _answers(interpreter, images) for name, interpreter in interpreters.items()}
    times: dict[str, list[float]] = {name: [] for name in forms}
    watch = Watch()
    for _ in range(rounds):
        for name, interpreter in interpreters.items():
            started = time.perf_counter()
            interpreter.invoke()
            times[name].append(1e3 * (time.perf_counter() - started))
        watch.glance()
        tick(1)
    seen = watch.finish()
    first = next(iter(forms))
    rows = {}
    for name, interpreter in interpreters.items():
        found = interpreter.partitions()
        error = answers[name] - expected
        rows[name] = {
            "ms": statistics.median(times[name]),
            "ratio": statistics.median(a / b for a, b in zip(times[name], times[first], strict=True)),
            "partitions": None if found is None else found.count,
            "undelegated": None if found is None else found.undelegated,
            "agreement": float(np.mean(answers[name].argmax(axis=1) == expected.argmax(axis=1))),
            "max_error": float(np.abs(error).max()),
            "rms_error": float(np.sqrt(np.mean(error**2))),
            "max_change": float(np.abs(answers[name] - answers[first]).max()),
            "bytes": len(forms[name]),
        }
    return {
        "kind": "delegation",
        "rows": rows,
        "rounds": rounds,
        "images": len(images),
        "output_spread": float(np.ptp(expected)),
        "model": {"name": model.name, "precision": precision, **model.provenance},
        "interpreter": interpreter_facts(interpreters[first]),
        "conditions": seen,
    }
