"""Capture, defend and invoke as a pipeline: each stage in a thread of its own, bounded queues between them.

The kernels and OpenCV's decoders run without the GIL and the interpreter releases it, so while one frame is in the
model the next is being defended, the one after that decoded, and the answer before it ranked and used by whoever
iterates. The thread of the model does nothing but copy the tensor in and the answer out: what it does beside that,
the model waits for. Two policies:

* a file must lose nothing: a full queue makes the earlier stage wait;
* a live source must not lag: where a frame still waits when a newer one arrives, the older is dropped and counted;
  so is an answer that nobody has taken when the next one is there.

Order is kept in both. The pipeline holds at most `depth` frames between two stages, so memory is bounded.

A frame may come as a function that decodes it: the defending stage calls that, so a frame that gives way to a newer
one costs no decoding.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from edgedefend.classifier import Classifier
from edgedefend.errors import EdgeDefendError, InputError
from edgedefend.prediction import Answer

__all__ = ["Frame", "FrameResult", "Stream"]

T = TypeVar("T")
Picture = NDArray[np.uint8]
# Longer than any frame takes to resize and defend on the slowest board.
STUCK_SECONDS = 30.0
_BEAT_SECONDS = 0.5


@dataclass(frozen=True)
class Frame:
    """One picture on its way: uint8 (H, W, 3) RGB or what decodes it, when captured (time.monotonic), its name."""

    image: Picture | Callable[[], Picture]
    captured: float
    name: str


@dataclass(frozen=True)
class FrameResult:
    """The answer for one frame.

    `number` counts captured frames, dropped ones included, from 0. `captured` is of time.monotonic and `age_ms` the
    time from then to the answer. `stage_ms` has "prepare_ms" (resize, defend, write the tensor), "invoke_ms", and
    "decode_ms" where the stream decoded the frame. `agreement` is the fraction of draws whose own best class is
    ``top[0]``. `suspicion` and `suspicious` are those of `edgedefend.prediction.Prediction`, where the stream was asked
    for them. `image` is the whole frame where the stream was asked to keep it.
    """

    number: int
    name: str
    top: list[Answer]
    probabilities: NDArray[np.float32]
    age_ms: float
    stage_ms: dict[str, float]
    captured: float = 0.0
    agreement: float = 1.0
    suspicion: float | None = None
    suspicious: bool | None = None
    image: Picture | None = None


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

    def get(self, *, wait: bool = True) -> T | None:
        """Return the oldest entry; None when the other side has ended and nothing is left, or nothing is there yet."""
        with self._changed:
            while wait and not self._items and not self._ended and not self._closed:
                self._changed.wait()
            if self._closed:
                raise _Closed
            if not self._items:
                return None
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    def wait(self, seconds: float | None) -> bool:
        """Wait until `get` would return at once; False when it still would not after so many seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: bool(self._items) or self._ended or self._closed, seconds)

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
    """One frame's input tensor, and what its answer will say of it; the picture itself is let go unless wanted."""

    number: int
    name: str
    captured: float
    tensor: NDArray[Any]
    stage_ms: dict[str, float]
    image: Picture | None


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
    draws : int
        Random draws of the defence whose probabilities are averaged for each frame; 1 for a classifier without it.
    suspicion : bool
        Whether to compare the draws with one another and with the undefended answer, for which the model runs once more
        for each frame.
    crop : callable, optional
        Takes a frame and returns the part of it to classify.
    keep_images : bool
        Whether results carry their frame.
    on_damaged : callable, optional
        Told of a frame that cannot be decoded or cropped; it is then left out. Without it, that ends the stream.
    heartbeat : callable, optional
        Called by the thread of the model: True after each answer, False about twice a second while it waits for
        work. It is not called while the model or the stage before it does not come back.

    Notes
    -----
    Iterate over `run`. Leaving the loop early stops the threads. `dropped` counts frames of a live source that
    gave way to newer ones.
    """

    def __init__(
        self,
        classifier: Classifier,
        *,
        live: bool = False,
        top: int = 5,
        depth: int = 2,
        draws: int = 1,
        suspicion: bool = False,
        crop: Callable[[Picture], Picture] | None = None,
        keep_images: bool = False,
        on_damaged: Callable[[InputError], None] | None = None,
        heartbeat: Callable[[bool], None] | None = None,
    ) -> None:
        self.classifier, self.live, self.top, self.draws = classifier, live, top, draws
        if suspicion and (draws < 2 or not classifier.defended):
            raise InputError("suspicion compares several draws of the defence: give at least 2 draws")
        self._runs, self._suspicion = classifier.runs(draws, suspicion=suspicion), suspicion
        self._depth = 1 if live else depth
        self._crop, self._keep_images = crop, keep_images
        self._on_damaged, self._heartbeat = on_damaged, heartbeat
        self._preparing_since: float | None = None
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
        """Decode, resize, defend and encode into tensors of our own: the interpreter's memory is busy meanwhile."""
        spec = self.classifier.interpreter.input
        shape = spec.shape[1:] if self._runs.count == 1 else (self._runs.count, *spec.shape[1:])
        # One is being written here, `depth` wait, one is being copied to the interpreter: then the first is free.
        ring = [np.empty(shape, spec.dtype) for _ in range(self._depth + 2)]
        turn = 0
        while (item := self._captured.get()) is not None:
            number, frame = item
            self._preparing_since = time.monotonic()
            try:
                prepared = self._prepared_frame(number, frame, ring[turn])
            except InputError as error:
                if self._on_damaged is None:
                    raise
                self._on_damaged(error)
                continue
            finally:
                self._preparing_since = None
            turn = (turn + 1) % len(ring)
            self._prepared.put(prepared)

    def _prepared_frame(self, number: int, frame: Frame, tensor: NDArray[Any]) -> _Prepared:
        stage_ms = {}
        started = time.perf_counter()
        image = frame.image
        if callable(image):
            image = image()
            decoded = time.perf_counter()
            stage_ms["decode_ms"] = 1e3 * (decoded - started)
            started = decoded
        classifier = self.classifier
        fitted = classifier.fit(image if self._crop is None else self._crop(image))
        if self._runs.count == 1:
            classifier.prepare_into(fitted, tensor)
        else:
            classifier.write(fitted, tensor, self._runs)
        stage_ms["prepare_ms"] = 1e3 * (time.perf_counter() - started)
        return _Prepared(number, frame.name, frame.captured, tensor, stage_ms, image if self._keep_images else None)

    def _beat(self, answered: bool) -> None:
        if self._heartbeat is not None:
            began = self._preparing_since
            if began is None or time.monotonic() - began < STUCK_SECONDS:
                self._heartbeat(answered)

    def _next_prepared(self) -> _Prepared | None:
        while self._heartbeat is not None and not self._prepared.wait(_BEAT_SECONDS):
            self._beat(answered=False)
        return self._prepared.get()

    def _invoke(self) -> None:
        """Call the model, with as little between two calls as can be.

        Handing an answer over wakes its reader, who then holds the GIL while this thread wants it. So where the next
        tensor waits already it is copied first, and the answer handed over just before the call lets go of the GIL.
        """
        interpreter = self.classifier.interpreter
        interpreter.set_batch(1)
        answer: tuple[_Prepared, NDArray[np.float32], float] | None = None
        while True:
            item = self._prepared.get(wait=False)
            if item is None:
                if answer is not None:
                    self._answered.put(answer)
                    answer = None
                item = self._next_prepared()
                if item is None:
                    return
            if self._runs.count == 1:
                view = interpreter.input_view()
                # NumPy would let go of the GIL for the copy and then have to wait for it.
                view.data.cast("B")[:] = item.tensor.data.cast("B")
                del view
            if answer is not None:
                self._answered.put(answer)
            started = time.perf_counter()
            output = interpreter.invoke() if self._runs.count == 1 else self.classifier.run_prepared(item.tensor)
            answer = item, output, 1e3 * (time.perf_counter() - started)
            self._beat(answered=True)

    def run(self, source: Iterable[Frame]) -> Iterator[FrameResult]:
        """Yield one result a frame, in order, until the source ends.

        Raises
        ------
        EdgeDefendError
            Whatever the source or a stage raised, after the results of the frames before it.
        """
        return (result for result in self.watch(source, None) if result is not None)

    def watch(self, source: Iterable[Frame], every_s: float | None) -> Generator[FrameResult | None, None, None]:
        """Do as `run`, and also yield None whenever there was no result for `every_s` seconds.

        Raises
        ------
        EdgeDefendError
            As `run`.
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
            while True:
                if not self._answered.wait(every_s):
                    yield None
                    continue
                item = self._answered.get()
                if item is None:
                    break
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
        drawn, undefended = self._runs.drawn(output), self._runs.bare(output)
        top, probabilities, agreement = self.classifier.rank(drawn, self.top, self._runs.voting(output))
        suspicion, suspicious = None, None
        if self._suspicion and undefended is not None:
            suspicion, suspicious = self.classifier.suspicion(drawn, undefended)
        return FrameResult(
            item.number,
            item.name,
            top,
            probabilities,
            1e3 * (time.monotonic() - item.captured),
            {**item.stage_ms, "invoke_ms": invoke_ms},
            item.captured,
            agreement,
            suspicion,
            suspicious,
            item.image,
        )
