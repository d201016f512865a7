"""Folding of batch normalisation: the same answers and gradients, and no network harmed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from convert.folding import fold_batch_normalization
from convert.gradient import InputGradient
from convert.models import load_model

pytest.importorskip("tensorflow", reason="needs TensorFlow: pip install '.[convert]'")


def _names(network: Any) -> list[str]:
    return [type(layer).__name__ for layer in network.layers]


def _network(*layers: Any) -> Any:
    """Return a classifier of small pictures whose batch normalisations have something to do."""
    import keras

    network = keras.Sequential([keras.Input((8, 8, 3)), *layers, keras.layers.GlobalAveragePooling2D()])
    rng = np.random.default_rng(3)
    for layer in network.layers:
        if layer.weights:
            layer.set_weights([rng.uniform(0.2, 1.5, array.shape) for array in layer.get_weights()])
    return network


def _difference(one: Any, other: Any) -> float:
    levels = np.random.default_rng(1).uniform(0, 255, (3, 8, 8, 3)).astype(np.float32)
    before, after = (np.asarray(model(levels, training=False)) for model in (one, other))
    return float(np.abs(before - after).max() / np.abs(before).max())


@pytest.mark.parametrize("options", [{}, {"use_bias": False}, {"strides": 2, "padding": "same"}])
@pytest.mark.parametrize("kind", ["Conv2D", "DepthwiseConv2D"])
@pytest.mark.parametrize("normalisation", [{}, {"scale": False}, {"center": False, "epsilon": 0.1}])
def test_a_folded_network_gives_the_same(kind: str, options: dict[str, Any], normalisation: dict[str, Any]) -> None:
    import keras

    more = {"filters": 5} if kind == "Conv2D" else {"depth_multiplier": 2}
    convolution = getattr(keras.layers, kind)(kernel_size=3, **more, **options)
    network = _network(convolution, keras.layers.BatchNormalization(**normalisation), keras.layers.ReLU(6))
    folded = fold_batch_normalization(network)
    assert "BatchNormalization" in _names(network)
    assert "BatchNormalization" not in _names(folded)
    assert _difference(network, folded) < 1e-5


def test_a_network_inside_another_is_folded_too() -> None:
    import keras

    inner = _network(keras.layers.Conv2D(4, 3), keras.layers.BatchNormalization())
    inputs = keras.Input((8, 8, 3))
    network = keras.Model(inputs, keras.layers.Softmax()(inner(keras.layers.Rescaling(0.1)(inputs))))
    folded = fold_batch_normalization(network)
    assert "BatchNormalization" not in _names(folded.layers[2])
    assert "BatchNormalization" in _names(inner)
    assert _difference(network, folded) < 1e-5


def test_gradients_are_those_of_the_network_as_it_was() -> None:
    import tensorflow as tf

    model = load_model("efficientnet-lite0", weights="random")
    levels = np.random.default_rng(5).uniform(0, 255, (2, *model.input_size, 3)).astype(np.float32)
    classes = np.array([3, 500], np.int32)
    with tf.GradientTape() as tape:
        images = tf.constant(levels)
        tape.watch(images)
        logits = model.keras_model(images, training=False)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(classes, logits)
    expected = tape.gradient(losses, images).numpy()
    got = InputGradient(model)(levels, classes).gradient
    # Here and there an activation lies within rounding of the kink of its ReLU.
    assert np.linalg.norm(got - expected) < 0.02 * np.linalg.norm(expected)


@pytest.mark.parametrize("between", ["activation", "second consumer", "a layer of the user's own", "channels first"])
def test_what_cannot_be_folded_stays_as_it_is(between: str) -> None:
    import keras

    class Own(keras.layers.Layer):  # type: ignore[misc]
        def call(self, inputs: Any) -> Any:
            return inputs

    layers = keras.layers
    if between == "second consumer":
        inputs = keras.Input((8, 8, 3))
        middle = layers.Conv2D(4, 3)(inputs)
        network = keras.Model(inputs, layers.Flatten()(layers.Add()([layers.BatchNormalization()(middle), middle])))
    elif between == "channels first":
        network = _network(layers.Conv2D(6, 3), layers.BatchNormalization(axis=1))
    elif between == "activation":
        network = _network(layers.Conv2D(4, 3, activation="relu"), layers.BatchNormalization())
    else:
        network = _network(layers.Conv2D(4, 3), layers.BatchNormalization(), Own())
    assert fold_batch_normalization(network) is network


def test_a_copy_that_answers_differently_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    import keras

    from convert import folding

    network = _network(keras.layers.Conv2D(4, 3), keras.layers.BatchNormalization())
    right = folding._folded_weights
    monkeypatch.setattr(folding, "_folded_weights", lambda *pair: [1.01 * array for array in right(*pair)])
    assert fold_batch_normalization(network) is network
