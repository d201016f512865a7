"""What every latency scenario puts questions to: one classifier, with and without its defence, stage by stage."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgedefend.classifier import Classifier
from edgedefend.errors import InputError
from edgedefend.sources import decode_image
from edgedefend.stream import Frame, Stream

__all__ = ["STAGES", "AnswerSubject", "PipelineSubject", "Subject", "clock"]

clock = time.perf_counter
STAGES = ("capture_ms", "decode_ms", "resize_ms", "defend_ms", "invoke_ms", "total_ms")


class Subject:
    """A classifier that answers queries of `samples` images, defended or not, and says where the time went.

    Parameters
    ----------
    classifier : Classifier
        Of a bundle, defended.
    pictures : sequence of uint8 (H, W, 3)
        Ready pictures, at the model's size: capture, decoding and resizing are then not part of a query.
    files : sequence of Path
        Or image files, which every query reads, decodes and resizes anew, inside the clock.
    samples : int
        Images a query: one batched call where the model takes a batch, one call after another where not.

    Notes
    -----
    The undefended side copies a tensor made beforehand into the model's input, the least that any program does.
    So the ratio of the two is not helped by a slow conversion of ours on the undefended side.
    """

    def __init__(
        self,
        classifier: Classifier,
        *,
        pictures: Sequence[NDArray[np.uint8]] = (),
        files: Sequence[Path] = (),
        samples: int = 1,
    ) -> None:
        if bool(pictures) == bool(files):
            raise InputError("a measurement needs either pictures or files")
        self._classifier, self._interpreter = classifier, classifier.interpreter
        self._files = [Path(file) for file in files]
        self._pictures = list(pictures)
        self.samples = samples
        self.batch = samples if self._interpreter.set_batch(samples) else 1
        self._next = {True: 0, False: 0}
        shown = [classifier.fit(decode_image(file.read_bytes(), str(file))) for file in self._files] or self._pictures
        spec = self._interpreter.input
        self._ready = [np.empty(spec.shape[1:], spec.dtype) for _ in shown]
        for picture, tensor in zip(shown, self._ready, strict=True):
            classifier.prepare_into(picture, tensor, defended=False)

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages a query of this subject has, in order."""
        return STAGES if self._files else STAGES[3:]

    def ask(self, scheduled: float, *, defended: bool) -> dict[str, float]:
        """Answer one query.

        Parameters
        ----------
        scheduled : float
            When, on `clock`, the query was to start: its latency counts from there.
        defended : bool

        Returns
        -------
        dict
            ms of each of `stages`, summed over the samples; ``total_ms`` from `scheduled` to the reply. On the
            undefended side ``defend_ms`` is the copy of the tensor.
        """
        spent = dict.fromkeys(STAGES, 0.0)
        mark = scheduled
        for _ in range(self.samples // self.batch):
            view = self._interpreter.input_view()
            for slot in view:
                mark = self._write(slot, mark, spent, defended=defended)
            del view, slot  # the runtime refuses to run while a view is held
            answer = self._interpreter.invoke().argmax(axis=1)
            now = clock()
            spent["invoke_ms"] += now - mark
            mark = now
        del answer
        spent["total_ms"] = mark - scheduled
        return {name: 1e3 * spent[name] for name in self.stages}

    def _write(self, slot: NDArray[Any], mark: float, spent: dict[str, float], *, defended: bool) -> float:
        """Bring the next image into one slot of the input tensor; return the time when that is done."""
        # Each side goes through the images on its own, so that both get the same ones.
        number = self._next[defended]
        self._next[defended] = (number + 1) % len(self._ready)
        if self._files:
            data = self._files[number].read_bytes()
            read = clock()
            image = decode_image(data, str(self._files[number]))
            decoded = clock()
            picture = self._classifier.fit(image)
            fitted = clock()
            spent["capture_ms"] += read - mark
            spent["decode_ms"] += decoded - read
            spent["resize_ms"] += fitted - decoded
            mark = fitted
        else:
            picture = self._pictures[number]
        if defended:
            self._classifier.prepare_into(picture, slot, defended=True)
        else:
            slot[...] = self._ready[number]
        written = clock()
        spent["defend_ms"] += written - mark
        return written


class AnswerSubject:
    """A classifier whose answers are made as ``classify`` makes them: of several draws, with the undefended one's vote.

    The parameters are those of `Subject`, and `draws`, how many each answer is the mean of. The images of a query are
    answered one after another. The undefended side is that of `Subject`, one run of the model an image; it has an
    interpreter of its own, since one that changes the size of its batch plans its memory anew.
    """

    batch = 1

    def __init__(
        self,
        classifier: Classifier,
        *,
        pictures: Sequence[NDArray[np.uint8]] = (),
        files: Sequence[Path] = (),
        samples: int = 1,
        draws: int,
    ) -> None:
        runtime = classifier.interpreter
        bare = Classifier(classifier.bundle, threads=runtime.threads, backend=runtime.backend, defended=False)
        self._undefended = Subject(bare, pictures=pictures, files=files, samples=samples)
        self._classifier, self._files, self._pictures = classifier, [Path(file) for file in files], list(pictures)
        self.samples, self.draws = samples, draws
        self._next = 0

    @property
    def settled(self) -> bool:
        """Whether it is found out if the runs of an answer go through the model in one batch or one by one."""
        return self._classifier.draw_choice.settled(self._classifier.runs(self.draws).count)

    def ask(self, scheduled: float, *, defended: bool) -> dict[str, float]:
        """Answer one query; see `Subject.ask`. ``invoke_ms`` is that of all runs of the model."""
        if not defended:
            return self._undefended.ask(scheduled, defended=False)
        stages = self._undefended.stages
        spent = dict.fromkeys(STAGES, 0.0)
        for _ in range(self.samples):
            for name, value in self._classifier.classify(self._next_image(spent), draws=self.draws).stage_ms.items():
                spent[name] += value
        spent["total_ms"] = 1e3 * (clock() - scheduled)
        return {name: spent[name] for name in stages}

    def _next_image(self, spent: dict[str, float]) -> NDArray[np.uint8]:
        number = self._next
        self._next = (number + 1) % (len(self._files) or len(self._pictures))
        if not self._files:
            return self._pictures[number]
        started = clock()
        data = self._files[number].read_bytes()
        read = clock()
        image = decode_image(data, str(self._files[number]))
        spent["capture_ms"] += 1e3 * (read - started)
        spent["decode_ms"] += 1e3 * (clock() - read)
        return image


class PipelineSubject:
    """A classifier that answers `samples` images at a time through the pipeline, where its stages overlap.

    The parameters are those of `Subject`, and `draws`, how many each answer is the mean of. The undefended side runs
    the same pipeline without the defence.
    """

    batch = 1

    def __init__(
        self,
        classifier: Classifier,
        *,
        pictures: Sequence[NDArray[np.uint8]] = (),
        files: Sequence[Path] = (),
        samples: int,
        draws: int = 1,
    ) -> None:
        if bool(pictures) == bool(files):
            raise InputError("a measurement needs either pictures or files")
        self._classifier, self._files, self._pictures = classifier, [Path(file) for file in files], list(pictures)
        self.samples, self.draws = samples, draws

    def _frames(self) -> Iterator[Frame]:
        for number in range(self.samples):
            if self._files:
                file = self._files[number % len(self._files)]
                yield Frame(decode_image(file.read_bytes(), str(file)), time.monotonic(), file.name)
            else:
                yield Frame(self._pictures[number % len(self._pictures)], time.monotonic(), str(number))

    def ask(self, scheduled: float, *, defended: bool) -> dict[str, float]:
        """Answer one query of all its images; see `Subject.ask`.

        The stages are those of the pipeline, summed over the images: since they overlap, together they are more
        than ``total_ms``.
        """
        spent: dict[str, float] = {}
        self._classifier.defended = defended
        try:
            for result in Stream(self._classifier, draws=self.draws if defended else 1).run(self._frames()):
                for name, value in result.stage_ms.items():
                    spent[name] = spent.get(name, 0.0) + value
        finally:
            self._classifier.defended = True
        return {**spent, "total_ms": 1e3 * (clock() - scheduled)}
