import numpy as np
import pytest

from bench.attacks.soft_quantizer import SoftQuantizer
from edgedefend.dct import load_quant_table, quantize
from edgedefend.errors import InputError

TABLE = load_quant_table("feature-distillation")


@pytest.mark.parametrize("size", [(16, 16), (13, 10), (5, 3)])
@pytest.mark.parametrize("softness", [0.0, 0.5, 1.0])
def test_the_derivative_is_that_of_finite_differences(size, softness):
    """Of a random projection of the output, along random directions, in double precision differences."""
    rng = np.random.default_rng(0)
    soft = SoftQuantizer(TABLE, softness=softness)
    images = rng.random((2, *size, 3), np.float32)
    weights = rng.normal(0, 1, images.shape).astype(np.float32)
    gradient = soft.pull_back(images, weights)
    for _ in range(3):
        direction = rng.normal(0, 1, images.shape).astype(np.float32)
        # Tiny against a step of the table (20 levels), large against float32.
        h = np.float32(3e-4)
        above, below = (soft(images + sign * h * direction).astype(np.float64) for sign in (1, -1))
        numeric = ((above - below) * weights).sum(axis=(1, 2, 3)) / (2 * h)
        analytic = (gradient.astype(np.float64) * direction).sum(axis=(1, 2, 3))
        assert analytic == pytest.approx(numeric, rel=0.02, abs=0.05)


def test_without_softness_it_is_the_identity():
    images = np.random.default_rng(1).random((1, 16, 24, 3), np.float32)
    soft = SoftQuantizer(TABLE, softness=0)
    assert soft(images) == pytest.approx(images, abs=1e-5)
    assert soft.pull_back(images, images) == pytest.approx(images, abs=1e-5)


def test_it_lies_nearer_to_the_quantiser_than_the_identity_does():
    picture = np.random.default_rng(2).integers(0, 256, (64, 64, 3), np.uint8)
    images = (picture / np.float32(255))[None]
    hard = quantize(picture, TABLE) / 255
    distance = lambda image: np.sqrt(np.mean((image.clip(0, 1) - hard) ** 2))  # noqa: E731
    assert distance(SoftQuantizer(TABLE, softness=1.0)(images)[0]) < 0.95 * distance(images[0])


def test_softness_out_of_range():
    with pytest.raises(InputError, match="softness is 2"):
        SoftQuantizer(TABLE, softness=2)
