import numpy as np
import pytest

from bench.attacks.base import Request, to_pictures, to_unit
from bench.attacks.enlarge import enlarge_until_sent
from bench.attacks.lbfgs import Lbfgs
from bench.attacks.minimal import DeepFool
from bench.attacks.pictures import as_pictures

pytest.importorskip("foolbox", reason="these attacks are foolbox's (extra 'convert')")


@pytest.fixture
def whole(reddish):
    """The same images in whole levels, as a board is sent them."""
    return reddish._replace(images=to_unit(to_pictures(reddish.images)))


def _fooled_pictures(model, images, clean, labels):
    pictures = to_unit(as_pictures(images, to_pictures(clean)))
    return model.logits(pictures).argmax(1) != labels


def _request(model, some, epsilon):
    return Request(model, some.images, some.labels, None, epsilon, "l2_rms", np.random.default_rng(0))


def _attack(attack, model, some, epsilon=0.1):
    rng = np.random.default_rng(0)
    return attack(model, some.images, some.labels, None, epsilon=epsilon, norm="l2_rms", rng=rng)


@pytest.mark.parametrize(("kind", "options"), [(DeepFool, {"steps": 20, "candidates": 3}), (Lbfgs, {})])
def test_what_was_found_survives_as_a_picture(color_gradients, whole, kind, options):
    bare, sent = (_attack(kind(**options, enlarge=enlarge), color_gradients, whole) for enlarge in (False, True))
    assert _fooled_pictures(color_gradients, sent.images, whole.images, whole.labels).all()
    assert (sent.l2_rms < 2 * bare.l2_rms).all(), "no further than it takes"


def test_what_survives_already_is_left_alone(color_gradients, whole):
    request = _request(color_gradients, whole, 0.1)
    far = whole.images.copy()
    far[..., 0] -= 0.05
    far[..., 1] += 0.05
    assert np.array_equal(enlarge_until_sent(request, far, draws=1), far)


def test_nothing_goes_beyond_the_bound_and_no_attempt_is_invented(color_gradients, whole):
    request = _request(color_gradients, whole, 0.001)
    tiny = np.clip(whole.images - np.float32(0.0005), 0, 1)
    assert np.array_equal(enlarge_until_sent(request, tiny, draws=1), tiny)
    assert np.array_equal(enlarge_until_sent(request, whole.images, draws=1), whole.images)
