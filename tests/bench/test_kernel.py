"""The comparison is fair: every peer does the same work, and one that does not is found. No time is asserted."""

import json

import numpy as np
import pytest

from bench import floor, kernel, peers
from edgedefend.dct import load_quant_table
from edgedefend.errors import EdgeDefendError
from edgedefend.grid import sample_grid
from tests import reference

TABLE = load_quant_table("feature-distillation")


@pytest.fixture(scope="module")
def scene(photographs):
    image = np.ascontiguousarray(photographs[2][:99, :150])  # sides that are not multiples of 8
    return image, sample_grid(99, 150, rng=np.random.default_rng(0))


def test_peers_give_what_the_reference_gives(scene):
    image, grid = scene
    exact, ties = (reference.remap(part, *grid) for part in reference.quantize_with_ties(image, TABLE))
    for make in (peers.published_loop, peers.vectorised_scipy, peers.simple_scipy, peers.plain_kernels):
        result = make(image, TABLE, grid)()
        assert result.dtype == np.uint8
        assert (result == exact)[~ties].all()
    assert (peers.opencv_remap(image, grid)() == image[grid.rows][:, grid.cols]).all()


def test_every_peer_is_checked_and_has_a_target_or_none(scene):
    found = kernel.check_peers(scene[0], TABLE, scene[1])
    assert set(kernel.TARGETS) < set(found)
    assert found["cv2.remap alone (no DCT, map given)"] == 0
    assert 0 < found["JPEG 4:4:4 + cv2.remap"] < 12


@pytest.mark.parametrize("name", ["vectorised_scipy", "published_loop", "plain_kernels"])
def test_a_peer_that_does_less_is_found(scene, monkeypatch, name):
    monkeypatch.setattr(peers, name, lambda image, table, grid: lambda: image[grid.rows][:, grid.cols])
    with pytest.raises(EdgeDefendError, match="computes something else"):
        kernel.check_peers(scene[0], TABLE, scene[1])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda image, steps, limit: lambda: image, "does not distort"),
        (lambda image, steps, limit: lambda: image[::-1], "does not keep the order"),
    ],
)
def test_a_grid_distortion_that_is_none_is_found(scene, monkeypatch, wrong, message):
    monkeypatch.setattr(peers, "grid_distortion", wrong)
    with pytest.raises(EdgeDefendError, match=message):
        kernel.check_peers(scene[0], TABLE, scene[1])


@pytest.mark.parametrize(("level", "quality"), [(57.625, 50), (28.8125, 75), (115.25, 25), (1, 99)])
def test_jpeg_gets_the_quality_of_a_table_as_coarse(level, quality):
    assert peers.jpeg_quality(np.full((8, 8), level, np.float32)) == quality


def test_operations_are_counted_by_whole_blocks():
    assert floor.transform_operations(8, 8) == (4 * 8 * 36 + 4 * 64) * 3
    assert floor.transform_operations(9, 1) == 2 * floor.transform_operations(8, 8)


def test_the_command_prints_what_it_saves(run_cli, tmp_path):
    result = run_cli("bench", "kernel", "--rounds", 3, "--limit", 2, "--json", tmp_path / "k.json")
    assert result.returncode == 0, result.stderr
    saved = json.loads((tmp_path / "k.json").read_text())
    assert set(saved["peers"]) == {"224x224", "299x299"}
    for rows in saved["peers"].values():
        for name, row in rows.items():
            assert name in result.stdout
            assert 0 < row["p10"] <= row["ratio"] <= row["p90"]
            assert "target" not in row or row["reached"] == (row["ratio"] >= row["target"])
    assert set(saved["sizes"]) == set(kernel.SIZES)
    for row in saved["sizes"].values():
        assert 0 < row["copy_fraction"] < 1
        assert 0 < row["peak_fraction"] < 1
    assert saved["ties"]["photographs"] == 2
    assert saved["ties"]["mean"] < kernel.TIES
    assert saved["conditions"]["verdict"] in ("VALID", "TAINTED")
