"""`bench train-denoiser` and `convert --denoiser` as a user meets them, on a small real model."""

import dataclasses
import json

import numpy as np
import pytest
from scipy.special import softmax

from bench.attacks.backward import Resampling
from bench.baselines.training.loop import Request
from bench.denoising.training import DenoiserTraining, random_view, train_denoiser
from convert.denoiser import build_denoiser, load_denoiser
from convert.parts import load_part
from edgedefend.bundle import load_bundle
from edgedefend.dataset import load_dataset
from edgedefend.defense import Defense
from edgedefend.errors import InputError
from edgedefend.grid import remap
from edgedefend.sources import read_image
from tests.conftest import COLORS, command_line

pytest.importorskip("tensorflow", reason="trains with TensorFlow (extra 'convert')")

SHORT = ["--steps", 4, "--batch", 4, "--channels", 4, "--noise", 30]


@pytest.fixture(scope="module")
def trained(color_model_file, color_photographs, tmp_path_factory):
    out = tmp_path_factory.mktemp("denoiser")
    words = ["bench", "train-denoiser", "--model", color_model_file, "--data", color_photographs, "--out", out]
    result = command_line(*words, "--limit", 6, *SHORT)
    assert result.returncode == 0, result.stderr
    return out / "denoiser.npz", result


# -- training ----------------------------------------------------------------------------------------------------------


def lite0_request(photographs, out, **changes) -> Request:
    from convert.models import load_model

    settings = {"steps": 12, "batch": 4, "seed": 0, "data": "sample", **changes}
    return Request("denoiser", out, photographs[:4], [0] * 4, load_model("efficientnet-lite0"), **settings)


@pytest.fixture(scope="module")
def defense():
    return Defense(np.full((8, 8), 5, np.float32), 10, 0.15, noise_std=25)


@pytest.fixture
def lesson():
    from bench.denoising.teacher import Teacher
    from bench.denoising.training import _Lesson
    from convert.models import load_model
    from convert.tf import import_tensorflow

    tf = import_tensorflow()
    tf.keras.utils.set_random_seed(0)
    network, teacher = build_denoiser((224, 224), 8), Teacher(load_model("efficientnet-lite0"))
    optimizer = tf.keras.optimizers.Adam(3e-3)
    optimizer.build(network.trainable_variables)
    return _Lesson(network, optimizer, teacher), network, teacher


