import json
import shutil

import pytest

from edgedefend.bundle import PRECISIONS, load_bundle
from edgedefend.errors import BackendError, BundleError
from edgedefend.verification import verify_bundle
from tests.test_bundle import rewrite


@pytest.mark.parametrize("precision", PRECISIONS)
def test_verify_passes_on_what_convert_wrote(color_bundles, precision):
    seen = verify_bundle(load_bundle(color_bundles / precision), threads=1)
    assert seen.output_error <= seen.tolerance
    assert seen.differing_pixels == 0


def golden_with(folder, **changes):
    content = json.loads((folder / "golden.json").read_text())
    rewrite(folder, "golden.json", json.dumps({**content, **changes}).encode())


def test_verify_notices_another_answer(color_bundles, tmp_path):
    shutil.copytree(color_bundles / "int8", tmp_path / "b")
    output = json.loads((tmp_path / "b" / "golden.json").read_text())["output"]
    golden_with(tmp_path / "b", output=output[1:] + output[:1])
    with pytest.raises(BackendError, match="gets it wrong.*use the fp32 or fp16 bundle"):
        verify_bundle(load_bundle(tmp_path / "b"), threads=1)
    golden_with(tmp_path / "b", output=[float("nan")] * 3)
    with pytest.raises(BackendError, match="gets it wrong"):
        verify_bundle(load_bundle(tmp_path / "b"), threads=1)


def test_verify_notices_another_defence(color_bundles, tmp_path):
    shutil.copytree(color_bundles / "int8", tmp_path / "b")
    rows = json.loads((tmp_path / "b" / "golden.json").read_text())["rows"]
    golden_with(tmp_path / "b", rows=rows[::-1])
    with pytest.raises(BundleError, match="the defence gives another image"):
        verify_bundle(load_bundle(tmp_path / "b"), threads=1)
