import numpy as np
import pytest

from bench.attacks.lbfgs import Lbfgs
from bench.attacks.norms import NORMS
from edgedefend.errors import InputError

pytest.importorskip("scipy", reason="L-BFGS-B is SciPy's (extra 'bench')")


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("targeted", [True, False])
def test_the_undefended_model_falls(color_gradients, reddish, norm, targeted):
    result = Lbfgs()(
        color_gradients, reddish.images[:2], reddish.labels[:2], reddish.targets[:2] if targeted else None,
        epsilon=0.03, norm=norm, rng=np.random.default_rng(0),
    )  # fmt: skip
    assert result.success.all()
    assert (getattr(result, norm) <= 0.03 * (1 + 1e-5)).all()
    assert (result.gradient_queries >= result.steps).all()
    if norm == "l2_rms":  # the search for the constant makes it small: the boundary is 0.0082 away
        assert (result.l2_rms < 0.016).all()


def test_a_ball_without_a_way_out(color_gradients, reddish):
    result = Lbfgs(steps=5, search_steps=3)(
        color_gradients, reddish.images[:1], reddish.labels[:1], reddish.targets[:1],
        epsilon=0.003, norm="linf", rng=np.random.default_rng(0),
    )  # fmt: skip
    assert not result.success.any()


def test_settings_that_make_no_sense():
    with pytest.raises(InputError, match="steps 0"):
        Lbfgs(steps=0)
