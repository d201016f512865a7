"""The network between the defence and the classifier: what it does to a picture, its file, and what is refused."""

import numpy as np
import pytest

from convert.denoiser import Denoiser, build_denoiser, file_digest, load_denoiser
from convert.export import export_tflite
from convert.folding import fold_batch_normalization
from convert.model_settings import load_settings
from convert.models import load_model
from convert.parts import Part, save_part
from edgedefend.dataset import load_dataset
from edgedefend.errors import InputError
from edgedefend.interpreter import Interpreter

pytest.importorskip("tensorflow", reason="its network is TensorFlow's (extra 'convert')")

CHANNELS = 4
DEFENSE = {
    "quant_table": np.full((8, 8), 5).tolist(), "num_steps": 10, "distort_limit": 0.15, "passes": 1, "noise_std": 12.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def model(color_model_file):
    return load_model(str(color_model_file), settings=load_settings(color_model_file.with_suffix(".toml")))


def some_weights(size: tuple[int, int]) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    return [
        rng.normal(0, 0.05, weight.shape).astype(np.float32) for weight in build_denoiser(size, CHANNELS).get_weights()
    ]


@pytest.fixture
def write(model, tmp_path):
    """Write a denoiser's file with some facts or arrays changed."""

    def writer(arrays=None, **changes):
        arrays = some_weights(model.input_size) if arrays is None else arrays
        facts = {
            "channels": CHANNELS,
            "weights_sha256": model.provenance["weights_sha256"],
            "defense": DEFENSE,
            "photographs_sha256": [],
            **changes,
        }
        path = tmp_path / "denoiser.npz"
        save_part(path, Part({f"weights_{number}": array for number, array in enumerate(arrays)}, facts))
        return path

    return writer


@pytest.mark.parametrize("size", [(40, 48), (37, 46), (35, 33)])
def test_untrained_it_changes_nothing_at_any_size(size):
    levels = np.random.default_rng(0).uniform(0, 255, (2, *size, 3)).astype(np.float32)
    network = build_denoiser(size, CHANNELS)
    assert np.array_equal(np.asarray(network(levels)), levels)
    network.set_weights(some_weights(size))
    out = np.asarray(network(levels))
    assert out.shape == levels.shape and np.abs(out - levels).max() > 1


def test_what_it_gives_at_a_place_comes_from_there():
    """Halving and doubling must not move the picture: a spot may change what is near it, and nothing else."""
    network = build_denoiser((64, 64), CHANNELS)
    network.set_weights(some_weights((64, 64)))
    plain = np.full((1, 64, 64, 3), 128, np.float32)
    for row, column in ((8, 40), (33, 21)):
        spot = plain.copy()
        spot[0, row, column] = 255
        moved = np.abs(np.asarray(network(spot)) - np.asarray(network(plain)))[0].sum(axis=-1)
        moved[row, column] = 0  # what the spot itself has added
        where = np.argwhere(moved > 1e-3)
        middle = (moved[..., None] * np.indices((64, 64)).transpose(1, 2, 0)).sum((0, 1)) / moved.sum()
        assert len(where) > 10 and np.abs(middle - (row, column)).max() < 6


def test_the_classifier_behind_it_is_the_same_and_sees_what_it_gives(model, write):
    both = load_denoiser(write()).before(model)
    levels = np.random.default_rng(1).uniform(0, 255, (3, *model.input_size, 3)).astype(np.float32)
    network = build_denoiser(model.input_size, CHANNELS)
    network.set_weights(some_weights(model.input_size))
    expected = np.asarray(model.keras_model(network(levels)))
    assert np.allclose(np.asarray(both.keras_model(levels)), expected, atol=1e-5)
    assert not np.allclose(expected, np.asarray(model.keras_model(levels)), atol=1e-3)
    assert both.provenance["denoiser"] == "denoiser.npz" and len(both.provenance["denoiser_sha256"]) == 64
    assert both.provenance["weights_sha256"] == model.provenance["weights_sha256"]
    assert "denoiser" not in model.provenance


def test_what_is_exported_answers_as_keras_and_stays_in_one_piece(model, write):
    both = load_denoiser(write()).before(model)
    levels = np.random.default_rng(2).integers(0, 256, (1, *model.input_size, 3)).astype(np.float32)
    interpreter = Interpreter(export_tflite(both, "fp32", []), threads=1)
    interpreter.input_view()[...] = levels
    assert np.allclose(interpreter.invoke(), np.asarray(both.keras_model(levels)), atol=1e-4)
    assert interpreter.partitions() is None or interpreter.partitions().undelegated == {}


def test_attacks_fold_the_classifier_behind_it_too(write):
    zoo = load_model("efficientnet-lite0", weights="random")
    arrays = some_weights(zoo.input_size)
    both = load_denoiser(write(arrays, weights_sha256=zoo.provenance["weights_sha256"])).before(zoo)
    assert fold_batch_normalization(both.keras_model) is not both.keras_model


def test_another_classifier_is_refused(model, write):
    with pytest.raises(InputError, match="was trained with another model"):
        load_denoiser(write(weights_sha256="0" * 64)).before(model)


def test_photographs_that_trained_it_are_left_out(write, color_photographs):
    data = load_dataset(color_photographs, ["red", "green", "blue"])
    known = [file_digest(one.path) for one in data]
    denoiser = load_denoiser(write(photographs_sha256=known[:5]))
    assert [one.path for one in denoiser.not_trained_on(data)] == [one.path for one in data][5:]
    with pytest.raises(InputError, match="trained on every photograph"):
        load_denoiser(write(photographs_sha256=known)).not_trained_on(data)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"defense": {**DEFENSE, "noise_std": 900}}, "noise_std"),
        ({"defense": {**DEFENSE, "quant_table": [[1]]}}, "quant_table"),
        ({"defense": {**DEFENSE, "distort_limit": 2}}, "distort_limit"),
        ({"defense": []}, "not a denoiser"),
        ({"channels": 100_000}, "channels"),
        ({"photographs_sha256": None}, "not a denoiser"),
    ],
)
def test_a_hostile_file_is_refused_in_one_line(changes, told, write):
    with pytest.raises(InputError, match=told) as refused:
        load_denoiser(write(**changes))
    assert "\n" not in str(refused.value)


def test_weights_of_another_shape_or_kind_are_refused(model, write):
    arrays = some_weights(model.input_size)
    with pytest.raises(InputError, match="its weights are not those"):
        load_denoiser(write([array[..., :1] for array in arrays])).before(model)
    with pytest.raises(InputError, match="float32"):
        load_denoiser(write([array.astype(np.float64) for array in arrays]))
    arrays[0][...] = np.nan
    with pytest.raises(InputError, match="not a number"):
        load_denoiser(write(arrays))
    path = write()
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError, match="not a trained part"):
        load_denoiser(path)
    with pytest.raises(InputError, match="no such file"):
        load_denoiser(path.with_name("none.npz"))


def test_its_parameters_make_the_defence_that_it_was_trained_behind(write):
    found = load_denoiser(write())
    assert isinstance(found, Denoiser) and found.noise_std == 12 and found.num_steps == 10
