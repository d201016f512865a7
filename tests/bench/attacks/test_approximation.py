import numpy as np
import pytest

from bench.attacks.approximation import Learned, build_autoencoder, train_autoencoder
from bench.attacks.base import to_unit
from bench.attacks.descent import ifgsm
from bench.attacks.wrappers import Bpda, Eot
from edgedefend.errors import InputError


@pytest.fixture(scope="module")
def pictures() -> np.ndarray:
    smooth = np.random.default_rng(0).uniform(0, 255, (12, 5, 6, 3))
    return np.repeat(np.repeat(smooth, 8, axis=1), 8, axis=2).astype(np.uint8)


def train(pictures, defend, path, steps, **options):
    return train_autoencoder(pictures, defend, path, steps=steps, batch=4, learning_rate=3e-3, **options)


@pytest.fixture(scope="module")
def trained(pictures, defend, tmp_path_factory):
    return train(pictures, defend, tmp_path_factory.mktemp("approximation") / "net.npz", 120)


def test_six_layers_each_fed_with_all_before_it():
    model = build_autoencoder((40, 48))
    layers = [layer for layer in model.layers if "conv" in layer.name]
    assert len(layers) == 6
    assert [layer.kernel.shape[2] for layer in layers[:5]] == [3, 16, 32, 48, 64]


@pytest.mark.parametrize("size", [(40, 48), (13, 11)])
def test_it_keeps_the_shape(size):
    images = np.zeros((2, *size, 3), np.float32)
    assert build_autoencoder(size)(images).shape == images.shape


def test_it_learns_what_the_defence_does_on_average(trained, pictures, defend):
    """The loss falls, and it comes nearer to a fresh draw than the picture itself is."""
    model, losses = trained
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:5])
    defended = to_unit(defend(pictures, np.random.default_rng(99)))
    distance = lambda images: np.sqrt(np.mean((images - defended) ** 2))  # noqa: E731
    assert distance(Learned(defend, model).approximate(to_unit(pictures))) < distance(to_unit(pictures))


def test_a_killed_training_goes_on_where_it_was(pictures, defend, tmp_path):
    _, whole = train(pictures, defend, tmp_path / "whole.npz", 60)

    def kill(step):
        if step == 55:  # after the state of step 50
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(pictures, defend, tmp_path / "parts.npz", 60, tick=kill)
    steps = []
    _, parts = train(pictures, defend, tmp_path / "parts.npz", 60, tick=steps.append)
    assert steps == list(range(51, 61))
    assert parts == pytest.approx(whole, rel=1e-3)


def test_a_file_of_another_training_or_a_damaged_one_is_refused(pictures, defend, tmp_path):
    path = tmp_path / "net.npz"
    train(pictures, defend, path, 2)
    with pytest.raises(InputError, match="not the training"):
        train(pictures, defend, path, 3, about="another defence")
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match="not the training"):
        train(pictures, defend, path, 3)


def test_a_file_with_a_pickle_in_it_is_refused(pictures, defend, tmp_path):
    path = tmp_path / "net.npz"
    np.savez(path, about=np.array([{"a": 1}], dtype=object), step=1)
    with pytest.raises(InputError, match="not the training"):
        train(pictures, defend, path, 3)


def test_its_derivative_is_that_of_finite_differences(trained, defend):
    model, _ = trained
    rng = np.random.default_rng(1)
    images = rng.random((2, 40, 48, 3), np.float32)
    weights = rng.normal(0, 1, images.shape).astype(np.float32)
    back = Learned(defend, model).pull_back(images, None, weights)
    # Along the gradient itself, plus noise: there the slope stands out of float32's rounding.
    direction = back / back.std() + rng.normal(0, 1, images.shape).astype(np.float32)
    h = np.float32(1e-3)
    above, below = (np.asarray(model(images + sign * h * direction)).astype(np.float64) for sign in (1, -1))
    numeric = ((above - below) * weights).sum(axis=(1, 2, 3)) / (2 * h)
    assert (back.astype(np.float64) * direction).sum(axis=(1, 2, 3)) == pytest.approx(numeric, rel=0.03)


def test_an_attack_through_it_fools_the_small_model(trained, color_gradients, reddish, defend):
    model = Eot(Bpda(color_gradients, Learned(defend, trained[0])), 4)
    result = ifgsm(10)(
        model, reddish.images, reddish.labels, reddish.targets,
        epsilon=0.05, norm="l2_rms", rng=np.random.default_rng(0),
    )  # fmt: skip
    assert result.success_rate.mean() > 0.8
