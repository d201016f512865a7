"""Which answers are published, and what a record holds."""

import json
import re
import time

import numpy as np
import pytest

from edgedefend.prediction import Answer
from edgedefend.results import Filter, Records, encode
from edgedefend.stream import FrameResult


def published(filtered: Filter, answers: str, score: float = 0.9) -> list[int]:
    return [number for number, label in enumerate(answers) if filtered.wants(label, score)]


def test_without_conditions_everything():
    assert published(Filter(), "aabba") == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("rows", "answers", "expected"),
    [
        (1, "aabba", [0, 2, 4]),
        (2, "aabba", [1, 3]),
        (3, "aaaabbbaaa", [2, 6, 9]),
        # One wrong frame between is no change, and does not publish the old answer again.
        (2, "aabaa", [1]),
        (3, "aabaab", []),
    ],
)
def test_on_change(rows, answers, expected):
    assert published(Filter(on_change=rows), answers) == expected


def test_a_low_score_is_not_published_and_breaks_a_row():
    chosen = Filter(on_change=2, min_score=0.5)
    scores = [0.9, 0.1, 0.9, 0.9]
    assert [chosen.wants("a", score) for score in scores] == [False, False, False, True]
    assert [Filter(min_score=0.5).wants("a", score) for score in (0.49, 0.5)] == [False, True]


def test_a_record_is_json_and_the_clock_does_not_touch_the_age(monkeypatch):
    records = Records("camera", "f" * 64, 1)
    result = FrameResult(
        7, "n\N{SNOWMAN}", [Answer(1, "x\ny", 0.25)], np.zeros(2, np.float32), 5.0, {"invoke_ms": 1.23456},
        captured=time.monotonic() - 0.5,
    )  # fmt: skip
    record = records.record(result, 3)
    line = encode(record)
    assert json.loads(line) == record and b"\n" not in line
    assert record["id"] == f"{records.run}-7" and record["dropped"] == 3
    assert 500 <= record["age_ms"] < 2000
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", record["captured_at"])
    monkeypatch.setattr(time, "time", lambda: 0.0)
    jumped = records.record(result, 3)
    assert jumped["captured_at"].startswith("19") and 500 <= jumped["age_ms"] < 2000
    assert Records("camera", "f" * 64, 1).run != records.run
