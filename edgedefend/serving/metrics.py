"""What the service counts, in Prometheus' terms, and the summary of it that the page shows.

Every application has a registry of its own: two in one process (in tests) do not add up. Gauges are read when they are
asked for; a metric that this board cannot tell is left out rather than zero.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.types import Scope

from edgedefend.serving.pool import Pool
from edgedefend.serving.sensors import Sensors

__all__ = ["Metrics"]

# From the defence on a fast desktop (0.1 ms) to many draws of a large model on a small board (30 s).
_BUCKETS = (0.0001, 0.0003, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_STAGES = ("decode_ms", "resize_ms", "defend_ms", "invoke_ms", "wait_ms", "total_ms")
_RECENT = 1000


class _Gauges(Collector):
    def __init__(self, pool: Pool, sensors: Sensors) -> None:
        self._pool, self._sensors = pool, sensors

    def collect(self) -> Iterator[Metric]:
        pool, sensors = self._pool, self._sensors
        yield GaugeMetricFamily("edgedefend_queue_depth", "Pictures that wait for a worker.", pool.waiting)
        yield GaugeMetricFamily("edgedefend_queue_places", "Pictures that may wait.", pool.places - pool.size)
        yield GaugeMetricFamily("edgedefend_workers", "Worker threads, one interpreter each.", pool.size)
        yield GaugeMetricFamily("edgedefend_workers_busy", "Worker threads that have a picture.", pool.busy)
        yield CounterMetricFamily(
            "edgedefend_frames_dropped",
            "Pictures taken and never classified: the client had gone, or they had waited too long.",
            pool.dropped,
        )
        if sensors.temperature is not None:
            yield GaugeMetricFamily("edgedefend_temperature_celsius", "Of the CPU.", sensors.temperature)
        if (now := sensors.throttled) is not None:
            yield GaugeMetricFamily("edgedefend_throttled", "1 while the board slows itself down.", bool(now))
            yield GaugeMetricFamily(
                "edgedefend_throttled_since_boot",
                "1 if the board has slowed itself down since it was started.",
                bool(sensors.latest["throttled_since_boot"]),
            )


class Metrics:
    """Counters and histograms of one application.

    Attributes
    ----------
    errors : Counter
        By reason: ``bad_request`` (4xx), ``refused`` (503), ``internal``.
    answers : int
        Pictures classified.
    last_ms : float or None
        How long the last one took, from its arrival in the queue to its answer.
    """

    def __init__(self, pool: Pool, sensors: Sensors, info: dict[str, str]) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        self.started = time.monotonic()
        self.answers = 0
        self.last_ms: float | None = None
        self._recent: deque[tuple[float, float]] = deque(maxlen=_RECENT)
        self._paths: frozenset[str] = frozenset()
        self._requests = Counter(
            "edgedefend_requests", "HTTP requests answered.", ["path", "status"], registry=self.registry
        )
        self._predictions = Counter("edgedefend_predictions", "Pictures classified.", registry=self.registry)
        self.errors = Counter("edgedefend_errors", "Requests without an answer.", ["reason"], registry=self.registry)
        for reason in ("bad_request", "refused", "internal"):
            self.errors.labels(reason)
        stages = Histogram(
            "edgedefend_stage_seconds",
            "Time of a picture by stage; total is from its arrival in the queue to its answer.",
            ["stage"],
            buckets=_BUCKETS,
            registry=self.registry,
        )
        # Looked up once: every call of `labels` takes a lock.
        self._stages = {name: stages.labels(name.removesuffix("_ms")) for name in _STAGES}
        self.registry.register(_Gauges(pool, sensors))
        self.registry.register(_Constant(InfoMetricFamily("edgedefend_bundle", "What runs.", info)))
        ProcessCollector(registry=self.registry)

    def know_paths(self, paths: frozenset[str]) -> None:
        """Name the paths that are counted by name; all others are one, whatever strangers ask for."""
        self._paths = paths

    def count_request(self, scope: Scope, status: int) -> None:
        """Count one request; `status` 0 is a client that went away before its answer."""
        path = scope["path"] if scope["path"] in self._paths else "other"
        self._requests.labels(path, str(status) if status else "gone").inc()
        if 400 <= status < 500:
            self.errors.labels("bad_request").inc()
        elif status == 503:
            self.errors.labels("refused").inc()

    def note_answer(self, stage_ms: dict[str, float]) -> None:
        """Count one classified picture and its stages."""
        self._predictions.inc()
        self.answers += 1
        self.last_ms = stage_ms["total_ms"]
        self._recent.append((time.monotonic(), self.last_ms))
        for name, histogram in self._stages.items():
            histogram.observe(stage_ms[name] / 1e3)

    def text(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self.registry)

    def summary(self) -> dict[str, Any]:
        """Return what the page shows: counts, and how long the last minute's answers took (`_RECENT` at most)."""
        now = time.monotonic()
        recent = sorted(took for when, took in list(self._recent) if now - when <= 60)
        middle = recent[len(recent) // 2] if recent else None
        return {
            "uptime_s": round(now - self.started, 1),
            "answers": self.answers,
            "answers_last_minute": len(recent),
            "p50_ms": middle,
            "p95_ms": recent[int(len(recent) * 0.95)] if len(recent) >= 20 else None,
            "refused": self._count("refused"),
            "bad_requests": self._count("bad_request"),
        }

    def _count(self, reason: str) -> int:
        return int(self.registry.get_sample_value("edgedefend_errors_total", {"reason": reason}) or 0)


class _Constant(Collector):
    def __init__(self, metric: Metric) -> None:
        self._metric = metric

    def collect(self) -> Iterator[Metric]:
        yield self._metric
