"""What the defence costs beside the model: frames a second of the pipeline, and its share of one image's time.

The bare model is timed by the runtime's own benchmark tool, in turn with the pipeline. That tool runs the same
XNNPACK delegate on as many threads; it calls the model again and again on one random input and copies nothing, so
what the pipeline does beside the model, reading and ranking the answer included, is all on the pipeline's side.
"""

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


def _single_image(classifier: Classifier, images: Sequence[NDArray[np.uint8]], count: int) -> tuple[float, float]:
    """Return the median ms of defending one image into the input tensor, and of the call of the model after it."""
    interpreter = classifier.interpreter
    interpreter.set_batch(1)
    fitted = [classifier.fit(image) for image in images]
    defend, invoke = [], []
    for number in range(count):
        started = time.perf_counter()
        view = interpreter.input_view()
        classifier.prepare_into(fitted[number % len(fitted)], view[0])
        del view
        written = time.perf_counter()
        interpreter.invoke()
        invoke.append(time.perf_counter() - written)
        defend.append(written - started)
    return 1e3 * statistics.median(defend), 1e3 * statistics.median(invoke)


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
    """Measure frames a second of the defended pipeline and of the bare model, and single images, in turn.

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
        ``"share"``: the median, over the rounds, of ``defend_ms`` (defence and writing the input tensor of one image,
        with nothing else going on) over ``invoke_ms``; beside it all shares and the medians of both.
    """
    model = bundle.model()
    if not isinstance(model, Path):
        raise BackendError(f"{bundle.path}: a packed bundle: the benchmark tool needs the model as a file: unpack it")
    watch = Watch()
    classifier = Classifier(bundle, threads=threads, backend="ai-edge-litert")
    stream_rates, bare_rates, ratios, singles = [], [], [], []

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
        singles.append(_single_image(classifier, images, max(frames // 4, 10)))
        tick(1)
    shares = [defend / invoke for defend, invoke in singles]
    return {
        "kind": "throughput",
        "pipeline_fps": statistics.median(stream_rates),
        "bare_fps": statistics.median(bare_rates),
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        "share": statistics.median(shares),
        "shares": shares,
        "defend_ms": statistics.median(defend for defend, _ in singles),
        "invoke_ms": statistics.median(invoke for _, invoke in singles),
        "frames": frames,
        "rounds": rounds,
        "frame_shape": list(images[0].shape),
        "bundle": bundle_facts(bundle),
        "interpreter": interpreter_facts(classifier.interpreter),
        "conditions": watch.finish(),
    }
