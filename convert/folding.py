"""Batch normalisation made part of the convolution before it: the same network with a third of its layers less.

TFLite's converter does that for a board. TensorFlow does not where a gradient is taken, and spends much of an attack's
time on layers that only scale and shift (`bench gradients` shows what is left).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from convert.tf import import_tensorflow

__all__ = ["fold_batch_normalization"]

_CONVOLUTIONS = ("Conv2D", "DepthwiseConv2D")
# Float32 rounds differently once the scale is in the weights: about 1e-5 of the largest logit on the zoo's models.
_TOLERANCE = 1e-3


def fold_batch_normalization(network: Any) -> Any:
    """Return a copy of a Keras classifier without the batch normalisations that follow a convolution.

    Parameters
    ----------
    network : keras.Model
        Takes (N, height, width, 3). It is not changed.

    Returns
    -------
    keras.Model
        For inference only. `network` itself where there is nothing to fold, where layers are not all Keras' own (a copy
        of those may not be one), or where the copy answers differently.
    """
    inside = [network, *_networks_in(network)]
    if not all(map(_only_layers_of_keras, inside)) or not any(map(_foldable, inside)):
        return network
    folded = _copy(network)
    levels = np.random.default_rng(0).uniform(0, 255, (2, *network.input_shape[1:])).astype(np.float32)
    before, after = (np.asarray(model(levels, training=False)) for model in (network, folded))
    # NaN in a user's model is his to find: it is not equal to itself either, and the network stays as it is.
    return folded if np.abs(before - after).max() <= _TOLERANCE * np.abs(before).max() else network


def _foldable(network: Any) -> dict[str, Any]:
    """Return the name of each convolution that is followed by nothing but a batch normalisation -> that layer."""
    pairs = {}
    for layer in network.layers:
        if type(layer).__name__ not in _CONVOLUTIONS or layer.data_format != "channels_last":
            continue
        after = [node.operation for node in layer._outbound_nodes]
        if layer.activation.__name__ != "linear" or len(after) != 1 or len(layer._inbound_nodes) != 1:
            continue
        normalisation = after[0]
        if (
            type(normalisation).__name__ == "BatchNormalization"
            and len(normalisation._inbound_nodes) == 1
            and normalisation.axis in (-1, 3)
        ):
            pairs[layer.name] = normalisation
    return pairs


def _networks_in(network: Any) -> list[Any]:
    """Return the networks that are layers of another one, as Keras' Inception V3 is behind its normalisation."""
    layers = [layer for layer in network.layers if hasattr(layer, "layers")]
    return layers + [inner for layer in layers for inner in _networks_in(layer)]


def _only_layers_of_keras(network: Any) -> bool:
    return all(type(layer).__module__.startswith("keras.") for layer in network.layers)


def _copy(network: Any) -> Any:
    import_tensorflow()
    import keras

    pairs = _foldable(network)
    gone = {normalisation.name for normalisation in pairs.values()}

    class Nothing(keras.layers.Layer):  # type: ignore[misc]  # Keras has no types
        """Stands where a batch normalisation stood, and takes the arguments that it was called with."""

        def call(self, inputs: Any, training: Any = None, mask: Any = None) -> Any:
            del training, mask
            return inputs

    def copied(layer: Any) -> Any:
        if layer.name in gone:
            return Nothing(name=layer.name)
        if hasattr(layer, "layers"):
            return _copy(layer)
        settings = layer.get_config()
        if layer.name in pairs:
            settings["use_bias"] = True
        return type(layer).from_config(settings)

    copy = keras.models.clone_model(network, clone_function=copied)
    for layer in network.layers:
        if layer.name in pairs:
            copy.get_layer(layer.name).set_weights(_folded_weights(layer, pairs[layer.name]))
        elif layer.weights and layer.name not in gone and not hasattr(layer, "layers"):
            copy.get_layer(layer.name).set_weights(layer.get_weights())
    return copy


def _folded_weights(layer: Any, normalisation: Any) -> list[NDArray[np.float32]]:
    """Return kernel and bias of a convolution with the scale and shift of what follows it."""
    kernel = np.asarray(layer.kernel, np.float64)
    bias = np.asarray(layer.bias, np.float64) if layer.use_bias else 0.0
    scale = 1 / np.sqrt(np.asarray(normalisation.moving_variance, np.float64) + normalisation.epsilon)
    if normalisation.scale:
        scale = scale * np.asarray(normalisation.gamma, np.float64)
    shift = (bias - np.asarray(normalisation.moving_mean, np.float64)) * scale
    if normalisation.center:
        shift = shift + np.asarray(normalisation.beta, np.float64)
    # The last axis of a depthwise kernel is the multiplier: its output channels are those of both last axes.
    scaled = kernel * (scale.reshape(kernel.shape[2:]) if type(layer).__name__ == "DepthwiseConv2D" else scale)
    return [scaled.astype(np.float32), shift.astype(np.float32)]
