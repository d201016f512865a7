"""A bundle at work: image in, defended, classified, answer out."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgedefend.bundle import Bundle
from edgedefend.combining import NOBODY, Runs, Vote, softmax, with_vote
from edgedefend.draws import BatchChoice
from edgedefend.encoding import Encoding
from edgedefend.errors import BackendError, BundleError, InputError
from edgedefend.grid import Grid
from edgedefend.interpreter import Interpreter, available_threads
from edgedefend.prediction import Answer, Prediction
from edgedefend.sources import fit_image
from edgedefend.suspicion import suspicion_of

__all__ = ["Classifier"]

MAX_DRAWS = 256
_Run = tuple[NDArray[np.float32], float, float]  # raw output, (runs, classes); seconds of the defence, of the model


class Classifier:
    """A bundle's model behind its defence. Not safe for use from two threads at once.

    Parameters
    ----------
    bundle : Bundle
    threads : int, optional
        Of the interpreter; `edgedefend.interpreter.available_threads` by default, never the runtime's own.
    backend : str, optional
        One of `edgedefend.interpreter.BACKENDS`.
    defended : bool
        False leaves the defence away, to see what it costs.
    rng : numpy.random.Generator, optional
        Makes the defence predictable: for tests and evaluation only.

    Raises
    ------
    BackendError
        If no interpreter can be used or it cannot run the model.
    BundleError
        If the model is not what the manifest says.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        threads: int | None = None,
        backend: str | None = None,
        defended: bool = True,
        rng: np.random.Generator | None = None,
    ) -> None:
        self.bundle = bundle
        self.defended = defended
        self.defense = bundle.defense(rng=rng)
        try:
            self.interpreter = Interpreter(
                bundle.model(), threads=available_threads() if threads is None else threads, backend=backend
            )
        except BackendError as error:
            if bundle.precision == "dynamic" and "cannot run this model" in str(error):
                raise BackendError(f"{error}; use the fp32, fp16 or int8 bundle of this model here") from error
            raise
        spec = self.interpreter.input
        expected = (1, bundle.input.height, bundle.input.width, 3)
        if spec.shape != expected or spec.dtype not in (np.float32, np.int8, np.uint8):
            raise BundleError(f"{bundle.path}: the model takes {spec.dtype} {spec.shape}, the manifest says {expected}")
        if self.interpreter.output.shape[-1] != len(bundle.labels):
            raise BundleError(
                f"{bundle.path}: the model has {self.interpreter.output.shape[-1]} classes and "
                f"labels.txt {len(bundle.labels)}"
            )
        self.encoding = self._input_encoding()
        self.draw_choice = BatchChoice()
        # Its draws vote beside those of the defence; it differs from it in nothing but its noise.
        self.milder = self.defense.with_noise(bundle.vote.noise_std) if bundle.vote.milder else None
        if defended:
            # Load or compile the kernels now, not inside the first answer.
            shape = (bundle.input.height, bundle.input.width, 3)
            bundle.defense().into(np.zeros(shape, np.uint8), np.empty(shape, spec.dtype), self.encoding)

    def _input_encoding(self) -> Encoding:
        """Return what the input tensor holds: the manifest's normalisation, then the tensor's quantisation."""
        spec, inputs = self.interpreter.input, self.bundle.input
        scale, offset = np.array(inputs.scale), np.array(inputs.offset)
        if spec.dtype != np.float32:
            if not spec.scale > 0:
                raise BundleError(f"{self.bundle.path}: the model's {spec.dtype} input has no quantisation scale")
            scale, offset = scale / spec.scale, offset / spec.scale + spec.zero_point
        return Encoding(spec.dtype, scale, offset, inputs.channel_order)

    def prepare_into(
        self,
        image: NDArray[np.uint8],
        slot: NDArray[np.generic],
        *,
        defended: bool | None = None,
        grid: Grid | None = None,
    ) -> None:
        """Write an image of the model's size into one slot of the input tensor, (height, width, 3).

        It goes through the defence unless `defended`, by default that of the classifier, is false; `grid` takes
        the place of a fresh random one.
        """
        if self.defended if defended is None else defended:
            self.defense.into(image, slot, self.encoding, grid=grid)
        else:
            self.encoding.write(image, slot)

    def fit(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return `image` at the size the model takes, by the bundle's resize rule."""
        inputs = self.bundle.input
        return fit_image(image, inputs.height, inputs.width, inputs.resize)

    def run(self, image: NDArray[np.uint8], *, defended: bool | None = None) -> NDArray[np.float32]:
        """Run the model once on an image of its size; return its raw output, float32 (classes,)."""
        self.interpreter.set_batch(1)
        view = self.interpreter.input_view()
        self.prepare_into(image, view[0], defended=defended)
        del view
        output: NDArray[np.float32] = self.interpreter.invoke()[0]
        return output

    def _run_one(self, image: NDArray[np.uint8]) -> _Run:
        interpreter = self.interpreter
        interpreter.set_batch(1)
        started = time.perf_counter()
        view = interpreter.input_view()
        self.prepare_into(image, view[0])
        del view
        written = time.perf_counter()
        output = interpreter.invoke()
        return output, written - started, time.perf_counter() - written

    def runs(self, draws: int, *, suspicion: bool = False) -> Runs:
        """Return what goes through the model for an answer of so many draws, with a suspicion or without.

        Without the defence it is the image as it is, whatever the number of draws.
        """
        if not self.defended:
            return Runs(1, NOBODY, undefended=False)
        return Runs(draws, self.bundle.vote, undefended=suspicion or self.bundle.vote.undefended)

    def write(self, image: NDArray[np.uint8], tensors: NDArray[Any], runs: Runs) -> None:
        """Write an image of the model's size into one tensor a run, (runs.count, H, W, 3)."""
        if not self.defended:
            self.prepare_into(image, tensors[0])
            return
        self.defense.into_many(image, tensors[: runs.draws], self.encoding)
        if self.milder is not None and runs.voters:
            self.milder.into_many(image, tensors[runs.draws : runs.draws + runs.voters], self.encoding)
        if runs.undefended:
            self.prepare_into(image, tensors[-1], defended=False)

    def _run_batch(self, image: NDArray[np.uint8], runs: Runs) -> _Run:
        interpreter = self.interpreter
        started = time.perf_counter()
        view = interpreter.input_view()
        self.write(image, view, runs)
        del view
        written = time.perf_counter()
        output = interpreter.invoke()
        return output, written - started, time.perf_counter() - written

    def _run_apart(self, image: NDArray[np.uint8], runs: Runs) -> _Run:
        spec = self.interpreter.input
        started = time.perf_counter()
        tensors = np.empty((runs.count, *spec.shape[1:]), spec.dtype)
        self.write(image, tensors, runs)
        defend_s = time.perf_counter() - started
        outputs, copy_s, invoke_s = self._invoke_apart(tensors)
        return outputs, defend_s + copy_s, invoke_s

    def _invoke_apart(self, tensors: NDArray[Any]) -> _Run:
        """Run the model on each of several input tensors; return outputs, seconds of copying, seconds of the model."""
        interpreter = self.interpreter
        interpreter.set_batch(1)
        copy_s, invoke_s, outputs = 0.0, 0.0, []
        for tensor in tensors:
            started = time.perf_counter()
            view = interpreter.input_view()
            view[0] = tensor
            del view
            written = time.perf_counter()
            outputs.append(interpreter.invoke())
            copy_s += written - started
            invoke_s += time.perf_counter() - written
        return np.concatenate(outputs), copy_s, invoke_s

    def _batch_for(self, count: int) -> bool:
        """Tell whether `count` draws go through the model in one batch now; make room for them if so."""
        if not self.draw_choice.batched(count):
            return False
        if not self.interpreter.set_batch(count):
            self.draw_choice.rule_out_batches()
            return False
        return True

    def run_prepared(self, tensors: NDArray[Any]) -> NDArray[np.float32]:
        """Run the model on several draws that are defended and encoded already.

        Parameters
        ----------
        tensors : (draws, H, W, 3)
            As `edgedefend.defense.Defense.into_many` writes them, of the interpreter's type.

        Returns
        -------
        float32 (draws, classes)
        """
        count = len(tensors)
        batched = self._batch_for(count)
        if batched:
            started = time.perf_counter()
            view = self.interpreter.input_view()
            view[:] = tensors
            del view
            outputs = self.interpreter.invoke()
            invoke_s = time.perf_counter() - started
        else:
            outputs, _, invoke_s = self._invoke_apart(tensors)
        self.draw_choice.note(count, batched, invoke_s)
        return outputs

    @property
    def vote(self) -> Vote:
        """Whose answer counts beside the draws: the bundle's, and nobody's without the defence."""
        return self.bundle.vote if self.defended else NOBODY

    def rank(
        self, output: NDArray[np.float32], top: int, voters: NDArray[np.float32] | None = None
    ) -> tuple[list[Answer], NDArray[np.float32], float]:
        """Return what the model's raw output, float32 (draws, classes), says.

        Parameters
        ----------
        voters : float32 (N, classes), optional
            Its raw output for those who vote, where anybody does (`edgedefend.combining.Runs.voting`).

        Returns
        -------
        answers : list of Answer
            The `top` most probable classes, best first.
        probabilities : float32 (classes,)
            Mean over the draws, with the vote.
        agreement : float
            The fraction of draws whose own best class is the first answer.

        Raises
        ------
        BackendError
            If the output is not a number.
        """
        each = self._probabilities(output)
        beside = None if voters is None else self._probabilities(voters).mean(axis=0)
        probabilities = with_vote(each.mean(axis=0), beside, self.vote.share)
        if not np.isfinite(probabilities).all():
            raise BackendError(f"{self.bundle.path}: the model's answer is not a number (NaN or infinity)")
        order = np.argsort(-probabilities, kind="stable")[:top]
        answers = [Answer(int(i), self.bundle.labels[i], float(probabilities[i])) for i in order]
        return answers, probabilities, float(np.mean(each.argmax(axis=1) == order[0]))

    def suspicion(self, output: NDArray[np.float32], undefended: NDArray[np.float32]) -> tuple[float, bool | None]:
        """Return how far answers disagree, and whether that exceeds the bundle's threshold (None: it knows none).

        Parameters
        ----------
        output : float32 (draws, classes)
            The model's raw output behind each of at least two draws.
        undefended : float32 (classes,)
            Its raw output without the defence.
        """
        return suspicion_of(self._probabilities(output), self._probabilities(undefended), self.bundle.suspicion)

    def _run_all(self, image: NDArray[np.uint8], runs: Runs) -> _Run:
        """Make all runs of one image of the model's size."""
        if runs.count == 1:
            return self._run_one(image)
        batched = self._batch_for(runs.count)
        result = self._run_batch(image, runs) if batched else self._run_apart(image, runs)
        self.draw_choice.note(runs.count, batched, result[2])
        return result

    def classify(
        self, image: NDArray[np.uint8], *, draws: int = 1, top: int = 5, suspicion: bool = False
    ) -> Prediction:
        """Classify one image.

        Parameters
        ----------
        image : uint8 (H, W, 3)
            RGB, any size from 1x1.
        draws : int
            Random draws of the defence; the answer is the mean of their probabilities, with a vote of the undefended
            answer or of milder draws where the bundle has one: the model then runs once more, or once for each of
            these. The image is quantised once for all draws where no noise is added; whether all runs go through the
            model in one batch or one by one is `edgedefend.draws`.
        top : int
            How many classes to return.
        suspicion : bool
            Whether to compare the draws with one another and with the undefended answer, for which the model runs
            once more (also where that has a vote: once for both).

        Raises
        ------
        InputError
            If `draws` or `top` is out of range, or there is nothing to compare: no defence, or a single draw.
        BackendError
            If the model's answer is not a number.
        """
        if not 1 <= draws <= MAX_DRAWS:
            raise InputError(f"draws is {draws}, expected 1 to {MAX_DRAWS}")
        if top < 1:
            raise InputError(f"top is {top}, expected at least 1")
        if suspicion and (draws < 2 or not self.defended):
            raise InputError("suspicion compares several draws of the defence: give at least 2 draws")
        begin = time.perf_counter()
        fitted = self.fit(image)
        resized = time.perf_counter()
        runs = self.runs(draws, suspicion=suspicion)
        output, defend_s, invoke_s = self._run_all(fitted, runs)
        drawn, undefended = runs.drawn(output), runs.bare(output)
        score, suspicious = self.suspicion(drawn, undefended) if suspicion and undefended is not None else (None, None)
        answers, probabilities, agreement = self.rank(drawn, top, runs.voting(output))
        stage_ms = {
            "resize_ms": 1e3 * (resized - begin),
            "defend_ms": 1e3 * defend_s,
            "invoke_ms": 1e3 * invoke_s,
            "total_ms": 1e3 * (time.perf_counter() - begin),
        }
        used = draws if self.defended else 0
        return Prediction(answers, probabilities, used, agreement, stage_ms, score, suspicious)

    def _probabilities(self, output: NDArray[np.float32]) -> NDArray[np.float32]:
        return softmax(output) if self.bundle.output == "logits" else output
