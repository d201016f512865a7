import numpy as np
import pytest

from bench.attacks.adaptive import Restarts, adaptive_attack, adaptive_model
from bench.attacks.base import try_out
from bench.attacks.descent import Descent, ifgsm
from bench.attacks.norms import NORMS
from bench.attacks.wrappers import Bpda
from edgedefend.errors import InputError


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("targeted", [True, False])
@pytest.mark.parametrize("quantizer", ["straight-through", "soft"])
def test_the_small_model_falls_behind_the_defence_too(color_gradients, reddish, defense, norm, targeted, quantizer):
    model = adaptive_model(color_gradients, defense, eot_samples=4, quantizer=quantizer)
    targets = reddish.targets if targeted else None
    before, _ = try_out(model, reddish.images, reddish.labels, targeted=True, draws=20, rng=np.random.default_rng(1))
    assert before.mean() > 0.8  # the defence itself leaves them right
    result = adaptive_attack(10)(
        model, reddish.images, reddish.labels, targets, epsilon=0.03, norm=norm, rng=np.random.default_rng(0)
    )
    assert (result.success_rate > 0.9).all()
    assert (getattr(result, norm) <= 0.03 * (1 + 1e-5)).all()
    assert (result.gradient_queries == 4 * 11).all()


def test_the_bare_model_falls(color_gradients, reddish):
    result = adaptive_attack(10)(
        color_gradients, reddish.images, reddish.labels, reddish.targets,
        epsilon=0.02, norm="l2_rms", rng=np.random.default_rng(0),
    )  # fmt: skip
    assert result.success.all()


def test_only_what_has_not_succeeded_is_tried_again(color_gradients, reddish):
    """One picture is too far from the boundary; the others fall in the first run."""
    images = reddish.images.copy()
    images[0, ..., 0] += 0.2
    runs = []
    attack = Restarts(Descent(steps=5, step_size=0.5), restarts=3, select_draws=4)
    result = attack(
        color_gradients, images, reddish.labels, reddish.targets,
        epsilon=0.03, norm="linf", rng=np.random.default_rng(0),
        progress=lambda step, images: runs.append(len(images)),
    )  # fmt: skip
    assert runs == [4] * 5 + [1] * 10
    assert result.success.tolist() == [False, True, True, True]
    assert result.steps.tolist() == [15, 5, 5, 5]
    assert result.score_queries.tolist() == [3, 1, 1, 1]


def test_the_verdict_comes_from_draws_that_the_attack_has_not_seen(color_gradients, defense, reddish):
    """Its generator goes on: the draws of the verdict are none of those before it."""

    class Recording(np.random.Generator):
        words = []  # noqa: RUF012

        def random(self, *args, **kwargs):
            drawn = super().random(*args, **kwargs)
            self.words.append(np.asarray(drawn).tobytes())
            return drawn

    rng = Recording(np.random.PCG64(0))
    adaptive_attack(3, restarts=2)(
        adaptive_model(color_gradients, defense, eot_samples=2), reddish.images, reddish.labels, reddish.targets,
        epsilon=0.01, norm="l2_rms", rng=rng,
    )  # fmt: skip
    assert len(rng.words) > 4 * (2 * 4 + 10)
    assert len(set(rng.words)) == len(rng.words)


def test_settings_that_make_no_sense():
    with pytest.raises(InputError, match="restarts 0"):
        Restarts(Descent(), restarts=0)


@pytest.mark.slow
def test_it_breaks_the_defence_where_the_identity_does_not(lite0, defense, identity):
    """l2_rms 0.05, 15 steps: BPDA as the paper has it fails, the adaptive attack does not."""
    model, images, labels, targets = lite0
    fates = {}
    for name, attacked in (
        ("identity", Bpda(model, identity)),
        ("adaptive", adaptive_model(model, defense, eot_samples=4)),
    ):
        result = ifgsm(15, step_size=0.3)(
            attacked, images, labels, targets, epsilon=0.05, norm="l2_rms", rng=np.random.default_rng(0)
        )
        fates[name] = result.success_rate.mean()
    assert fates["identity"] < 0.2
    assert fates["adaptive"] > 0.8
