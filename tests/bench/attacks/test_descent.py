from dataclasses import replace

import numpy as np
import pytest

from bench.attacks.backward import Identity
from bench.attacks.descent import Descent, fgsm, ifgsm, mi_fgsm, plain_descent
from bench.attacks.norms import NORMS
from bench.attacks.wrappers import Bpda
from edgedefend.errors import InputError

FAMILY = {"fgsm": fgsm(), "ifgsm": ifgsm(10), "mi-fgsm": mi_fgsm(10), "plain": plain_descent(20, learning_rate=20)}
EPSILON = 0.03  # the pictures are 0.02 away from the boundary, spread over two channels


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("targeted", [True, False])
@pytest.mark.parametrize("name", FAMILY)
def test_the_undefended_model_falls(color_gradients, reddish, name, targeted, norm):
    assert (color_gradients.logits(reddish.images).argmax(1) == reddish.labels).all()
    result = FAMILY[name](
        color_gradients, reddish.images, reddish.labels, reddish.targets if targeted else None,
        epsilon=EPSILON, norm=norm, rng=np.random.default_rng(0),
    )  # fmt: skip
    answers = color_gradients.logits(result.images).argmax(1)
    assert (answers == reddish.targets).all() if targeted else (answers != reddish.labels).all()
    assert result.success.all()
    assert (getattr(result, norm) <= EPSILON * (1 + 1e-5)).all()
    assert (result.gradient_queries == result.steps).all()
    assert not result.nonfinite.any()


def test_a_smaller_ball_than_the_margin_holds(color_gradients, reddish):
    result = ifgsm(20)(
        color_gradients, reddish.images, reddish.labels, None,
        epsilon=0.002, norm="linf", rng=np.random.default_rng(0),
    )  # fmt: skip
    assert not result.success.any()


def test_the_steps_of_ifgsm_are_signs(color_gradients, reddish):
    seen = []
    ifgsm(4, step_size=0.25)(
        color_gradients, reddish.images, reddish.labels, reddish.targets,
        epsilon=0.004, norm="linf", rng=np.random.default_rng(0),
        progress=lambda step, images: seen.append(images.copy()),
    )  # fmt: skip
    change = np.abs(seen[0] - reddish.images)
    assert len(seen) == 4
    assert change[change > 1e-6] == pytest.approx(0.001, abs=1e-6)


def test_momentum_keeps_a_direction_that_the_gradient_has_left(color_gradients, reddish):
    """A derivative that turns round after the first step: without momentum the second step undoes the first."""

    class Turning(Identity):
        calls = 0

        def pull_back(self, images, draws, gradient):
            self.calls += 1
            return gradient if self.calls == 1 else -0.5 * gradient

    ends = []
    for momentum in (0.0, 1.0):
        model = Bpda(color_gradients, Turning(lambda pictures, rng: pictures, randomised=False))
        descent = Descent(steps=2, step_size=0.5, momentum=momentum)
        seen = []
        descent(
            model, reddish.images, reddish.labels, reddish.targets, epsilon=0.01, norm="linf",
            rng=np.random.default_rng(0), progress=lambda step, images, seen=seen: seen.append(images.copy()),
        )  # fmt: skip
        ends.append(np.abs(seen[1] - reddish.images).max())
    # Each gradient counts with the same size, so with momentum 1 the two cancel and the sum is what rounding leaves.
    assert ends[0] == pytest.approx(0, abs=1e-6)
    assert ends[1] >= 0.0049


def test_whoever_watches_can_stop_an_image(color_gradients, reddish):
    first = np.array([True, False, False, False])
    result = replace(ifgsm(5), keep="best")(
        color_gradients, reddish.images, reddish.labels, reddish.targets, epsilon=EPSILON, norm="l2_rms",
        rng=np.random.default_rng(0), progress=lambda step, images: first if step == 1 else None,
    )  # fmt: skip
    assert result.steps.tolist() == [1, 5, 5, 5]
    assert result.l2_rms[0] == pytest.approx(EPSILON / 2, rel=1e-3)  # where it was when it was stopped


def test_the_best_images_are_kept(color_gradients, reddish):
    """A step far too large ends anywhere; the best of the way does not."""

    class Wild(Identity):
        calls = 0

        def pull_back(self, images, draws, gradient):
            self.calls += 1
            return gradient if self.calls == 1 else -gradient

    results = {}
    for keep in ("last", "best"):
        model = Bpda(color_gradients, Wild(lambda pictures, rng: pictures, randomised=False))
        results[keep] = Descent(steps=4, step_size=1.0, keep=keep)(
            model, reddish.images, reddish.labels, reddish.targets,
            epsilon=EPSILON, norm="l2_rms", rng=np.random.default_rng(0),
        )  # fmt: skip
    assert not results["last"].success.any()
    assert results["best"].success.all()
    assert (results["best"].gradient_queries == 5).all()  # the last images are asked about as well


