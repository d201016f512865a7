"""How the denoiser is trained: first to give pixels back, then to let the classifier answer as to the clean picture.

The classifier stays as it is and is the teacher. Behind the defence and the denoiser it shall answer as it does to the
clean picture (the "stability" objective of Salman et al., "Denoised smoothing", 2020), and what its layers make of the
picture shall be the same (Liao et al., "Defense against adversarial attacks using high-level representation guided
denoiser", 2018), which teaches several times as fast. No labels are needed. Half of the updates are on pictures that
are under attack: the gradient of the update before also says what would harm most, so that the attack costs nothing
(Shafahi et al., "Adversarial training for free!", 2019).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.attacks.backward import Resampling
from bench.attacks.norms import steepest
from bench.baselines.training.loop import Request, descend, finish
from bench.denoising.teacher import SMALLEST_PROBABILITY, Teacher
from convert.denoiser import build_denoiser
from convert.models import LoadedModel
from convert.tf import import_tensorflow
from edgedefend.dataset import Photograph
from edgedefend.defense import Defense
from edgedefend.errors import InputError
from edgedefend.grid import Grid, remap
from edgedefend.sources import fit_image, read_image

__all__ = ["DenoiserTraining", "photographs_for", "random_view", "train_denoiser"]

# Views of a photograph: at least so much of either side, sides that differ by no more than this factor.
_LEAST_SIDE, _MOST_ASPECT = 0.7, 1.15
# Sizes of attack, of the one that is asked for: the answer shall be right at all of them.
_STRENGTHS = (0.3, 1.3)
_PIXELS_ALONE = 0.4  # of the steps: they are cheap
_WARM_UP, _LAST_RATE = 0.03, 0.02  # of the steps of either stage; of the rate


@dataclass(frozen=True)
class DenoiserTraining:
    """How the denoiser is trained.

    Attributes
    ----------
    channels : int
        See `convert.denoiser.build_denoiser`.
    epsilon : float
        Size of the attacks, l2_rms; 0 trains on clean pictures alone.
    learning_rate : float
        The largest; in either stage it rises at first and falls along a cosine then.
    """

    channels: int = 24
    epsilon: float = 0.0
    learning_rate: float = 1.5e-3

    def rate(self, step: int, steps: int) -> float:
        """Return the learning rate of one step of a stage."""
        left = (1 + math.cos(math.pi * step / steps)) / 2
        return self.learning_rate * max(left, _LAST_RATE) * min(1.0, (step + 1) / max(1, _WARM_UP * steps))


def random_view(picture: NDArray[np.uint8], size: tuple[int, int], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return a part of a photograph, mirrored half of the time, at the model's size (height, width)."""
    height, width = picture.shape[:2]
    side, aspect = rng.uniform(_LEAST_SIDE, 1), rng.uniform(1 / _MOST_ASPECT, _MOST_ASPECT)
    tall, wide = (
        max(1, round(min(1.0, side * math.sqrt(factor)) * length))
        for factor, length in ((1 / aspect, height), (aspect, width))
    )
    top, left = int(rng.integers(height - tall + 1)), int(rng.integers(width - wide + 1))
    part = picture[top : top + tall, left : left + wide]
    part = np.asarray(cv2.resize(part, size[::-1], interpolation=cv2.INTER_AREA), np.uint8)
    return np.ascontiguousarray(part[:, ::-1]) if rng.random() < 0.5 else part


def photographs_for(
    model: LoadedModel, chosen: Sequence[Photograph], tick: Callable[[int], Any]
) -> list[NDArray[np.uint8]]:
    """Read photographs a little larger than the model's input, so that a part of one has all of its detail."""
    sides = [math.ceil(side / _LEAST_SIDE) for side in model.input_size]
    pictures = []
    for one in chosen:
        picture = read_image(one.path)
        if picture.shape[0] > sides[0] or picture.shape[1] > sides[1]:
            picture = fit_image(picture, min(sides[0], picture.shape[0]), min(sides[1], picture.shape[1]))
        pictures.append(picture)
        tick(1)
    return pictures


