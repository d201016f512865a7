"""What starting up costs, and how much memory: each beside a short script that uses the interpreter alone."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.conditions import bundle_facts, conditions
from edgedefend.bundle import Bundle
from edgedefend.classifier import Classifier
from edgedefend.errors import BackendError, EdgeDefendError

__all__ = ["BARE_SCRIPT", "measure_memory_growth", "measure_startup"]

# What somebody writes who needs one answer and no defence. It decodes, resizes and looks up the label as we do.
BARE_SCRIPT = """\
import sys
import cv2
from ai_edge_litert.interpreter import Interpreter
folder, image, threads = sys.argv[1:]
interpreter = Interpreter(model_path=folder + "/model.tflite", num_threads=int(threads))
interpreter.allocate_tensors()
details = interpreter.get_input_details()[0]
_, height, width, _ = details["shape"]
picture = cv2.resize(cv2.imread(image), (int(width), int(height)), interpolation=cv2.INTER_AREA)[None, ..., ::-1]
picture = (picture ^ 128).view("int8") if details["dtype"].__name__ == "int8" else picture.astype("float32")
interpreter.set_tensor(details["index"], picture)
interpreter.invoke()
best = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0].argmax()
print(open(folder + "/labels.txt").read().splitlines()[best])
"""


def _run(command: list[str]) -> tuple[float, float]:
    """Run a command; return its wall time in s and its peak resident memory in MB.

    Raises
    ------
    EdgeDefendError
        If it fails.
    """
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        errors = process.stderr.read() if process.stderr else ""
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise EdgeDefendError(f"{command[0]} failed: {(errors.strip().splitlines() or ['no reason given'])[-1]}")
    return time.perf_counter() - started, usage.ru_maxrss / 1024


def measure_startup(
    bundle: Bundle, image: Path, *, runs: int = 10, threads: int = 1, tick: Callable[[int], Any] = lambda count: None
) -> dict[str, Any]:
    """Time ``edgedefend classify`` of one image beside the ten lines that do it with the interpreter alone.

    The runs alternate; a first one of each is not counted (it fills the caches of kernels and files).

    Returns
    -------
    dict
        Medians of wall time in s and peak memory in MB of "classify", "bare", "import edgedefend" and "import
        numpy" (of which the former consists mostly), and the differences "extra_s" and "extra_mb".
    """
    if not isinstance(bundle.model(), Path):
        raise BackendError(f"{bundle.path}: a packed bundle: the bare script needs the model as a file: unpack it")
    python = sys.executable
    commands = {
        "classify": [
            python,
            "-m",
            "edgedefend.cli",
            "classify",
            "--threads",
            str(threads),
            str(bundle.path),
            str(image),
        ],
        "bare": [python, "-c", BARE_SCRIPT, str(bundle.path), str(image), str(threads)],
        "import edgedefend": [python, "-c", "import edgedefend"],
        "import numpy": [python, "-c", "import numpy"],
        "python alone": [python, "-c", ""],
    }
    seen: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for number in range(runs + 1):
        for name, command in commands.items():
            figures = _run(command)
            if number:
                seen[name].append(figures)
        tick(1)
    rows = {
        name: {
            "wall_s": statistics.median(wall for wall, _ in figures),
            "peak_mb": statistics.median(peak for _, peak in figures),
        }
        for name, figures in seen.items()
    }
    return {
        "kind": "startup",
        "rows": rows,
        "extra_s": statistics.median(a[0] - b[0] for a, b in zip(seen["classify"], seen["bare"], strict=True)),
        "extra_mb": rows["classify"]["peak_mb"] - rows["bare"]["peak_mb"],
        "import_s": rows["import edgedefend"]["wall_s"] - rows["python alone"]["wall_s"],
        "runs": runs,
        "threads": threads,
        "bundle": bundle_facts(bundle),
        "conditions": conditions(),
    }


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def measure_memory_growth(
    bundle: Bundle, *, images: int = 100_000, threads: int = 1, tick: Callable[[int], Any] = lambda count: None
) -> dict[str, Any]:
    """Defend and classify many images in one process and watch its resident memory.

    The pictures have changing sizes, so that a buffer kept for each size would show.

    Returns
    -------
    dict
        "slope_kb_per_1000": of a straight line through the samples of the second half, in kB a thousand images,
        with its standard error; "samples_mb": 200 samples of resident memory.
    """
    classifier = Classifier(bundle, threads=threads)
    rng = np.random.default_rng(0)
    pool = [rng.integers(0, 256, (int(h), int(w), 3), np.uint8) for h, w in rng.integers(100, 500, (50, 2))]
    every = max(1, images // 200)
    samples = []
    for number in range(images):
        classifier.classify(pool[number % len(pool)], draws=1)
        if number % every == every - 1:
            samples.append((number + 1, _resident_mb()))
            tick(every)
    half = np.array(samples[len(samples) // 2 :])
    design = np.stack([half[:, 0] / 1000, np.ones(len(half))], axis=1)
    (slope, start), residuals, _, _ = np.linalg.lstsq(design, 1000 * half[:, 1], rcond=None)
    spread = float(((design[:, 0] - design[:, 0].mean()) ** 2).sum())
    error = float(np.sqrt((residuals[0] if residuals.size else 0.0) / max(1, len(half) - 2) / spread))
    return {
        "kind": "memory-growth",
        "slope_kb_per_1000": float(slope),
        "slope_error": error,
        "start_mb": samples[0][1],
        "end_mb": samples[-1][1],
        "line_start_kb": float(start),
        "images": images,
        "samples_mb": [round(value, 3) for _, value in samples],
        "bundle": bundle_facts(bundle),
        "conditions": conditions(),
    }
