import math

import pytest
import scipy.stats

from edgedefend.statistics import format_proportion, mean_difference, mean_proportion, proportion, wilson_interval


@pytest.mark.parametrize(("hits", "n"), [(0, 5), (5, 5), (1, 20), (459, 500), (50, 100)])
def test_wilson_equals_scipy(hits, n):
    expected = scipy.stats.binomtest(hits, n).proportion_ci(method="wilson")
    assert wilson_interval(hits, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_nothing_measured_is_said_so():
    assert wilson_interval(0, 0) == (0.0, 1.0)
    assert math.isnan(proportion(0, 0)["value"])


def test_the_interval_of_a_difference_is_that_of_its_spread():
    differences = [1.0, 0.0, 0.25, -0.5, 0.0, 0.75]
    found = mean_difference(differences)
    assert found["value"] == pytest.approx(0.25) and found["n"] == 6
    expected = scipy.stats.norm.interval(0.95, 0.25, scipy.stats.sem(differences))
    assert (found["low"], found["high"]) == pytest.approx(expected)


@pytest.mark.parametrize("differences", [[], [0.5]])
def test_nothing_is_known_of_a_single_difference(differences):
    found = mean_difference(differences)
    assert (found["low"], found["high"]) == (-1, 1)


def test_format():
    assert format_proportion(proportion(459, 500)) == "0.918 [0.891, 0.939] n=500"


def test_draws_of_one_image_do_not_count_as_more_images():
    mean = mean_proportion([1.0, 0.5, 0.0, 0.1] * 5)
    assert mean["n"] == 20
    assert mean["value"] == pytest.approx(0.4)
    assert (mean["low"], mean["high"]) == pytest.approx(wilson_interval(8, 20))
    assert mean_proportion([0.1] * 10 + [1.0] * 9)["hits"] == 10
    assert mean_proportion([1.0] * 7)["high"] == 1.0
    assert math.isnan(mean_proportion([])["value"])
