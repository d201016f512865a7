"""A small network in front of the classifier that undoes what the defence does to an honest picture.

Salman, Sun, Yang, Kapoor and Kolter, "Denoised smoothing: a provable defense for pretrained classifiers", 2020: noise
in front of a classifier that was not trained for it costs accuracy, and a network between the two wins part of it back
while the classifier stays as it is. It becomes part of the exported model, so a board needs nothing for it; what trains
it stands above this package (`edgedefend bench train-denoiser`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convert.models import LoadedModel
from convert.parts import load_part
from convert.tf import import_tensorflow
from edgedefend.dataset import Dataset
from edgedefend.dct import as_quant_table
from edgedefend.defense import Defense
from edgedefend.errors import InputError
from edgedefend.noise import as_noise_std

__all__ = ["Denoiser", "build_denoiser", "file_digest", "load_denoiser"]

_MOST_CHANNELS = 256


def build_denoiser(size: tuple[int, int], channels: int) -> Any:
    """Return the untrained network: it changes nothing, for its last layer starts at zero.

    Most of it works at half and quarter resolution. Every operator has a form that the runtime's delegate takes.

    Parameters
    ----------
    size : (int, int)
        Height and width.
    channels : int
        At half the resolution; twice as many at a quarter.

    Returns
    -------
    keras.Model
        float32 (N, height, width, 3) levels 0..255 to the same; what it gives is not clipped.
    """
    layers = import_tensorflow().keras.layers
    keras = import_tensorflow().keras

    def convolution(x: Any, count: int, side: int = 3, stride: int = 1) -> Any:
        return layers.Conv2D(count, side, stride, padding="same", activation="relu")(x)

    levels = keras.Input((*size, 3), name="levels")
    x = layers.Rescaling(1 / 127.5, -1.0)(levels)
    half = convolution(convolution(x, channels, 4, 2), channels)
    quarter = convolution(half, 2 * channels, stride=2)
    for _ in range(3):
        quarter = layers.Add()([quarter, convolution(quarter, 2 * channels)])
    wide = _depth_to_space()(layers.Conv2D(4 * channels, 1)(quarter))
    x = convolution(layers.Concatenate()([half, _cropped(wide, half.shape[1:3])]), channels)
    # An ordinary last layer would start with a change of its own, and the classifier with wrong answers.
    change = layers.Conv2D(4 * 3, 3, padding="same", kernel_initializer="zeros")(x)
    change = layers.Rescaling(127.5)(_cropped(_depth_to_space()(change), size))
    return keras.Model(levels, layers.Add()([levels, change]), name="denoiser")


def _depth_to_space() -> Any:
    """Return a layer that doubles the resolution: four channels become the four pixels of a square.

    Keras has none, and its transposed convolution becomes several operators that the delegate does not take.
    """
    tf = import_tensorflow()
    base: Any = tf.keras.layers.Layer

    class DepthToSpace(base):  # type: ignore[misc]  # Keras has no types
        def call(self, inputs: Any) -> Any:
            return tf.nn.depth_to_space(inputs, 2)

    return DepthToSpace()


def _cropped(x: Any, size: tuple[int, int]) -> Any:
    """Return a picture without the rows and columns that halving an odd side has added."""
    below, right = x.shape[1] - size[0], x.shape[2] - size[1]
    layers = import_tensorflow().keras.layers
    return layers.Cropping2D(((0, below), (0, right)))(x) if below or right else x


@dataclass(frozen=True)
class Denoiser:
    """A trained network, and what it was trained for.

    Attributes
    ----------
    name, sha256 : str
        Of its file.
    arrays : tuple of ndarray
        Its weights.
    channels : int
        See `build_denoiser`.
    weights_sha256 : str
        Of the classifier that it was trained with.
    quant_table, num_steps, distort_limit, passes, noise_std
        The defence that it was trained behind.
    photographs : frozenset of str
        SHA-256 of the files that it was trained on: of accuracy on these nothing may be said.
    facts : mapping
        Everything that the training has put on record.
    """

    name: str
    sha256: str
    arrays: tuple[NDArray[np.float32], ...]
    channels: int
    weights_sha256: str
    quant_table: NDArray[np.float32]
    num_steps: int
    distort_limit: float
    passes: int
    noise_std: float
    photographs: frozenset[str]
    facts: Mapping[str, Any]

    def before(self, model: LoadedModel) -> LoadedModel:
        """Return the classifier with this network in front of it, which takes the same levels.

        Raises
        ------
        InputError
            If it was trained with another classifier.
        """
        if model.provenance.get("weights_sha256", "") != self.weights_sha256:
            raise InputError(
                f"{self.name}: was trained with another model than {model.name}: edgedefend bench train-denoiser "
                "--model MODEL"
            )
        keras = import_tensorflow().keras
        network = build_denoiser(model.input_size, self.channels)
        shapes = [tuple(weight.shape) for weight in network.weights]
        if shapes != [array.shape for array in self.arrays]:
            raise InputError(f"{self.name}: its weights are not those of such a network: train it again")
        network.set_weights(list(self.arrays))
        image = keras.Input((*model.input_size, 3), name="image")
        return replace(
            model,
            keras_model=keras.Model(image, model.keras_model(network(image))),
            provenance={**model.provenance, "denoiser": self.name, "denoiser_sha256": self.sha256},
        )

    def not_trained_on(self, data: Dataset) -> Dataset:
        """Return the photographs that had no part in the training.

        Raises
        ------
        InputError
            If none is left.
        """
        left = tuple(one for one in data if file_digest(one.path) not in self.photographs)
        if not left:
            raise InputError(f"{data.name}: the denoiser was trained on every photograph of it: give others")
        return Dataset(data.name, left)


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a photograph's file."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"{path}: {(error.strerror or str(error)).lower()}") from None


def load_denoiser(path: Path) -> Denoiser:
    """Read what `bench train-denoiser` wrote.

    Raises
    ------
    InputError
        If there is none, or it is damaged.
    """
    part = load_part(path)
    facts = part.facts
    try:
        arrays = tuple(part.arrays[f"weights_{number}"] for number in range(len(part.arrays)))
        channels, parameters = int(facts["channels"]), facts["defense"]
        if not 1 <= channels <= _MOST_CHANNELS or any(array.dtype != np.float32 for array in arrays):
            raise ValueError(f"{channels} channels of float32 from 1 to {_MOST_CHANNELS} are expected")
        if not all(np.isfinite(array).all() for array in arrays):
            raise ValueError("a weight is not a number")
        found = Denoiser(
            path.name,
            file_digest(path),
            arrays,
            channels,
            str(facts["weights_sha256"]),
            as_quant_table(parameters["quant_table"]),
            int(parameters["num_steps"]),
            float(parameters["distort_limit"]),
            int(parameters["passes"]),
            as_noise_std(float(parameters["noise_std"])),
            frozenset(map(str, facts["photographs_sha256"])),
            facts,
        )
        Defense.of(found)  # which refuses what no defence can be
    except (KeyError, TypeError, ValueError, InputError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: not a denoiser written by bench train-denoiser ({reason}): train it again") from None
    return found
