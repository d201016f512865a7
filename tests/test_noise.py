"""Noise by random bytes: its distribution, where it comes from, and that every way out has it."""

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgedefend import Defense, load_quant_table, quantize, remap
from edgedefend.encoding import Encoding
from edgedefend.errors import InputError
from edgedefend.noise import noise_levels, usual_noise

TABLE = load_quant_table("feature-distillation")
FINEST = np.ones((8, 8))


@settings(max_examples=40, deadline=None)
@given(st.floats(0.5, 64))
def test_the_levels_are_those_of_a_normal_distribution(std):
    levels = noise_levels(std)
    assert levels.shape == (256,) and levels.dtype == np.int16
    assert (np.diff(levels) >= 0).all() and (levels == -levels[::-1]).all()
    # Rounding to whole levels adds a twelfth of a level to the variance.
    assert levels.std() == pytest.approx(np.sqrt(std**2 + 1 / 12), rel=0.06 if std < 2 else 0.01)
    assert np.mean(np.abs(levels) <= std) == pytest.approx(0.683, abs=0.4 / std + 0.01)
    assert levels.max() <= 2.9 * std + 0.5


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 5), st.floats(0.1, 64), st.integers(0, 2**32 - 1))
def test_noise_comes_first_then_quantisation_then_the_grid(height, width, passes, std, seed):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 3), np.uint8)
    before = image.copy()
    noisy, plain = (Defense(TABLE, passes=passes, noise_std=size) for size in (std, 0))
    grid, noise = noisy.sample_grid(height, width), noisy.sample_noise(height, width, rng)
    expected = np.clip(image.astype(np.int16) + noise_levels(std)[noise], 0, 255).astype(np.uint8)
    assert (noisy(image, grid=grid, noise=noise) == plain(expected, grid=grid)).all()
    assert (image == before).all()


def test_a_given_grid_goes_with_the_usual_noise(photographs):
    defend, image = Defense(TABLE, noise_std=8), photographs[0]
    grid = defend.sample_grid(224, 224)
    usual = usual_noise(224, 224)
    assert (defend(image, grid=grid) == defend(image, grid=grid, noise=usual)).all()
    assert (defend(image, grid=grid) == remap(defend.quantize(image), grid)).mean() > 0.999
    assert (defend.quantize(image) != quantize(image, TABLE)).mean() > 0.1
    counts = np.bincount(usual.ravel(), minlength=256)
    assert counts.min() > 0.8 * usual.size / 256 and counts.max() < 1.2 * usual.size / 256
    # As good as drawn: neighbours, columns and channels have nothing to do with each other.
    drawn = noise_levels(8)[usual].astype(float)
    for axis in range(3):
        one, other = np.delete(drawn, -1, axis).ravel(), np.delete(drawn, 0, axis).ravel()
        assert abs(np.corrcoef(one, other)[0, 1]) < 0.05


def test_noise_is_drawn_afresh_for_every_draw_from_the_operating_system(photographs, monkeypatch):
    defend, image = Defense(FINEST, 10, 0.0, noise_std=6), photographs[1]
    many = np.empty((4, 224, 224, 3), np.uint8)
    defend.into_many(image, many, Encoding(), grids=None)
    assert len({one.tobytes() for one in many}) == 4
    asked = []
    real = os.urandom
    monkeypatch.setattr(os, "urandom", lambda count: asked.append(count) or real(count))
    defend(image)
    assert 224 * 224 * 3 in asked
    middle = (image > 40) & (image < 215)
    grid = defend.sample_grid(224, 224)
    still = Defense(FINEST, 10, 0.0)(image, grid=grid)
    drawn = defend(image, grid=grid, noise=defend.sample_noise(224, 224)).astype(int) - still
    kept = middle[grid.rows][:, grid.cols]
    assert drawn[kept].std() == pytest.approx(6, abs=0.3) and abs(drawn[kept].mean()) < 0.3


def test_a_given_generator_repeats_it_and_none_is_none(photographs):
    first, second = (Defense(TABLE, noise_std=4, rng=np.random.default_rng(5)) for _ in range(2))
    again = Defense.of(Defense(TABLE, noise_std=4), rng=np.random.default_rng(5))
    assert again.predictable
    assert (first(photographs[0]) == second(photographs[0])).all()
    second(photographs[0])
    many = np.empty((2, 224, 224, 3), np.uint8)
    first = Defense(TABLE, noise_std=4, rng=np.random.default_rng(5))
    first.into_many(photographs[0], many, Encoding())
    assert all((again(photographs[0]) == one).all() for one in many)
    assert Defense(TABLE).sample_noise(8, 8) is None
    assert "noise_std=4" in repr(first) and "noise" not in repr(Defense(TABLE))


@pytest.mark.parametrize("value", [-0.1, 64.5, float("nan"), float("inf"), "8", None, True])
def test_noise_that_makes_no_sense_is_refused(value):
    with pytest.raises(InputError, match="noise_std is .* expected a number of pixel levels from 0 to 64"):
        Defense(TABLE, noise_std=value)


def test_noise_of_another_shape_is_refused(photographs):
    defend = Defense(TABLE, noise_std=3)
    with pytest.raises(InputError, match=r"noise is uint8 \(8, 8, 3\), expected uint8 \(224, 224, 3\)"):
        defend(photographs[0], noise=np.zeros((8, 8, 3), np.uint8))
