"""The marks of an evaluation that is not to be believed."""

import math

import numpy as np

from bench.attacks.base import Gradient
from bench.robustness import sanity


def judged(image, *, hit=0.0, right=1.0, draws=10, l2_rms=0.01, judged_on="fresh", nonfinite=0):
    verdict = {"hit": hit, "right": right, "draws": draws}
    return {
        "image": image,
        "judge": {"ours": verdict},
        "l2_rms": l2_rms,
        "judged_on": judged_on,
        "nonfinite": nonfinite,
    }


def both(good, bad):
    """Assert that a check passes on the one and fails on the other."""
    assert good["passed"] is True
    assert bad["passed"] is False
    assert sanity.unreliable([good]) == []
    assert sanity.unreliable([bad]) == [f"{bad['name']}: {bad['detail']}"]


def test_each_check_can_fail():
    low, high = [judged("a", hit=0.1, right=0.9)], [judged("a", hit=0.9, right=0.0)]
    few, many = {"a": 0.008, "b": 0.004, "c": math.inf}, {"a": 0.005, "b": 0.004, "c": math.inf}
    both(sanity.more_steps(few, few, 0.05, 3), sanity.more_steps(few, many, 0.05, 3))
    # One that withstood until there were more steps counts with the largest distortion tried.
    both(sanity.more_steps(few, {"c": 0.048}, 0.05, 3), sanity.more_steps(few, {"c": 0.02}, 0.05, 3))
    # What is quoted is a ratio: where the bare model's distortion falls as much, it stays.
    bare = {"a": 0.002, "b": 0.001}, {"a": 0.0018, "b": 0.0009}
    fewer = {"a": 0.0068, "b": 0.0034}
    both(sanity.more_steps(few, fewer, 0.05, 3, bare), sanity.more_steps(few, fewer, 0.05, 3))
    both(sanity.more_steps(few, fewer, 0.05, 3, bare), sanity.more_steps(few, {"a": 0.006, "b": 0.003}, 0.05, 3, bare))
    assert sanity.more_steps(few, fewer, 0.05, 3, ({"z": 0.1}, {"z": 0.01}))["passed"] is False
    # What fell only where the longer attack has not been tried cannot count as a gain of it.
    assert sanity.more_steps({"a": 0.016}, {"a": math.inf}, 0.008, 3)["passed"]
    both(sanity.black_box(high, {"square": low}, "ours"), sanity.black_box(low, {"square": high}, "ours"))
    both(sanity.unbounded(high * 2 + [judged("b", hit=1.0)] * 8, "ours"), sanity.unbounded(low, "ours"))
    once = [judged("a", draws=1)]
    both(sanity.several_draws(high, "ours", randomised=True), sanity.several_draws(once, "ours", randomised=True))
    assert sanity.several_draws(once, "ours", randomised=False)["passed"]
    both(sanity.fresh_draws(high), sanity.fresh_draws([judged("a", judged_on="own")]))
    both(sanity.finite_gradients(high), sanity.finite_gradients([judged("a", nonfinite=3)]))
    assert sanity.more_steps({}, {}, 0.05, 3)["passed"] is None


class Slope:
    """A model whose gradient is one everywhere, or nothing."""

    randomised = False

    def __init__(self, value=1.0):
        self.value = value

    def gradient(self, images, classes, *, targeted, loss="cross_entropy", rng=None):
        count = len(images)
        gradient = np.full(images.shape, self.value, np.float32)
        return Gradient(gradient, np.zeros((count, 1, 2), np.float32), np.zeros(count), np.zeros(count, np.int64), 1)

    def logits(self, images, rng=None):
        return np.zeros((len(images), 2), np.float32)


def attack_at(model, images, *, honest):
    current = images.copy()
    for _ in range(4):
        found = model.gradient(current if honest else images, np.zeros(len(images), np.int32), targeted=True)
        current = current - np.float32(0.01) * found.gradient
    return current


def test_an_attack_that_looks_only_at_the_clean_image_is_found_out():
    """The published evaluation of this defence took its gradient there."""
    images = np.full((2, 4, 4, 3), 0.5, np.float32)
    checks = {}
    for honest in (True, False):
        probe = sanity.GradientProbe(Slope())
        checks[honest] = sanity.current_iterate(probe, attack_at(probe, images, honest=honest))
    assert [checks[honest]["passed"] for honest in (True, False)] == [True, False]
    assert sanity.unreliable(checks.values()) == [f"{checks[False]['name']}: {checks[False]['detail']}"]


def test_our_attack_takes_its_gradient_where_it_stands():
    from bench.attacks.adaptive import adaptive_attack

    probe = sanity.GradientProbe(Slope())
    images = np.full((2, 8, 8, 3), 0.5, np.float32)
    result = adaptive_attack(5)(
        probe, images, np.zeros(2, np.int32), np.ones(2, np.int32), epsilon=0.1, norm="l2_rms",
        rng=np.random.default_rng(0),
    )  # fmt: skip
    assert sanity.current_iterate(probe, result.images)["passed"] is True


def test_gradients_of_zero_are_found_out():
    images = np.full((2, 4, 4, 3), 0.5, np.float32)
    checks = []
    for value in (1.0, 0.0):
        probe = sanity.GradientProbe(Slope(value))
        attack_at(probe, images, honest=True)
        checks.append(sanity.nonzero_gradients(probe))
    both(*checks)
    assert probe.zero == probe.total == 8
