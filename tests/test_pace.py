"""The rate at which frames are taken, and how a board's sensors lower it."""

import threading
import time

import pytest

from edgedefend.board import detect
from edgedefend.pace import Cooling, Pace
from tests.boards import board, put


def test_without_a_limit_every_frame_is_due():
    pace = Pace()
    assert all(pace.due() for _ in range(100)) and pace.skipped == 0
    assert pace.interval == 0


def test_a_rate_is_kept_on_average_and_the_rest_is_counted():
    pace, taken, began = Pace(50), 0, time.monotonic()
    asked = 0
    while time.monotonic() - began < 0.5:
        taken += pace.due()
        asked += 1
        time.sleep(0.001)
    assert 20 <= taken <= 27
    assert pace.skipped == asked - taken


def test_the_lower_of_two_limits_counts():
    pace = Pace(10)
    pace.limit = 4
    assert pace.interval == 0.25
    pace.limit = 100
    assert pace.interval == 0.1


def test_waiting_ends_when_the_run_is_stopped():
    pace = Pace(0.01)
    assert pace.wait()
    threading.Timer(0.1, pace.stop.set).start()
    began = time.monotonic()
    assert not pace.wait()
    assert time.monotonic() - began < 5


def looks(cooling: Cooling, *sensors: dict, fps: float = 8.0) -> list[str | None]:
    return [cooling.look(one, fps) for one in sensors]


COOL = {"temperature_c": 50.0, "throttled_now": []}


def test_a_hot_board_halves_until_it_is_slow_enough_and_recovers_slowly():
    cooling = Cooling(70, 80)
    hot, warm = {"temperature_c": 81.0, "throttled_now": []}, {"temperature_c": 75.0, "throttled_now": []}
    assert looks(cooling, COOL, warm) == [None, None]
    said = looks(cooling, hot)[0]
    assert "81 °C" in said and "at most 4 frames a second" in said
    assert cooling.limit == 4
    # The rate that is measured meanwhile is the lowered one: it is not halved again.
    looks(cooling, hot, fps=4)
    assert cooling.limit == 2
    # Between the two temperatures it stays; three cool looks in a row give one step back.
    assert looks(cooling, warm, COOL, COOL, warm, COOL, COOL) == [None] * 6
    assert cooling.limit == 2
    assert "4 frames a second again" in looks(cooling, COOL)[0]
    assert "the full rate again" in looks(cooling, COOL, COOL, COOL)[2]
    assert cooling.limit is None


def test_there_is_a_lowest_rate():
    cooling = Cooling(70, 80)
    hot = {"temperature_c": 90.0, "throttled_now": ["throttled"]}
    assert [said is None for said in looks(cooling, *[hot] * 8)] == [False] * 5 + [True] * 3
    assert cooling.limit == 8 / 32


def test_a_run_that_has_no_frames_has_no_rate_to_lower():
    cooling = Cooling(70, 80)
    assert looks(cooling, {"temperature_c": 90.0}, fps=0) == [None]
    assert cooling.limit is None


def test_nothing_known_is_no_reason():
    cooling = Cooling(70, 80)
    assert looks(cooling, *[{"temperature_c": None, "throttled_now": []}] * 5) == [None] * 5


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("pi-4", {"vcgencmd get_throttled": "throttled=0x50005\n"}, "undervoltage, throttled"),
        ("pi-5", {"/sys/class/thermal/thermal_zone0/temp": "81000\n"}, "81 °C"),
        ("jetson-orin-nano", {"/sys/class/thermal/cooling_device1/cur_state": "1\n"}, "temperature cpu"),
    ],
)
def test_the_sensors_of_boards(name, change, says, tmp_path):
    device = board(name, tmp_path)
    config = detect(device)
    cooling = Cooling(config.warn_c, config.limit_c)
    assert cooling.look(device.snapshot(), 8.0) is None
    for key, value in change.items():
        if key.startswith("/"):
            put(tmp_path, key, value)
        else:
            device.run.answers[key] = value
    assert says in (cooling.look(device.snapshot(), 8.0) or "")
