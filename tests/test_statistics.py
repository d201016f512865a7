import math

import pytest
import scipy.stats

from edgedefend.statistics import format_proportion, proportion, wilson_interval


@pytest.mark.parametrize(("hits", "n"), [(0, 5), (5, 5), (1, 20), (459, 500), (50, 100)])
def test_wilson_equals_scipy(hits, n):
    expected = scipy.stats.binomtest(hits, n).proportion_ci(method="wilson")
    assert wilson_interval(hits, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_nothing_measured_is_said_so():
    assert wilson_interval(0, 0) == (0.0, 1.0)
    assert math.isnan(proportion(0, 0)["value"])


def test_format():
    assert format_proportion(proportion(459, 500)) == "0.918 [0.891, 0.939] n=500"
