import json

import numpy as np
import pytest
import scipy.fft
from hypothesis import given, settings
from hypothesis import strategies as st

from edgedefend import dct, kernels
from edgedefend.errors import InputError
from tests import reference

FLAT = np.full((8, 8), 25.0)
STEEP = np.add.outer(np.arange(8), np.arange(8)) * 6.0 + 10


def random_image(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def differing(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.mean(a != b))


@pytest.mark.parametrize("table", [FLAT, STEEP, dct.load_quant_table("feature-distillation")])
def test_photographs_equal_the_float64_reference_but_for_ties(photographs, table):
    for image in photographs[:3]:
        ours = dct.quantize(image, table)
        slow, ties = reference.quantize_with_ties(image, table)
        assert (ours == slow)[~ties].all()
        assert ties.mean() < 0.1
        # The defence does something: a kernel that copied its input would fail here.
        assert differing(ours, image) > 0.5


def test_equals_scipy(photographs):
    image = photographs[4]
    blocks = image.reshape(28, 8, 28, 8, 3).astype(np.float64)
    coefficients = scipy.fft.dctn(blocks, axes=(1, 3), norm="ortho")
    kept = np.round(coefficients / STEEP[None, :, None, :, None]) * STEEP[None, :, None, :, None]
    back = scipy.fft.idctn(kept, axes=(1, 3), norm="ortho").reshape(224, 224, 3)
    _, ties = reference.quantize_with_ties(image, STEEP)
    assert (dct.quantize(image, STEEP) == np.clip(np.round(back), 0, 255))[~ties].all()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 37), st.integers(1, 37), st.integers(0, 2**32 - 1))
def test_any_size_compiled_and_interpreted(height, width, seed):
    image = random_image(height, width, seed)
    before = image.copy()
    compiled = dct.quantize(image, STEEP)
    slow, ties = reference.quantize_with_ties(image, STEEP)
    assert (compiled == slow)[~ties].all()
    assert compiled.shape == image.shape
    assert compiled.dtype == np.uint8
    assert (image == before).all()
    interpreted = np.empty_like(image)
    plain = getattr(kernels.quantize_blocks, "py_func", kernels.quantize_blocks)
    plain(image[:9, :9], STEEP.astype(np.float32), kernels.cosine_matrix(), interpreted[:9, :9])
    slow, ties = reference.quantize_with_ties(image[:9, :9], STEEP)
    assert (interpreted[:9, :9] == slow)[~ties].all()


def test_strided_and_read_only_input_gives_the_same():
    image = random_image(40, 50)
    wide = np.zeros((80, 100, 3), np.uint8)
    wide[::2, ::2] = image
    frozen = image.copy()
    frozen.flags.writeable = False
    expected = dct.quantize(image, FLAT)
    assert (dct.quantize(wide[::2, ::2], FLAT) == expected).all()
    assert (dct.quantize(frozen, FLAT) == expected).all()
    assert (dct.quantize(image[:, ::-1][:, ::-1], FLAT) == expected).all()


def test_quantising_twice_changes_no_more_than_rounding(photographs):
    once = dct.quantize(photographs[0], FLAT)
    twice = dct.quantize(once, FLAT)
    assert np.abs(twice.astype(int) - once).mean() < 0.5


def test_table_of_ones_is_nearly_the_identity(photographs):
    image = photographs[1]
    assert np.abs(dct.quantize(image, np.ones((8, 8))).astype(int) - image).max() <= 2


def test_sides_are_extended_by_repeating_the_edge():
    image = random_image(8, 11)
    padded = np.pad(image, ((0, 0), (0, 5), (0, 0)), mode="edge")
    assert (dct.quantize(image, FLAT) == dct.quantize(padded, FLAT)[:, :11]).all()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (np.zeros((8, 8)), r"quant_table\[0\]\[0\] is 0"),
        (np.ones((8, 7)), r"shape \(8, 7\)"),
        (np.full((8, 8), np.nan), "nan"),
        (np.full((8, 8), -3), "-3"),
        ([["x"] * 8] * 8, "not a number"),
        ([[1] * 8] * 7 + [[1] * 7], "not a number"),
    ],
)
def test_bad_tables_are_refused(table, message):
    with pytest.raises(InputError, match=message):
        dct.as_quant_table(table)


@pytest.mark.parametrize(
    "image",
    [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8), np.zeros((8, 8, 3)), np.zeros((0, 8, 3), np.uint8)],
)
def test_bad_images_are_refused(image):
    with pytest.raises(InputError, match="image has"):
        dct.quantize(image, FLAT)


def test_shipped_tables_load_and_say_where_they_come_from():
    from importlib import resources

    names = dct.shipped_quant_tables()
    assert {"feature-distillation", "efficientnet-lite0"} <= set(names)
    for name in names:
        table = dct.load_quant_table(name)
        assert table.shape == (8, 8)
        record = json.loads((resources.files("edgedefend") / "data/quant_tables" / f"{name}.json").read_text())
        assert record["generator"]
        assert record["source"]
        if "votes" in record:
            # A learned table is votes / max * 80 + 20: its record must lead to it.
            votes = np.array(record["votes"], float)
            assert np.allclose(votes / votes.max() * 80 + 20, table, atol=1e-3)
            assert "seed" in record
            assert record["attack"]["steps"] >= 1


def test_table_files(tmp_path):
    path = tmp_path / "t.json"
    path.write_text(json.dumps(FLAT.tolist()))
    assert (dct.load_quant_table(path) == 25).all()
    path.write_text('{"quant_table": [[0]]}')
    with pytest.raises(InputError, match=r"t\.json: quant_table has shape"):
        dct.load_quant_table(path)
    path.write_text("{")
    with pytest.raises(InputError, match="not a JSON file"):
        dct.load_quant_table(path)
    with pytest.raises(InputError, match="no such table"):
        dct.load_quant_table(tmp_path / "missing.json")
