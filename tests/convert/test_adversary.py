import numpy as np
import pytest

from convert.adversary import IFGSM
from convert.models import load_model
from edgedefend.errors import InputError


@pytest.fixture(scope="module")
def color_model(color_model_file):
    return load_model(str(color_model_file))


@pytest.fixture(scope="module")
def greys() -> np.ndarray:
    """Pictures that are a little more red than anything else."""
    images = np.random.default_rng(1).integers(90, 130, (5, 40, 48, 3), np.uint8)
    images[..., 0] += 3
    return images


def test_an_undefended_model_is_fooled_into_the_target(color_model, greys):
    targets = np.array([1, 2, 1, 2, 1], np.int32)
    predict = lambda x: np.asarray(color_model.keras_model(x.astype(np.float32), training=False)).argmax(1)  # noqa: E731
    assert (predict(greys) == 0).all()
    adversarial = IFGSM(color_model, epsilon=4, steps=10, step_size=1)(greys, targets)
    assert (predict(adversarial) == targets).all()


def test_it_stays_in_its_ball_and_in_range(color_model):
    images = np.zeros((2, 40, 48, 3), np.uint8)
    images[1] = 255
    adversarial = IFGSM(color_model, epsilon=3, steps=9, step_size=1)(images, np.array([1, 2], np.int32))
    assert adversarial.dtype == np.uint8
    assert np.abs(adversarial.astype(int) - images).max() == 3


@pytest.mark.parametrize("options", [{"epsilon": 0}, {"steps": 0}, {"step_size": -1}])
def test_bad_parameters(color_model, options):
    with pytest.raises(InputError, match="expected all of them above 0"):
        IFGSM(color_model, **options)


@pytest.mark.slow
def test_efficientnet_lite0_is_fooled(photographs):
    model = load_model("efficientnet-lite0")
    images = np.stack(photographs[:8])
    targets = np.arange(100, 108, dtype=np.int32)
    adversarial = IFGSM(model)(images, targets)
    answers = np.asarray(model.keras_model(adversarial.astype(np.float32), training=False)).argmax(1)
    assert (answers == targets).sum() >= 7
