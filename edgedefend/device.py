"""Which board this is, and what its sensors say now.

Everything is read from below one root folder and through one function that runs tools, so that a folder of files and a
dictionary of answers stand in for a board. Nothing here raises for a sensor or a tool that is missing: it is None or
an empty list, and the reader says "unknown". Standard library only: `edgedefend doctor` runs where NumPy does not.
"""

from __future__ import annotations

import os
import re
import subprocess
from functools import cached_property
from pathlib import Path
from typing import Any, Callable, Optional, Sequence  # noqa: UP035 - see Runner

from edgedefend import jetson, raspberry_pi

__all__ = ["CPU_NAMES", "Device", "Runner", "run_tool"]

# Written for Python 3.8: the doctor must run on a JetPack 5 to say that it is too old.
Runner = Callable[[Sequence[str]], Optional[str]]  # noqa: UP045

# (implementer, part) of /proc/cpuinfo -> name. Source: Arm's Main ID Register values, as in util-linux's lscpu.
CPU_NAMES = {
    ("0x41", "0xd03"): "Cortex-A53",
    ("0x41", "0xd04"): "Cortex-A35",
    ("0x41", "0xd05"): "Cortex-A55",
    ("0x41", "0xd07"): "Cortex-A57",
    ("0x41", "0xd08"): "Cortex-A72",
    ("0x41", "0xd09"): "Cortex-A73",
    ("0x41", "0xd0a"): "Cortex-A75",
    ("0x41", "0xd0b"): "Cortex-A76",
    ("0x41", "0xd0c"): "Neoverse-N1",
    ("0x41", "0xd40"): "Neoverse-V1",
    ("0x41", "0xd41"): "Cortex-A78",
    ("0x41", "0xd42"): "Cortex-A78AE",
    ("0x41", "0xd49"): "Neoverse-N2",
    ("0x41", "0xd4f"): "Neoverse-V2",
    ("0x41", "0xd83"): "Neoverse-V3AE",
    ("0x4e", "0x004"): "Carmel",
}
_TIMEOUT_S = 5.0
_TIMED_OUT = 124  # what coreutils' timeout(1) exits with: the way to take one line from a tool that never ends


def run_tool(command: Sequence[str]) -> str | None:
    """Run a program and return what it prints; None where it is missing, fails, or takes more than five seconds."""
    try:
        done = subprocess.run(
            list(command),
            stdin=subprocess.DEVNULL,  # nvpmodel can ask a question
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=False,
            env={**os.environ, "LC_ALL": "C"},
        )
    except (OSError, subprocess.SubprocessError):
        return None
    ended_well = done.returncode == 0 or (command[0] == "timeout" and done.returncode == _TIMED_OUT)
    return done.stdout.decode(errors="replace") if ended_well else None


def _pair(implementer: str, part: str) -> tuple[str, str]:
    return implementer.lower(), part.lower()


def _no_tools(command: Sequence[str]) -> str | None:
    return None


