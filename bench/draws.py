"""Several draws of one image in one call, over as many calls with a single draw."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.conditions import Watch, bundle_facts, interpreter_facts
from edgedefend.bundle import Bundle
from edgedefend.classifier import Classifier

__all__ = ["measure_draws"]


def measure_draws(
    bundle: Bundle,
    image: NDArray[np.uint8] | None = None,
    *,
    draws: int = 5,
    rounds: int = 40,
    threads: int = 1,
    backend: str | None = None,
    tick: Callable[[int], Any] = lambda count: None,
) -> dict[str, Any]:
    """Time ``classify(draws=N)`` and N times ``classify(draws=1)`` in turn, and the model alone both ways.

    The two have a classifier each: an interpreter that changes the size of its batch plans its memory anew. Before the
    clock starts, the first has settled between one batch and one by one (`edgedefend.draws`).

    Parameters
    ----------
    image : uint8 (H, W, 3), optional
        By default the bundle's golden image.
    threads : int
        Of the interpreter. With one, times are the thread's CPU time, which other processes do not disturb.

    Returns
    -------
    dict
        ``"ratio"``: the median over the rounds of the time of one call over that of N calls, with its 10th and 90th
        percentile; ``"model_ratio"``: the same of the model's part in a batch over N single invokes, where the model
        can take batches; ``"batched"``: the way that was chosen.
    """
    clock = time.thread_time if threads == 1 else time.perf_counter
    single, several, batch = (Classifier(bundle, threads=threads, backend=backend) for _ in range(3))
    picture = single.fit(bundle.golden().image if image is None else image)
    for _ in range(100):
        if several.draw_choice.settled(draws):
            break
        several.classify(picture, draws=draws)
    watch = Watch()
    can_batch = batch.interpreter.set_batch(draws)
    view = batch.interpreter.input_view()
    for slot in view:
        batch.prepare_into(picture, slot)
    del view, slot
    batch.interpreter.invoke()

    def spent(function: Callable[[], Any], times: int = 1) -> float:
        started = clock()
        for _ in range(times):
            function()
        return clock() - started

    ratios, model_ratios, times = [], [], []
    spent(lambda: single.classify(picture), draws)
    for _ in range(rounds):
        apart = spent(lambda: single.classify(picture), draws)
        together = spent(lambda: several.classify(picture, draws=draws))
        ratios.append(together / apart)
        times.append((together, apart))
        if can_batch:
            alone = spent(single.interpreter.invoke, draws)
            model_ratios.append(spent(batch.interpreter.invoke) / alone)
        watch.glance()
        tick(1)
    ordered = sorted(ratios)
    return {
        "kind": "draws",
        "draws": draws,
        "ratio": statistics.median(ratios),
        "p10": ordered[len(ordered) // 10],
        "p90": ordered[min(len(ordered) - 1, 9 * len(ordered) // 10)],
        "together_ms": 1e3 * statistics.median(together for together, _ in times),
        "apart_ms": 1e3 * statistics.median(apart for _, apart in times),
        "model_ratio": statistics.median(model_ratios) if model_ratios else None,
        "batched": several.draw_choice.batched(draws),
        "reached": statistics.median(ratios) < 1,
        "rounds": rounds,
        "bundle": bundle_facts(bundle),
        "interpreter": interpreter_facts(single.interpreter),
        "conditions": watch.finish(),
    }
