"""A source watched for as long as it lasts: frames in, answers out, systemd and statistics beside it.

Three rules for a program that runs for months: only the thread of the model feeds systemd's watchdog, so that an
interpreter that hangs is started again; whatever is lost (a camera, a broker, a disk) is waited for, counted and said
once; and every interval is measured on a clock that cannot be set.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgedefend.annotate import Roi, Saver, annotate
from edgedefend.board import detect
from edgedefend.capture import Source, keep_open
from edgedefend.classifier import Classifier
from edgedefend.device import Device
from edgedefend.errors import InputError
from edgedefend.notify import notify, watchdog_interval
from edgedefend.pace import Cooling, Pace
from edgedefend.publish import Sink
from edgedefend.results import Filter, Records
from edgedefend.stream import FrameResult, Stream

__all__ = ["Run", "RunOptions"]

_TICK_S = 0.5
_STATUS_S = 10.0
_DRAIN_S = 2.0
_AGES = 1000
_SAY_DAMAGED_S = 60.0


@dataclass(frozen=True)
class RunOptions:
    """What a run does with its frames; see the command's help. Times in seconds."""

    frames: int | None = None
    draws: int = 1
    suspicion: bool = False
    top: int = 5
    roi: Roi | None = None
    on_change: int = 0
    min_score: float = 0.0
    statistics_s: float = 60.0
    sensors_s: float = 5.0
    give_up_s: float | None = None


def _own_memory_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)


