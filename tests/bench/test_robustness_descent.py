"""The paper's descent in rounds, the attacker who knows of the suspicion score, and gradients beside foolbox's."""

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="attacks a Keras model (extra 'convert')")

from bench.attacks.backward import Identity
from bench.attacks.base import to_unit
from bench.attacks.model import load_gradient_model
from bench.attacks.norms import sizes
from bench.attacks.wrappers import Bpda, Eot
from bench.gradients import measure_gradients
from bench.robustness.aware import AlsoBare
from bench.robustness.descent import descend_in_rounds
from bench.robustness.sanity import GradientProbe, current_iterate
from convert.models import load_model
from edgedefend.dataset import load_dataset
from edgedefend.errors import InputError
from edgedefend.sources import fit_image, read_image


@pytest.fixture(scope="module")
def model(color_model_file):
    return load_gradient_model(color_model_file)


@pytest.fixture(scope="module")
def batch(color_photographs):
    items = list(load_dataset(color_photographs, ["red", "green", "blue"]))[:4]
    pictures = np.stack([fit_image(read_image(item.path), 40, 48) for item in items])
    return pictures, np.array([i.label for i in items], np.int32), np.array([i.target for i in items], np.int32)


def noise(pictures, rng):
    """A defence that draws: a few levels up or down, one value a picture."""
    return np.clip(pictures.astype(int) + rng.integers(-3, 4, (len(pictures), 1, 1, 1)), 0, 255).astype(np.uint8)


def descend(model, batch, *, bound, rounds=12, learning_rate=400.0, attacked=None):
    pictures, labels, targets = batch
    behind = attacked or Eot(Bpda(model, Identity(noise)), 2)
    return descend_in_rounds(
        behind, model, noise, pictures, labels, targets, rounds=rounds, learning_rate=learning_rate, bound=bound,
        draws=3, stop_draws=3, rng=np.random.default_rng(1), judge_rng=np.random.default_rng(2),
    )  # fmt: skip


def test_images_stop_where_the_target_is_reached(model, batch):
    done = descend(model, batch, bound=0.6, rounds=40)
    assert done.own_success.all()
    assert (done.steps < 40).all(), "an image that is done is left alone"
    first, last = done.verdicts[0], done.verdicts[-1]
    assert [verdict["right"] for verdict in first] == [1, 1, 1, 1]
    assert all(verdict["hit"] > 0.5 for verdict in last)
    assert len(done.verdicts) == done.steps.max() + 1
    assert (done.queries == 2 * done.steps).all()


def test_images_stop_at_the_bound(model, batch):
    done = descend(model, batch, bound=0.02)
    assert done.at_bound.all() and not done.own_success.any()
    l2_rms, _ = sizes(done.images, to_unit(batch[0]))
    assert (l2_rms <= 0.02 + 1e-6).all() and (l2_rms > 0.0199).all()
    assert all(verdict["right"] == 1 for verdict in done.verdicts[-1])


def test_the_gradient_is_taken_where_the_descent_stands(model, batch):
    probe = GradientProbe(Eot(Bpda(model, Identity(noise)), 2))
    done = descend(model, batch, bound=0.5, rounds=5, learning_rate=20.0, attacked=probe)
    assert current_iterate(probe, done.images)["passed"] is True


def test_who_knows_of_the_score_follows_the_bare_model_as_well(model, batch):
    pictures, _, targets = batch
    images, rng = to_unit(pictures), np.random.default_rng(3)
    inverted = Bpda(model, Identity(lambda levels, rng: 255 - levels, randomised=False))
    behind = inverted.gradient(images, targets, targeted=True, rng=rng)
    bare = model.gradient(images, targets, targeted=True)
    both = AlsoBare(inverted, model, 0.25).gradient(images, targets, targeted=True, rng=rng)
    assert both.gradient == pytest.approx(0.75 * behind.gradient + 0.25 * bare.gradient, abs=1e-6)
    assert both.loss == pytest.approx(0.75 * behind.loss + 0.25 * bare.loss)
    assert both.logits.shape[1] == 2 and both.queries == 2
    # It is judged by the defended model alone.
    assert (AlsoBare(inverted, model, 0.25).logits(images, rng) == inverted.logits(images, rng)).all()


def test_gradients_beside_foolbox(color_model_file, batch):
    loaded = load_model(str(color_model_file))
    result = measure_gradients(loaded, *batch, steps=2, draws=2, rounds=2)
    assert result["least"] <= result["ratio"] <= result["largest"]
    assert result["ours_per_s"] > 0 and result["foolbox_per_s"] > 0
    assert result["conditions"]["verdict"] in ("VALID", "TAINTED")
    with pytest.raises(InputError, match="at least one"):
        measure_gradients(loaded, batch[0][:0], *batch[1:])
