"""Frames a second through the pipeline, beside what the runtime's own benchmark tool says of the bare model."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.conditions import Watch, bundle_facts, interpreter_facts
from edgedefend.bundle import Bundle
from edgedefend.classifier import Classifier
from edgedefend.errors import BackendError
from edgedefend.stream import Frame, Stream

__all__ = ["bare_fps", "measure_throughput"]


def bare_fps(model: Path, *, threads: int, runs: int) -> float:
    """Return the calls a second that ``litert-benchmark`` (of ai-edge-litert) reports for a .tflite file.

    Raises
    ------
    BackendError
        If the tool is not installed or fails.
    """
    tool = Path(sys.executable).with_name("litert-benchmark")
    if not tool.exists():
        raise BackendError("the bare model is timed by litert-benchmark, which comes with ai-edge-litert: install it")
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        command = [tool, "--model", model, "--num_threads", threads, "--num_runs", runs, "--warmup_runs", 3]
        done = subprocess.run(
            [*map(str, command), "--result_json", str(result)], capture_output=True, text=True, check=False
        )
        if done.returncode or not result.exists():
            reason = (done.stderr.strip().splitlines() or ["no result"])[-1]
            raise BackendError(f"litert-benchmark failed on {model}: {reason}")
        content = json.loads(result.read_text())
    figures = content["latency"]
    return 1e3 / float(figures["avg_ms"])


def _decoded(images: Sequence[NDArray[np.uint8]], count: int) -> Iterator[Frame]:
    for number in range(count):
        yield Frame(images[number % len(images)], time.monotonic(), str(number))


def measure_throughput(
    bundle: Bundle,
    images: Sequence[NDArray[np.uint8]],
    *,
    frames: int = 300,
    rounds: int = 5,
    threads: int = 1,
    tick: Callable[[int], Any] = lambda count: None,
) -> dict[str, Any]:
    """Measure frames a second of the defended pipeline and of the bare model, in turn.

    Parameters
    ----------
    bundle : Bundle
        A folder: the benchmark tool reads the model's file.
    images : sequence of uint8 (H, W, 3)
        Decoded frames, used again and again.
    frames : int
        A round, for each side.
    rounds : int
        Each round times the bare model, the pipeline, and the bare model again; its ratio is the pipeline over
        the mean of the two, so that a machine which gets slower does not favour either.
    threads : int
        Of the interpreter, the same on both sides.

    Returns
    -------
    dict
        ``"ratio"``: the median of the rounds' ratios, beside all of them and the medians of both sides.
    """
    model = bundle.model()
    if not isinstance(model, Path):
        raise BackendError(f"{bundle.path}: a packed bundle: the benchmark tool needs the model as a file: unpack it")
    watch = Watch()
    classifier = Classifier(bundle, threads=threads, backend="ai-edge-litert")
    stream_rates, bare_rates, ratios = [], [], []

    def stream_fps() -> float:
        started, seen = time.perf_counter(), 0
        for _ in Stream(classifier).run(_decoded(images, frames)):
            seen += 1
        return seen / (time.perf_counter() - started)

    stream_fps()  # compiles, fills the caches
    before = bare_fps(model, threads=threads, runs=frames)
    for _ in range(rounds):
        ours = stream_fps()
        after = bare_fps(model, threads=threads, runs=frames)
        stream_rates.append(ours)
        bare_rates.append(after)
        ratios.append(ours / ((before + after) / 2))
        before = after
        watch.glance()
        tick(1)
    return {
        "kind": "throughput",
        "pipeline_fps": statistics.median(stream_rates),
        "bare_fps": statistics.median(bare_rates),
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        "frames": frames,
        "rounds": rounds,
        "frame_shape": list(images[0].shape),
        "bundle": bundle_facts(bundle),
        "interpreter": interpreter_facts(classifier.interpreter),
        "conditions": watch.finish(),
    }
