import numpy as np
import pytest

from bench.attacks.adaptive import adaptive_model
from bench.attacks.backward import Identity
from bench.attacks.minimal import CarliniWagner, DeepFool
from bench.attacks.norms import NORMS
from bench.attacks.wrappers import Bpda
from edgedefend.errors import InputError

pytest.importorskip("foolbox", reason="these attacks are foolbox's (extra 'convert')")
# The nearest boundary: half of 0.02 from each of two channels of three, sqrt(2 * 0.01^2 / 3) = 0.0082; a little less,
# because the model pads its edges with black.
NEAREST = 0.0080


@pytest.mark.parametrize("norm", NORMS)
def test_deepfool_finds_the_boundary(color_gradients, reddish, norm):
    result = DeepFool(steps=20, candidates=3)(
        color_gradients, reddish.images, reddish.labels, None, epsilon=0.1, norm=norm, rng=np.random.default_rng(0)
    )
    assert result.success.all()
    assert (color_gradients.logits(result.images).argmax(1) != reddish.labels).all()
    if norm == "l2_rms":
        assert result.l2_rms.min() > NEAREST - 1e-4
        assert result.l2_rms.max() < 1.3 * NEAREST
    assert (result.gradient_queries > 0).all()


@pytest.mark.parametrize("targeted", [True, False])
def test_carlini_and_wagner_find_the_boundary(color_gradients, reddish, targeted):
    result = CarliniWagner(steps=40, search_steps=3)(
        color_gradients, reddish.images, reddish.labels, reddish.targets if targeted else None,
        epsilon=0.1, norm="l2_rms", rng=np.random.default_rng(0),
    )  # fmt: skip
    assert result.success.all()
    assert result.l2_rms.min() > NEAREST - 1e-4
    assert result.l2_rms.max() < 1.5 * NEAREST


def test_what_lies_beyond_epsilon_is_scaled_back(color_gradients, reddish):
    result = DeepFool(steps=20, candidates=3)(
        color_gradients, reddish.images, reddish.labels, None,
        epsilon=NEAREST / 2, norm="l2_rms", rng=np.random.default_rng(0),
    )  # fmt: skip
    assert not result.success.any()
    assert (result.l2_rms <= NEAREST / 2 * (1 + 1e-5)).all()


def test_an_attempt_that_finds_nothing_leaves_the_image(color_gradients, reddish):
    """foolbox's returns black, which a model may well take for something else."""
    result = CarliniWagner(steps=1, search_steps=1, initial_const=1e-6)(
        color_gradients, reddish.images, reddish.labels, reddish.targets,
        epsilon=0.9, norm="l2_rms", rng=np.random.default_rng(0),
    )  # fmt: skip
    assert not result.success.any()
    assert np.array_equal(result.images, reddish.images)


def test_they_go_through_the_defence(color_gradients, reddish, defense):
    """The defence draws, so a result on the boundary is worth about half of the draws; a confident one is worth all."""
    model = adaptive_model(color_gradients, defense, eot_samples=3)
    result = CarliniWagner(steps=30, search_steps=1, initial_const=100, confidence=0.2)(
        model, reddish.images, reddish.labels, reddish.targets,
        epsilon=0.1, norm="l2_rms", rng=np.random.default_rng(0),
    )  # fmt: skip
    assert (result.success_rate > 0.9).all()
    assert (result.gradient_queries == 3 * result.steps).all()


def test_gradients_that_are_not_numbers_are_counted(color_gradients, reddish):
    class Nothing(Identity):
        def pull_back(self, images, draws, gradient):
            return np.full_like(gradient, np.nan)

    model = Bpda(color_gradients, Nothing(lambda pictures, rng: pictures, randomised=False))
    result = DeepFool(steps=3, candidates=3)(
        model, reddish.images, reddish.labels, None, epsilon=0.1, norm="l2_rms", rng=np.random.default_rng(0)
    )
    assert (result.nonfinite >= 3).all()
    assert not result.success.any()


def test_what_they_cannot_do(color_gradients, reddish):
    request = {"epsilon": 0.1, "rng": np.random.default_rng(0)}
    with pytest.raises(InputError, match="no targeted form"):
        DeepFool()(color_gradients, reddish.images, reddish.labels, reddish.targets, norm="l2_rms", **request)
    with pytest.raises(InputError, match="no form for linf"):
        CarliniWagner()(color_gradients, reddish.images, reddish.labels, None, norm="linf", **request)
