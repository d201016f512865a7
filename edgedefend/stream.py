"""Capture, defend and invoke as a pipeline: each stage in a thread of its own, bounded queues between them.

The kernels and OpenCV's decoders run without the GIL and the interpreter releases it, so while one frame is in the
model the next is being defended, the one after that decoded, and the answer before it ranked and used by whoever
iterates. The thread of the model does nothing but copy the tensor in and the answer out: what it does beside that,
the model waits for. Two policies:

* a file must lose nothing: a full queue makes the earlier stage wait;
* a live source must not lag: where a frame still waits when a newer one arrives, the older is dropped and counted;
  so is an answer that nobody has taken when the next one is there.

Order is kept in both. The pipeline holds at most `depth` frames between two stages, so memory is bounded.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from edgedefend.classifier import Answer, Classifier, softmax
from edgedefend.errors import BackendError, EdgeDefendError

__all__ = ["Frame", "FrameResult", "Stream"]

T = TypeVar("T")


@dataclass(frozen=True)
class Frame:
    """One picture on its way: uint8 (H, W, 3) RGB, when it was captured (time.monotonic), and its name."""

    image: NDArray[np.uint8]
    captured: float
    name: str


@dataclass(frozen=True)
class FrameResult:
    """The answer for one frame.

    `number` counts captured frames, dropped ones included, from 0. `age_ms` is the time from capture to answer;
    `stage_ms` has "prepare_ms" (resize, defend, write the tensor) and "invoke_ms".
    """

    number: int
    name: str
    top: list[Answer]
    probabilities: NDArray[np.float32]
    age_ms: float
    stage_ms: dict[str, float]


class _Closed(Exception):  # noqa: N818 - a signal between stages, not an error
    """The other side of a queue has gone."""


class _Queue(Generic[T]):
    """A bounded queue that either waits when it is full or drops its oldest entry."""

    def __init__(self, depth: int, *, newest_wins: bool) -> None:
        self._items: deque[T] = deque()
        self._depth, self._newest_wins = depth, newest_wins
        self._changed = threading.Condition()
        self._ended = self._closed = False
        self.dropped = 0

    def put(self, item: T) -> None:
        with self._changed:
            if self._newest_wins and len(self._items) >= self._depth:
                self._items.popleft()
                self.dropped += 1
            while len(self._items) >= self._depth and not self._closed:
                self._changed.wait()
            if self._closed:
                raise _Closed
            self._items.append(item)
            self._changed.notify_all()

    def get(self) -> T | None:
        """Return the oldest entry; None when the other side has ended and nothing is left."""
        with self._changed:
            while not self._items and not self._ended and not self._closed:
                self._changed.wait()
            if self._closed:
                raise _Closed
            if not self._items:
                return None
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    def end(self) -> None:
        """Say that nothing more will be put."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def close(self) -> None:
        """Wake everyone who waits, and let them go."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


@dataclass(frozen=True)
class _Prepared:
    """One frame's input tensor, and what its answer will say of it; the picture itself is let go."""

    number: int
    name: str
    captured: float
    tensor: NDArray[Any]
    prepare_ms: float


