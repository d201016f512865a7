"""Rewritten models against what they were made from: the same answers, and nothing left outside the delegate."""

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from convert.delegable import float_average_pools, float_depthwise_weights, make_delegable, unpack_model
from convert.export import export_tflite
from convert.models import LoadedModel
from convert.tf import import_tensorflow, quiet_native
from edgedefend.interpreter import Interpreter, native_messages

keras = import_tensorflow().keras
layers = keras.layers
SIDE = (23, 30)


def loaded(network, size=SIDE):
    return LoadedModel("test", network, size, ["a", "b", "c"], "logits", "file", {})


def pooling_model(side, pool, strides, padding, activation=None):
    """One average pool between a convolution and the numbers it gives out: every position of it is an output."""
    image = keras.Input((*side, 3))
    x = layers.Conv2D(5, 3, padding="same", kernel_initializer=keras.initializers.HeNormal(1))(image / 255.0)
    x = layers.AveragePooling2D(pool, strides=strides, padding=padding)(x)
    x = layers.Activation(activation)(x) if activation else x
    return loaded(keras.Model(image, x), side)


def pictures(count, side=SIDE, seed=0):
    return list(np.random.default_rng(seed).integers(0, 256, (count, *side, 3), np.uint8))


def answers(content, images):
    interpreter = Interpreter(content, threads=1)
    outputs = []
    for image in images:
        view = interpreter.input_view()
        view[0] = image.astype(np.float32) if view.dtype == np.float32 else image.astype(np.int16) - 128
        del view
        outputs.append(interpreter.invoke()[0].copy())
    return np.stack(outputs)


def step_of(content):
    """Return the scale of the tensor that the average pool writes: one step of its rounding."""
    model = unpack_model(content)
    graph = model.subgraphs[0]
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex].builtinCode
        if code == schema.BuiltinOperator.AVERAGE_POOL_2D:
            return float(graph.tensors[operator.outputs[0]].quantization.scale[0])
    raise AssertionError("no average pool in this model")


@pytest.mark.parametrize(
    ("side", "pool", "strides", "padding", "activation"),
    [
        ((23, 30), 3, 1, "same", None),
        ((23, 30), 3, 1, "same", "relu"),
        ((17, 16), 2, 1, "same", None),
        ((19, 22), (3, 5), 2, "same", None),
        ((21, 20), 4, (3, 2), "same", "relu6"),
        ((9, 9), 7, 1, "same", None),
        ((16, 18), 2, 2, "valid", None),
        ((15, 15), (5, 3), (2, 1), "valid", "relu"),
    ],
)
def test_int8_average_pools_of_every_kind(side, pool, strides, padding, activation):
    model = pooling_model(side, pool, strides, padding, activation)
    images = pictures(6, side)
    before = export_tflite(model, "int8", images, rewrite=False)
    after = float_average_pools(before)
    assert Interpreter(before, threads=1).partitions().undelegated["AVERAGE_POOL_2D"] == 1
    found = Interpreter(after, threads=1).partitions()
    assert found.count == 1 and found.undelegated == {}
    assert export_tflite(model, "int8", images) == make_delegable(before) == after
    old, new = answers(before, images), answers(after, images)
    step = step_of(before)
    # The kernels round a mean that lies in the middle of two steps differently, and nothing else.
    assert np.abs(new - old).max() <= step * 1.001
    even = np.prod(np.broadcast_to(pool, 2)) % 2 == 0
    assert np.mean(np.abs(new - old) > step / 2) < (0.3 if even or padding == "same" else 1e-9)
    expected = np.asarray(model.keras_model(np.stack(images).astype(np.float32), training=False)).reshape(6, -1)
    # Two roundings by half a step of ranges alike, and the convolution's own error in int8 arithmetic.
    assert np.abs(new - expected).max() < 2.5 * step
    # Even windows have many such middles, and either way of rounding them is as good as the other.
    assert np.abs(new - expected).mean() <= np.abs(old - expected).mean() * (1.25 if even else 1.02)


def test_where_no_ties_are_possible_int8_answers_are_the_same_to_the_bit():
    """With 3x3 valid windows of int8 numbers the mean is never in the middle of two steps."""
    model = pooling_model((20, 21), 3, 1, "valid")
    images = pictures(8, (20, 21))
    before = export_tflite(model, "int8", images, rewrite=False)
    np.testing.assert_array_equal(answers(float_average_pools(before), images), answers(before, images))


def depthwise_model():
    image = keras.Input((*SIDE, 3))
    x = layers.Conv2D(64, 3, padding="same", kernel_initializer=keras.initializers.HeNormal(1))(image / 255.0)
    shared = layers.DepthwiseConv2D(5, padding="same", depthwise_initializer=keras.initializers.HeNormal(2))
    x = layers.ReLU()(shared(x))
    x = layers.Conv2D(64, 1, kernel_initializer=keras.initializers.HeNormal(3))(shared(x))
    x = layers.GlobalAveragePooling2D()(x)
    return loaded(keras.Model(image, layers.Dense(3, kernel_initializer=keras.initializers.HeNormal(4))(x)))


