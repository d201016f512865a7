"""What the denoiser learns from: the classifier's answers, and what some of its layers make of a picture."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from convert.folding import fold_batch_normalization
from convert.models import LoadedModel
from convert.tf import import_tensorflow

__all__ = ["SMALLEST_PROBABILITY", "Teacher", "feature_layers"]

SMALLEST_PROBABILITY = 1e-9
_FEATURE_LAYERS = 4
_NOT_OF_FEATURES = ("InputLayer", "Rescaling", "Normalization")


class Teacher:
    """A classifier that stays as it is.

    Parameters
    ----------
    model : LoadedModel
    """

    def __init__(self, model: LoadedModel) -> None:
        tf = self._tf = import_tensorflow()
        self._network = fold_batch_normalization(model.keras_model)
        self._from_logits = model.output == "logits"
        inside, self._before = _trunk(self._network)
        layers = feature_layers(inside)
        self._features = tf.keras.Model(inside.input, [layer.output for layer in layers]) if layers else None
        spec = [tf.TensorSpec((None, *model.input_size, 3), tf.float32)]
        self._answers = tf.function(lambda levels: tf.exp(self.log_answers_of(levels)), input_signature=spec)
        self._layers = tf.function(self.features_of, input_signature=spec)

    def log_answers_of(self, levels: Any) -> Any:
        """Return the logarithms of the probabilities (N, classes), as a part of TensorFlow's graph."""
        tf, output = self._tf, self._network(levels, training=False)
        return tf.nn.log_softmax(output) if self._from_logits else tf.math.log(output + SMALLEST_PROBABILITY)

    def features_of(self, levels: Any) -> list[Any]:
        """Return the layers' outputs, as a part of TensorFlow's graph; none where no layer's can be had."""
        if self._features is None:
            return []
        found = self._features(self._before(levels, training=False) if self._before else levels, training=False)
        return list(found) if isinstance(found, (list, tuple)) else [found]

    def answers(self, pictures: NDArray[np.uint8]) -> Any:
        """Return the probabilities (N, classes) of uint8 (N, H, W, 3) pictures, a tensor."""
        return self._answers(self._tf.constant(pictures, self._tf.float32))

    def features(self, pictures: NDArray[np.uint8]) -> Any:
        """Return the layers' outputs on uint8 (N, H, W, 3) pictures, tensors."""
        return self._layers(self._tf.constant(pictures, self._tf.float32))


def _trunk(network: Any) -> tuple[Any, Any]:
    """Return the network that has the layers, and what comes before it in the one that it is a layer of, or None."""
    nested = [layer for layer in network.layers if hasattr(layer, "layers")]
    if len(nested) != 1:
        return network, None
    start = nested[0]._inbound_nodes[-1].input_tensors[0]
    return nested[0], import_tensorflow().keras.Model(network.input, start)


def feature_layers(network: Any) -> list[Any]:
    """Return up to four layers of a Keras network, from early to late, whose outputs are pictures of features.

    Where there are enough joins (of residuals, of branches) it is these: all that the network knows goes through them.
    """
    pictures = [
        layer
        for layer in network.layers
        if not hasattr(layer, "layers")
        and type(layer).__name__ not in _NOT_OF_FEATURES
        and len(getattr(layer.output, "shape", ())) == 4
        and None not in layer.output.shape[1:]
        and min(layer.output.shape[1:3]) > 1
    ]
    joins = [layer for layer in pictures if type(layer).__name__ in ("Add", "Concatenate")]
    among = joins if len(joins) >= _FEATURE_LAYERS else pictures
    places = np.unique(np.linspace(0, len(among) - 1, min(_FEATURE_LAYERS, len(among))).round().astype(int))
    return [among[int(place)] for place in places]
