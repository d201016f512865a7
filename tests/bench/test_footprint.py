"""What a start costs and whether memory grows: that the measurements see what they are for."""

import subprocess
import sys

import numpy as np
import pytest

from bench.memory import measure_memory_growth, slope
from bench.startup import BARE_SCRIPT, measure_startup, run_process
from edgedefend.bundle import load_bundle
from edgedefend.classifier import Classifier
from edgedefend.errors import BackendError, EdgeDefendError


def test_the_peak_is_the_process_s_own():
    """A child inherits the peak of its parent, unless care is taken: this one is large."""
    large = np.ones(40_000_000)  # 320 MB here, not there
    small = run_process([sys.executable, "-I", "-S", "-c", ""])
    assert small.peak_mb < 60
    more = run_process([sys.executable, "-I", "-S", "-c", "x = bytearray(b'x') * 100_000_000"])
    assert 80 < more.peak_mb - small.peak_mb < 120
    del large


def test_time_is_that_of_the_clock_and_that_of_the_cpu():
    sleeping = run_process([sys.executable, "-I", "-S", "-c", "import time; time.sleep(1)"])
    assert sleeping.wall_s >= 1
    assert sleeping.cpu_s < 1


def test_a_process_that_fails_is_no_measurement():
    with pytest.raises(EdgeDefendError, match="failed"):
        run_process([sys.executable, "-c", "raise SystemExit('no reason')"])
    with pytest.raises(EdgeDefendError, match="failed"):
        run_process(["/nowhere/at/all"])


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_bare_script_answers_as_we_do(color_bundles, color_photographs, run_cli, precision):
    bundle, image = color_bundles / precision, color_photographs.parent / "4.png"
    command = [sys.executable, "-c", BARE_SCRIPT, str(bundle), str(image), "1"]
    bare = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    assert bare == "green"
    assert bare in run_cli("classify", "--top", 1, bundle, image).stdout


def test_startup(color_bundles):
    bundle = load_bundle(color_bundles / "int8")
    result = measure_startup(bundle, color_bundles / "int8" / "golden_image.png", runs=2)
    assert set(result["rows"]) == {
        *("classify", "bare", "import edgedefend", "import Defense", "import numpy", "python alone")
    }
    for row in result["rows"].values():
        assert row["wall_s"] > 0
        assert row["cpu_s"] > 0
        assert row["peak_mb"] > 5
    assert result["rows"]["classify"]["peak_mb"] > result["rows"]["python alone"]["peak_mb"] + 20
    assert result["conditions"]["verdict"] in ("VALID", "TAINTED")
    packed = next(color_bundles.glob("*int8*.zip"))
    with pytest.raises(BackendError, match="unpack it"):
        measure_startup(load_bundle(packed), color_bundles / "int8" / "golden_image.png")


def test_slope_is_least_squares():
    rng = np.random.default_rng(0)
    x = np.arange(50.0)
    y = 3 * x + 7 + rng.normal(0, 2, 50)
    (expected, _), covariance = np.polyfit(x, y, 1, cov=True)
    found, error = slope(list(x), list(y))
    assert found == pytest.approx(expected)
    assert error == pytest.approx(np.sqrt(covariance[0, 0]))


def test_a_leak_is_seen(color_bundles, monkeypatch):
    bundle = load_bundle(color_bundles / "int8")
    kept = []
    classify = Classifier.classify

    def leaky(self, image, **options):
        kept.append(np.ones(12_500))  # 100 kB an image
        return classify(self, image, **options)

    monkeypatch.setattr(Classifier, "classify", leaky)
    result = measure_memory_growth(bundle, images=1000)
    assert result["slope_kb_per_1000"] == pytest.approx(100_000, rel=0.05)
    assert result["slope_error"] < 2000
    assert len(result["samples_mb"]) == 200
    assert result["end_mb"] - result["start_mb"] > 90
    assert result["conditions"]["verdict"] == "VALID"
