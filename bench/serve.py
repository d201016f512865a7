"""The service over loopback beside the pipeline without it: throughput, and what an overload does.

Throughput: clients that always have one request open each, on connections that stay open, in a process of their own;
its figure is the ratio to `bench latency --scenario offline` on the same files, with as many interpreter threads in
all, measured in turn in the same run. Both sides read, decode, resize, defend and invoke. A second ratio is that to
the pipeline on pictures that are ready at the model's size, where reading, decoding and resizing are left out: a
service comes near it only where clients send pictures of that size (`fitted_files`). What each side takes of the CPUs
for a picture says where the difference goes.

Overload: requests at a multiple of the rate that was just measured, each at its own time whether or not the ones
before it have been answered; latency counts from that time.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2

from bench.conditions import Watch, bundle_facts
from bench.percentiles import summarize
from bench.subject import PipelineSubject, clock
from bench.wrk import load_with_wrk
from edgedefend.bundle import Bundle
from edgedefend.classifier import Classifier
from edgedefend.errors import EdgeDefendError, InputError
from edgedefend.sources import fit_image, read_image

__all__ = ["fitted_files", "measure_serving"]

_TICK = os.sysconf("SC_CLK_TCK")
_QUALITY = 95  # of the JPEG that a client sends who resizes his pictures himself


def fitted_files(bundle: Bundle, files: Sequence[Path], folder: Path) -> list[Path]:
    """Write the pictures at the size of the bundle's model, as a client does who spares the board the rest.

    Parameters
    ----------
    folder : Path
        Where the JPEG files are written, of quality 95.
    """
    made = []
    inputs = bundle.input
    for number, file in enumerate(files):
        fitted = fit_image(read_image(file), inputs.height, inputs.width, inputs.resize)
        done, data = cv2.imencode(".jpg", fitted[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
        if not done:
            raise EdgeDefendError("OpenCV cannot write JPEG here")
        made.append(folder / f"{number}.jpg")
        made[-1].write_bytes(data.tobytes())
    return made


@dataclass(frozen=True)
class _Service:
    """One running `edgedefend serve`."""

    port: int
    pid: int

    def cpu_seconds(self) -> tuple[float, float]:
        """Return what its first thread, which speaks HTTP, and all others have had of the CPUs."""
        process = Path("/proc") / str(self.pid)
        whole, http = (_cpu_seconds(path / "stat") for path in (process, process / "task" / str(self.pid)))
        return http, whole - http


def _cpu_seconds(stat: Path) -> float:
    # The name of the program, in brackets, may hold anything; the 12th and 13th field after it are user and system.
    fields = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICK


@contextmanager
def _service(bundle: Bundle, *, workers: int, threads: int, waiting: int) -> Iterator[_Service]:
    """Start `edgedefend serve` as a user would."""
    words = [sys.executable, "-m", "edgedefend.cli", "serve", str(bundle.path), "--port", "0"]
    words += ["--workers", str(workers), "--threads", str(threads), "--waiting", str(waiting)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline() if process.stdout else ""
        if "http://" not in line:
            raise EdgeDefendError(f"the service does not start: {process.communicate()[1].strip()}")
        yield _Service(int(line.rsplit(":", 1)[1]), process.pid)
    finally:
        process.terminate()
        process.communicate(timeout=30)


def _load(port: int, files: Sequence[Path], **plan: Any) -> dict[str, Any]:
    """Run `bench.load` in a process of its own; return what it saw."""
    words = [sys.executable, "-m", "bench.load", json.dumps({"port": port, "files": list(map(str, files)), **plan})]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise EdgeDefendError(f"the load could not be made: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen


def _throughput(service: _Service, files: Sequence[Path], client: str, clients: int, seconds: float) -> dict[str, Any]:
    """Keep `clients` requests open; return answers a second, and ms of the CPUs an answer by who had them."""
    http, workers = service.cpu_seconds()
    load = load_with_wrk if client == "wrk" else _load
    seen = load(service.port, files, clients=clients, seconds=seconds)
    http_after, workers_after = service.cpu_seconds()
    answers = seen["accepted"]
    if not answers:
        raise EdgeDefendError("the service has answered nothing: its pictures or its places do not do")
    spent = {"workers": workers_after - workers, "http": http_after - http, "client": seen["cpu_seconds"]}
    return {
        "per_s": answers / seen["seconds"],
        "cpu_ms": {who: 1e3 * cpu_s / answers for who, cpu_s in spent.items()},
    }


def _offline(subject: PipelineSubject, seconds: float) -> dict[str, Any]:
    """Do as `_throughput` without the service."""
    began, cpu_began, images = clock(), time.process_time(), 0
    while clock() - began < seconds:
        subject.ask(clock(), defended=True)
        images += subject.samples
    return {
        "per_s": images / (clock() - began),
        "cpu_ms": {"pipeline": 1e3 * (time.process_time() - cpu_began) / images},
    }


def _medians(measured: Sequence[dict[str, Any]]) -> dict[str, Any]:
    cpu_ms = {who: statistics.median(one["cpu_ms"][who] for one in measured) for who in measured[0]["cpu_ms"]}
    return {"per_s": statistics.median(one["per_s"] for one in measured), "cpu_ms": cpu_ms}


def measure_serving(
    bundle: Bundle,
    files: Sequence[Path],
    *,
    workers: int,
    threads: int = 1,
    clients: int | None = None,
    waiting: int = 8,
    rounds: int = 5,
    seconds: float = 5.0,
    overload: float = 5.0,
    overload_seconds: float = 10.0,
    client: str = "python",
    tick: Callable[[int], Any] = lambda count: None,
) -> dict[str, Any]:
    """Measure one service.

    Parameters
    ----------
    bundle : Bundle
        A folder or a packed bundle.
    files : sequence of Path
        The pictures, read, decoded and resized on both sides.
    workers, threads : int
        Of the service; the pipeline gets their product as interpreter threads.
    clients : int, optional
        Connections of the throughput part; by default two a worker, so that none ever has to wait for a request.
    waiting : int
        As of `edgedefend serve`.
    rounds : int
        Each times the pipeline on ready pictures, the service, and the pipeline again; its ratio is that of the
        service's rate to the mean of the pipeline's before and after.
    seconds : float
        Of one side of a round.
    overload : float
        Requests a second, as a multiple of the service's median rate.
    client : str
        Who asks in the throughput part: "python" (`bench.load`) or "wrk" (`bench.wrk`).

    Returns
    -------
    dict
        ``ratio``: the median of ``ratios``; ``ratio_ready``: likewise, to the pipeline on pictures that are decoded and
        resized already; ``served``, ``offline``, ``ready``: medians of ``per_s`` and of ``cpu_ms``, CPU time a picture
        by who had it; ``served_per_s``, ``offline_per_s``: the same rates; ``overload``: how many were
        ``accepted``, ``refused``, ``other`` (any other answer) and ``hanging`` (none), ms of the accepted and of the
        refused, and ``bound_ms``: what a full queue takes at the measured rate.
    """
    if not files:
        raise InputError("the service is measured with image files: none was given")
    watch = Watch()
    classifier = Classifier(bundle, threads=workers * threads)
    clients = clients or 2 * workers
    decoding = PipelineSubject(classifier, files=files, samples=32)
    ready = PipelineSubject(classifier, pictures=[classifier.fit(read_image(file)) for file in files], samples=32)

    with _service(bundle, workers=workers, threads=threads, waiting=max(waiting, clients)) as service:
        _load(service.port, files, clients=clients, seconds=1.0)
        served, pipelined, bare, ratios, ratios_ready = [], [], [], [], []
        before = _offline(decoding, seconds)
        for _ in range(rounds):
            bare.append(_offline(ready, seconds))
            served.append(_throughput(service, files, client, clients, seconds))
            pipelined.append(_offline(decoding, seconds))
            ratios.append(2 * served[-1]["per_s"] / (before["per_s"] + pipelined[-1]["per_s"]))
            ratios_ready.append(served[-1]["per_s"] / bare[-1]["per_s"])
            before = pipelined[-1]
            watch.glance()
            tick(1)
    over_http, offline = _medians(served), _medians(pipelined)
    rate = over_http["per_s"]
    with _service(bundle, workers=workers, threads=threads, waiting=waiting) as service:
        _load(service.port, files, clients=clients, seconds=1.0)
        flood = _load(service.port, files, rate=overload * rate, seconds=overload_seconds)
    accepted = sorted(flood.pop("accepted_ms"))
    refused = flood.pop("refused_ms")
    return {
        "kind": "serve",
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        "ratio_ready": statistics.median(ratios_ready),
        "ratios_ready": ratios_ready,
        "served_per_s": rate,
        "offline_per_s": offline["per_s"],
        "served": over_http,
        "offline": offline,
        "ready": _medians(bare),
        "client": client,
        "overload": {
            **flood,
            "times_capacity": overload,
            "bound_ms": 1e3 * (workers + waiting) / rate,
            "accepted_ms": summarize(accepted) if accepted else {},
            "slowest_accepted_ms": accepted[-1] if accepted else None,
            "refused_ms": summarize(refused) if refused else {},
        },
        "clients": clients,
        "workers": workers,
        "threads": threads,
        "waiting": waiting,
        "rounds": rounds,
        "source": {"files": len(files)},
        "bundle": bundle_facts(bundle),
        "interpreter": {
            "backend": classifier.interpreter.backend,
            "version": classifier.interpreter.version,
            "threads": workers * threads,
        },
        "conditions": watch.finish(),
    }
