from dataclasses import replace

import numpy as np
import pytest

from bench.attacks.descent import ifgsm
from bench.attacks.model import GradientModel
from bench.attacks.transfer import Transfer, load_surrogate
from convert.models import load_model
from edgedefend.errors import InputError


@pytest.fixture(scope="module")
def surrogate(color_model_file):
    """Another model for the same task: it looks at the green channel less."""
    loaded = load_model(str(color_model_file))
    layer = loaded.keras_model.layers[-1]
    while hasattr(layer, "layers"):
        layer = layer.layers[-1]
    return GradientModel(loaded)


def test_what_fools_the_surrogate_is_shown_to_the_model(color_gradients, surrogate, reddish):
    asked = []

    class Watched:
        randomised = False

        def logits(self, images, rng=None):
            asked.append(len(images))
            return color_gradients.logits(images)

    result = Transfer(surrogate, ifgsm(5))(
        Watched(), reddish.images, reddish.labels, reddish.targets,
        epsilon=0.03, norm="linf", rng=np.random.default_rng(0),
    )  # fmt: skip
    assert asked == [4]  # the verdict alone: the model gave no gradient and no other answer
    assert result.success.all()
    assert (result.gradient_queries == 5).all()


def test_success_is_the_models_not_the_surrogates(surrogate, color_gradients, reddish):
    class Stubborn:
        randomised = False

        def logits(self, images, rng=None):
            return np.tile(np.float32([1, 0, 0]), (len(images), 1))

    result = Transfer(surrogate, ifgsm(5))(
        Stubborn(), reddish.images, reddish.labels, None, epsilon=0.03, norm="linf", rng=np.random.default_rng(0)
    )
    assert not result.success.any()


def test_a_surrogate_for_other_classes(color_gradients, color_model_file):
    other = load_model(str(color_model_file))
    model = GradientModel(replace(other, labels=["a", "b", "c"]))
    with pytest.raises(InputError, match="other classes"):
        load_surrogate(str(color_model_file), model)


@pytest.mark.slow
def test_another_zoo_model_at_its_own_size_stands_in(lite0):
    model, images, labels, _ = lite0
    surrogate = load_surrogate("efficientnet-lite1", model)
    assert surrogate.input_size == (224, 224)
    result = Transfer(surrogate, ifgsm(5))(
        model, images[:2], labels[:2], None, epsilon=0.05, norm="l2_rms", rng=np.random.default_rng(0)
    )
    assert result.success.mean() >= 0.5
