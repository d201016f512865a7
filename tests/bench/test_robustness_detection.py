"""Attacked or clean, by a score."""

import pytest

from bench.robustness.detection import detect


def test_detection_of_what_is_apart_and_of_what_is_not():
    clean, attacked = [0.1, 0.2, 0.3] * 20, [0.7, 0.8] * 30
    apart = detect(clean, attacked)
    assert apart["area"] == 1 and apart["false_alarms"]["value"] == 0 and apart["detected"]["value"] == 1
    same = detect(clean, clean)
    assert same["area"] == pytest.approx(0.5)
    assert same["false_alarms"]["value"] == 1
    assert detect(attacked, clean)["area"] == 0
    assert detect([], attacked) is None
    assert apart["false"][0] == 0 and apart["true"][-1] == 1
