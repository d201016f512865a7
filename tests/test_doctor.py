"""The doctor: on every board of files, with every fault that has a finding."""

import json
import os
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from edgedefend import board_apply
from edgedefend.board import load_board
from edgedefend.device import Device
from edgedefend.doctor import LEVELS, Finding, Patient, _findings, examine, hardware
from edgedefend.doctor.environment import Environment, of_this_process, of_tree
from edgedefend.doctor.text import as_text
from tests.boards import BOARDS, Tools, board, put, userland

GOOD = Environment(
    (3, 11),
    "3.11.2",
    "/opt/venv/bin/python",
    64,
    "aarch64",
    "glibc",
    (2, 36),
    {"numpy": "2.4.1", "numba": "0.68.0", "ai-edge-litert": "2.3.0"},
)


def found(device: Device, environment: Environment = GOOD) -> dict[str, Finding]:
    """Run all checks; return the worst finding of each. None that is not well may lack a reason or a remedy."""
    report = examine(device, environment)
    worst: dict[str, Finding] = {}
    for finding in report.findings:
        assert finding.level in LEVELS
        if finding.level != "ok":
            assert finding.why, finding
            assert finding.mend, finding
            assert "fault of the doctor" not in finding.why, finding
        before = worst.get(finding.check)
        if before is None or LEVELS.index(finding.level) > LEVELS.index(before.level):
            worst[finding.check] = finding
    assert json.loads(json.dumps(report.as_json())) == report.as_json()
    text = as_text(report)
    assert all(finding.check in text for finding in report.findings)
    assert report.healthy == (" 0 bad, " in f" {text.splitlines()[-1]}")
    return worst


@pytest.mark.parametrize("name", BOARDS)
def test_a_board_that_is_well(name, tmp_path):
    device = board(name, tmp_path)
    put(tmp_path, "/sys/class/video4linux/video0/name", "imx708\n")
    if name != "x86":
        board_apply.apply(device, load_board(name))
        device = Device(tmp_path, device.run)
    for path in tmp_path.glob("sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"):
        path.write_text(load_board(name).governor if name != "x86" else "powersave")
    if name.startswith("jetson"):
        mode = next(mode for mode in load_board(name).power_modes if mode in device.power_modes())
        device.run.answers["nvpmodel -q"] = f"NV Power Mode: {mode}\n"
    if name == "x86":
        put(tmp_path, "/sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count", "0\n")
    worst = found(device, of_tree(device))
    assert [finding for finding in worst.values() if finding.level != "ok"] == []
    assert worst["python"].what.startswith({"x86": "3.12"}.get(name, "3.10" if name.startswith("jetson") else "3.11"))
    if name != "x86":
        assert worst["settings"].what == f"those of {name} are applied"
        assert worst["groups"].what == "the user edgedefend is, or at the start will be, in group video"


def pi4(tmp_path: Path) -> tuple[Device, Tools]:
    device = board("pi-4", tmp_path)
    return device, device.run


@pytest.mark.parametrize(
    ("answer", "check", "level", "what"),
    [
        ("0x1", "power supply", "bad", "undervoltage now"),
        ("0x10000", "power supply", "warn", "undervoltage since the start, not now"),
        ("0x50005", "throttling", "bad", "now: throttled"),
        ("0x6", "throttling", "bad", "now: frequency capped, throttled"),
        ("0x80000", "throttling", "warn", "not now; since the start: soft temperature limit"),
        ("0x0", "throttling", "ok", "neither now nor since the start (vcgencmd get_throttled)"),
        ("0x10000", "throttling", "ok", "neither now"),
    ],
)
def test_throttling_of_a_pi(answer, check, level, what, tmp_path):
    device, tools = pi4(tmp_path)
    tools.answers["vcgencmd get_throttled"] = f"throttled={answer}\n"
    finding = found(device)[check]
    assert (finding.level, finding.what[: len(what)]) == (level, what)


@pytest.mark.parametrize(("volts", "level"), [("5.10000000", "ok"), ("4.70000000", "warn"), ("4.60000000", "bad")])
def test_the_voltage_of_a_pi_5(volts, level, tmp_path):
    device = board("pi-5", tmp_path)
    device.run.answers["vcgencmd pmic_read_adc EXT5V_V"] = f"    EXT5V_V volt(24)={volts}V\n"
    finding = found(device)["power supply"]
    assert finding.level == level
    assert f"{float(volts):g} V" in finding.what
    if level != "ok":
        assert "a supply of 5.1 V and 5 A" in finding.mend


