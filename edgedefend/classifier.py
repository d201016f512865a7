"""A bundle at work: image in, defended, classified, answer out."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgedefend.bundle import Bundle
from edgedefend.combining import with_vote
from edgedefend.draws import BatchChoice
from edgedefend.encoding import Encoding
from edgedefend.errors import BackendError, BundleError, InputError
from edgedefend.grid import Grid
from edgedefend.interpreter import Interpreter, available_threads
from edgedefend.partitions import Partitions
from edgedefend.sources import fit_image
from edgedefend.suspicion import suspicion_of, suspicion_record

__all__ = ["Answer", "Classifier", "Prediction", "Verification", "prediction_record", "softmax", "verify_bundle"]

MAX_DRAWS = 256
_Run = tuple[NDArray[np.float32], float, float]  # raw output, (draws, classes); seconds of the defence, of the model
# Quantisation has ties (a flat block and a table of 25 give pixels of exactly 12.5): float32 sums in another
# order may round the other way at one. On the same code x86 and ARM have agreed to the bit.
TIE_FRACTION = 0.02


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the softmax over the last axis, float32, computed without overflow."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)


@dataclass(frozen=True)
class Answer:
    """One class with its probability."""

    index: int
    label: str
    score: float


@dataclass(frozen=True)
class Prediction:
    """What the classifier says of one image.

    Attributes
    ----------
    top : list of Answer
        The most probable classes, best first.
    probabilities : float32 (classes,)
        Mean over the draws, with the undefended answer's vote where the bundle gives it one.
    draws : int
        How many random draws of the defence were averaged; 0 without the defence.
    agreement : float
        The fraction of draws whose own best class is ``top[0]``; 1.0 for a single one.
    stage_ms : dict
        Milliseconds of ``resize_ms``, ``defend_ms``, ``invoke_ms`` and their sum, ``total_ms``.
    suspicion : float, optional
        How far the answers disagree (`edgedefend.suspicion`), where that was asked for.
    suspicious : bool, optional
        Whether that is more than clean pictures rarely reach, where the bundle knows the threshold.
    """

    top: list[Answer]
    probabilities: NDArray[np.float32]
    draws: int
    agreement: float
    stage_ms: dict[str, float] = field(repr=False)
    suspicion: float | None = None
    suspicious: bool | None = None

    @property
    def index(self) -> int:
        """The most probable class."""
        return self.top[0].index


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

    def _run_batch(self, image: NDArray[np.uint8]) -> _Run:
        interpreter = self.interpreter
        started = time.perf_counter()
        view = interpreter.input_view()
        self.defense.into_many(image, view, self.encoding)
        del view
        written = time.perf_counter()
        output = interpreter.invoke()
        return output, written - started, time.perf_counter() - written

    def _run_apart(self, image: NDArray[np.uint8], count: int) -> _Run:
        spec = self.interpreter.input
        started = time.perf_counter()
        tensors = np.empty((count, *spec.shape[1:]), spec.dtype)
        self.defense.into_many(image, tensors, self.encoding)
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
    def undefended_vote(self) -> float:
        """What the undefended answer counts (`edgedefend.combining`): the bundle's, and nothing without the defence."""
        return self.bundle.undefended_vote if self.defended else 0.0

    def rank(
        self, output: NDArray[np.float32], top: int, undefended: NDArray[np.float32] | None = None
    ) -> tuple[list[Answer], NDArray[np.float32], float]:
        """Return what the model's raw output, float32 (draws, classes), says.

        Parameters
        ----------
        undefended : float32 (classes,), optional
            Its raw output without the defence, where that has a vote (`undefended_vote`).

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
        probabilities = with_vote(each.mean(axis=0), undefended, self.undefended_vote)
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

    def _run_draws(self, image: NDArray[np.uint8], count: int) -> _Run:
        """Run `count` draws of one image of the model's size; the image is quantised once."""
        if count == 1:
            return self._run_one(image)
        batched = self._batch_for(count)
        result = self._run_batch(image) if batched else self._run_apart(image, count)
        self.draw_choice.note(count, batched, result[2])
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
            Random draws of the defence; the answer is the mean of their probabilities, with the vote of the undefended
            answer where the bundle gives it one: the model then runs once more. The image is quantised once for all
            draws; whether they go through the model in one batch or one by one is `edgedefend.draws`.
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
        count = draws if self.defended else 1
        begin = time.perf_counter()
        fitted = self.fit(image)
        resized = time.perf_counter()
        output, defend_s, invoke_s = self._run_draws(fitted, count)
        score, suspicious, undefended = None, None, None
        if suspicion or self.undefended_vote:
            started = time.perf_counter()
            undefended = self.run(fitted, defended=False)
            if suspicion:
                score, suspicious = self.suspicion(output, undefended)
            invoke_s += time.perf_counter() - started
        answers, probabilities, agreement = self.rank(output, top, undefended)
        stage_ms = {
            "resize_ms": 1e3 * (resized - begin),
            "defend_ms": 1e3 * defend_s,
            "invoke_ms": 1e3 * invoke_s,
            "total_ms": 1e3 * (time.perf_counter() - begin),
        }
        used = count if self.defended else 0
        return Prediction(answers, probabilities, used, agreement, stage_ms, score, suspicious)

    def _probabilities(self, output: NDArray[np.float32]) -> NDArray[np.float32]:
        return softmax(output) if self.bundle.output == "logits" else output


