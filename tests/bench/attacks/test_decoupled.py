import numpy as np
import pytest

from bench.attacks.adaptive import adaptive_attack, adaptive_model
from bench.attacks.base import to_pictures
from bench.attacks.decoupled import Decoupled
from bench.attacks.norms import sizes
from bench.robustness.sanity import GradientProbe
from bench.robustness.scale import smallest_scales
from edgedefend.errors import InputError
from tests.bench.attacks.test_minimal import NEAREST


@pytest.mark.parametrize("targeted", [True, False])
def test_it_finds_the_boundary(color_gradients, reddish, targeted):
    """From a size that is far too large and from one that is far too small."""
    for start in (0.05, 0.002):
        result = Decoupled(steps=80, start=start, margin=1.1)(
            color_gradients, reddish.images, reddish.labels, reddish.targets if targeted else None,
            epsilon=0.1, norm="l2_rms", rng=np.random.default_rng(0),
        )  # fmt: skip
        assert result.success.all()
        # What it asks about, and is judged by, is rounded to whole levels of 0.0039.
        assert result.l2_rms.min() > 0.9 * NEAREST
        assert result.l2_rms.max() < 1.4 * NEAREST
        assert (result.gradient_queries == 80).all()


def test_its_gradients_are_taken_at_pictures(color_gradients, reddish):
    probe = GradientProbe(color_gradients)
    Decoupled(steps=5)(
        probe, reddish.images, reddish.labels, reddish.targets,
        epsilon=0.1, norm="l2_rms", rng=np.random.default_rng(0),
    )  # fmt: skip
    assert len(probe.points) == 5
    for point in probe.points:
        assert np.abs(point * 255 - np.rint(point * 255)).max() < 1e-3
    assert not np.array_equal(probe.points[0], probe.points[-1])


def test_it_stays_within_epsilon(color_gradients, reddish):
    result = Decoupled(steps=20)(
        color_gradients, reddish.images, reddish.labels, reddish.targets,
        epsilon=NEAREST / 3, norm="l2_rms", rng=np.random.default_rng(0),
    )  # fmt: skip
    assert not result.success.any()
    assert (result.l2_rms <= NEAREST / 3 * (1 + 1e-5)).all()


def test_behind_the_defence_it_needs_less_than_an_attack_within_a_ball(color_gradients, reddish, defense, defend):
    """The same gradients, and the result of a ball that is large enough scaled down: what the curve had before."""
    model = adaptive_model(color_gradients, defense, eot_samples=4)
    request = {"epsilon": 0.1, "norm": "l2_rms", "rng": np.random.default_rng(0)}
    clean, rows = to_pictures(reddish.images), np.arange(len(reddish.images))

    def smallest(attack):
        result = attack(model, reddish.images, reddish.labels, reddish.targets, **request)
        assert result.success.all()
        rng = np.random.default_rng(1)

        def rate(pictures, which, look):
            answers = [color_gradients.logits(defend(pictures, rng) / np.float32(255)).argmax(1) for _ in range(10)]
            return np.mean(np.equal(answers, reddish.targets[which]), axis=0)

        kept, pictures = smallest_scales(result.images, clean, rows, rate, norm="l2_rms")
        assert kept.tolist() == rows.tolist()
        return sizes(pictures / np.float32(255), clean / np.float32(255))[0]

    assert np.median(smallest(Decoupled(steps=40))) <= np.median(smallest(adaptive_attack(40)))


def test_gradients_that_are_not_numbers_move_nothing(color_gradients, reddish):
    from bench.attacks.backward import Identity
    from bench.attacks.wrappers import Bpda

    class Nothing(Identity):
        def pull_back(self, images, draws, gradient):
            return np.full_like(gradient, np.nan)

    model = Bpda(color_gradients, Nothing(lambda pictures, rng: pictures, randomised=False))
    result = Decoupled(steps=3)(
        model, reddish.images, reddish.labels, None, epsilon=0.1, norm="l2_rms", rng=np.random.default_rng(0)
    )
    assert (result.nonfinite == 3).all() and not result.success.any()
    assert np.array_equal(result.images, reddish.images)


def test_what_it_cannot_do(color_gradients, reddish):
    with pytest.raises(InputError, match="no form for linf"):
        Decoupled()(
            color_gradients, reddish.images, reddish.labels, None,
            epsilon=0.1, norm="linf", rng=np.random.default_rng(0),
        )  # fmt: skip
    with pytest.raises(InputError, match="margin 0.5"):
        Decoupled(margin=0.5)
