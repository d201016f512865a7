import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.attacks.norms import NORMS, check_norm, project, random_start, sizes, steepest
from edgedefend.errors import InputError

shapes = st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9), st.just(3))


def size_in(norm, images, clean):
    return sizes(images, clean)[NORMS.index(norm)]


def test_sizes_are_what_they_are_called():
    clean = np.zeros((1, 2, 2, 3), np.float32)
    images = clean.copy()
    images[0, 0, 0] = [0.3, -0.4, 0]
    l2_rms, linf = sizes(images, clean)
    assert l2_rms == pytest.approx(np.sqrt(0.25 / 12))
    assert linf == pytest.approx(0.4)


@given(shapes, st.integers(0, 2**32), st.floats(1e-4, 1), st.sampled_from(NORMS))
def test_a_projection_lies_in_the_ball_and_in_range(shape, seed, epsilon, norm):
    rng = np.random.default_rng(seed)
    clean = rng.random(shape, np.float32)
    projected = project(clean + rng.normal(0, 1, shape).astype(np.float32), clean, epsilon, norm)
    assert projected.dtype == np.float32
    assert projected.min() >= 0
    assert projected.max() <= 1
    assert (size_in(norm, projected, clean) <= epsilon * (1 + 1e-5) + 1e-7).all()


@pytest.mark.parametrize("norm", NORMS)
def test_what_lies_in_the_ball_is_left_alone_and_the_rest_ends_on_its_surface(norm):
    rng = np.random.default_rng(1)
    clean = rng.uniform(0.4, 0.6, (2, 8, 8, 3)).astype(np.float32)
    inside = clean + np.float32(0.01)
    assert project(inside, clean, 0.02, norm) == pytest.approx(inside, abs=1e-7)
    outside = clean + rng.normal(0, 0.3, clean.shape).astype(np.float32)
    assert size_in(norm, project(outside, clean, 0.02, norm), clean) == pytest.approx([0.02, 0.02], rel=1e-4)


@pytest.mark.parametrize("norm", NORMS)
def test_no_direction_of_the_same_size_is_steeper(norm):
    rng = np.random.default_rng(2)
    gradient = rng.normal(0, 1, (1, 6, 5, 3)).astype(np.float32)
    best = steepest(gradient, norm)
    assert size_in(norm, best, np.zeros_like(best)) == pytest.approx(1, abs=1e-5)
    for _ in range(50):
        other = rng.normal(0, 1, gradient.shape).astype(np.float32)
        other /= size_in(norm, other, np.zeros_like(other))
        assert (other * gradient).sum() <= (best * gradient).sum()


@pytest.mark.parametrize("norm", NORMS)
def test_a_zero_gradient_gives_no_direction(norm):
    assert not steepest(np.zeros((2, 4, 4, 3), np.float32), norm).any()


@pytest.mark.parametrize("norm", NORMS)
def test_random_starts_lie_in_the_ball_and_differ(norm):
    clean = np.full((6, 8, 8, 3), 0.5, np.float32)
    start = random_start(clean, 0.1, norm, np.random.default_rng(3))
    size = size_in(norm, start, clean)
    assert (size <= 0.1 + 1e-6).all()
    assert size.max() > 0.02
    assert not np.array_equal(start[0], start[1])


@pytest.mark.parametrize(("norm", "epsilon"), [("l2", 0.1), ("linf", 0), ("l2_rms", 1.5), ("linf", float("nan"))])
def test_what_is_no_norm_or_no_size_is_refused(norm, epsilon):
    with pytest.raises(InputError, match="expected"):
        check_norm(norm, epsilon)
