"""Under which conditions a result was measured, and do they let it be quoted? A figure without them is a rumour."""

from __future__ import annotations

import datetime
import os
import platform
import shlex
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import edgedefend
from bench.verdict import judge
from edgedefend.bundle import Bundle
from edgedefend.device import Device
from edgedefend.interpreter import Interpreter

__all__ = ["CpuTimes", "Watch", "bundle_facts", "conditions", "interpreter_facts"]

_PACKAGES = ("numpy", "numba", "llvmlite", "opencv-python-headless", "ai-edge-litert", "tflite-runtime")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def conditions(device: Device | None = None) -> dict[str, Any]:
    """Return what stays the same while a measurement runs: versions, command line, board, CPU."""
    facts = (device or Device()).facts()
    versions = {name: _version(name) for name in _PACKAGES}
    return {
        "measured_at": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "command": "edgedefend " + shlex.join(sys.argv[1:]),
        "edgedefend": edgedefend.__version__,
        "python": platform.python_version(),
        "packages": {name: version for name, version in versions.items() if version},
        "machine": platform.machine(),
        "system": platform.system(),
        "cpu": facts["cpu"],
        "cpus": len(os.sched_getaffinity(0)),
        "device": facts,
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


class CpuTimes:
    """Seconds of the CPUs that this process may use, by /proc/stat, and this process's own.

    Attributes
    ----------
    total, busy, stolen : float
        Of all those CPUs together: all time, time at work (niced included), time that the host gave to others.
        0.0 where the kernel does not tell.
    own : float
        Of this process and the children it has waited for.
    """

    def __init__(self, stat: Path = Path("/proc/stat")) -> None:
        self.total = self.busy = self.stolen = 0.0
        spent = os.times()
        self.own = spent.user + spent.system + spent.children_user + spent.children_system
        tick = os.sysconf("SC_CLK_TCK")
        names = {f"cpu{number}" for number in os.sched_getaffinity(0)}
        try:
            lines = stat.read_text(encoding="ascii", errors="replace").splitlines()
        except OSError:
            return
        for line in lines:
            name, *fields = line.split()
            if name in names and len(fields) >= 8 and all(field.isdigit() for field in fields[:8]):
                user, nice, system, idle, waiting, interrupts, soft, stolen = (
                    int(field) / tick for field in fields[:8]
                )
                self.busy += user + nice + system + interrupts + soft
                self.stolen += stolen
                self.total += user + nice + system + idle + waiting + interrupts + soft + stolen

    def load_since(self, before: CpuTimes) -> dict[str, float | None]:
        """Return ``other`` and ``stolen``: the fractions of the time since `before` that others had."""
        total = self.total - before.total
        if total <= 0:
            return {"other": None, "stolen": None}
        other = (self.busy - before.busy) - (self.own - before.own)
        return {
            "other": round(min(1.0, max(0.0, other / total)), 4),
            "stolen": round(max(0.0, (self.stolen - before.stolen) / total), 4),
        }


class Watch:
    """Looks at the machine before, now and then during, and after a measurement, and judges by what it saw.

    Parameters
    ----------
    device : Device, optional
        This machine by default.
    every_s : float
        How many seconds lie between two looks of `glance`. A look starts a program on some boards: the measurement
        calls `glance` between two queries, outside the clock.
    timed : bool
        Whether the figure is a time. An accuracy or an amount of memory is no worse for other load or a slow clock.

    Examples
    --------
    >>> watch = Watch()
    >>> watch.glance()
    >>> watch.finish()["verdict"] in ("VALID", "TAINTED")
    True
    """

    def __init__(self, device: Device | None = None, *, every_s: float = 5.0, timed: bool = True) -> None:
        self.device = device or Device()
        self._every_s, self._timed = every_s, timed
        self._static = conditions(self.device)
        self._snapshots = [self.device.snapshot()]
        self._times = CpuTimes()
        self._looked = time.monotonic()

    def look(self) -> dict[str, Any]:
        """Take a snapshot of the sensors, remember it for the verdict, return it."""
        self._snapshots.append(self.device.snapshot())
        self._looked = time.monotonic()
        return self._snapshots[-1]

    def glance(self) -> None:
        """Look, if the last look was long enough ago."""
        if time.monotonic() - self._looked >= self._every_s:
            self.look()

    def finish(self, *reasons: str) -> dict[str, Any]:
        """Return all conditions: the static ones, the sensors before and after, other load, and the verdict.

        Parameters
        ----------
        *reasons : str
            What the measurement itself has against its figures.
        """
        load = CpuTimes().load_since(self._times)
        self.look()
        seen = (self._snapshots, load) if self._timed else ([{}], {})
        temperatures = [shot["temperature_c"] for shot in self._snapshots if shot.get("temperature_c") is not None]
        return {
            **self._static,
            "before": self._snapshots[0],
            "after": self._snapshots[-1],
            "hottest_c": max(temperatures, default=None),
            "load": load,
            **judge(self._static["device"] if self._timed else {}, *seen, reasons),
        }
