"""The patch base, the seams, and pictures sewn from other photographs."""

from __future__ import annotations

import numpy as np
import pytest

from bench.baselines.base import Ingredients
from bench.baselines.parts import Part, part_file, save_part
from bench.baselines.patches import PatchBase, sample_patches
from bench.baselines.quilting import Quilting, sew
from edgedefend.errors import InputError

TABLE = ((16.0,) * 8,) * 8


@pytest.fixture(scope="module")
def patches(photographs) -> np.ndarray:
    return sample_patches(photographs[1:], 5, 4000, np.random.default_rng(0))


def quilting(folder, patches: np.ndarray) -> Quilting:
    save_part(part_file(folder, "quilting"), Part({"patches": patches}, {}))
    return Quilting(Ingredients(TABLE, trained=folder))


def brute(patches: np.ndarray, queries: np.ndarray, count: int) -> np.ndarray:
    gaps = queries.reshape(len(queries), 1, -1).astype(float) - patches.reshape(1, len(patches), -1)
    return np.sort((gaps**2).sum(axis=2), axis=1)[:, :count]


def test_patches_come_from_the_photographs(photographs, patches):
    assert patches.shape == (4000, 5, 5, 3)
    only = sample_patches([np.full((9, 9, 3), 7, np.uint8)], 5, 10, np.random.default_rng(0))
    assert (only == 7).all()


def test_nearest_patches_are_the_nearest(photographs, patches):
    queries = sample_patches(photographs[:1], 5, 200, np.random.default_rng(1))
    expected = brute(patches, queries, 10)

    def distances(probes: int) -> np.ndarray:
        found = patches[PatchBase(patches, probes=probes).nearest(queries, 10)].astype(float)
        return ((found - queries[:, None]) ** 2).sum(axis=(2, 3, 4))

    assert np.array_equal(distances(10**6), expected)
    # The default looks at a few groups only, and is nearly as good.
    assert np.sqrt(distances(4)).mean() < 1.1 * np.sqrt(expected).mean()


def test_tiles_that_fit_are_sewn_without_a_trace(photographs):
    picture = photographs[0][:50, :62]
    tiles = np.stack([[picture[y : y + 5, x : x + 5] for x in range(0, 60 - 2, 3)] for y in range(0, 48, 3)])
    assert np.array_equal(sew(tiles), picture[:50, :62])


def test_a_seam_runs_where_the_difference_is_least():
    """Two tiles that agree in the overlap's first column only: everything right of it comes from the second."""
    left, right = np.full((5, 5, 3), 10, np.uint8), np.full((5, 5, 3), 90, np.uint8)
    right[:, 0] = 10
    out = sew(np.stack([[left, right]]))
    assert (out[:, :4] == 10).all()
    assert (out[:, 4:] == 90).all()


def test_a_picture_sewn_from_its_own_patches_alone_is_near_it(photographs, tmp_path):
    picture = photographs[0][:32, :41]
    windows = np.lib.stride_tricks.sliding_window_view(picture, (5, 5), axis=(0, 1)).transpose(0, 1, 3, 4, 2)
    baseline = quilting(tmp_path, np.ascontiguousarray(windows.reshape(-1, 5, 5, 3)))
    out = baseline.defend(picture[None], np.random.default_rng(0))[0]
    assert np.corrcoef(out.ravel(), picture.ravel())[0, 1] > 0.8


def test_quilting_keeps_the_rules_of_every_defence(photographs, patches, tmp_path):
    baseline = quilting(tmp_path, patches)
    assert baseline.evidence == "measured"
    assert "4000 patches" in baseline.remark
    pair = np.stack([photograph[:37, :29] for photograph in photographs[:2]])
    first = baseline.defend(pair, np.random.default_rng(0))
    assert first.shape == pair.shape
    assert np.array_equal(first, baseline.defend(pair, np.random.default_rng(0)))
    assert not np.array_equal(first, baseline.defend(pair, np.random.default_rng(1)))
    other = pair.copy()
    other[0] = 255 - other[0]
    assert np.array_equal(first[1], baseline.defend(other, np.random.default_rng(0))[1])
    assert baseline.defend(pair[:, :1, :3], np.random.default_rng(0)).shape == (2, 1, 3, 3)


def test_without_a_base_the_figures_are_reported(tmp_path, photographs):
    for ingredients, reason in (
        (Ingredients(TABLE), "needs a trained part"),
        (Ingredients(TABLE, trained=tmp_path), "no such"),
    ):
        baseline = Quilting(ingredients)
        assert baseline.evidence == "reported"
        assert reason in baseline.missing
        assert "bench train-baseline quilting" in baseline.missing
        with pytest.raises(InputError, match=reason):
            baseline.defend(photographs[0][None], np.random.default_rng(0))


def test_a_damaged_base_is_named(tmp_path):
    path = tmp_path / "quilting.npz"
    save_part(path, Part({"patches": np.zeros((4, 75), np.uint8)}, {}))
    # Cut short it is an archive at first sight, and NumPy leaves it open: a warning, which is an error in these tests.
    for content in (b"no archive", path.read_bytes()[:-200]):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"quilting\.npz: not a part"):
            Quilting(Ingredients(TABLE, trained=tmp_path))
