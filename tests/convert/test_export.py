import numpy as np
import pytest

from convert.export import encode, export_tflite, keras_outputs, measure_parity
from convert.models import load_model
from edgedefend import Defense, load_quant_table
from edgedefend.errors import EdgeDefendError, InputError
from edgedefend.interpreter import Interpreter


@pytest.fixture(scope="module")
def model(color_model_file):
    return load_model(str(color_model_file))


@pytest.fixture(scope="module")
def images() -> list[np.ndarray]:
    return list(np.random.default_rng(3).integers(0, 256, (6, 40, 48, 3), np.uint8))


def test_unknown_precision(model):
    with pytest.raises(InputError, match="unknown precision"):
        export_tflite(model, "int4", [])


def test_parity_sees_what_is_wrong(model, images):
    """A model with other weights must not pass for the one it was made from."""
    content = export_tflite(model, "fp32", [])
    expected = keras_outputs(model, images, lambda count: None)
    defense = Defense(load_quant_table("feature-distillation"))
    options = {"threads": 1, "tick": lambda count: None}
    good = measure_parity(content, "fp32", images, [0] * 6, expected, defense, **options)
    assert good.agreement == 1.0
    assert good.max_logit_error < 1e-3
    assert good.finite
    other = measure_parity(content, "fp32", images, [0] * 6, np.roll(expected, 1, axis=1), defense, **options)
    assert other.agreement == 0.0
    assert other.max_logit_error > 1e-3
    lost = measure_parity(content, "fp32", images, [0] * 6, np.full_like(expected, np.nan), defense, **options)
    assert np.isnan(lost.max_logit_error)


def test_an_export_that_answers_nan_is_seen(images, tmp_path):
    """`from_concrete_functions` is known to have written such files: the gate must look at the answers."""
    from convert.tf import import_tensorflow

    tf = import_tensorflow()
    inputs = tf.keras.Input((40, 48, 3))
    pooled = tf.keras.layers.GlobalAveragePooling2D()(inputs)
    network = tf.keras.Model(inputs, tf.keras.layers.Dense(3)(pooled))
    network.layers[-1].set_weights([np.full((3, 3), np.nan, np.float32), np.zeros(3, np.float32)])
    content = tf.lite.TFLiteConverter.from_keras_model(network).convert()
    defense = Defense(load_quant_table("feature-distillation"))
    zeros = np.zeros((6, 3), np.float32)
    seen = measure_parity(content, "fp32", images, [0] * 6, zeros, defense, threads=1, tick=lambda count: None)
    assert not seen.finite
    assert seen.agreement == 0.0


def test_int8_takes_pixels_less_128(model, images):
    interpreter = Interpreter(export_tflite(model, "int8", images), threads=1)
    assert interpreter.input.dtype == np.int8
    levels = np.arange(256, dtype=np.uint8).reshape(1, 256, 1).repeat(3, axis=2)
    assert (encode(levels, interpreter)[0, :, 0] == np.arange(256) - 128).all()
    assert interpreter.output.dtype == np.float32


def test_what_tensorflow_cannot_convert_is_said_in_one_line():
    from convert.models import LoadedModel
    from convert.tf import import_tensorflow

    keras = import_tensorflow().keras
    inputs = keras.Input((40, 48, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(inputs / 300.0)
    network = keras.Model(inputs, keras.ops.erfinv(pooled))  # TFLite has no such operator
    model = LoadedModel("inverse", network, (40, 48), ["a", "b", "c"], "logits", "file", {})
    with pytest.raises(EdgeDefendError, match="inverse: TensorFlow cannot convert it to fp32") as caught:
        export_tflite(model, "fp32", [])
    assert "\n" not in str(caught.value)
