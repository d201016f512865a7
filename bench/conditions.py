"""Under which conditions a result was measured: versions, CPU, command line. A figure without them is a rumour."""

from __future__ import annotations

import datetime
import os
import platform
import shlex
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import edgedefend
from edgedefend.bundle import Bundle
from edgedefend.interpreter import Interpreter

__all__ = ["bundle_facts", "conditions", "interpreter_facts"]


def _cpu_name() -> str:
    """Return the CPU's name from /proc/cpuinfo, or the machine type where it has none (as on ARM)."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("model name", "Model"):
                return value.strip()
    except OSError:
        return platform.machine()
    return platform.machine()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def conditions() -> dict[str, Any]:
    """Return what is the same for every measurement of this run."""
    packages = ("numpy", "numba", "opencv-python-headless")
    return {
        "measured_at": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "command": "edgedefend " + shlex.join(sys.argv[1:]),
        "edgedefend": edgedefend.__version__,
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in packages},
        "machine": platform.machine(),
        "system": platform.system(),
        "cpu": _cpu_name(),
        "cpus": len(os.sched_getaffinity(0)),
    }


def bundle_facts(bundle: Bundle) -> dict[str, Any]:
    """Return what identifies a bundle in a result."""
    return {
        "model": bundle.model_name,
        "precision": bundle.precision,
        "weights": bundle.weights,
        "sha256": bundle.sha256,
        "quant_table": bundle.quant_table.tolist(),
        "num_steps": bundle.num_steps,
        "distort_limit": bundle.distort_limit,
    }


def interpreter_facts(interpreter: Interpreter) -> dict[str, Any]:
    """Return which runtime ran the model, on how many threads."""
    return {"backend": interpreter.backend, "version": interpreter.version, "threads": interpreter.threads}
