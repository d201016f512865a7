"""Defences that only resample: what was drawn is what is seen, and the gradient goes back through it."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.attacks.backward import Linear
from bench.baselines.base import Ingredients
from bench.baselines.guided_denoiser import GuidedDenoiser
from bench.baselines.registry import BASELINES, make_baseline
from bench.baselines.window import Rectangle, Window, Windowed
from bench.robustness.protocols import strongest_attack

INGREDIENTS = Ingredients(((16.0,) * 8,) * 8)
RESAMPLED = tuple(name for name in BASELINES if isinstance(make_baseline(name, INGREDIENTS), Windowed))


def looked_through(window: Window, picture: np.ndarray) -> np.ndarray:
    """OpenCV's own resize on floating-point numbers: the linear map without its rounding, with nothing around it."""
    size = (window.target.columns, window.target.rows)
    out = np.zeros(picture.shape)
    out[window.target.slices] = cv2.resize(picture[window.source.slices], size, interpolation=cv2.INTER_LINEAR)
    return out


@settings(deadline=None)
@given(st.sampled_from(RESAMPLED), st.integers(1, 70), st.integers(1, 70), st.integers(0, 2**32))
def test_it_is_pulled_back_exactly(name, height, width, seed):
    """It is linear, so the derivative must satisfy <window(x), w> = <x, back(w)> for every x and w."""
    rng = np.random.default_rng(seed)
    baseline = make_baseline(name, INGREDIENTS)
    assert isinstance(baseline, Windowed)
    window = baseline.draw(height, width, rng)
    picture, weights = (rng.normal(0, 1, (height, width, 3)) for _ in range(2))
    back = window.pull_back(weights.astype(np.float32))
    assert back.shape == picture.shape and back.dtype == np.float32
    ahead = (looked_through(window, picture) * weights).sum()
    assert (picture * back).sum() == pytest.approx(ahead, abs=1e-3)


def test_what_is_not_seen_has_no_gradient():
    window = Window(Rectangle(2, 3, 4, 4), Rectangle(0, 0, 8, 8))
    back = window.pull_back(np.ones((8, 8, 3), np.float32))
    seen = np.zeros((8, 8), bool)
    seen[2:6, 3:7] = True
    assert np.all(back[seen] > 0) and not back[~seen].any()
    assert back.sum() == pytest.approx(8 * 8 * 3)


@pytest.mark.parametrize("name", RESAMPLED)
def test_the_way_forward_is_the_defence_to_the_bit(name, photographs):
    pictures = np.stack([photograph[40:136, 50:146] for photograph in photographs[:3]])
    baseline = make_baseline(name, INGREDIENTS)
    assert isinstance(baseline, Windowed)
    seen, windows = Linear(baseline.draw_each).forward(pictures, np.random.default_rng(3))
    assert np.array_equal(seen, baseline.defend(pictures, np.random.default_rng(3)))
    assert len({(window.source, window.target) for window in windows}) == 3
    gradient = np.random.default_rng(4).normal(0, 1, pictures.shape).astype(np.float32)
    back = Linear(baseline.draw_each).pull_back(pictures / np.float32(255), windows, gradient)
    for one, window, there in zip(back, windows, gradient, strict=True):
        assert np.array_equal(one, window.pull_back(there))


@pytest.mark.parametrize("name", BASELINES)
def test_the_identity_is_taken_only_where_the_derivative_is_not_known(name):
    known = name in ("none", "ours") or isinstance(make_baseline(name, INGREDIENTS), Windowed | GuidedDenoiser)
    assert strongest_attack(name) == ("adaptive" if known else "pgd")
