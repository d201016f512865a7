import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.attacks.base import to_unit
from bench.attacks.norms import sizes
from bench.attacks.pictures import as_pictures
from edgedefend.errors import InputError


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.0002, 0.08), st.sampled_from(["l2_rms", "linf"]))
def test_rounding_never_gives_the_attacker_more_and_hardly_less(seed, epsilon, norm):
    rng = np.random.default_rng(seed)
    clean = rng.integers(0, 256, (2, 32, 32, 3), np.uint8)
    change = rng.normal(size=clean.shape)
    if norm == "linf":
        change = epsilon * np.sign(change)
    else:
        change *= epsilon / np.sqrt(np.mean(change**2, axis=(1, 2, 3), keepdims=True))
    images = np.clip(to_unit(clean) + change, 0, 1).astype(np.float32)
    before = np.sqrt(np.mean((images - to_unit(clean)) ** 2, axis=(1, 2, 3)))
    pictures = as_pictures(images, clean, norm=norm)
    l2_rms, linf = sizes(to_unit(pictures), to_unit(clean))
    if norm == "linf":
        assert (linf <= epsilon + 1e-6).all()
    else:
        assert (l2_rms <= before + 1e-6).all()
        # One more level in one of 3072 values is the finest step there is; ties of the rounding take a few.
        assert (l2_rms >= 0.93 * before - 0.0002).all()


def test_plain_rounding_would_have_lost_a_small_change():
    """What the scaling is for: at a third of a level the rounded picture would be the clean one."""
    clean = np.full((1, 16, 16, 3), 100, np.uint8)
    images = to_unit(clean) + np.float32(0.3 / 255) * np.linspace(0.2, 1, 256, dtype=np.float32).reshape(1, 16, 16, 1)
    assert (np.rint(images * 255) == clean).all()
    l2_rms, _ = sizes(to_unit(as_pictures(images, clean)), to_unit(clean))
    assert l2_rms[0] > 0.0005


def test_an_image_that_is_no_number_comes_back_clean():
    clean = np.full((1, 8, 8, 3), 7, np.uint8)
    images = np.full((1, 8, 8, 3), np.nan, np.float32)
    assert (as_pictures(images, clean) == clean).all()
    with pytest.raises(InputError, match="norm"):
        as_pictures(images, clean, norm="l2")
