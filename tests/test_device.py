"""What is read of each board, against trees of files and tables of answers; and the one function that runs tools."""

import json
import os
import sys
import time
from pathlib import Path

import pytest

from edgedefend import jetson, raspberry_pi
from edgedefend.device import Device, run_tool
from tests.boards import BOARDS, board, device_tree, put

EXPECTED = {
    # kind, cpu, cores, memory_mb, governor, requested, true, temperature, source
    "pi-4": ("raspberry-pi", "Cortex-A72", 4, 3791, "ondemand", 1800.0, 1800.0, 48.7, "vcgencmd get_throttled"),
    "pi-5": ("raspberry-pi", "Cortex-A76", 4, 8063, "ondemand", 2400.0, 2400.0, 48.7, "vcgencmd get_throttled"),
    "pi-zero-2w": ("raspberry-pi", "Cortex-A53", 4, 416, "ondemand", 1000.0, 1000.0, 48.7, "vcgencmd get_throttled"),
    "jetson-orin-nano": ("jetson", "Cortex-A78AE", 6, 7620, "schedutil", 1510.4, 1510.0, 51.3, "both"),
    "jetson-orin-nx": ("jetson", "Cortex-A78AE", 8, 15656, "schedutil", 1510.4, 1510.0, 51.3, "both"),
    "jetson-agx-orin": ("jetson", "Cortex-A78AE", 12, 62841, "schedutil", 1510.4, 1510.0, 51.3, "both"),
    "generic-arm64": ("generic", "Neoverse-N1", 4, 3900, None, None, None, None, None),
    "x86": ("generic", "Intel(R) N100", 4, 7833, "powersave", 2900.0, None, 55.0, "thermal_throttle counters"),
}


@pytest.mark.parametrize("name", BOARDS)
def test_every_board(name, tmp_path):
    device = board(name, tmp_path)
    kind, cpu, cores, memory_mb, governor, requested, true, temperature, source = EXPECTED[name]
    facts, snapshot = device.facts(), device.snapshot()
    assert (facts["kind"], facts["cpu"], facts["cores"], facts["memory_mb"]) == (kind, cpu, cores, memory_mb)
    assert (snapshot["governor"], snapshot["requested_mhz"], snapshot["true_mhz"]) == (governor, requested, true)
    assert snapshot["temperature_c"] == temperature
    source = "hwmon oc*_event_cnt, ina3221 crit_alarm, throttle-alert cooling devices" if source == "both" else source
    assert snapshot["throttle_source"] == source
    assert snapshot["throttled_now"] == []
    assert snapshot["throttled_since_boot"] == (["core temperature"] if name == "x86" else [])
    assert json.loads(json.dumps([facts, snapshot])) == [facts, snapshot]


def test_names_and_system(tmp_path):
    facts = board("pi-5", tmp_path).facts()
    assert facts["board"] == "Raspberry Pi 5 Model B Rev 1.0"
    assert "asimddp" in facts["cpu_features"]
    assert facts["cpu_parts"] == ["0xd0b"]
    assert facts["kernel"] == "6.12.47+rpt-rpi-v8"
    assert facts["os"] == "Debian GNU/Linux 13 (trixie)"
    assert facts["l4t"] is facts["jetpack"] is None
    assert board("x86", tmp_path / "x86").facts()["board"] == "ACME Mini PC"


def test_an_empty_tree_is_a_board_of_which_nothing_is_known(tmp_path):
    device = Device(tmp_path)
    assert device.facts() == {
        **dict.fromkeys(device.facts()),
        "kind": "generic",
        "cpu": "unknown",
        "cpu_parts": [],
        "cpu_features": [],
    }
    assert set(map(str, device.snapshot().values())) == {"None", "[]", "{}"}


def test_garbage_in_every_file_raises_nothing(tmp_path):
    for name in BOARDS:
        device = board(name, tmp_path / name)
        for path in (tmp_path / name).rglob("*"):
            if path.is_file() and "device-tree" not in str(path):
                path.write_bytes(b"\xff\x00garbage: 99999999999999999999\n")
        device.run.answers = dict.fromkeys(device.run.answers, "\x00garbage CPU [ RAM \n")
        facts, snapshot = device.facts(), device.snapshot()
        json.dumps([facts, snapshot, device.power_modes()])
        # Nothing that was read there is taken for a measurement.
        assert not snapshot["throttled_now"]
        assert snapshot["temperature_c"] is None, name


def test_this_machine():
    device = Device()
    facts = device.facts()
    assert device.live
    assert facts["cores"] == len(
        [line for line in Path("/proc/cpuinfo").read_text().splitlines() if "processor" in line]
    )
    assert facts["memory_mb"] == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2**20
    json.dumps([facts, device.snapshot()])


def test_throttling_of_a_pi(tmp_path):
    device = board("pi-4", tmp_path)
    device.run.answers["vcgencmd get_throttled"] = "throttled=0x80005\n"
    snapshot = device.snapshot()
    assert snapshot["throttled_now"] == ["undervoltage", "throttled"]
    assert snapshot["throttled_since_boot"] == ["soft temperature limit"]
    assert snapshot["supply_volts"] is None
    assert board("pi-5", tmp_path / "5").snapshot()["supply_volts"] == 5.154


def test_a_pi_without_vcgencmd_asks_the_kernel(tmp_path):
    device = board("pi-4", tmp_path)
    device.run.answers.clear()
    assert device.snapshot()["throttle_source"] is None
    put(tmp_path, "/sys/class/hwmon/hwmon1/name", "rpi_volt\n")
    put(tmp_path, "/sys/class/hwmon/hwmon1/in0_lcrit_alarm", "1\n")
    snapshot = device.snapshot()
    assert snapshot["throttled_now"] == ["undervoltage"]
    assert snapshot["throttle_source"] == "hwmon rpi_volt (undervoltage only)"


