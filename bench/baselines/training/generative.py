"""What PixelDefend and Quilting know of clean pictures: a PixelCNN, a base of patches."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.baselines.parts import Part, part_file, save_part
from bench.baselines.patches import sample_patches
from bench.baselines.pixel_cnn import FEATURES, MIXTURES, Canvas
from bench.baselines.quilting import SIDE
from bench.baselines.training.loop import Request, descend, finish
from convert.tf import import_tensorflow
from edgedefend.errors import InputError

__all__ = ["collect_patches", "train_pixel_cnn"]

_WIDTH, _PLACES, _PATCHES_A_STEP = 128, 64, 1000


def collect_patches(request: Request, tick: Callable[[int], Any]) -> Path:
    """Cut ``steps * 1000`` patches out of the photographs."""
    large = [picture for picture in request.photographs if min(picture.shape[:2]) >= SIDE]
    if not large:
        raise InputError(f"{request.data}: no photograph of at least {SIDE}x{SIDE} pixels")
    parts = []
    for step in range(request.steps):
        parts.append(sample_patches(large, SIDE, _PATCHES_A_STEP, request.rng(step)))
        tick(1)
    path = part_file(request.out, request.name)
    save_part(path, Part({"patches": np.concatenate(parts)}, request.facts()))
    return path


def train_pixel_cnn(request: Request, tick: Callable[[int], Any]) -> Path:
    """Train the network of `bench.baselines.pixel_cnn` on random places of the photographs, by likelihood."""
    tf = import_tensorflow()
    tf.keras.utils.set_random_seed(request.seed)
    layers = tf.keras.layers
    network = tf.keras.Sequential(
        [
            tf.keras.Input((FEATURES,)),
            layers.Dense(_WIDTH, activation="relu"),
            layers.Dense(_WIDTH, activation="relu"),
            layers.Dense(3 * MIXTURES),
        ]
    )
    # Scales of a few levels to begin with: log of 0.05 in [-1, 1].
    network.layers[-1].bias.assign(np.repeat(np.array([0, 0, -3], np.float32), MIXTURES))
    optimizer = tf.keras.optimizers.Adam(1e-3)
    optimizer.build(network.trainable_variables)

    @tf.function(reduce_retracing=True)
    def step(features: Any, start: Any, values: Any) -> Any:
        with tf.GradientTape() as tape:
            logits, offsets, log_scales = tf.split(network(features), 3, axis=-1)
            centred = values[:, None] - start[:, None] - offsets
            scales = tf.exp(tf.maximum(log_scales, -7.0))
            upper = tf.where(values[:, None] > 0.999, 1.0, tf.sigmoid((centred + 1 / 255) / scales))
            lower = tf.where(values[:, None] < -0.999, 0.0, tf.sigmoid((centred - 1 / 255) / scales))
            likelihood = tf.reduce_sum((upper - lower) * tf.nn.softmax(logits), axis=-1)
            loss = -tf.reduce_mean(tf.math.log(tf.maximum(likelihood, 1e-9)))
        optimizer.apply_gradients(
            zip(tape.gradient(loss, network.trainable_variables), network.trainable_variables, strict=True)
        )
        return loss

    def update(number: int) -> float:
        rng = request.rng(number)
        seen = []
        for photograph in rng.integers(len(request.photographs), size=request.batch):
            picture = request.photographs[photograph]
            canvas = Canvas(picture[None])
            rows, columns = (rng.integers(side, size=_PLACES) for side in picture.shape[:2])
            for channel in range(3):
                features, start = canvas.features(rows, columns, channel)
                seen.append((features[0], start[0], canvas.values(rows, columns, channel)[0]))
        return float(step(*(tf.constant(np.concatenate(column)) for column in zip(*seen, strict=True))))

    losses = descend(request, [*network.weights, *optimizer.variables], update, tick)
    weights = network.get_weights()
    arrays = {f"weights_{n}": weights[2 * n] for n in range(len(weights) // 2)}
    arrays |= {f"biases_{n}": weights[2 * n + 1] for n in range(len(weights) // 2)}
    return finish(request, arrays, losses)