def prediction_record(prediction: Prediction, image: str, bundle: Bundle) -> dict[str, Any]:
    """Return a prediction as JSON types: what ``classify --json`` prints and the HTTP service answers."""
    return {
        "image": image,
        "label": prediction.top[0].label,
        "score": round(prediction.top[0].score, 6),
        "top": [
            {"index": answer.index, "label": answer.label, "score": round(answer.score, 6)} for answer in prediction.top
        ],
        "draws": prediction.draws,
        "agreement": round(prediction.agreement, 4),
        **suspicion_record(prediction.suspicion, prediction.suspicious),
        "stage_ms": {stage: round(value, 3) for stage, value in prediction.stage_ms.items()},
        "bundle": bundle.sha256,
    }


@dataclass(frozen=True)
class Verification:
    """What `verify_bundle` saw: the differences stay below what is allowed.

    `partitions` is how the runtime has divided the model here, None where it does not tell.
    """

    backend: str
    backend_version: str
    differing_pixels: float
    output_error: float
    tolerance: float
    label: str
    partitions: Partitions | None


def verify_bundle(bundle: Bundle, *, threads: int | None = None, backend: str | None = None) -> Verification:
    """Run a bundle's golden input and compare every step with what the desktop got.

    Raises
    ------
    BundleError
        If the defended image differs by more than rounding ties.
    BackendError
        If the interpreter cannot run the model, or runs it and gives another answer.
    """
    golden = bundle.golden()
    classifier = Classifier(bundle, threads=threads, backend=backend, defended=False)
    defended = bundle.defense()(golden.image, grid=golden.grid)
    differing = float(np.mean(defended != golden.defended))
    if differing > TIE_FRACTION:
        raise BundleError(
            f"{bundle.path}: the defence gives another image than on the desktop "
            f"({100 * differing:.2f} % of the values differ, {100 * TIE_FRACTION:.0f} % are allowed)"
        )
    output = classifier.run(golden.defended)
    error = float(np.abs(output - golden.output).max())
    interpreter = classifier.interpreter
    expected, answer = int(golden.output.argmax()), int(output.argmax())
    if not error <= golden.tolerance or answer != expected:
        others = [name for name in ("fp32", "fp16", "int8") if name != bundle.precision]
        raise BackendError(
            f"{bundle.path}: {interpreter.backend} {interpreter.version} runs this {bundle.precision} model and gets "
            f"it wrong: {bundle.labels[answer]!r} where the desktop said {bundle.labels[expected]!r}, "
            f"largest difference {error:.3g}, allowed {golden.tolerance:.3g}: "
            f"use the {' or '.join(others)} bundle here, or another --backend"
        )
    return Verification(
        interpreter.backend,
        interpreter.version,
        differing,
        error,
        golden.tolerance,
        bundle.labels[answer],
        interpreter.partitions(),
    )
