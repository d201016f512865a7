"""Parts that are made for one classifier: the Guided Denoiser, and the classifier that ME-Net retrains."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.baselines.guided_denoiser import build_denoiser
from bench.baselines.me_net import OBSERVED_IN_TRAINING, MeNet
from bench.baselines.training.loop import Request, descend, finish
from convert.adversary import IFGSM
from convert.models import LoadedModel
from convert.tf import import_tensorflow
from edgedefend.errors import InputError

__all__ = ["retrain_me_net", "train_guided_denoiser"]

# Liao et al., section 4.1: attacks of several strengths, up to 16 levels.
_EPSILONS, _ATTACK_STEPS = (1.0, 2.0, 4.0, 8.0, 16.0), 4


def _classifier(request: Request) -> LoadedModel:
    if request.model is None:
        raise InputError(f"training {request.name} needs the model that it stands in front of: give --model")
    return request.model


def _batch(request: Request, rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    chosen = rng.integers(len(request.photographs), size=request.batch)
    pictures = np.stack([request.photographs[number] for number in chosen])
    return pictures, np.array([request.labels[number] for number in chosen], np.int32)


def train_guided_denoiser(request: Request, tick: Callable[[int], Any]) -> Path:
    """Train the denoiser so that the classifier's logits on what it cleans are those on the clean picture (LGD).

    Each batch is attacked anew, with a strength drawn at random, by targeted I-FGSM on the bare classifier; the loss is
    the mean absolute difference of the logits (Liao et al., equation 6, at the last layer).
    """
    model = _classifier(request)
    if request.photographs[0].shape[0] % 4 or request.photographs[0].shape[1] % 4:
        # The network halves the picture twice; in use the picture is extended, in training it is the classifier's.
        raise InputError(f"{model.name}: sides of {request.photographs[0].shape[:2]}: expected multiples of 4")
    tf = import_tensorflow()
    tf.keras.utils.set_random_seed(request.seed)
    network, classify = build_denoiser(), model.keras_model
    optimizer = tf.keras.optimizers.Adam(1e-3)
    optimizer.build(network.trainable_variables)
    attack = IFGSM(model, steps=_ATTACK_STEPS)

    @tf.function(reduce_retracing=True)
    def step(clean: Any, attacked: Any) -> Any:
        wanted = classify(clean, training=False)
        with tf.GradientTape() as tape:
            cleaned = tf.clip_by_value(attacked - network(attacked), 0.0, 255.0)
            loss = tf.reduce_mean(tf.abs(classify(cleaned, training=False) - wanted))
        optimizer.apply_gradients(
            zip(tape.gradient(loss, network.trainable_variables), network.trainable_variables, strict=True)
        )
        return loss

    def update(number: int) -> float:
        rng = request.rng(number)
        pictures, labels = _batch(request, rng)
        targets = (labels + rng.integers(1, len(model.labels), len(labels))) % len(model.labels)
        attack.epsilon = float(rng.choice(_EPSILONS))
        attack.step_size = attack.epsilon / 2
        attacked = attack(pictures, targets.astype(np.int32))
        return float(step(tf.constant(pictures, tf.float32), tf.constant(attacked, tf.float32)))

    losses = descend(request, [*network.weights, *optimizer.variables], update, tick)
    return finish(request, {f"weights_{n}": w for n, w in enumerate(network.get_weights())}, losses)


def retrain_me_net(request: Request, tick: Callable[[int], Any]) -> Path:
    """Go on training the classifier on matrix estimates of the photographs, with 0.8 to 1 of the values observed.

    The authors train from the start on ten masks of every image. At small scale that would give no classifier at all,
    so the weights it has are the start here, its batch normalisation keeps its statistics, and the rate is small.
    """
    model = _classifier(request)
    tf = import_tensorflow()
    network = tf.keras.models.clone_model(model.keras_model)
    network.set_weights(model.keras_model.get_weights())
    optimizer = tf.keras.optimizers.Adam(1e-5)
    optimizer.build(network.trainable_variables)
    from_logits = model.output == "logits"

    @tf.function(reduce_retracing=True)
    def step(pictures: Any, labels: Any) -> Any:
        with tf.GradientTape() as tape:
            answers = network(pictures, training=False)
            loss = tf.reduce_mean(
                tf.keras.losses.sparse_categorical_crossentropy(labels, answers, from_logits=from_logits)
            )
        optimizer.apply_gradients(
            zip(tape.gradient(loss, network.trainable_variables), network.trainable_variables, strict=True)
        )
        return loss

    def update(number: int) -> float:
        rng = request.rng(number)
        pictures, labels = _batch(request, rng)
        estimates = np.stack([MeNet.masked(p, rng.uniform(*OBSERVED_IN_TRAINING), rng) for p in pictures])
        return float(step(tf.constant(estimates, tf.float32), tf.constant(labels)))

    losses = descend(request, [*network.weights, *optimizer.variables], update, tick)
    return finish(request, {f"weights_{n}": w for n, w in enumerate(network.get_weights())}, losses)