def test_an_image_that_is_won_for_sure_is_done(color_gradients, reddish):
    """The colour model is never surer than a few per mille more than even: 0.34 comes early, 0.98 never."""
    steps = {}
    for enough in (None, 0.34, 0.98):
        result = replace(ifgsm(10), keep="best", enough=enough)(
            color_gradients, reddish.images, reddish.labels, reddish.targets, epsilon=EPSILON, norm="l2_rms",
            rng=np.random.default_rng(0),
        )  # fmt: skip
        assert result.success.all()
        steps[enough] = result.steps.max()
    assert steps[0.34] < steps[None] == steps[0.98] == 10


def test_gradients_are_taken_at_the_picture_that_is_sent(color_gradients, reddish):
    """A third of a level everywhere: plainly rounded the model would be shown the clean picture at every step."""
    clean = np.rint(reddish.images * 255).astype(np.float32) / 255
    shown = []

    class Watched:
        randomised = False
        logits = color_gradients.logits

        def gradient(self, images, *args, **options):
            shown.append(images * 255)
            return color_gradients.gradient(images, *args, **options)

    attack = replace(ifgsm(3), pictures=True)
    attack(
        Watched(), clean, reddish.labels, reddish.targets,
        epsilon=0.3 / 255, norm="l2_rms", rng=np.random.default_rng(0),
    )  # fmt: skip
    assert all(np.abs(images - np.rint(images)).max() < 1e-3 for images in shown)
    assert np.array_equal(shown[0], clean * 255)
    change = np.sqrt(np.mean((shown[2] - shown[0]) ** 2, axis=(1, 2, 3)))
    assert ((change > 0.1) & (change <= 0.3 + 1e-4)).all()


def test_a_gradient_that_is_not_a_number_is_no_success(color_gradients, reddish):
    class Nothing(Identity):
        def pull_back(self, images, draws, gradient):
            return np.full_like(gradient, np.nan)

    model = Bpda(color_gradients, Nothing(lambda pictures, rng: pictures, randomised=False))
    result = ifgsm(3)(
        model, reddish.images, reddish.labels, None, epsilon=EPSILON, norm="linf", rng=np.random.default_rng(0)
    )
    assert result.nonfinite.tolist() == [3, 3, 3, 3]
    assert not result.success.any()
    assert np.array_equal(result.images, reddish.images)


class _Silent:
    """A model whose answers are not numbers."""

    randomised = False

    def __init__(self, model):
        self.model = model

    def logits(self, images, rng=None):
        return np.full((len(images), 3), np.nan, np.float32)

    def gradient(self, images, classes, **options):
        return self.model.gradient(images, classes, **options)._replace(logits=self.logits(images)[:, None])


def test_an_answer_that_is_not_a_number_is_no_success(color_gradients, reddish):
    result = ifgsm(3)(
        _Silent(color_gradients), reddish.images, reddish.labels, None,
        epsilon=EPSILON, norm="linf", rng=np.random.default_rng(0),
    )  # fmt: skip
    assert not result.success.any()
    assert (result.nonfinite > 0).all()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"epsilon": 2}, "epsilon is 2"),
        ({"norm": "l2"}, "norm is 'l2'"),
        ({"images": np.full((4, 40, 48, 3), 200, np.float32)}, "lie in"),
        ({"images": np.zeros((4, 40, 48, 3))}, "float64"),
        ({"labels": np.zeros(3, np.int32)}, "as many labels"),
        ({"target_classes": np.zeros(4, np.int32)}, "own label"),
    ],
)
def test_requests_that_make_no_sense(color_gradients, reddish, change, said):
    request = {
        "images": reddish.images, "labels": reddish.labels, "target_classes": reddish.targets,
        "epsilon": 0.01, "norm": "linf", "rng": np.random.default_rng(0),
    }  # fmt: skip
    with pytest.raises(InputError, match=said):
        ifgsm(2)(color_gradients, **{**request, **change})


@pytest.mark.parametrize(
    "settings", [{"steps": 0}, {"step_size": 0}, {"momentum": 2}, {"keep": "none"}, {"start": "x"}]
)
def test_settings_that_make_no_sense(settings):
    with pytest.raises(InputError, match="expected"):
        Descent(**settings)