def test_the_first_stage_teaches_the_pixels(photographs, defense, lesson):
    first, network, _ = lesson
    rng = np.random.default_rng(9)

    def drawn(pictures: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        defended, grids = Resampling(defense).forward(np.stack(pictures), rng)
        return defended, np.stack([remap(one, grid) for one, grid in zip(pictures, grids, strict=True)])

    for _ in range(60):
        first.pixels(*drawn(photographs[:4]))
    # Photographs that it has not seen, behind draws that it has not seen.
    defended, clean = drawn(photographs[6:10])
    noisy = defended.astype(np.float32)
    before, after = (np.square(one - clean).mean() for one in (noisy, np.asarray(network(noisy))))
    assert after < 0.85 * before


def test_the_second_stage_teaches_the_answers_and_the_features(photographs, defense, lesson):
    """On one batch, over and over: there both must come down, the pixels need not."""
    second, network, teacher = lesson
    clean = np.stack(photographs[:2])
    defended, _ = Resampling(defense).forward(clean, np.random.default_rng(1))
    wanted, features = teacher.answers(clean), teacher.features(clean)

    def apart() -> list[float]:
        given = np.asarray(network(defended.astype(np.float32)))
        found = teacher.features_of(given)
        return [float(np.square(one - other).mean()) for one, other in zip(found, features, strict=True)]

    first_apart = apart()
    divergences = [second.answers(defended, wanted, features)[0] for _ in range(40)]
    assert divergences[-1] < 0.7 * divergences[0]
    assert all(after < before for before, after in zip(first_apart, apart(), strict=True))


def test_an_interrupted_training_ends_as_an_uninterrupted_one(photographs, defense, tmp_path):
    training = DenoiserTraining(channels=4, epsilon=0.01)
    whole = train_denoiser(lite0_request(photographs, tmp_path / "a", steps=3), defense, training, lambda done: None)

    def stop(done: int) -> None:
        stop.seen += done
        if stop.seen == 2:
            raise KeyboardInterrupt

    stop.seen = 0
    request = lite0_request(photographs, tmp_path / "b", steps=3)
    with pytest.raises(KeyboardInterrupt):
        train_denoiser(request, defense, training, stop)
    assert not (tmp_path / "b" / "denoiser.npz").exists()
    resumed = []
    parts = train_denoiser(request, defense, training, resumed.append)
    assert resumed == [2, 1]
    with np.load(whole) as one, np.load(parts) as other:
        for name in one.files:
            if name.startswith("weights"):
                assert np.allclose(one[name], other[name], atol=1e-4), name


def test_the_attack_in_the_training_harms(photographs, defense, tmp_path):
    """The second update of a step sees pictures on which the classifier is further from its answer."""
    losses = {}
    for epsilon in (0.0, 0.05):
        request = lite0_request(photographs, tmp_path / str(epsilon), steps=1)
        path = train_denoiser(request, defense, DenoiserTraining(4, epsilon), lambda done: None)
        losses[epsilon] = load_part(path).facts["first_loss"]
    assert losses[0.05] > 1.2 * losses[0.0]


def test_views_are_parts_of_the_photograph_and_differ(photographs):
    ramp = np.zeros((60, 80, 3), np.uint8)
    ramp[..., 0] = np.arange(80) * 3
    ramp[..., 1] = np.arange(60)[:, None] * 4
    rng = np.random.default_rng(0)
    views = [random_view(ramp, (40, 48), rng) for _ in range(40)]
    assert all(view.shape == (40, 48, 3) and view.dtype == np.uint8 for view in views)
    across = [int(view[:, -1, 0].mean()) - int(view[:, 0, 0].mean()) for view in views]
    assert min(across) < 0 < max(across), "mirrored half of the time"
    assert all(abs(step) > 0.6 * 237 for step in across), "no view is smaller than it may be"
    assert all(int(view[-1, :, 1].mean()) > int(view[0, :, 1].mean()) for view in views), "never upside down"
    assert random_view(ramp[:1, :1], (40, 48), rng).shape == (40, 48, 3)


def test_without_a_model_there_is_nothing_to_train_with(photographs, defense, tmp_path):
    request = dataclasses.replace(lite0_request(photographs, tmp_path), model=None)
    with pytest.raises(InputError, match="--model"):
        train_denoiser(request, defense, DenoiserTraining(), lambda done: None)


def test_the_learning_rate_rises_and_falls():
    training = DenoiserTraining(learning_rate=1.0)
    rates = [training.rate(step, 500) for step in range(500)]
    assert rates[0] == pytest.approx(1 / 15) and max(rates) > 0.95 and rates[-1] == pytest.approx(0.02)
    assert np.argmax(rates) < 60


def test_what_a_network_sees_is_taken_at_its_joins_from_early_to_late():
    from bench.denoising.teacher import Teacher, feature_layers
    from convert.models import load_model

    lite = load_model("efficientnet-lite0", weights="random")
    layers = feature_layers(lite.keras_model)
    assert {type(layer).__name__ for layer in layers} == {"Add"} and len(layers) == 4
    sides = [layer.output.shape[1] for layer in layers]
    assert sides == sorted(sides, reverse=True) and len(set(sides)) > 2
    # Keras' Inception V3 is a layer of the network that normalises for it.
    inception = load_model("inception-v3", weights="random")
    found = Teacher(inception).features(np.full((1, 299, 299, 3), 90, np.uint8))
    assert len(found) == 4 and found[0].shape[1] > found[-1].shape[1]


def test_answers_and_features_are_those_of_the_model(color_model_file):
    from bench.denoising.teacher import Teacher
    from convert.model_settings import load_settings
    from convert.models import load_model

    model = load_model(str(color_model_file), settings=load_settings(color_model_file.with_suffix(".toml")))
    pictures = np.random.default_rng(0).integers(0, 256, (2, *model.input_size, 3), dtype=np.uint8)
    teacher = Teacher(model)
    logits = np.asarray(model.keras_model(pictures.astype(np.float32)))
    assert model.output == "logits" and np.allclose(teacher.answers(pictures), softmax(logits, axis=1), atol=1e-5)
    features = teacher.features(pictures)
    assert features and all(np.asarray(one).std() > 0 for one in features)


# -- the commands ------------------------------------------------------------------------------------------------------


def test_its_file_says_what_it_was_trained_for(trained, color_photographs):
    path, run = trained
    found = load_denoiser(path)
    assert (found.noise_std, found.channels, found.distort_limit) == (30, 4, 0.25)
    assert len(found.photographs) == 6 and "6 photographs" in run.stdout
    data = load_dataset(color_photographs, list(COLORS))
    assert len(found.not_trained_on(data)) == len(data) - 6


def test_convert_makes_it_part_of_the_model_and_takes_its_defence(
    trained, color_model_file, color_photographs, tmp_path
):
    words = ["convert", "--model", color_model_file, "--data", color_photographs, "--precision", "fp32"]
    result = command_line(*words, "--out", tmp_path / "out", "--denoiser", trained[0])
    assert result.returncode == 0, result.stderr
    assert "n = 6 photographs" in result.stdout and "denoiser included" in result.stdout
    bundle, found = load_bundle(tmp_path / "out" / "fp32"), load_denoiser(trained[0])
    assert (bundle.noise_std, bundle.distort_limit) == (found.noise_std, found.distort_limit)
    assert np.allclose(bundle.quant_table, found.quant_table, atol=1e-3)
    assert bundle.manifest["made_from"]["denoiser_sha256"] == found.sha256
    verified = command_line("verify", tmp_path / "out" / "fp32")
    assert verified.returncode == 0, verified.stderr

    robust = ["bench", "robustness", tmp_path / "out" / "fp32", "--model", color_model_file, "--quick", "--images", 2]
    robust += ["--data", color_photographs, "--out", tmp_path / "robust", "--steps", 3, "--epsilon", 0.4]
    robust += ["--defense", "none", "--defense", "ours"]
    refused = command_line(*robust)
    assert refused.returncode == 3 and "--denoiser" in refused.stderr
    done = command_line(*robust, "--denoiser", trained[0])
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "robust" / "robustness.json").read_text())
    assert found["defenses"]["ours"]["clean_accuracy"]["n"] == 2
    assert found["bundle"]["denoiser_sha256"] == load_denoiser(trained[0]).sha256 and found["bundle"]["noise_std"] == 30