class Device:
    """The board that has its files below `root`.

    Parameters
    ----------
    root : Path
        "/" for this machine; else a board's file tree, as an image builder has it before the first boot.
    run : callable, optional
        Takes a command and returns its output, or None where it cannot be had. By default `run_tool` for this machine,
        and no tools at all for another root: this machine's would speak of this machine.
    """

    def __init__(self, root: Path = Path("/"), run: Runner | None = None) -> None:
        self.root = Path(root)
        self.live = self.root.resolve() == Path("/")
        self.run: Runner = run or (run_tool if self.live else _no_tools)

    def path(self, name: str) -> Path:
        """Return where the board's absolute path `name` is here."""
        return self.root / name.lstrip("/")

    def read(self, name: str) -> str | None:
        """Return the text of a file without surrounding blanks and NULs; None where it cannot be read."""
        try:
            return self.path(name).read_bytes().decode(errors="replace").strip("\0 \n\t")
        except (OSError, ValueError):
            return None

    def _glob(self, pattern: str) -> list[str]:
        """Return the absolute names, on the board, of the files that fit `pattern`, in numerical order."""

        def numbers(name: str) -> list[Any]:
            return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]

        try:
            found = ["/" + str(path.relative_to(self.root)) for path in self.root.glob(pattern.lstrip("/"))]
        except OSError:
            return []
        return sorted(found, key=numbers)

    def _number(self, name: str) -> int | None:
        try:
            return int(self.read(name) or "")
        except ValueError:
            return None

    @cached_property
    def model(self) -> str:
        """The model string of the device tree, e.g. "Raspberry Pi 5 Model B Rev 1.0"; "" where there is none."""
        return self.read("/proc/device-tree/model") or self.read("/sys/firmware/devicetree/base/model") or ""

    @cached_property
    def compatible(self) -> tuple[str, ...]:
        """The compatible strings of the device tree, most specific first."""
        text = self.read("/proc/device-tree/compatible") or self.read("/sys/firmware/devicetree/base/compatible")
        return tuple(text.split("\0")) if text else ()

    @cached_property
    def kind(self) -> str:
        """One of "raspberry-pi", "jetson" and "generic"."""
        if any(name.startswith("raspberrypi,") for name in self.compatible):
            return "raspberry-pi"
        if any(name.startswith("nvidia,tegra") or re.match(r"nvidia,p\d{4}", name) for name in self.compatible):
            return "jetson"
        return "generic"

    def _cpuinfo(self, key: str) -> list[str]:
        lines = (self.read("/proc/cpuinfo") or "").splitlines()
        pairs = [line.partition(":") for line in lines]
        return [value.strip() for name, _, value in pairs if name.strip() == key]

    @cached_property
    def cpu_parts(self) -> tuple[str, ...]:
        """The part numbers of the ARM cores, each once, e.g. ("0xd08",)."""
        return tuple(dict.fromkeys(value.lower() for value in self._cpuinfo("CPU part")))

    @cached_property
    def cpu_features(self) -> tuple[str, ...]:
        """The instruction set features that the kernel lists ("Features" on ARM, "flags" on x86), sorted."""
        return tuple(sorted(set(" ".join(self._cpuinfo("Features") + self._cpuinfo("flags")).split())))

    @cached_property
    def cpu_name(self) -> str:
        """The name of the cores, e.g. "Cortex-A72"; "unknown" where the kernel does not say."""
        names = self._cpuinfo("model name")
        if self.cpu_parts:
            implementers, parts = self._cpuinfo("CPU implementer"), self._cpuinfo("CPU part")
            pairs = dict.fromkeys(map(_pair, implementers, parts))
            names = [CPU_NAMES.get(pair, f"ARM part {pair[1]}") for pair in pairs] or names
        return ", ".join(dict.fromkeys(names)) or "unknown"

    @cached_property
    def memory_mb(self) -> int | None:
        """The memory that the kernel has, in MiB."""
        match = re.search(r"^MemTotal:\s*(\d+) kB", self.read("/proc/meminfo") or "", re.MULTILINE)
        return int(match[1]) // 1024 if match else None

    @cached_property
    def l4t(self) -> str | None:
        """The release of Jetson Linux, e.g. "36.4.3"; None on other boards."""
        return jetson.l4t_release(self.read("/etc/nv_tegra_release"), self.read("/var/lib/dpkg/status"))

    def _os_name(self) -> str | None:
        match = re.search(r'^PRETTY_NAME="?([^"\n]*)"?$', self.read("/etc/os-release") or "", re.MULTILINE)
        return match[1] if match else None

    def facts(self) -> dict[str, Any]:
        """Return what does not change while the board runs. JSON-able; None or empty where unknown.

        Keys: ``board`` (the device tree's model, else the firmware's name of the machine), ``kind``, ``cpu``,
        ``cpu_parts``, ``cpu_features``, ``cores``, ``memory_mb``, ``kernel``, ``os``, ``l4t``, ``jetpack``.
        """
        vendor, product = (self.read(f"/sys/class/dmi/id/{name}") for name in ("sys_vendor", "product_name"))
        return {
            "board": self.model or " ".join(part for part in (vendor, product) if part) or None,
            "kind": self.kind,
            "cpu": self.cpu_name,
            "cpu_parts": list(self.cpu_parts),
            "cpu_features": list(self.cpu_features),
            "cores": len(self._cpuinfo("processor")) or None,
            "memory_mb": self.memory_mb,
            "kernel": self.read("/proc/sys/kernel/osrelease"),
            "os": self._os_name(),
            "l4t": self.l4t,
            "jetpack": jetson.jetpack_of(self.l4t),
        }

    def power_modes(self) -> dict[str, int]:
        """Return name -> id of this Jetson's power modes; empty on other boards."""
        if self.kind != "jetson":
            return {}
        said = jetson.power_modes(self.run(["nvpmodel", "-p", "--verbose"]))
        return said or jetson.power_modes(self.read("/etc/nvpmodel.conf"))

    def power_mode(self) -> str | None:
        """Return the name of this Jetson's power mode, from the tool or from the state that it keeps."""
        if self.kind != "jetson":
            return None
        mode = jetson.power_mode(self.run(["nvpmodel", "-q"]))
        kept = re.search(r"pmode:(\d+)", self.read("/var/lib/nvpmodel/status") or "")
        if mode or not kept:
            return mode
        return {number: name for name, number in self.power_modes().items()}.get(int(kept[1]))

    def snapshot(self) -> dict[str, Any]:
        """Return what changes while the board runs. JSON-able; None or empty where unknown.

        Keys: ``governor``, ``requested_mhz`` (the fastest core's), ``true_mhz`` (measured, not asked for),
        ``temperature_c``, ``throttled_now``, ``throttled_since_boot`` (names), ``throttle_counts`` (events since boot
        by name, where the board counts), ``throttle_source`` (None: this board cannot tell whether it throttles),
        ``supply_volts``, ``power_mode``. Takes up to a second on a Jetson, whose tegrastats needs an interval.
        """
        stats = self._tegrastats()
        now, since_boot, counts, source = self._throttling()
        return {
            "governor": self.governor(),
            "requested_mhz": self._requested_mhz(),
            "true_mhz": self._true_mhz(stats),
            "temperature_c": self._temperature(stats),
            "throttled_now": now,
            "throttled_since_boot": since_boot,
            "throttle_counts": counts,
            "throttle_source": source,
            "supply_volts": self._supply_volts(),
            "power_mode": self.power_mode(),
        }

    def _tegrastats(self) -> dict[str, Any]:
        if self.kind != "jetson":
            return {}
        return jetson.tegrastats(self.run(["timeout", "0.8", "tegrastats", "--interval", "200"]))

    def governor(self) -> str | None:
        """Return the clock governor, "a, b" where the cores have different ones, None where there is none."""
        found = [self.read(name) for name in self._glob("/sys/devices/system/cpu/cpu*/cpufreq/scaling_governor")]
        return ", ".join(dict.fromkeys(name for name in found if name)) or None

    def _requested_mhz(self) -> float | None:
        found = [self._number(name) for name in self._glob("/sys/devices/system/cpu/cpu*/cpufreq/scaling_cur_freq")]
        known = [khz for khz in found if khz]
        return round(max(known) / 1000, 1) if known else None

    def _true_mhz(self, stats: dict[str, Any]) -> float | None:
        if self.kind == "raspberry-pi":
            return raspberry_pi.true_mhz(self.run(["vcgencmd", "measure_clock", "arm"]))
        running = [mhz for mhz in stats.get("cpu_mhz", []) if mhz]
        return float(max(running)) if running else None

    def _temperature(self, stats: dict[str, Any]) -> float | None:
        """Return the CPU's temperature: the thermal zone named for it, else the first that can be read."""
        zones = {}
        for name in self._glob("/sys/class/thermal/thermal_zone*/temp"):
            millidegrees = self._number(name)
            if millidegrees is not None:
                zones[(self.read(name[: -len("temp")] + "type") or name).lower()] = round(millidegrees / 1000, 1)
        for wanted in ("cpu", "x86_pkg", "tj", "soc", ""):
            for kind, degrees in zones.items():
                if wanted in kind:
                    return degrees
        temperatures = stats.get("temperatures_c", {})
        return temperatures.get("cpu", temperatures.get("tj"))

    def _supply_volts(self) -> float | None:
        if self.kind != "raspberry-pi":
            return None
        return raspberry_pi.volts(self.run(["vcgencmd", "pmic_read_adc", "EXT5V_V"]))

    def _throttling(self) -> tuple[list[str], list[str], dict[str, int], str | None]:
        """Return (now, since boot, counts, source)."""
        if self.kind == "raspberry-pi":
            flags = raspberry_pi.throttle_flags(self.run(["vcgencmd", "get_throttled"]))
            if flags is not None:
                return *flags, {}, "vcgencmd get_throttled"
            return self._pi_voltage_alarm()
        if self.kind == "jetson":
            return self._jetson_events()
        return self._x86_counters()

    def _hwmon(self, chip: str) -> list[str]:
        names = [name[: -len("/name")] for name in self._glob("/sys/class/hwmon/hwmon*/name")]
        return [folder for folder in names if self.read(folder + "/name") == chip]

    def _pi_voltage_alarm(self) -> tuple[list[str], list[str], dict[str, int], str | None]:
        """Without the right to call vcgencmd the kernel's own driver still tells of undervoltage (only)."""
        for folder in self._hwmon("rpi_volt"):
            alarm = self._number(folder + "/in0_lcrit_alarm")
            if alarm is not None:
                return (["undervoltage"] if alarm else []), [], {}, "hwmon rpi_volt (undervoltage only)"
        return [], [], {}, None

    def _jetson_events(self) -> tuple[list[str], list[str], dict[str, int], str | None]:
        counts, now, sources = {}, [], []
        for name in self._glob("/sys/class/hwmon/hwmon*/oc*_event_cnt"):
            events = self._number(name)
            if events is not None:
                counts["overcurrent " + name.rpartition("/")[2].partition("_")[0]] = events
        if counts:
            sources.append("hwmon oc*_event_cnt")
        for folder in self._hwmon("ina3221"):
            for name in self._glob(folder + "/curr*_crit_alarm"):
                alarm = self._number(name)
                if alarm is None:
                    continue
                sources.append("ina3221 crit_alarm")
                channel = re.sub(r"\D", "", name.rpartition("/")[2])
                if alarm:
                    now.append(f"overcurrent {self.read(f'{folder}/in{channel}_label') or f'rail {channel}'}")
        for name in self._glob("/sys/class/thermal/cooling_device*/type"):
            alert = self.read(name) or ""
            if alert.endswith("-throttle-alert"):
                sources.append("throttle-alert cooling devices")
                if self._number(name[: -len("type")] + "cur_state"):
                    now.append("temperature " + alert[: -len("-throttle-alert")])
        since_boot = [name for name, events in counts.items() if events]
        return now, since_boot, counts, ", ".join(dict.fromkeys(sources)) or None

    def _x86_counters(self) -> tuple[list[str], list[str], dict[str, int], str | None]:
        counts: dict[str, int] = {}
        for scope in ("core", "package"):
            names = self._glob(f"/sys/devices/system/cpu/cpu*/thermal_throttle/{scope}_throttle_count")
            known = [events for events in map(self._number, names) if events is not None]
            if known:
                counts[f"{scope} temperature"] = max(known)
        since_boot = [name for name, events in counts.items() if events]
        return [], since_boot, counts, "thermal_throttle counters" if counts else None
