import numpy as np
import pytest

from bench.attacks.adaptive import adaptive_model
from bench.attacks.square import Square
from edgedefend.errors import InputError


@pytest.mark.parametrize("targeted", [True, False])
def test_the_undefended_model_falls_without_a_gradient(color_gradients, reddish, targeted):
    result = Square(rounds=150)(
        color_gradients, reddish.images, reddish.labels, reddish.targets if targeted else None,
        epsilon=0.03, norm="linf", rng=np.random.default_rng(0),
    )  # fmt: skip
    assert result.success.all()
    assert (result.linf <= 0.03 * (1 + 1e-5)).all()
    assert not result.gradient_queries.any()
    assert (result.score_queries > 0).all()
    assert (result.steps < 151).all()  # an image that is done rests


def test_decisions_are_enough_where_they_change_from_draw_to_draw(color_gradients, reddish, defense):
    """Pictures on the boundary: the fraction of answers says which way is better."""
    images = reddish.images.copy()
    images[..., 0] -= 0.0185
    result = Square(rounds=150, score_draws=8, observe="decisions")(
        adaptive_model(color_gradients, defense, eot_samples=1), images, reddish.labels, reddish.targets,
        epsilon=0.03, norm="linf", rng=np.random.default_rng(0),
    )  # fmt: skip
    assert result.success_rate.mean() > 0.9


def test_a_random_model_is_asked_about_what_is_held_again(color_gradients, reddish, defense):
    result = Square(rounds=5, score_draws=3)(
        adaptive_model(color_gradients, defense, eot_samples=1), reddish.images, reddish.labels, reddish.targets,
        epsilon=0.002, norm="l2_rms", rng=np.random.default_rng(0),
    )  # fmt: skip
    assert (result.score_queries == 6 * 3 * 2).all()
    assert (result.l2_rms <= 0.002 * (1 + 1e-5)).all()


def test_the_whole_budget_is_spent(color_gradients, reddish):
    for norm in ("l2_rms", "linf"):
        result = Square(rounds=20)(
            color_gradients, reddish.images, reddish.labels, reddish.targets,
            epsilon=0.004, norm=norm, rng=np.random.default_rng(0),
        )  # fmt: skip
        assert getattr(result, norm) == pytest.approx(0.004, rel=1e-2)


@pytest.mark.parametrize("settings", [{"rounds": 0}, {"share": 0}, {"observe": "everything"}])
def test_settings_that_make_no_sense(settings):
    with pytest.raises(InputError, match="expected"):
        Square(**settings)


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["l2_rms", "linf"])
def test_efficientnet_lite0_falls(lite0, norm):
    model, images, labels, _ = lite0
    result = Square(rounds=100)(model, images, labels, None, epsilon=0.05, norm=norm, rng=np.random.default_rng(0))
    assert result.success.mean() >= 0.75