def test_throttling_of_a_jetson(tmp_path):
    device = board("jetson-orin-nano", tmp_path)
    put(tmp_path, "/sys/class/hwmon/hwmon2/oc3_event_cnt", "17\n")
    put(tmp_path, "/sys/class/hwmon/hwmon1/curr2_crit_alarm", "1\n")
    put(tmp_path, "/sys/class/thermal/cooling_device2/cur_state", "1\n")
    snapshot = device.snapshot()
    assert snapshot["throttled_now"] == ["overcurrent VDD_CPU_GPU_CV", "temperature gpu"]
    assert snapshot["throttled_since_boot"] == ["overcurrent oc3"]
    assert snapshot["throttle_counts"] == {"overcurrent oc1": 0, "overcurrent oc2": 0, "overcurrent oc3": 17}


def test_power_mode_from_the_tool_and_from_the_files(tmp_path):
    device = board("jetson-orin-nano", tmp_path)
    assert device.power_mode() == "15W"
    assert device.power_modes() == {"15W": 0, "25W": 1, "MAXN_SUPER": 2, "7W": 3}
    put(tmp_path, "/var/lib/nvpmodel/status", "pmode:0001 fmode:quiet\n")
    without = Device(tmp_path)
    assert without.power_modes() == {"15W": 0, "25W": 1, "MAXN_SUPER": 2, "7W": 3}
    assert without.power_mode() == "25W"
    assert board("pi-4", tmp_path / "pi").power_modes() == {}


def test_l4t_from_dpkg_where_the_release_file_is_gone(tmp_path):
    device = board("jetson-orin-nx", tmp_path)
    assert (device.l4t, device.facts()["jetpack"]) == ("36.4.3", "6")
    (tmp_path / "etc/nv_tegra_release").unlink()
    put(
        tmp_path,
        "/var/lib/dpkg/status",
        "Package: libc6\nVersion: 2.31-0ubuntu9\n\nPackage: nvidia-l4t-core\nStatus: install ok installed\n"
        "Version: 35.4.1-20230801124926\n\n",
    )
    assert Device(tmp_path).facts()["jetpack"] == "5"
    assert jetson.jetpack_of("99.1") is None


def test_tegrastats_of_a_jetson(tmp_path):
    device = board("jetson-orin-nano", tmp_path)
    stats = jetson.tegrastats(device.run(["timeout", "0.8", "tegrastats"]))
    assert (stats["ram_mb"], stats["ram_total_mb"], stats["gpu_percent"]) == (2448, 7620, 7)
    assert stats["cpu_mhz"] == [1510, 1510, 1510, 1510, 729, None]
    assert stats["cpu_percent"][-2:] == [0, None]
    assert stats["temperatures_c"] == {"cpu": 51.343, "soc2": 50, "tboard": 41.2, "gpu": 49, "tj": 51.5}
    assert stats["power_mw"] == {"VDD_IN": 4824, "VDD_CPU_GPU_CV": 725, "VDD_SOC": 1451}
    older = "RAM 1766/3964MB (lfb 1x4MB) CPU [24%@1224,off] EMC_FREQ 0% GR3D_FREQ 0% PMIC@100C POM_5V_IN 2545/2547"
    assert jetson.tegrastats(older)["power_mw"] == {"POM_5V_IN": 2545}
    assert jetson.tegrastats("tegrastats: not running on a Jetson") == {}


@pytest.mark.parametrize("text", [None, "", "throttled=", "error=1", "throttled=0x", "VCHI initialization failed"])
def test_vcgencmd_that_does_not_answer(text):
    assert raspberry_pi.throttle_flags(text) is None
    assert raspberry_pi.true_mhz(text) is None
    assert raspberry_pi.volts(text) is None


def test_throttle_bits():
    assert raspberry_pi.throttle_flags("throttled=0x0\n") == ([], [])
    everything = list(raspberry_pi.THROTTLE_BITS.values())
    assert raspberry_pi.throttle_flags("throttled=0xf000f") == (everything, everything)
    assert raspberry_pi.throttle_flags("throttled=0x20002") == (["frequency capped"], ["frequency capped"])


def test_kinds(tmp_path):
    for compatible, kind in (("nvidia,p3509-0000+p3668-0000", "jetson"), ("radxa,rock-5b", "generic")):
        root = tmp_path / kind
        device_tree(root, "x", compatible)
        assert Device(root).kind == kind


def test_another_root_runs_no_tools_of_this_machine(tmp_path):
    assert Device(tmp_path).run(["echo", "hello"]) is None
    assert Device().run(["echo", "hello"]) == "hello\n"


def test_tools_that_fail_hang_or_are_missing(tmp_path, monkeypatch):
    assert run_tool([sys.executable, "-c", "print('half'); raise SystemExit(3)"]) is None
    assert run_tool(["/nonexistent/vcgencmd"]) is None
    # A tool that never ends is cut by timeout(1), and what it has said until then counts.
    assert run_tool(["timeout", "0.5", "sh", "-c", "echo RAM; exec sleep 60"]) == "RAM\n"
    monkeypatch.setattr("edgedefend.device._TIMEOUT_S", 0.3)
    began = time.monotonic()
    assert run_tool(["sleep", "60"]) is None
    assert time.monotonic() - began < 30
    # nvpmodel may ask a question: it gets no answer instead of waiting for one.
    assert run_tool(["cat"]) == ""