def test_dynamic_depthwise_weights_become_float():
    model = depthwise_model()
    images = pictures(6)
    before = export_tflite(model, "dynamic", [], rewrite=False)
    after = export_tflite(model, "dynamic", [])
    assert Interpreter(before, threads=1).partitions().undelegated == {"DEPTHWISE_CONV_2D": 2}
    found = Interpreter(after, threads=1).partitions()
    assert found.count == 1 and found.undelegated == {}
    assert float_depthwise_weights(after) is None
    # The int8 copy has gone: a float32 weight more for each, and the converter shares them between both calls.
    weights = 5 * 5 * 64
    assert len(after) < len(before) + 4 * weights
    expected = np.asarray(model.keras_model(np.stack(images).astype(np.float32), training=False))
    old, new = (np.abs(answers(content, images) - expected) for content in (before, after))
    assert new.mean() <= old.mean()
    assert new.max() < 0.05 * np.ptp(expected)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_what_is_delegable_already_stays_byte_for_byte(precision):
    model = depthwise_model()
    images = pictures(4) if precision == "int8" else []
    converted = export_tflite(model, precision, images, rewrite=False)
    assert make_delegable(converted) is converted
    assert float_average_pools(converted) is None and float_depthwise_weights(converted) is None


def test_a_rewrite_that_does_not_help_is_not_made():
    """The delegate takes no 1x1 pool with a stride, in float either."""
    model = pooling_model((16, 16), 1, 2, "valid")
    converted = export_tflite(model, "int8", pictures(4, (16, 16)), rewrite=False)
    if Interpreter(converted, threads=1).partitions().undelegated.get("AVERAGE_POOL_2D"):
        rewritten = float_average_pools(converted)
        assert Interpreter(rewritten, threads=1).partitions().undelegated.get("AVERAGE_POOL_2D") == 1
        assert make_delegable(converted) is converted
    else:
        pytest.fail("the converter has found another way for this pool: choose another operator for this test")


def test_a_rewritten_model_is_a_whole_one():
    """Constants stay aligned as the schema wants them, signatures and metadata stay, batches can be had."""
    model = pooling_model(SIDE, 3, 1, "same")
    images = pictures(4)
    before = export_tflite(model, "int8", images, rewrite=False)
    after = float_average_pools(before)
    packed = schema.Model.GetRootAs(after, 0)
    for index in range(packed.BuffersLength()):
        data = packed.Buffers(index).DataAsNumpy()
        if isinstance(data, np.ndarray):
            offset = data.__array_interface__["data"][0] - np.frombuffer(after, np.uint8).__array_interface__["data"][0]
            assert offset % 16 == 0
    old, new = unpack_model(before), unpack_model(after)
    assert [entry.name for entry in new.metadata] == [entry.name for entry in old.metadata]
    assert new.signatureDefs[0].signatureKey == old.signatureDefs[0].signatureKey
    interpreter = Interpreter(after, threads=1)
    assert interpreter.set_batch(3)
    view = interpreter.input_view()
    view[...] = np.stack(images[:3]).astype(np.int16) - 128
    del view
    np.testing.assert_array_equal(interpreter.invoke(), answers(after, images[:3]))


def test_a_saved_model_is_rewritten_too(tmp_path):
    """The rewrite sees the file alone, so it does not matter that Keras cannot look into this one."""
    from convert.models import InputSettings, load_model

    image = keras.Input((16, 18, 3))
    x = layers.Conv2D(4, 3, padding="same")(image)
    x = layers.AveragePooling2D(3, strides=1, padding="same")(x)
    network = keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))
    with quiet_native(), native_messages():
        network.export(tmp_path / "saved", verbose=False)
    model = load_model(str(tmp_path / "saved"), settings=InputSettings(1 / 255))
    found = Interpreter(export_tflite(model, "int8", pictures(4, (16, 18))), threads=1).partitions()
    assert found.count == 1 and found.undelegated == {}


def test_bench_delegation_measures_both_forms_of_one_model():
    from bench.delegation import measure_delegation, without_average_pools
    from edgedefend import Defense, load_quant_table

    image = keras.Input((*SIDE, 3))
    x = layers.Conv2D(8, 3, padding="same", kernel_initializer=keras.initializers.HeNormal(1))(image / 255.0)
    x = layers.AveragePooling2D(3, strides=1, padding="same")(x)
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(8, 1, kernel_initializer=keras.initializers.HeNormal(2))(x))
    model = loaded(keras.Model(image, layers.Dense(3, kernel_initializer=keras.initializers.HeNormal(4))(x)))
    defense = Defense(load_quant_table("feature-distillation"), rng=np.random.default_rng(0))
    result = measure_delegation(model, "int8", pictures(4), defense=defense, rounds=2)
    assert result["conditions"]["verdict"] in ("VALID", "TAINTED")
    before, after, floor = result["rows"].values()
    assert before["partitions"] == 2 and before["undelegated"] == {"AVERAGE_POOL_2D": 1} and before["ratio"] == 1
    assert after["partitions"] == floor["partitions"] == 1 and after["undelegated"] == {}
    assert after["max_change"] < 0.02 * result["output_spread"] + before["max_error"]
    assert all(row["ms"] > 0 for row in result["rows"].values())
    assert without_average_pools(export_tflite(depthwise_model(), "fp32", [])) is None
