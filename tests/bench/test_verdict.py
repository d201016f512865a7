"""What taints a figure, on boards that no machine here is, and what the watch sees of this one."""

import os
from pathlib import Path

import pytest

from bench.conditions import CpuTimes, Watch
from bench.verdict import judge
from tests.boards import board, put

CALM = {"other": 0.0, "stolen": 0.0}
PI = {"kind": "raspberry-pi"}
GOOD = {
    "governor": "performance",
    "requested_mhz": 1800.0,
    "true_mhz": 1800.0,
    "temperature_c": 50.0,
    "throttled_now": [],
    "throttled_since_boot": [],
    "throttle_counts": {},
    "throttle_source": "vcgencmd get_throttled",
    "power_mode": None,
}


def test_nothing_against_it():
    assert judge(PI, [GOOD, GOOD], CALM) == {"verdict": "VALID", "reasons": [], "unknown": []}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"throttled_now": ["throttled"]}, "throttled during the run: throttled"),
        ({"throttled_now": ["undervoltage"]}, "undervoltage during the run"),
        ({"throttled_since_boot": ["frequency capped"]}, "throttled during the run: frequency capped"),
        ({"throttle_counts": {"core temperature": 3}}, "throttled during the run: core temperature"),
        ({"governor": "ondemand"}, "the governor is ondemand, not performance"),
        ({"governor": "performance, powersave"}, "the governor is performance, powersave, not performance"),
        ({"requested_mhz": 600.0, "true_mhz": 600.0}, "the requested clock changed between 600 and 1800 MHz"),
        ({"true_mhz": 1500.0}, "the true clock is 1500 MHz where 1800 MHz were requested"),
        ({"temperature_c": 82.0}, "hot: 82 °C"),
    ],
)
@pytest.mark.parametrize("when", [1, 2])
def test_what_taints_in_the_middle_or_at_the_end(change, reason, when):
    snapshots = [GOOD, GOOD, GOOD]
    snapshots[when] = {**GOOD, **change}
    if when == 1 and ({"throttled_since_boot", "throttle_counts"} & set(change)):
        snapshots[2] = snapshots[1]  # what the board counts since boot stays
    found = judge(PI, snapshots, CALM)
    assert found["verdict"] == "TAINTED"
    assert any(reason in said for said in found["reasons"]), found


def test_what_happened_before_the_run_is_not_held_against_it():
    earlier = {**GOOD, "throttled_since_boot": ["undervoltage"], "throttle_counts": {"oc1": 5}}
    assert judge(PI, [earlier, earlier], CALM)["verdict"] == "VALID"


def test_a_changed_power_mode():
    modes = [{**GOOD, "power_mode": "MAXN"}, {**GOOD, "power_mode": "15W"}]
    assert judge({"kind": "jetson"}, modes, CALM)["reasons"] == ["the power mode changed from MAXN to 15W"]


@pytest.mark.parametrize(
    ("load", "reason"),
    [
        ({"other": 0.051, "stolen": 0.0}, "other processes used 5 % of the CPUs"),
        ({"other": 0.0, "stolen": 0.02}, "the host took 2 % of the CPUs' time away"),
    ],
)
def test_other_load(load, reason):
    assert judge(PI, [GOOD, GOOD], load)["reasons"] == [reason]
    assert judge(PI, [GOOD, GOOD], {"other": None, "stolen": None})["verdict"] == "VALID"


def test_the_measurement_s_own_reasons_come_first():
    found = judge(PI, [GOOD, {**GOOD, "governor": "ondemand"}], CALM, ["too few samples"])
    assert found["reasons"] == ["too few samples", "the governor is ondemand, not performance"]


def test_a_board_that_does_not_say_whether_it_throttles_is_no_witness():
    silent = {**GOOD, "throttle_source": None, "true_mhz": None}
    found = judge(PI, [silent, silent], CALM)
    assert found["unknown"] == ["true clock", "throttling"]
    assert any("group video" in reason for reason in found["reasons"])
    assert judge({"kind": "generic"}, [silent, silent], CALM)["verdict"] == "VALID"


def test_a_pi_that_gets_too_warm_during_the_run(tmp_path):
    device = board("pi-4", tmp_path)
    for core in range(4):
        put(tmp_path, f"/sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor", "performance\n")
    watch = Watch(device, every_s=0.0)
    watch.glance()
    device.run.answers["vcgencmd get_throttled"] = "throttled=0x4\n"
    watch.glance()
    # At the end all is well again but for the memory of the firmware.
    device.run.answers["vcgencmd get_throttled"] = "throttled=0x40000\n"
    seen = watch.finish()
    assert seen["verdict"] == "TAINTED"
    assert "throttled during the run: throttled" in seen["reasons"]
    assert seen["before"]["throttled_since_boot"] == []
    assert seen["after"]["throttled_since_boot"] == ["throttled"]
    assert seen["device"]["board"].startswith("Raspberry Pi 4")
    assert "asimd" in seen["device"]["cpu_features"]
    assert seen["hottest_c"] == 48.7
    assert seen["before"]["true_mhz"] == 1800.0


def test_a_glance_looks_only_now_and_then(tmp_path):
    device = board("pi-4", tmp_path)
    watch = Watch(device, every_s=3600)
    asked = len(device.run.asked)
    for _ in range(10):
        watch.glance()
    assert len(device.run.asked) == asked


def test_what_is_no_time_is_no_worse_for_a_slow_board(tmp_path):
    seen = Watch(board("pi-4", tmp_path), timed=False).finish()
    assert seen["before"]["governor"] == "ondemand"
    assert (seen["verdict"], seen["reasons"], seen["unknown"]) == ("VALID", [], [])
    assert Watch(board("pi-5", tmp_path / "5"), timed=False).finish("stopped early")["reasons"] == ["stopped early"]


def stat(path: Path, busy: int, idle: int, stolen: int) -> CpuTimes:
    cpus = sorted(os.sched_getaffinity(0))
    lines = ["cpu  9 9 9 9 9 9 9 9 9 9"]
    lines += [f"cpu{cpu} {busy} {busy} {busy} {idle} {idle} {busy} {busy} {stolen} 0 0" for cpu in cpus]
    # A CPU that this process may not use, at work all the time.
    lines.append("cpu99999 99999999 0 0 0 0 0 0 0 0 0")
    path.write_text("\n".join(lines) + "\nintr 5\n")
    return CpuTimes(path)


def test_load_of_others_from_the_kernel_s_counters(tmp_path):
    path = tmp_path / "stat"
    before, after = stat(path, 0, 0, 0), stat(path, 10_000, 20_000, 10_000)
    after.own = before.own
    assert after.load_since(before) == {"other": 0.5, "stolen": 0.1}
    # What this process did itself is not the others'.
    tick = os.sysconf("SC_CLK_TCK")
    after.own = before.own + 25_000 / tick * len(os.sched_getaffinity(0))
    assert after.load_since(before) == {"other": 0.25, "stolen": 0.1}
    assert CpuTimes(tmp_path / "none").load_since(before) == {"other": None, "stolen": None}


def test_this_machine_s_counters_move():
    before = CpuTimes()
    for _ in range(3_000_000):
        pass
    after = CpuTimes()
    assert after.own > before.own
    assert after.busy >= before.busy > 0