class Run:
    """One source through one classifier into any number of sinks. `go` runs it to its end; `pace.stop` ends it.

    Parameters
    ----------
    classifier : Classifier
        Used by the run alone.
    source : Source
    pace : Pace
    options : RunOptions
    sinks : sequence of Sink
        Closed at the end.
    emit : callable
        Gets every published record as well; may raise `BrokenPipeError`.
    say : callable
        Gets one line about what a person should know.
    saver : Saver, optional
    device : Device, optional
        Whose sensors are read; this machine's by default.
    """

    def __init__(
        self,
        classifier: Classifier,
        source: Source,
        pace: Pace,
        options: RunOptions,
        sinks: Sequence[Sink],
        emit: Callable[[dict[str, Any]], None],
        say: Callable[[str], None],
        *,
        saver: Saver | None = None,
        device: Device | None = None,
    ) -> None:
        self.source, self.pace, self.options, self.sinks = source, pace, options, sinks
        self._emit, self._say, self._saver = emit, say, saver
        self._device = device or Device()
        board = detect(self._device)
        self._cooling = Cooling(board.warn_c, board.limit_c)
        self._sensors: dict[str, Any] = {}
        self._stream = Stream(
            classifier,
            live=source.live,
            top=options.top,
            draws=options.draws,
            suspicion=options.suspicion,
            crop=None if options.roi is None else options.roi.crop,
            keep_images=saver is not None,
            on_damaged=self._on_damaged,
            heartbeat=self._heartbeat,
        )
        self._records = Records(source.name, classifier.bundle.sha256, options.draws if classifier.defended else 0)
        self._filter = Filter(options.on_change, options.min_score)
        self._started = time.monotonic()
        self._ages: deque[float] = deque(maxlen=_AGES)
        self._fps = 0.0
        self._watchdog = watchdog_interval()
        self._next_ping = self._next_damaged = 0.0
        self._ready = False
        self._status = "waiting for the first frame"
        self.answers = self.published = self.damaged = 0

    # In the thread of the model

    def _heartbeat(self, answered: bool) -> None:
        if answered and not self._ready:
            self._ready = True
            notify("READY=1", "STATUS=running")
        now = time.monotonic()
        if now < self._next_ping:
            return
        if not self._ready:
            # No camera yet is no reason to be killed: more time, while this thread is alive.
            notify("EXTEND_TIMEOUT_USEC=30000000", f"STATUS={self._status}")
            self._next_ping = now + 5
        elif self._watchdog is not None:
            notify("WATCHDOG=1")
            self._next_ping = now + self._watchdog

    # In the thread that prepares frames

    def _on_damaged(self, error: InputError) -> None:
        self.damaged += 1
        now = time.monotonic()
        if not self.source.live or now >= self._next_damaged:
            self._next_damaged = now + _SAY_DAMAGED_S
            self._say(str(error))

    # In a thread of its own: some boards' sensors take a second

    def _watch_board(self) -> None:
        answers, looked = self.answers, time.monotonic()
        while True:
            self._sensors = self._device.snapshot()
            if self.pace.stop.wait(self.options.sensors_s):
                return
            now = time.monotonic()
            self._fps = (self.answers - answers) / (now - looked)
            answers, looked = self.answers, now
            changed = self._cooling.look(self._sensors, self._fps)
            self.pace.limit = self._cooling.limit
            if changed:
                self._say(changed)

    def statistics(self) -> dict[str, Any]:
        """Return what has been counted so far, as JSON types."""
        ages = sorted(self._ages)
        sensors = self._sensors
        record = {
            "uptime_s": round(time.monotonic() - self._started, 1),
            "run": self._records.run,
            "answers": self.answers,
            "published": self.published,
            "dropped": self._stream.dropped,
            "skipped": self.pace.skipped,
            "damaged": self.damaged,
            "fps": round(self._fps, 2),
            "age_ms": round(ages[len(ages) // 2], 1) if ages else None,
            "age_p99_ms": round(ages[int(0.99 * len(ages))], 1) if ages else None,
            "source_connected": self.source.connected,
            "source_lost": self.source.lost,
            "temperature_c": sensors.get("temperature_c"),
            "throttled": sensors.get("throttled_now") or [],
            "limit_fps": None if self._cooling.limit is None else round(self._cooling.limit, 3),
            "memory_mb": _own_memory_mb(),
            "open_files": len(list(Path("/proc/self/fd").iterdir())),
        }
        for sink in self.sinks:
            record.update(sink.counts())
        return record

    def go(self) -> dict[str, Any]:
        """Run until the source ends, `frames` answers are there or `pace.stop` is set; return the statistics.

        Raises
        ------
        EdgeDefendError
            What ends a run: a file that cannot be read, a source given up, a model that fails.
        """
        notify(f"STATUS={self._status}")
        board = threading.Thread(target=self._watch_board, daemon=True)
        board.start()
        frames = keep_open(self.source, self.pace, self._say, give_up_s=self.options.give_up_s)
        self.source.connected = not self.source.live
        results = self._stream.watch(frames, _TICK_S)
        next_statistics, next_status, drained = 0.0, time.monotonic() + 1, 0.0
        try:
            for result in results:
                if result is not None:
                    self._take(result)
                now = time.monotonic()
                if self.options.frames is not None and self.answers >= self.options.frames:
                    break
                if self.pace.stop.is_set():
                    # What is in the pipeline still gets its answer, unless the source does not let go of its thread.
                    drained = drained or now + _DRAIN_S
                    if now >= drained:
                        break
                if now >= next_statistics:
                    next_statistics = now + self.options.statistics_s
                    self._publish_statistics()
                if now >= next_status:
                    next_status = now + _STATUS_S
                    self._status = self._describe()
                    notify(f"STATUS={self._status}")
        finally:
            notify("STOPPING=1")
            self.pace.stop.set()
            results.close()
            self._publish_statistics()
            for sink in self.sinks:
                sink.close()
            if self._saver is not None:
                self._saver.close()
            board.join(timeout=1)
        return self.statistics()

    def _describe(self) -> str:
        if not self.source.connected:
            return f"{self.source.name} is lost, waiting for it ({self.answers} answers so far)"
        limit = "" if self._cooling.limit is None else f", at most {self._cooling.limit:.2g} because of the board"
        return f"{self.answers} answers, {self._fps:.1f} frames a second{limit}, {self._stream.dropped} dropped"

    def _publish_statistics(self) -> None:
        record = self.statistics()
        for sink in self.sinks:
            sink.statistics(record)

    def _take(self, result: FrameResult) -> None:
        self.answers += 1
        self._ages.append(result.age_ms)
        best = result.top[0]
        if not self._filter.wants(best.label, best.score):
            return
        record = self._records.record(result, self._stream.dropped)
        for sink in self.sinks:
            sink.send(record)
        self.published += 1
        if self._saver is not None and result.image is not None:
            text = f"{100 * best.score:.0f} % {best.label}"
            name = f"{record['captured_at'].replace(':', '')}-{record['id']}"
            self._saver.add(annotate(result.image, text, self.options.roi), name)
        self._emit(record)
