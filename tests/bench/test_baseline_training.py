"""The parts that some defences need: trained for real, on few photographs and for few steps."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from scipy.special import expit

from bench.baselines.base import Ingredients
from bench.baselines.me_net import MeNet
from bench.baselines.parts import load_part, part_file
from bench.baselines.pixel_cnn import FEATURES, MIXTURES, Canvas, PixelCnn
from bench.baselines.pixel_defend import PixelDefend, purify
from bench.baselines.training.loop import Request
from edgedefend.errors import EdgeDefendError, InputError

pytest.importorskip("tensorflow", reason="trains with TensorFlow (extra 'convert')")

TABLE = ((16.0,) * 8,) * 8


def random_network(seed: int) -> PixelCnn:
    rng = np.random.default_rng(seed)
    sizes = (FEATURES, 16, 3 * MIXTURES)
    return PixelCnn(
        tuple(
            (rng.normal(0, 0.3, (a, b)).astype(np.float32), rng.normal(0, 0.1, b).astype(np.float32))
            for a, b in itertools.pairwise(sizes)
        )
    )


def probabilities(network: PixelCnn, features: np.ndarray, start: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """The density as it is written down: of `levels` (N, places, candidates), in the same shape."""
    hidden = features.astype(np.float64)
    for weights, biases in network.layers[:-1]:
        hidden = np.maximum(hidden @ weights + biases, 0)
    weights, biases = network.layers[-1]
    logits, offsets, log_scales = (part[..., None, :] for part in np.split(hidden @ weights + biases, 3, axis=-1))
    shares = np.exp(logits - logits.max(axis=-1, keepdims=True))
    means, scales = start[..., None, None] + offsets, np.exp(np.maximum(log_scales, -7))
    at = levels[..., None] / 127.5 - 1
    upper = np.where(levels[..., None] >= 255, 1, expit((at + 1 / 255 - means) / scales))
    lower = np.where(levels[..., None] <= 0, 0, expit((at - 1 / 255 - means) / scales))
    return ((upper - lower) * shares).sum(axis=-1) / shares.sum(axis=-1)


def request_for(name, out, photographs, model=None, labels=None, **changes) -> Request:
    settings = {"steps": 60, "batch": 4, "seed": 0, "data": "sample", **changes}
    return Request(name, out, photographs, labels or [0] * len(photographs), model, **settings)


def test_the_density_is_one(photographs):
    canvas = Canvas(photographs[0][None, :20, :20])
    rows, columns = np.array([0, 5, 19]), np.array([0, 7, 19])
    for channel in range(3):
        features, start = canvas.features(rows, columns, channel)
        levels = np.broadcast_to(np.arange(256), (1, 3, 256))
        assert np.allclose(probabilities(random_network(0), features, start, levels).sum(axis=-1), 1, atol=1e-4)


def test_the_network_sees_only_what_comes_before(photographs):
    picture = photographs[0][None, :12, :12].copy()
    row, column = np.array([6]), np.array([5])
    before = [Canvas(picture).features(row, column, channel) for channel in range(3)]
    later = picture.copy()
    later[0, 6, 6:] ^= 255
    later[0, 7:] ^= 255
    later[0, 6, 5, 2] ^= 255
    after = [Canvas(later).features(row, column, channel) for channel in range(3)]
    for (features, start), (others, other_start) in zip(before, after, strict=True):
        assert np.array_equal(features, others)
        assert np.array_equal(start, other_start)
    later[0, 6, 5, 0] ^= 255
    assert np.array_equal(Canvas(later).features(row, column, 0)[0], before[0][0])
    assert not np.array_equal(Canvas(later).features(row, column, 1)[0], before[1][0])


def test_decoding_in_a_slanted_front_is_decoding_row_by_row(photographs):
    """The slow, obvious order, one value after the other."""
    pictures = np.stack([photograph[30:37, 40:49] for photograph in photographs[:2]])
    # Also where the first and the last level take what lies beyond them.
    pictures[0, :3] //= 40
    pictures[1, :3] = 255 - pictures[1, :3] // 40
    network, epsilon = random_network(1), 6
    expected = pictures.copy()
    for number in range(2):
        for row in range(7):
            for column in range(9):
                for channel in range(3):
                    value = int(pictures[number, row, column, channel])
                    levels = np.arange(max(0, value - epsilon), min(255, value + epsilon) + 1)
                    features, start = Canvas(expected[number][None]).features(
                        np.array([row]), np.array([column]), channel
                    )
                    likely = probabilities(network, features, start, levels[None, None])[0, 0]
                    expected[number, row, column, channel] = levels[likely.argmax()]
    out = np.stack([purify(picture, network, epsilon) for picture in pictures])
    # A near tie may fall either way: BLAS sums another number of rows in another order.
    assert (out == expected).mean() > 0.97
    assert np.abs(out.astype(int) - pictures).max() <= epsilon
    assert not np.array_equal(out, pictures)


def test_pixel_defend_learns_and_purifies(photographs, tmp_path):
    from bench.baselines.training.generative import train_pixel_cnn

    small = [photograph[:96, :96] for photograph in photographs]
    missing = PixelDefend(Ingredients(TABLE, trained=tmp_path))
    assert missing.evidence == "reported"
    told = []
    train_pixel_cnn(request_for("pixeldefend", tmp_path, small[2:], steps=250), told.append)
    assert sum(told) == 250
    facts = load_part(part_file(tmp_path, "pixeldefend")).facts
    assert facts["last_loss"] < facts["first_loss"] - 0.1
    assert facts["last_loss"] < np.log(256) - 0.5

    baseline = PixelDefend(Ingredients(TABLE, trained=tmp_path))
    assert baseline.evidence == "measured"
    assert "18 photographs for 250 steps" in baseline.remark
    picture = small[0][None, :40, :33]
    rng = np.random.default_rng(0)
    noisy = np.clip(picture + rng.integers(-12, 13, picture.shape), 0, 255).astype(np.uint8)
    out = baseline.defend(noisy, rng)
    assert out.shape == picture.shape
    # It takes noise away: rougher than the photograph before, less so after.
    roughness = [np.abs(np.diff(p.astype(int), axis=2)).mean() for p in (picture, noisy, out)]
    assert roughness[2] < roughness[1]
    assert np.array_equal(out, baseline.defend(noisy, rng))
    assert baseline.defend(picture[:, :1, :2], rng).shape == (1, 1, 2, 3)


def test_an_interrupted_training_ends_as_an_uninterrupted_one(photographs, tmp_path):
    from bench.baselines.training.generative import train_pixel_cnn

    whole, parts = (request_for("pixeldefend", tmp_path / name, photographs[:4]) for name in ("whole", "parts"))
    train_pixel_cnn(whole, lambda count: None)
    done = []

    def interrupt(count: int) -> None:
        done.append(count)
        if sum(done) == 33:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_pixel_cnn(parts, interrupt)
    assert not part_file(parts.out, "pixeldefend").exists()
    resumed = []
    train_pixel_cnn(parts, resumed.append)
    assert resumed[0] == 33
    assert len(resumed) == 1 + 60 - 33
    first, second = (load_part(part_file(request.out, "pixeldefend")) for request in (whole, parts))
    for name, array in first.arrays.items():
        assert np.allclose(array, second.arrays[name], atol=1e-6)
    assert [path.name for path in parts.out.iterdir()] == ["pixeldefend.npz"]
    # Another seed does not go on from there.
    with pytest.raises(KeyboardInterrupt):
        train_pixel_cnn(parts, lambda count: (_ for _ in ()).throw(KeyboardInterrupt) if count else None)
    fresh = []
    train_pixel_cnn(dataclasses.replace(parts, seed=1, steps=2), fresh.append)
    assert fresh[0] == 0


def test_a_loss_that_is_no_number_stops_the_training(tmp_path, photographs):
    from bench.baselines.training.loop import descend

    request = request_for("pixeldefend", tmp_path, photographs[:1])
    with pytest.raises(EdgeDefendError, match="loss of step 3 is not a number"):
        descend(request, [], lambda step: float("nan") if step == 2 else 1.0, lambda count: None)


@pytest.fixture(scope="module")
def colors(color_model_file, color_photographs):
    from convert.models import load_model
    from edgedefend.dataset import load_dataset
    from edgedefend.sources import fit_image, read_image

    model = load_model(str(color_model_file))
    data = list(load_dataset(color_photographs, model.labels))
    return model, [fit_image(read_image(item.path), 40, 48) for item in data], [item.label for item in data]


def ingredients(folder, model) -> Ingredients:
    return Ingredients(TABLE, trained=folder, weights_sha256=model.provenance["weights_sha256"])


def test_the_guided_denoiser_brings_logits_back(colors, tmp_path):
    from bench.baselines.guided_denoiser import GuidedDenoiser
    from bench.baselines.training.classifying import train_guided_denoiser
    from convert.adversary import IFGSM

    model, pictures, labels = colors
    train_guided_denoiser(
        request_for("guided-denoiser", tmp_path, pictures, model, labels, steps=150), lambda count: None
    )
    baseline = GuidedDenoiser(ingredients(tmp_path, model))
    assert baseline.evidence == "measured"
    # An attack of a seed that was not trained on: the answers come back towards those on the clean pictures.
    clean = np.stack(pictures)
    attacked = IFGSM(model, epsilon=16, steps=4, step_size=8)(clean, (np.array(labels, np.int32) + 2) % 3)

    def distance(defended: np.ndarray) -> float:
        answers = (np.asarray(model.keras_model(p.astype(np.float32))) for p in (defended, clean))
        return float(np.abs(np.subtract(*answers)).mean())

    assert distance(baseline.defend(attacked, np.random.default_rng(0))) < 0.85 * distance(attacked)
    odd = np.stack(pictures[:2])[:, :37, :29]
    out = baseline.defend(odd, np.random.default_rng(0))
    assert out.shape == odd.shape
    assert out.dtype == np.uint8
    assert np.array_equal(out, baseline.defend(odd, np.random.default_rng(1)))
    other = dataclasses.replace(ingredients(tmp_path, model), weights_sha256="another")
    assert GuidedDenoiser(other).evidence == "reported"
    assert "another model" in GuidedDenoiser(other).missing


@pytest.mark.parametrize("size", [(40, 48), (37, 29)])
def test_the_gradient_through_the_guided_denoiser_is_its_derivative(colors, tmp_path, size):
    from bench.baselines.guided_denoiser import GuidedDenoiser, build_denoiser
    from bench.baselines.training.classifying import train_guided_denoiser

    model, pictures, labels = colors
    request = request_for("guided-denoiser", tmp_path, pictures, model, labels, steps=30)
    train_guided_denoiser(request, lambda count: None)
    baseline = GuidedDenoiser(ingredients(tmp_path, model))
    arrays = load_part(part_file(tmp_path, "guided-denoiser")).arrays
    network = build_denoiser()
    network.set_weights([arrays[f"weights_{n}"] for n in range(len(arrays))])
    height, width = size
    seen = np.stack(pictures[:2])[:, :height, :width]

    def denoised(values: np.ndarray) -> np.ndarray:
        around = ((0, 0), (0, -height % 4), (0, -width % 4), (0, 0))
        filled = np.pad(values, around, mode="edge").astype(np.float32)
        return values - np.asarray(network(filled, training=False), np.float64)[:, :height, :width]

    rng = np.random.default_rng(0)
    gradient = rng.normal(0, 1, seen.shape).astype(np.float32)
    back = baseline.pull_back(seen, gradient)
    assert back.shape == seen.shape and back.dtype == np.float32
    assert np.abs(back - gradient).max() > 1e-3  # the identity would be wrong
    # The last row and column collect what their copies were given.
    edges = [np.zeros(seen.shape) for _ in range(2)]
    edges[0][:, -1], edges[1][:, :, -1] = 1, 1
    for direction in (back.astype(np.float64), *edges):
        step = direction / np.abs(direction).max() / 8
        ahead = ((denoised(seen + step) - denoised(seen - step)) / 2 * gradient).sum()
        assert (back * step).sum() == pytest.approx(ahead, rel=1e-3, abs=1e-3)


def test_me_net_trains_the_classifier_on(colors, tmp_path):
    from bench.baselines.training.classifying import retrain_me_net

    model, pictures, labels = colors
    before = MeNet(Ingredients(TABLE))
    assert before.classifier(model) is model
    assert "not retrained" in before.remark
    retrain_me_net(request_for("me-net", tmp_path, pictures, model, labels, steps=20), lambda count: None)
    after = MeNet(ingredients(tmp_path, model))
    network = after.classifier(model).keras_model
    changes = [
        np.abs(new - old).max() for new, old in zip(network.get_weights(), model.keras_model.get_weights(), strict=True)
    ]
    assert max(changes) > 0
    assert "20 steps with 12 photographs" in after.remark
    with pytest.raises(InputError, match="another model"):
        MeNet(Ingredients(TABLE, trained=tmp_path, weights_sha256="another")).defend(
            np.stack(pictures), np.random.default_rng(0)
        )


def test_the_command(run_cli, tmp_path):
    result = run_cli("bench", "train-baseline", "quilting", "--out", tmp_path / "new", "--steps", 2, "--skip", 10)
    assert result.returncode == 0, result.stderr
    assert "from 10 photographs" in result.stdout
    assert load_part(part_file(tmp_path / "new", "quilting")).arrays["patches"].shape == (2000, 5, 5, 3)
    from tests.conftest import one_line

    line = one_line(run_cli("bench", "train-baseline", "quilting", "--out", tmp_path, "--skip", 99), 3)
    assert "leaves no photograph" in line