class Stream:
    """Runs a source of frames through a classifier.

    Parameters
    ----------
    classifier : Classifier
        Used by the stream alone while it runs.
    live : bool
        True drops old frames so that the answer is about now; False loses none.
    top : int
        How many classes each result holds.
    depth : int
        Frames that may wait between two stages.

    Notes
    -----
    Iterate over `run`. Leaving the loop early stops the threads. `dropped` counts frames of a live source that
    gave way to newer ones.
    """

    def __init__(self, classifier: Classifier, *, live: bool = False, top: int = 5, depth: int = 2) -> None:
        self.classifier, self.live, self.top = classifier, live, top
        self._depth = 1 if live else depth
        self._error: BaseException | None = None
        self._open()

    def _open(self) -> None:
        self._captured: _Queue[tuple[int, Frame]] = _Queue(self._depth, newest_wins=self.live)
        self._prepared: _Queue[_Prepared] = _Queue(self._depth, newest_wins=False)
        self._answered: _Queue[tuple[_Prepared, NDArray[np.float32], float]] = _Queue(
            self._depth, newest_wins=self.live
        )

    @property
    def dropped(self) -> int:
        """How many frames of a live source gave way to newer ones, in this run or the last."""
        return self._captured.dropped + self._answered.dropped

    def _guard(self, stage: Callable[[], None], after: _Queue[Any]) -> None:
        """Run a stage; whatever it raises reaches the consumer, and the stages behind it end."""
        try:
            stage()
        except _Closed:
            return
        except BaseException as error:
            self._error = self._error or error
        finally:
            after.end()

    def _capture(self, source: Iterable[Frame]) -> None:
        for number, frame in enumerate(source):
            self._captured.put((number, frame))

    def _prepare(self) -> None:
        """Resize, defend and encode into tensors of our own: the interpreter's memory is busy meanwhile."""
        spec = self.classifier.interpreter.input
        # One is being written here, `depth` wait, one is being copied to the interpreter: then the first is free.
        ring = [np.empty(spec.shape[1:], spec.dtype) for _ in range(self._depth + 2)]
        turn = 0
        while (item := self._captured.get()) is not None:
            number, frame = item
            started = time.perf_counter()
            tensor = ring[turn]
            turn = (turn + 1) % len(ring)
            self.classifier.prepare_into(self.classifier.fit(frame.image), tensor)
            prepare_ms = 1e3 * (time.perf_counter() - started)
            self._prepared.put(_Prepared(number, frame.name, frame.captured, tensor, prepare_ms))

    def _invoke(self) -> None:
        interpreter = self.classifier.interpreter
        interpreter.set_batch(1)
        while (item := self._prepared.get()) is not None:
            view = interpreter.input_view()
            view[0] = item.tensor
            del view
            started = time.perf_counter()
            output = interpreter.invoke()[0]
            self._answered.put((item, output, 1e3 * (time.perf_counter() - started)))

    def run(self, source: Iterable[Frame]) -> Iterator[FrameResult]:
        """Yield one result a frame, in order, until the source ends.

        Raises
        ------
        EdgeDefendError
            Whatever the source or a stage raised, after the results of the frames before it.
        """
        self._open()
        self._error = None
        stages: list[tuple[Callable[[], None], _Queue[Any]]] = [
            (lambda: self._capture(source), self._captured),
            (self._prepare, self._prepared),
            (self._invoke, self._answered),
        ]
        capture, *others = [threading.Thread(target=self._guard, args=stage, daemon=True) for stage in stages]
        for thread in (capture, *others):
            thread.start()
        try:
            while (item := self._answered.get()) is not None:
                yield self._result(*item)
        finally:
            for queue in (self._captured, self._prepared, self._answered):
                queue.close()
            for thread in others:
                thread.join()  # the classifier must not be in use any more; both end with the frame they have
            # A source may block in a camera's driver; its thread is a daemon and dies with the process.
            capture.join(timeout=1)
        if self._error is not None:
            if isinstance(self._error, (EdgeDefendError, OSError)):
                raise self._error
            raise EdgeDefendError(f"a stage of the stream failed: {self._error}") from self._error

    def _result(self, item: _Prepared, output: NDArray[np.float32], invoke_ms: float) -> FrameResult:
        bundle = self.classifier.bundle
        probabilities = softmax(output) if bundle.output == "logits" else output
        if not np.isfinite(probabilities).all():
            raise BackendError(f"{bundle.path}: the model's answer is not a number (NaN or infinity)")
        order = np.argsort(-probabilities, kind="stable")[: self.top]
        return FrameResult(
            item.number,
            item.name,
            [Answer(int(i), bundle.labels[i], float(probabilities[i])) for i in order],
            probabilities,
            1e3 * (time.monotonic() - item.captured),
            {"prepare_ms": item.prepare_ms, "invoke_ms": invoke_ms},
        )