def test_a_pi_that_does_not_answer(tmp_path):
    device, tools = pi4(tmp_path)
    tools.answers.clear()
    worst = found(device)
    assert worst["throttling"].level == "warn"
    assert "usermod -aG video" in worst["throttling"].mend
    assert worst["power supply"].what == "unknown"
    assert worst["clock"].what == "1800 MHz asked for, the true one is unknown"


def test_a_clock_that_is_held_back(tmp_path):
    device, tools = pi4(tmp_path)
    tools.answers["vcgencmd measure_clock arm"] = "frequency(0)=600117184\n"
    finding = found(device)["clock"]
    assert (finding.level, finding.what) == ("warn", "600.1 MHz, 1800 MHz asked for")


@pytest.mark.parametrize(
    ("name", "millidegrees", "level"),
    [
        ("pi-4", 74900, "ok"),
        ("pi-4", 75000, "warn"),
        ("pi-4", 80000, "bad"),
        ("jetson-orin-nano", 84000, "ok"),
        ("jetson-orin-nano", 99500, "bad"),
    ],
)
def test_temperature_by_the_limits_of_the_board(name, millidegrees, level, tmp_path):
    device = board(name, tmp_path)
    put(tmp_path, "/sys/class/thermal/thermal_zone0/temp", f"{millidegrees}\n")
    assert found(device)["temperature"].level == level


def test_governor_and_settings(tmp_path):
    device, _ = pi4(tmp_path)
    worst = found(device)
    assert worst["governor"].what == "ondemand, the settings of pi-4 have performance"
    assert worst["settings"].mend == "edgedefend board diff, then: sudo edgedefend board apply"
    board_apply.apply(device, load_board("pi-4"), port=9000)
    assert found(Device(tmp_path, device.run))["settings"].level == "ok"  # a unit with another port is not a fault
    other = board("generic-arm64", tmp_path / "other")
    put(other.root, "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave")
    assert "tee" in found(other)["governor"].mend


def test_a_jetson(tmp_path):
    device = board("jetson-orin-nano", tmp_path)
    put(tmp_path, "/sys/class/hwmon/hwmon2/oc3_event_cnt", "17\n")
    worst = found(device)
    assert worst["power supply"].what == "power mode 15W, the settings have 25W"
    assert worst["throttling"].what == "not now; since the start: overcurrent oc3 (17 times)"
    put(tmp_path, "/sys/class/thermal/cooling_device1/cur_state", "2\n")
    assert found(device)["throttling"].what == "now: temperature cpu"
    device.run.answers.clear()
    (tmp_path / "var/lib/nvpmodel/status").unlink()
    assert found(device)["power supply"].what == "the power mode is unknown"


def test_config_txt_that_voids_a_warranty(tmp_path):
    device, _ = pi4(tmp_path)
    assert found(device)["config txt"].level == "ok"
    put(tmp_path, "/boot/firmware/config.txt", "#over_voltage=2\n[pi4]\r\nover_voltage=6\r\nforce_turbo=1\r\n")
    finding = found(device)["config txt"]
    assert (finding.level, finding.what) == ("warn", "/boot/firmware/config.txt: over_voltage=6, force_turbo=1")


def test_cpu_memory_and_camera(tmp_path):
    device, _ = pi4(tmp_path)
    worst = found(device)
    assert worst["cpu"].what.startswith("4 x Cortex-A72: NEON, no dot product: int8 gains less, no ARMv8.1 atomics")
    assert worst["camera"].level == "warn"
    put(tmp_path, "/sys/class/video4linux/video10/name", "bcm2835-codec-decode\n")
    assert found(device)["camera"].what == "none found"
    put(tmp_path, "/sys/class/video4linux/video0/name", "unicam-image\n")
    assert found(device)["camera"].what == "/dev/video0 (unicam-image)"
    put(tmp_path, "/proc/meminfo", "MemTotal:         425984 kB\nMemAvailable:     102400 kB\n")
    finding = found(Device(tmp_path, device.run))["memory"]
    assert (finding.level, finding.what) == ("warn", "416 MB, 100 MB available")
    cpuinfo = (tmp_path / "proc/cpuinfo").read_text().replace("asimd", "half")
    put(tmp_path, "/proc/cpuinfo", cpuinfo)
    assert found(Device(tmp_path, device.run))["cpu"].level == "bad"
    put(tmp_path, "/proc/cpuinfo", "processor : 0\nmodel name : Intel Atom\nflags : sse2\n")
    assert found(Device(tmp_path, device.run))["cpu"].what == "1 x Intel Atom without AVX"


