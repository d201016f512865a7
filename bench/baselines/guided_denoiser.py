"""Guided Denoiser: a network that takes the attack's noise away, taught by the classifier's own logits."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.baselines.base import Picture, as_levels
from bench.baselines.trained import TrainedBaseline
from convert.tf import import_tensorflow

__all__ = ["GuidedDenoiser", "build_denoiser"]

_CHANNELS = (16, 32, 64)
_MULTIPLE = 2 ** (len(_CHANNELS) - 1)


def build_denoiser() -> Any:
    """Return an untrained DUNET, smaller than the authors' (three scales of 16, 32 and 64 channels).

    It takes levels 0..255, float32 (N, H, W, 3) with sides that are multiples of 4, and gives the noise to subtract,
    in levels. Its last layer starts at zero: untrained, it changes nothing.
    """
    layers = import_tensorflow().keras.layers
    keras = import_tensorflow().keras

    def block(x: Any, channels: int) -> Any:
        for _ in range(2):
            x = layers.Conv2D(channels, 3, padding="same", activation="relu")(x)
        return x

    picture = keras.Input((None, None, 3))
    x = layers.Rescaling(1 / 127.5, -1.0)(picture)
    lateral = []
    for channels in _CHANNELS[:-1]:
        x = block(x, channels)
        lateral.append(x)
        x = layers.MaxPooling2D()(x)
    x = block(x, _CHANNELS[-1])
    for channels, skipped in zip(_CHANNELS[-2::-1], lateral[::-1], strict=True):
        x = block(layers.Concatenate()([layers.UpSampling2D(interpolation="bilinear")(x), skipped]), channels)
    noise = layers.Conv2D(3, 1, kernel_initializer="zeros")(x)
    return keras.Model(picture, layers.Rescaling(127.5)(noise))


class GuidedDenoiser(TrainedBaseline):
    """The logits guided denoiser (LGD), trained on adversarial examples of the model it stands in front of."""

    name, title = "guided-denoiser", "Guided Denoiser"
    source = (
        "Liao, Liang, Dong, Pang, Hu and Zhu, Defense against adversarial attacks using high-level representation "
        "guided denoiser, CVPR 2018"
    )
    randomised = False
    trained_as = "a small DUNET"

    @functools.cached_property
    def _network(self) -> Any:
        arrays = self.part.arrays
        network = build_denoiser()
        network.set_weights([arrays[f"weights_{n}"] for n in range(len(arrays))])
        return network

    @staticmethod
    def _around(pictures: Picture) -> tuple[tuple[int, int], ...]:
        """What is filled up for the network, whose scales halve the picture."""
        height, width = pictures.shape[1:3]
        return (0, 0), (0, -height % _MULTIPLE), (0, -width % _MULTIPLE), (0, 0)

    def _defend(self, pictures: Picture, rng: np.random.Generator) -> Picture:
        height, width = pictures.shape[1:3]
        filled = np.pad(pictures, self._around(pictures), mode="edge")
        noise = np.asarray(self._network(filled.astype(np.float32), training=False))[:, :height, :width]
        return as_levels(pictures - noise)

    def pull_back(self, pictures: Picture, gradient: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the gradient at pictures, float32 (N, H, W, 3), given that at the denoised ones.

        It is exact up to the rounding to whole levels and their bounds, which are taken for the identity.
        """
        tf = import_tensorflow()
        height, width = pictures.shape[1:3]
        around = self._around(pictures)
        filled = tf.constant(np.pad(pictures, around, mode="edge"), tf.float32)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(filled)
            noise = self._network(filled, training=False)
        back = tape.gradient(noise, filled, output_gradients=tf.constant(np.pad(gradient, around), tf.float32)).numpy()
        # What was repeated at the edge collects what its copies were given.
        back[:, height - 1] += back[:, height:].sum(axis=1)
        back[:, :, width - 1] += back[:, :, width:].sum(axis=2)
        return np.asarray(gradient - back[:, :height, :width], np.float32)

    def one(self, picture: Picture, rng: np.random.Generator) -> Picture:
        """Denoise one picture; `rng` is not used."""
        return self._defend(picture[None], rng)[0]
