"""What one start costs in time and memory, beside a short script that uses the interpreter alone."""

from __future__ import annotations

import statistics
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.conditions import Watch, bundle_facts
from edgedefend.bundle import Bundle
from edgedefend.errors import BackendError, EdgeDefendError

__all__ = ["BARE_SCRIPT", "Process", "measure_startup", "run_process"]

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
# A process counts the memory of whoever started it among its own peak (the kernel keeps it over exec). So what is
# measured is started by a Python with nothing in it, which takes the time as well.
_LAUNCHER = """\
import os, sys, time
quiet = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
started = time.perf_counter()
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=quiet)
_, status, usage = os.wait4(pid, 0)
wall = time.perf_counter() - started
print(os.waitstatus_to_exitcode(status), wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)
"""


@dataclass(frozen=True)
class Process:
    """What one process took: wall time and CPU time in s, peak resident memory in MiB."""

    wall_s: float
    cpu_s: float
    peak_mb: float


def run_process(command: Sequence[str]) -> Process:
    """Run a command to its end.

    Raises
    ------
    EdgeDefendError
        If it cannot be started or fails.
    """
    launcher = [sys.executable, "-I", "-S", "-c", _LAUNCHER, *command]
    done = subprocess.run(launcher, capture_output=True, text=True, check=False)
    fields = done.stdout.split()
    if done.returncode or len(fields) != 4 or fields[0] != "0":
        raise EdgeDefendError(f"{command[0]} failed: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}")
    return Process(*map(float, fields[1:]))


def measure_startup(
    bundle: Bundle, image: Path, *, runs: int = 10, threads: int = 1, tick: Callable[[int], Any] = lambda count: None
) -> dict[str, Any]:
    """Time ``edgedefend classify`` of one image beside the ten lines that do it with the interpreter alone.

    The runs alternate; a first one of each is not counted (it fills the caches of kernels and files).

    Returns
    -------
    dict
        ``rows``: medians of wall and CPU time in s and of peak memory in MiB of "classify", "bare", "import
        edgedefend" (which imports nothing), "import Defense" (``from edgedefend import Defense``, which is NumPy
        mostly), "import numpy" and "python alone"; the differences ``extra_s``, ``extra_cpu_s`` and ``extra_mb`` of
        classify to bare, and ``import_s`` and ``import_cpu_s`` of ``import edgedefend``, ``import_defense_s`` and
        ``import_defense_cpu_s`` to Python alone: medians of the differences in each round. CPU time is what other
        load changes least.

    Raises
    ------
    BackendError
        If the bundle is packed: the script wants the model as a file.
    EdgeDefendError
        If one of the processes fails.
    """
    if not isinstance(bundle.model(), Path):
        raise BackendError(f"{bundle.path}: a packed bundle: the bare script needs the model as a file: unpack it")
    python, folder = sys.executable, str(bundle.path)
    classify = [python, "-m", "edgedefend.cli", "classify", "--threads", str(threads), folder, str(image)]
    commands = {
        "classify": classify,
        "bare": [python, "-c", BARE_SCRIPT, folder, str(image), str(threads)],
        "import edgedefend": [python, "-c", "import edgedefend"],
        "import Defense": [python, "-c", "from edgedefend import Defense"],
        "import numpy": [python, "-c", "import numpy"],
        "python alone": [python, "-c", ""],
    }
    watch = Watch()
    seen: dict[str, list[Process]] = {name: [] for name in commands}
    for number in range(runs + 1):
        for name, command in commands.items():
            process = run_process(command)
            if number:
                seen[name].append(process)
        watch.glance()
        tick(1)

    def extra(name: str, base: str, field: str) -> float:
        pairs = zip(seen[name], seen[base], strict=True)
        return statistics.median(getattr(a, field) - getattr(b, field) for a, b in pairs)

    return {
        "kind": "startup",
        "rows": {
            name: {
                field: statistics.median(getattr(process, field) for process in processes)
                for field in ("wall_s", "cpu_s", "peak_mb")
            }
            for name, processes in seen.items()
        },
        "extra_s": extra("classify", "bare", "wall_s"),
        "extra_cpu_s": extra("classify", "bare", "cpu_s"),
        "extra_mb": extra("classify", "bare", "peak_mb"),
        "import_s": extra("import edgedefend", "python alone", "wall_s"),
        "import_cpu_s": extra("import edgedefend", "python alone", "cpu_s"),
        "import_defense_s": extra("import Defense", "python alone", "wall_s"),
        "import_defense_cpu_s": extra("import Defense", "python alone", "cpu_s"),
        "runs": runs,
        "threads": threads,
        "bundle": bundle_facts(bundle),
        "conditions": watch.finish(),
    }