@pytest.mark.parametrize(
    ("changes", "check", "level", "words"),
    [
        ({"bits": 32, "machine": "armv7l"}, "architecture", "bad", ["a 32-bit Python", "cannot work here"]),
        ({"bits": 32, "machine": "aarch64", "live": False}, "architecture", "bad", ["a 32-bit Python"]),
        ({"machine": "riscv64"}, "architecture", "bad", ["riscv64"]),
        ({"python": (3, 8), "version": "3.8.10"}, "python", "bad", ["3.8.10", "is too old"]),
        ({"python": (3, 14), "version": "3.14.0"}, "python", "bad", ["is too new"]),
        ({"python": None, "executable": ""}, "python", "bad", ["there is none"]),
        ({"python": (3, 8), "version": "3.8.10"}, "wheels", "bad", ["none for Python 3.8.10 on aarch64"]),
        ({"bits": 32}, "wheels", "bad", ["none for Python"]),
        ({"libc": "musl", "libc_version": ()}, "c library", "bad", ["musl"]),
        ({"libc": "musl", "libc_version": ()}, "wheels", "bad", ["none for"]),
        ({"libc_version": (2, 24)}, "c library", "bad", ["glibc 2.24 is too old"]),
        ({"packages": {"numpy": "2.1.0"}}, "interpreter", "bad", ["none is installed"]),
        (
            {"packages": {"numpy": "2.1.0", "tflite-runtime": "2.14.0"}},
            "interpreter",
            "bad",
            ["tflite-runtime 2.14.0, NumPy 2.1.0"],
        ),
        (
            {"packages": {"numpy": "2.1.0", "tflite-runtime": "2.14.0", "ai-edge-litert": "2.3.0"}},
            "interpreter",
            "warn",
            ["ai-edge-litert 2.3.0, tflite-runtime 2.14.0"],
        ),
        (
            {"packages": {"numpy": "1.26.4", "tflite-runtime": "2.14.0"}},
            "interpreter",
            "ok",
            ["tflite-runtime 2.14.0, NumPy 1.26.4"],
        ),
    ],
)
def test_environments(changes, check, level, words, tmp_path):
    device, _ = pi4(tmp_path)
    finding = found(device, replace(GOOD, **changes))[check]
    assert finding.level == level
    assert all(word in finding.what for word in words), finding


def test_a_jetpack_that_is_too_old(tmp_path):
    device = board("jetson-orin-nano", tmp_path)
    put(tmp_path, "/etc/nv_tegra_release", "# R35 (release), REVISION: 4.1, GCID: 1, BOARD: t186ref\n")
    finding = found(device, replace(GOOD, python=(3, 8), version="3.8.10"))["python"]
    assert "JetPack 5 comes with Python 3.8" in finding.why
    assert finding.mend.startswith("flash JetPack 6")


def test_where_nothing_can_work_no_other_advice_is_given(tmp_path):
    device, _ = pi4(tmp_path)
    userland(tmp_path, "3.11", bits=32, machine=0x28)
    environment = of_tree(device)
    assert (environment.bits, environment.machine) == (32, "armv7l")
    report = examine(device, environment)
    bad = [finding for finding in report.findings if finding.level == "bad"]
    assert [finding.check for finding in bad] == ["architecture", "wheels"]
    assert "Raspberry Pi OS (64-bit)" in bad[0].mend


