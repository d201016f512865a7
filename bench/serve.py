"""The service over loopback beside the pipeline without it: throughput, and what an overload does.

Throughput: clients that always have one request open each, on connections that stay open, in a process of their own;
its figure is the ratio to `bench latency --scenario offline` on the same files, with as many interpreter threads in
all, measured in turn in the same run. Overload: requests at a multiple of the rate that was just measured, each at its
own time whether or not the ones before it have been answered; latency counts from that time.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.conditions import Watch, bundle_facts
from bench.percentiles import summarize
from bench.subject import PipelineSubject, clock
from edgedefend.bundle import Bundle
from edgedefend.classifier import Classifier
from edgedefend.errors import EdgeDefendError, InputError

__all__ = ["measure_serving"]

START_SECONDS = 180


@contextmanager
def _service(bundle: Bundle, *, workers: int, threads: int, waiting: int) -> Iterator[int]:
    """Start `edgedefend serve` as a user would; yield its port."""
    words = [sys.executable, "-m", "edgedefend.cli", "serve", str(bundle.path), "--port", "0"]
    words += ["--workers", str(workers), "--threads", str(threads), "--waiting", str(waiting)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline() if process.stdout else ""
        if "http://" not in line:
            raise EdgeDefendError(f"the service does not start: {process.communicate()[1].strip()}")
        yield int(line.rsplit(":", 1)[1])
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
        Each times the pipeline, the service, and the pipeline again; its ratio is that of the service's rate to the
        mean of the two.
    seconds : float
        Of one side of a round.
    overload : float
        Requests a second, as a multiple of the service's median rate.

    Returns
    -------
    dict
        ``ratio``: the median of ``ratios``; ``served_per_s``, ``offline_per_s``: medians; ``overload``: how many were
        ``accepted``, ``refused``, ``other`` (any other answer) and ``hanging`` (none), ms of the accepted and of the
        refused, and ``bound_ms``: what a full queue takes at the measured rate.
    """
    if not files:
        raise InputError("the service is measured with image files: none was given")
    watch = Watch()
    classifier = Classifier(bundle, threads=workers * threads)
    clients = clients or 2 * workers
    subject = PipelineSubject(classifier, files=files, samples=32)

    def offline() -> float:
        began, images = clock(), 0
        while clock() - began < seconds:
            subject.ask(clock(), defended=True)
            images += subject.samples
        return images / (clock() - began)

    with _service(bundle, workers=workers, threads=threads, waiting=max(waiting, clients)) as port:
        _load(port, files, clients=clients, seconds=1.0)
        served, pipelined, ratios = [], [], []
        before = offline()
        for _ in range(rounds):
            seen = _load(port, files, clients=clients, seconds=seconds)
            ours, after = seen["accepted"] / seen["seconds"], offline()
            served.append(ours)
            pipelined.append(after)
            ratios.append(ours / ((before + after) / 2))
            before = after
            watch.glance()
            tick(1)
    rate = statistics.median(served)
    with _service(bundle, workers=workers, threads=threads, waiting=waiting) as port:
        _load(port, files, clients=clients, seconds=1.0)
        flood = _load(port, files, rate=overload * rate, seconds=overload_seconds)
    accepted = sorted(flood.pop("accepted_ms"))
    refused = flood.pop("refused_ms")
    return {
        "kind": "serve",
        "ratio": statistics.median(ratios),
        "ratios": ratios,
        "served_per_s": rate,
        "offline_per_s": statistics.median(pipelined),
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
