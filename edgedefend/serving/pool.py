"""Worker threads with one interpreter each behind one bounded queue: who does not fit is told at once.

Requests are not put together into batches: on one core a batch of four takes 1 to 2 % less time a picture than four
calls (decision 14), and the first of the four would wait for the last.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from edgedefend.classifier import Classifier

__all__ = ["STUCK_SECONDS", "DroppedError", "FullError", "Pool"]

# Longer than any model here takes for the most draws a request may ask for on the slowest board; beyond it the
# interpreter hangs.
STUCK_SECONDS = 60.0

Task = Callable[[Classifier], dict[str, Any]]


class FullError(Exception):
    """All places are taken, or the pool is closing."""


class DroppedError(Exception):
    """The job has waited too long: whoever sent it no longer counts on an answer."""


@dataclass(frozen=True)
class _Job:
    task: Task
    answer: Future[dict[str, Any]]
    arrived: float
    deadline: float


class Pool:
    """Threads that answer jobs, each with a classifier of its own.

    Parameters
    ----------
    classifiers : sequence of Classifier
        One a worker. From now on only the workers use them.
    waiting : int
        How many jobs may wait while every worker is busy.
    patience : float
        Seconds after which a job that still waits is dropped.
    """

    def __init__(self, classifiers: Sequence[Classifier], *, waiting: int = 8, patience: float = 30.0) -> None:
        self.size = len(classifiers)
        self.places = self.size + waiting
        self._patience = patience
        self._jobs: deque[_Job] = deque()
        self._busy_since: list[float | None] = [None] * self.size
        self._taken = 0  # waiting or being answered
        self._closing = False
        self._changed = threading.Condition()
        self.dropped = 0
        self._threads = [
            threading.Thread(target=self._work, args=(number, classifier), daemon=True, name=f"worker-{number}")
            for number, classifier in enumerate(classifiers)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """How many jobs wait."""
        return len(self._jobs)

    @property
    def busy(self) -> int:
        """How many workers have a job."""
        return sum(since is not None for since in self._busy_since)

    @property
    def full(self) -> bool:
        """Whether the next job would be refused."""
        return self._closing or self._taken >= self.places

    def stuck(self) -> bool:
        """Tell whether a worker has been at one job for longer than any job takes."""
        now = time.monotonic()
        return any(since is not None and now - since > STUCK_SECONDS for since in self._busy_since)

    def submit(self, task: Task) -> Future[dict[str, Any]]:
        """Queue a job; cancelling the future before a worker has taken it drops the job.

        Raises
        ------
        FullError
            At once, if there is no place.
        """
        now = time.monotonic()
        job = _Job(task, Future(), now, now + self._patience)
        with self._changed:
            if self.full:
                raise FullError
            self._taken += 1
            self._jobs.append(job)
            self._changed.notify()
        return job.answer

    def _work(self, number: int, classifier: Classifier) -> None:
        while True:
            with self._changed:
                while not self._jobs and not self._closing:
                    self._changed.wait()
                if not self._jobs:
                    return
                job = self._jobs.popleft()
                self._busy_since[number] = time.monotonic()
            try:
                self._answer(job, classifier)
            finally:
                with self._changed:
                    self._busy_since[number] = None
                    self._taken -= 1

    def _answer(self, job: _Job, classifier: Classifier) -> None:
        """Do one job. Whatever goes wrong belongs to the one who asked: the worker lives on."""
        if not job.answer.set_running_or_notify_cancel():
            self.dropped += 1
            return
        began = time.monotonic()
        if began > job.deadline:
            self.dropped += 1
            job.answer.set_exception(DroppedError())
            return
        try:
            record = job.task(classifier)
            stages = record["stage_ms"]
            stages["wait_ms"] = round(1e3 * (began - job.arrived), 3)
            stages["total_ms"] = round(1e3 * (time.monotonic() - job.arrived), 3)
        except BaseException as error:
            job.answer.set_exception(error)
        else:
            job.answer.set_result(record)

    def close(self, seconds: float = 5.0) -> None:
        """Refuse new jobs, finish those that wait, and end the workers."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        until = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))
