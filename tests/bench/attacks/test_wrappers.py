import numpy as np
import pytest

from bench.attacks.backward import Identity, Resampling
from bench.attacks.base import to_pictures, to_unit
from bench.attacks.wrappers import Bpda, Eot
from edgedefend.errors import InputError


@pytest.fixture(scope="module")
def defended(color_gradients, defense):
    return Bpda(color_gradients, Resampling(defense))


def test_gradients_are_those_of_finite_differences(color_gradients, reddish):
    """Of the bare model: the objective falls along its gradient as fast as the gradient says, in both directions."""
    for targeted, classes, loss in (
        (True, reddish.targets, "cross_entropy"),
        (False, reddish.labels, "cross_entropy"),
        (True, reddish.targets, "margin"),
    ):
        at = lambda images: color_gradients.gradient(images, classes, targeted=targeted, loss=loss)  # noqa: B023, E731
        found = at(reddish.images)
        direction = (
            np.random.default_rng(0).normal(0, 1, reddish.images.shape).astype(np.float32) + found.gradient * 500
        )
        h = np.float32(1e-3)
        numeric = (at(reddish.images + h * direction).loss - at(reddish.images - h * direction).loss) / (2 * h)
        assert (found.gradient * direction).sum(axis=(1, 2, 3)) == pytest.approx(numeric, rel=0.02)


def test_the_objective_falls_towards_what_is_wanted(color_gradients, reddish):
    """Targeted: small at the target. Untargeted: small away from the label."""
    red, green = reddish.images[:1].copy(), reddish.images[:1].copy()
    green[..., 1] += 0.2
    wanted = np.int32([1])
    targeted = [color_gradients.gradient(image, wanted, targeted=True).loss[0] for image in (red, green)]
    assert targeted[1] < targeted[0]
    away = [color_gradients.gradient(image, np.int32([0]), targeted=False).loss[0] for image in (red, green)]
    assert away[1] < away[0]


def test_batches_of_any_size_are_compiled_once(color_gradients, reddish):
    for count in (1, 3, 4):
        color_gradients.gradient(reddish.images[:count], reddish.labels[:count], targeted=False)
    many = np.concatenate([reddish.images] * 10)
    found = color_gradients.gradient(many, np.concatenate([reddish.labels] * 10), targeted=False)
    assert color_gradients.input_gradient.traces() == 1
    alone = color_gradients.gradient(reddish.images[:1], reddish.labels[:1], targeted=False)
    assert found.gradient[36] == pytest.approx(alone.gradient[0], abs=1e-6)


def test_the_answer_is_that_of_the_defended_picture(color_gradients, defended, defense, reddish):
    answer = defended.logits(reddish.images, np.random.default_rng(5))
    pictures, _ = Resampling(defense).forward(to_pictures(reddish.images), np.random.default_rng(5))
    assert np.array_equal(answer, color_gradients.logits(to_unit(pictures)))


def test_eot_is_the_mean_over_fresh_draws(defended, reddish):
    several = Eot(defended, 3).gradient(
        reddish.images[:2], reddish.targets[:2], targeted=True, rng=np.random.default_rng(6)
    )
    single = defended.gradient(
        np.repeat(reddish.images[:2], 3, axis=0),
        np.repeat(reddish.targets[:2], 3),
        targeted=True,
        rng=np.random.default_rng(6),
    )
    assert several.gradient[1] == pytest.approx(single.gradient[3:].mean(axis=0), abs=1e-6)
    assert several.loss == pytest.approx(single.loss.reshape(2, 3).mean(axis=1))
    assert several.logits.shape == (2, 3, 3)
    assert several.queries == 3
    assert not np.allclose(single.gradient[0], single.gradient[1])  # each draw has a grid of its own


def test_eot_in_parts_covers_every_image(defended, reddish):
    parts = Eot(defended, 3, most=4).gradient(
        reddish.images, reddish.targets, targeted=True, rng=np.random.default_rng(7)
    )
    whole = Eot(defended, 3).gradient(reddish.images, reddish.targets, targeted=True, rng=np.random.default_rng(7))
    assert parts.gradient == pytest.approx(whole.gradient, abs=1e-6)


def test_one_draw_is_enough_where_nothing_is_drawn(color_gradients):
    assert Eot(color_gradients, 30).eot_samples == 1
    assert Eot(Bpda(color_gradients, Identity(lambda pictures, rng: pictures, randomised=False)), 30).eot_samples == 1


class _Broken(Identity):
    """A derivative that is not a number for every second picture."""

    def pull_back(self, images, draws, gradient):
        gradient = gradient.copy()
        gradient[::2] = np.nan
        return gradient


def test_gradients_that_are_not_numbers_are_counted_and_left_out(color_gradients, reddish):
    broken = Bpda(color_gradients, _Broken(lambda pictures, rng: pictures))
    rng = np.random.default_rng(8)
    single = broken.gradient(reddish.images, reddish.labels, targeted=False, rng=rng)
    assert single.nonfinite.tolist() == [1, 0, 1, 0]
    assert not single.gradient[0].any()
    mean = Eot(broken, 2).gradient(reddish.images, reddish.labels, targeted=False, rng=rng)
    assert mean.nonfinite.tolist() == [1, 1, 1, 1]
    assert mean.gradient[0] == pytest.approx(
        color_gradients.gradient(to_unit(to_pictures(reddish.images)), reddish.labels, targeted=False).gradient[0],
        abs=1e-6,
    )


def test_a_draw_without_a_generator_is_refused(defended, reddish):
    with pytest.raises(InputError, match="rng"):
        defended.logits(reddish.images)


def test_no_draws(defended):
    with pytest.raises(InputError, match="eot_samples is 0"):
        Eot(defended, 0)
