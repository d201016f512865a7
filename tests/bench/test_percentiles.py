import numpy as np
import pytest
from scipy.stats import binom

from bench.percentiles import median_interval, percentile, samples_needed, summarize


def test_the_floors_of_mlperf():
    assert samples_needed(0.9) == 64
    assert samples_needed(0.99) == 662


@pytest.mark.parametrize("fraction", [0.5, 0.9, 0.95, 0.99])
def test_the_floor_is_the_smallest_that_one_outlier_does_not_hide_in(fraction):
    needed = samples_needed(fraction)
    assert binom.cdf(1, needed, 1 - fraction) <= 0.01 < binom.cdf(1, needed - 1, 1 - fraction)


def test_percentile_is_that_of_mlperf():
    values = [float(number) for number in range(100)]
    assert [percentile(values, part) for part in (0, 0.5, 0.9, 0.99, 1)] == [0, 50, 90, 99, 99]


@pytest.mark.parametrize(
    ("count", "names"),
    [
        (1, ["p50"]),
        (63, ["p50"]),
        (64, ["p50", "p90"]),
        (129, ["p50", "p90"]),
        (130, ["p50", "p90", "p95"]),
        (661, ["p50", "p90", "p95"]),
        (662, ["p50", "p90", "p95", "p99"]),
    ],
)
def test_no_percentile_without_samples_enough(count, names):
    assert list(summarize([1.0] * count)) == names


def test_the_order_of_the_values_does_not_matter():
    values = list(np.random.default_rng(1).permutation(1000).astype(float))
    assert summarize(values) == {"p50": 500, "p90": 900, "p95": 950, "p99": 990}


def test_the_interval_of_the_median_holds_it_95_times_in_100():
    rng = np.random.default_rng(2)
    held = 0
    for _ in range(1000):
        middle, low, high = median_interval(list(rng.exponential(1.0, 101)))
        assert low <= middle <= high
        held += low <= np.log(2) <= high
    assert 940 <= held <= 985
    assert median_interval([3.0]) == (3.0, 3.0, 3.0)
