"""Every defence of the comparison: what all share, and each against something independent of it."""

from __future__ import annotations

import io

import numpy as np
import pytest

from bench.baselines.base import Ingredients
from bench.baselines.registry import BASELINES, make_baseline
from edgedefend.dct import load_quant_table
from edgedefend.errors import InputError, UsageError
from tests import reference

TABLE = tuple(tuple(float(value) for value in row) for row in load_quant_table("efficientnet-lite0"))
INGREDIENTS = Ingredients(TABLE)
RUNNABLE = [name for name in BASELINES if make_baseline(name, INGREDIENTS).available]


def defended(name: str, pictures: np.ndarray, seed: int = 0) -> np.ndarray:
    return make_baseline(name, INGREDIENTS).defend(pictures, np.random.default_rng(seed))


@pytest.fixture(scope="module")
def pair(photographs) -> np.ndarray:
    """Two photographs, 96x96: every property shows there, and the slow defences stay quick."""
    return np.stack([photograph[40:136, 50:146] for photograph in photographs[:2]])


@pytest.mark.parametrize("name", RUNNABLE)
def test_pictures_in_pictures_out(name, pair):
    before = pair.copy()
    pair.flags.writeable = False
    out = defended(name, pair)
    assert out.shape == pair.shape
    assert out.dtype == np.uint8
    assert np.array_equal(pair, before)
    # It is still the same photograph, and (but for none) no longer the same pixels.
    if name != "crop":
        assert np.corrcoef(out.ravel().astype(float), pair.ravel().astype(float))[0, 1] > 0.7
    assert np.array_equal(out, pair) == (name == "none")


@pytest.mark.parametrize("name", RUNNABLE)
def test_a_seed_repeats_it_and_only_the_randomised_differ_between_draws(name, pair):
    baseline = make_baseline(name, INGREDIENTS)
    assert np.array_equal(defended(name, pair, 3), defended(name, pair, 3))
    rng = np.random.default_rng(4)
    first, second = baseline.defend(pair, rng), baseline.defend(pair, rng)
    for one, other in zip(first, second, strict=True):
        assert np.array_equal(one, other) != baseline.randomised
    # Two copies of one picture in a batch are two draws.
    twins = defended(name, np.stack([pair[0], pair[0]]), 5)
    assert np.array_equal(twins[0], twins[1]) != baseline.randomised


@pytest.mark.parametrize("name", RUNNABLE)
def test_a_picture_does_not_depend_on_its_neighbours(name, pair):
    other = pair.copy()
    other[0] = 255 - other[0]
    assert np.array_equal(defended(name, pair, 6)[1], defended(name, other, 6)[1])


@pytest.mark.parametrize("name", RUNNABLE)
@pytest.mark.parametrize("size", [(1, 1), (3, 50), (37, 29)])
def test_odd_sizes(name, size, photographs):
    height, width = size
    pictures = photographs[3][None, 60 : 60 + height, 60 : 60 + width]
    out = defended(name, pictures)
    assert out.shape == pictures.shape
    assert out.dtype == np.uint8


@pytest.mark.parametrize("name", RUNNABLE)
def test_extremes_stay_in_range(name):
    """Nothing wraps around: black stays dark and white stays bright."""
    pictures = np.zeros((2, 24, 24, 3), np.uint8)
    pictures[1] = 255
    out = defended(name, pictures)
    assert out[0].mean() < 60
    assert out[1].mean() > 195


def test_what_is_said_of_each():
    for name in BASELINES:
        baseline = make_baseline(name, INGREDIENTS)
        assert baseline.name == name
        assert baseline.title
        assert baseline.source or name == "none"
        assert baseline.evidence == ("measured" if baseline.available else "reported")
        assert "\n" not in baseline.missing


def test_wrong_names_and_pictures():
    with pytest.raises(UsageError, match="no defence 'magic': expected one of none, ours"):
        make_baseline("magic", INGREDIENTS)
    baseline = make_baseline("jpeg", INGREDIENTS)
    for pictures in (
        np.zeros((4, 4, 3), np.uint8),
        np.zeros((1, 4, 4, 3), np.float32),
        np.zeros((1, 0, 4, 3), np.uint8),
    ):
        with pytest.raises(InputError, match="expected uint8"):
            baseline.defend(pictures, np.random.default_rng(0))


def test_jpeg_is_that_of_pillow(pair):
    """Another wrapper of libjpeg, which may differ by a level in how it goes back to RGB."""
    from PIL import Image

    out = defended("jpeg", pair)
    for picture, mine in zip(pair, out, strict=True):
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "jpeg", quality=75)
        theirs = np.asarray(Image.open(file))
        assert np.abs(theirs.astype(int) - mine).max() <= 3
        assert (theirs == mine).mean() > 0.9


def test_fd_is_the_slow_quantisation_with_its_own_table(pair):
    table = load_quant_table("feature-distillation")
    mine = defended("fd", pair[:1])[0]
    slow, ties = reference.quantize_with_ties(pair[0], table)
    assert ties.mean() < 0.1
    assert np.array_equal(slow[~ties], mine[~ties])


def test_bdr_leaves_eight_levels(pair):
    out = defended("bdr", pair)
    assert set(np.unique(out)) <= {0, 36, 73, 109, 146, 182, 219, 255}
    assert np.abs(out.astype(int) - pair).max() <= 18


def test_ours_is_the_defence_of_the_board(pair):
    """The same kernel: a grid without distortion leaves the quantisation alone."""
    from edgedefend.dct import quantize

    still = make_baseline("ours", Ingredients(TABLE, distort_limit=0.0))
    # Without distortion a grid is the identity whichever corner it starts from.
    assert np.array_equal(still.defend(pair, np.random.default_rng(1))[0], quantize(pair[0], np.array(TABLE)))