def train_denoiser(request: Request, defense: Defense, training: DenoiserTraining, tick: Callable[[int], Any]) -> Path:
    """Train a denoiser behind a defence and in front of the request's model, or go on where a killed training stopped.

    Parameters
    ----------
    request : Request
        Its photographs may be larger than the model's input; labels are not used.
    defense : Defense
        Its draws come from the request's seed.
    training : DenoiserTraining
    tick : callable
        Told how many steps are done since it was told last.

    Returns
    -------
    Path
        Of the file that `convert.denoiser.load_denoiser` reads; its facts are the request's.

    Raises
    ------
    InputError
        If the request has no model.
    EdgeDefendError
        If a loss is not a number.
    """
    model = request.model
    if model is None:
        raise InputError("a denoiser is trained with the model that it stands in front of: give --model")
    tf = import_tensorflow()
    tf.keras.utils.set_random_seed(request.seed)
    network, teacher = build_denoiser(model.input_size, training.channels), Teacher(model)
    optimizer = tf.keras.optimizers.Adam(training.learning_rate)
    optimizer.build(network.trainable_variables)
    lesson, behind = _Lesson(network, optimizer, teacher), Resampling(defense)
    pixels_alone = round(_PIXELS_ALONE * request.steps)

    def step(number: int) -> float:
        rng = request.rng(number)
        chosen = rng.integers(len(request.photographs), size=request.batch)
        clean = np.stack([random_view(request.photographs[one], model.input_size, rng) for one in chosen])
        defended, grids = behind.forward(clean, rng)
        if number < pixels_alone:
            optimizer.learning_rate.assign(training.rate(number, pixels_alone))
            return lesson.pixels(defended, _resampled(clean, grids))
        optimizer.learning_rate.assign(training.rate(number - pixels_alone, request.steps - pixels_alone))
        wanted = teacher.answers(clean)
        divergence, gradient = lesson.answers(defended, wanted, teacher.features(_resampled(clean, grids)))
        if not training.epsilon:
            return divergence
        back = behind.pull_back(clean.astype(np.float32), grids, gradient)
        strength = 255 * training.epsilon * rng.uniform(*_STRENGTHS, (request.batch, 1, 1, 1)).astype(np.float32)
        worse = np.clip(np.rint(clean + strength * steepest(back, "l2_rms")), 0, 255).astype(np.uint8)
        defended, grids = behind.forward(worse, rng)
        attacked, _ = lesson.answers(defended, wanted, teacher.features(_resampled(clean, grids)))
        return (divergence + attacked) / 2

    losses = descend(request, [*network.weights, *optimizer.variables], step, tick)
    weights = {f"weights_{number}": array for number, array in enumerate(network.get_weights())}
    return finish(request, weights, losses[pixels_alone:])


def _resampled(pictures: NDArray[np.uint8], grids: Sequence[Grid]) -> NDArray[np.uint8]:
    """Return what a perfect denoiser would give: it knows as little as anyone what was dropped and moved."""
    return np.stack([remap(picture, grid) for picture, grid in zip(pictures, grids, strict=True)])


class _Lesson:
    """One update of the network, in either stage; each is compiled once."""

    def __init__(self, network: Any, optimizer: Any, teacher: Teacher) -> None:
        tf = self._tf = import_tensorflow()
        variables = network.trainable_variables

        def follow(gradients: Sequence[Any]) -> None:
            clipped, _ = tf.clip_by_global_norm(gradients, 1.0)
            optimizer.apply_gradients(zip(clipped, variables, strict=True))

        @tf.function(reduce_retracing=True)
        def pixels(defended: Any, wanted: Any) -> Any:
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(tf.square((network(defended, training=True) - wanted) / 255))
            follow(tape.gradient(loss, variables))
            return loss

        @tf.function(reduce_retracing=True)
        def answers(defended: Any, wanted: Any, features: Any) -> Any:
            with tf.GradientTape() as tape:
                tape.watch(defended)
                given = network(defended, training=True)
                # The divergence of Kullback and Leibler: zero where the classifier answers as to the clean picture.
                surprise = tf.math.log(wanted + SMALLEST_PROBABILITY) - teacher.log_answers_of(given)
                divergence = tf.reduce_mean(tf.reduce_sum(wanted * surprise, axis=1))
                apart = [
                    tf.reduce_mean(tf.square(one - other)) / (tf.math.reduce_variance(other) + SMALLEST_PROBABILITY)
                    for one, other in zip(teacher.features_of(given), features, strict=True)
                ]
                loss = divergence + sum(apart)
            *gradients, at_picture = tape.gradient(loss, [*variables, defended])
            follow(gradients)
            return divergence, at_picture

        self._pixels, self._answers = pixels, answers

    def pixels(self, defended: NDArray[np.uint8], wanted: NDArray[np.uint8]) -> float:
        """Learn to give pixels back; return the mean squared error, pixels in [0, 1]."""
        return float(self._pixels(self._levels(defended), self._levels(wanted)))

    def answers(self, defended: NDArray[np.uint8], wanted: Any, features: Any) -> tuple[float, NDArray[np.float32]]:
        """Learn to give answers and features back; return the divergence, and the gradient of both at `defended`."""
        divergence, gradient = self._answers(self._levels(defended), wanted, features)
        return float(divergence), np.asarray(gradient)

    def _levels(self, pictures: NDArray[np.uint8]) -> Any:
        return self._tf.constant(pictures, self._tf.float32)
