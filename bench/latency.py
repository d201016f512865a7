"""Latency of one image at a time: the defence inside the clock, defended and undefended interleaved."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.conditions import bundle_facts, conditions, interpreter_facts
from edgedefend.bundle import Bundle
from edgedefend.classifier import Classifier

__all__ = ["measure_latency", "percentile"]


def percentile(sorted_ms: list[float], fraction: float) -> float:
    """Return the value at `fraction` of an ascending list, as MLPerf takes it: ``sorted[int(n * fraction)]``."""
    return sorted_ms[min(int(len(sorted_ms) * fraction), len(sorted_ms) - 1)]


def _summary(times_ms: list[float]) -> dict[str, float]:
    ordered = sorted(times_ms)
    found = {f"p{100 * part:.0f}": percentile(ordered, part) for part in (0.5, 0.9, 0.95)}
    # Below 662 samples the 99th percentile is one of the last few values: an accident, not a figure (MLPerf).
    if len(ordered) >= 662:
        found["p99"] = percentile(ordered, 0.99)
    return found


def measure_latency(
    bundle: Bundle,
    image: NDArray[np.uint8] | None = None,
    *,
    iterations: int = 200,
    warmup: int = 10,
    threads: int | None = None,
    backend: str | None = None,
    tick: Callable[[int], Any] = lambda count: None,
) -> dict[str, Any]:
    """Time `iterations` defended and as many undefended classifications in turn.

    Parameters
    ----------
    bundle : Bundle
    image : uint8 (H, W, 3), optional
        By default the bundle's golden image. It is brought to the model's size before the clock starts:
        capture and decoding are other stages.
    iterations, warmup : int
        Measured rounds, and rounds before them whose times are kept apart.

    Returns
    -------
    dict
        ``"rows"``: p50, p90, p95 (p99 from 662 samples) in ms of ``defend_ms`` (defence and writing the input
        tensor), ``invoke_ms``, ``total_ms`` and ``undefended_ms``; ``"overhead"``: the median, over the
        rounds, of defended over undefended time; beside them the conditions.
    """
    classifier = Classifier(bundle, threads=threads, backend=backend)
    picture = classifier.fit(bundle.golden().image if image is None else image)
    interpreter = classifier.interpreter
    rounds: list[tuple[float, float, float]] = []
    first_ms = 0.0
    for index in range(warmup + iterations):
        started = time.perf_counter()
        view = interpreter.input_view()
        classifier.prepare_into(picture, view[0])
        del view
        written = time.perf_counter()
        interpreter.invoke()
        answered = time.perf_counter()
        classifier.run(picture, defended=False)
        ended = time.perf_counter()
        if index == 0:
            first_ms = 1e3 * (answered - started)
        if index >= warmup:
            rounds.append((1e3 * (written - started), 1e3 * (answered - written), 1e3 * (ended - answered)))
            tick(1)
    defend, invoke, undefended = (list(column) for column in zip(*rounds, strict=True))
    total = [a + b for a, b in zip(defend, invoke, strict=True)]
    ratios = sorted(a / b for a, b in zip(total, undefended, strict=True))
    return {
        "kind": "latency",
        "rows": {
            "defend_ms": _summary(defend),
            "invoke_ms": _summary(invoke),
            "total_ms": _summary(total),
            "undefended_ms": _summary(undefended),
        },
        "overhead": percentile(ratios, 0.5),
        "first_ms": first_ms,
        "iterations": iterations,
        "warmup": warmup,
        "image": list(picture.shape),
        "bundle": bundle_facts(bundle),
        "interpreter": interpreter_facts(interpreter),
        "conditions": conditions(),
    }