def test_what_a_tree_says_of_its_python(tmp_path):
    device = board("pi-5", tmp_path)
    environment = of_tree(device)
    assert (environment.python, environment.bits, environment.machine) == ((3, 11), 64, "aarch64")
    assert (environment.libc, environment.libc_version, environment.live) == ("glibc", (2, 36), False)
    site = "/opt/edgedefend/releases/1/venv/lib/python3.11/site-packages"
    put(tmp_path, f"{site}/ai_edge_litert-2.3.0.dist-info/METADATA", "")
    put(tmp_path, f"{site}/numpy-2.4.1.dist-info/METADATA", "")
    put(tmp_path, "/opt/edgedefend/releases/1/kernels/target.json", '{"cpu": "cortex-a72"}')
    (tmp_path / "opt/edgedefend/current").symlink_to("releases/1")
    (tmp_path / "opt/edgedefend/releases/1/venv/bin").mkdir()
    (tmp_path / "opt/edgedefend/releases/1/venv/bin/python").symlink_to("/usr/bin/python3")
    environment = of_tree(device)
    assert environment.executable == "/opt/edgedefend/current/venv/bin/python"
    assert environment.python == (3, 11)
    worst = found(device, environment)
    assert worst["interpreter"].what == "ai-edge-litert 2.3.0, NumPy 2.4.1"
    assert worst["kernels"].what == "made for cortex-a72, this board is cortex-a76"
    assert worst["imports"].what == "not tried: this is not the running system"
    put(tmp_path, "/usr/bin/python3.11", b"#!/bin/sh\n")
    assert of_tree(device).bits is None
    assert of_tree(Device(tmp_path / "nowhere")).python is None


# -- this machine ------------------------------------------------------------------------------------------------------


def test_this_process():
    environment = of_this_process()
    assert environment.live
    assert environment.python == sys.version_info[:2]
    assert environment.bits == 64
    assert environment.packages["numpy"] == __import__("numpy").__version__
    assert environment.libc_version >= (2, 27)


def test_time_and_groups_of_a_running_system(tmp_path, monkeypatch):
    device, tools = pi4(tmp_path)
    device.live = True
    for answer, level in (("yes\n", "ok"), ("no\n", "warn")):
        tools.answers["timedatectl show"] = answer
        assert hardware.time_sync(patient(device))[0].level == level
    put(tmp_path, "/run/systemd/timesync/synchronized", "")
    assert hardware.time_sync(patient(device))[0].what == "synchronised (systemd-timesyncd)"
    monkeypatch.setattr(time, "time", lambda: 3600.0)
    finding = hardware.time_sync(patient(device))[0]
    assert (finding.level, finding.what) == ("bad", "the clock says 1970-01-01, which is past")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "getgroups", lambda: [1000])
    assert hardware.groups(patient(device))[0].what == "this user is not in group video"
    monkeypatch.setattr(os, "getgroups", lambda: [44, 1000])
    assert hardware.groups(patient(device))[0].level == "ok"


def test_a_camera_that_may_not_be_opened(tmp_path):
    device, _ = pi4(tmp_path)
    device.live = True
    put(tmp_path, "/sys/class/video4linux/video77/name", "imx708\n")  # there is no such node on this machine
    finding = hardware.camera(patient(device))[0]
    assert (finding.level, finding.what) == ("bad", "/dev/video77 may not be opened by this user")


@pytest.mark.parametrize(("free_mb", "level"), [(5000, "ok"), (300, "warn"), (20, "bad")])
def test_disk(free_mb, level, tmp_path, monkeypatch):
    device, _ = pi4(tmp_path)
    usage = shutil.disk_usage(tmp_path)._replace(free=free_mb * 2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    assert hardware.disk(patient(device))[0].level == level


@pytest.mark.parametrize(("state", "level"), [("active", "ok"), ("failed", "bad"), ("", "ok")])
def test_service(state, level, tmp_path):
    device, tools = pi4(tmp_path)
    assert hardware.service(patient(device))[0].what == "not installed"
    put(tmp_path, "/etc/systemd/system/edgedefend.service", "[Service]\n")
    tools.answers["systemctl show edgedefend.service"] = state + "\n"
    assert hardware.service(patient(device))[0].level == level


def patient(device: Device, environment: Environment = GOOD, bundle: Path | None = None) -> Patient:
    return Patient(device, environment, device.facts(), device.snapshot(), load_board("pi-4"), bundle)


def test_a_check_that_fails_is_a_finding(tmp_path):
    def broken_check(_: Patient) -> list[Finding]:
        raise ValueError("on\npurpose")

    finding = _findings(broken_check, patient(board("pi-4", tmp_path)))[0]
    assert finding.check == "broken check"
    assert finding.what == "could not be looked at: ValueError: on purpose"
