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
TRAINED = {"quilting", "pixeldefend", "guided-denoiser"} & set(BASELINES)
RUNNABLE = [name for name in BASELINES if name not in TRAINED]


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


def test_shield_takes_every_block_from_one_quality(pair):
    import cv2

    out = defended("shield", pair[:1], 2)[0]
    options = ([cv2.IMWRITE_JPEG_QUALITY, quality] for quality in (20, 40, 60, 80))
    versions = [cv2.imdecode(cv2.imencode(".jpg", pair[0][..., ::-1], list(one))[1], 1)[..., ::-1] for one in options]
    taken = set()
    for top in range(0, 96, 8):
        for left in range(0, 96, 8):
            block = np.s_[top : top + 8, left : left + 8]
            fits = [number for number, version in enumerate(versions) if np.array_equal(version[block], out[block])]
            assert fits
            taken.update(fits)
    assert taken == {0, 1, 2, 3}


def test_rand_shrinks_and_pads_with_grey(photographs):
    sizes = set()
    for seed in range(30):
        out = defended("rand", np.full((1, 331, 331, 3), 255, np.uint8), seed)[0]
        inside = np.argwhere((out == 255).all(axis=2))
        assert set(np.unique(out)) <= {128, 255}
        height, width = inside.max(axis=0) - inside.min(axis=0) + 1
        assert height == width
        sizes.add(int(height))
    assert min(sizes) >= 299
    assert max(sizes) <= 330
    assert len(sizes) > 10


def test_crop_shows_a_part_of_the_picture_enlarged():
    """A ramp: the value tells the column, so the crop's width and its place can be read off."""
    ramp = np.broadcast_to(np.arange(224, dtype=np.uint8)[None, :, None], (224, 224, 3))[None]
    starts = set()
    for seed in range(20):
        out = defended("crop", np.ascontiguousarray(ramp), seed)[0]
        assert int(out[0, -1, 0]) - int(out[0, 0, 0]) == 89
        starts.add(int(out[0, 0, 0]))
    assert len(starts) > 10
    assert max(starts) <= 134


def test_tv_with_every_pixel_kept_is_that_of_scikit_image(pair):
    from skimage.restoration import denoise_tv_bregman

    from bench.baselines.total_variation import masked_split_bregman

    channel = np.ascontiguousarray(pair[0][..., 1] / 255)
    theirs = denoise_tv_bregman(channel, weight=2 / 0.03, max_num_iter=100, eps=1e-3, isotropic=False)
    ours = masked_split_bregman(channel, np.ones(channel.shape, bool), 2 / 0.03)
    assert np.abs(ours - theirs).max() < 1e-9
    assert np.abs(ours - channel).max() > 0.01


def test_tv_fills_dropped_pixels_from_the_others(pair):
    from bench.baselines.total_variation import masked_split_bregman

    channel = np.ascontiguousarray(pair[0][..., 1] / 255)
    keep = np.random.default_rng(0).random(channel.shape) < 0.5
    whole = masked_split_bregman(channel, keep, 2 / 0.03)
    assert np.array_equal(whole, masked_split_bregman(np.where(keep, channel, 0.0), keep, 2 / 0.03))
    assert np.abs(whole - channel)[~keep].mean() < 0.5 * np.abs(channel.mean() - channel)[~keep].mean()
    # Nothing kept at all is no picture, but no error either.
    assert np.isfinite(masked_split_bregman(channel, np.zeros_like(keep), 2 / 0.03)).all()


def test_pd_smooths_noise_and_deflects(photographs):
    flat = np.full((1, 64, 64, 3), 120, np.uint8)
    assert np.abs(defended("pd", flat).astype(int) - 120).max() <= 1
    noisy = np.clip(120 + np.random.default_rng(0).normal(0, 10, flat.shape), 0, 255).astype(np.uint8)
    assert defended("pd", noisy).std() < 0.4 * noisy.std()


def test_me_net_estimates_a_matrix_of_low_rank():
    from bench.baselines.me_net import estimate_matrix

    rng = np.random.default_rng(0)
    full = rng.uniform(-1, 1, (40, 120))
    estimate = estimate_matrix(full, rng.random(full.shape) < 0.9)
    assert np.linalg.matrix_rank(estimate) == 32
    # A matrix that has a low rank itself is found again from nine tenths of it.
    low = np.outer(rng.uniform(-1, 1, 40), rng.uniform(-1, 1, 120))
    everything = estimate_matrix(low, np.ones(low.shape, bool))
    assert np.abs(everything - low).max() < 1e-9
    parts = estimate_matrix(low, rng.random(low.shape) < 0.9)
    assert np.abs(parts - low).mean() < 0.5 * np.abs(low).mean()


def test_the_paper_s_figures_are_those_of_its_tables():
    """Against the tables' own lines, so that a slip of the pen shows."""
    from bench.baselines.reported import REPORTED

    table_1 = """ours 0.22 0.30 0.95|rand 0.21 0.31 0.96|fd 0.00 1.00 0.97|shield 0.03 0.88 0.94|tv 0.02 0.97 0.95
    |bdr 0.00 1.00 0.92|pd 0.02 0.98 0.97"""
    expected = {line.split()[0]: tuple(map(float, line.split()[1:])) for line in table_1.split("|")}
    assert {name: tuple(row.table_1) for name, row in REPORTED.items() if row.table_1} == expected
    bounded = {name: row.table_2 for name, row in REPORTED.items() if row.table_2}
    linf = {name: row.linf_0_031 for name, row in bounded.items() if row.linf_0_031 is not None}
    l2 = {name: row.l2_rms_0_05 for name, row in bounded.items() if row.l2_rms_0_05 is not None}
    assert linf == {"rand": 0.0, "pixeldefend": 0.09, "pd": 0.0, "me-net": 0.13}
    assert l2 == {
        **dict.fromkeys(("crop", "jpeg", "tv", "quilting", "shield", "guided-denoiser"), 0.0),
        "fd": 0.10,
        "ours": 0.58,
    }