def test_tuning_chooses_noise_that_goes_with_it(trained, color_model_file, color_photographs, tmp_path):
    words = ["convert", "--model", color_model_file, "--data", color_photographs, "--precision", "fp32"]
    words += ["--tuning-images", 1, "--tuning-draws", 1, "--max-accuracy-drop", 0.4]
    result = command_line(*words, "--out", tmp_path / "out", "--denoiser", trained[0])
    assert result.returncode == 0, result.stderr
    found = json.loads((tmp_path / "out" / "tuning.json").read_text())
    assert found["chosen"]["table"] == "denoiser" and found["chosen"]["noise_std"] > 0
    assert found["chosen_on"]["n"] + found["report"]["undefended_accuracy"]["n"] == 6
    assert load_bundle(tmp_path / "out" / "fp32").manifest["made_from"]["denoiser"] == "denoiser.npz"


@pytest.mark.parametrize("option", [["--table", "feature-distillation"], ["--num-steps", 5], ["--distort-limit", 0.1]])
def test_what_the_denoiser_fixes_cannot_be_given_beside_it(option, trained, color_model_file, tmp_path):
    words = ["convert", "--model", color_model_file, "--out", tmp_path / "out", "--denoiser", trained[0], *option]
    result = command_line(*words)
    assert result.returncode == 2 and option[0] in result.stderr
    assert not (tmp_path / "out").exists()


def test_bad_input_is_one_line(color_model_file, color_photographs, tmp_path):
    words = ["bench", "train-denoiser", "--model", color_model_file, "--data", color_photographs, "--out", tmp_path]
    for option, told in ((["--skip", 99], "--skip 99 leaves no photograph"), (["--noise", 999], "noise_std")):
        result = command_line(*words, *option)
        assert result.returncode in (2, 3) and told in result.stderr.splitlines()[-1]
    (tmp_path / "wrong.npz").write_bytes(b"no")
    result = command_line(
        "convert", "--model", color_model_file, "--out", tmp_path / "o", "--denoiser", tmp_path / "wrong.npz"
    )
    assert result.returncode == 3 and "wrong.npz" in result.stderr.splitlines()[-1]


def test_the_photographs_read_are_the_data_s(color_photographs):
    from bench.denoising.training import photographs_for
    from convert.models import LoadedModel

    small = LoadedModel("x", None, (14, 14), [], "logits", "file", {})
    data = list(load_dataset(color_photographs, list(COLORS)))[:2]
    read = photographs_for(small, data, lambda done: None)
    assert all(picture.shape == (20, 20, 3) for picture in read)
    large = dataclasses.replace(small, input_size=(400, 400))
    assert np.array_equal(photographs_for(large, data, lambda done: None)[0], read_image(data[0].path))
