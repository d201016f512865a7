"""What a Jetson's files and tools say, read: plain functions of text, so that no board is needed to test them.

Sources: NVIDIA Jetson Linux Developer Guide, "Platform Power and Performance" (nvpmodel, tegrastats, OC events).
"""

from __future__ import annotations

import re
from typing import Any

__all__ = ["JETPACKS", "jetpack_of", "l4t_release", "power_mode", "power_modes", "tegrastats"]

# Major release of L4T -> (JetPack, the Python of its Ubuntu).
JETPACKS = {32: ("4", "3.6"), 34: ("5", "3.8"), 35: ("5", "3.8"), 36: ("6", "3.10"), 38: ("7", "3.12")}
_RAIL = re.compile(r"\b([A-Z][A-Z0-9_]+) (\d+)(?:mW)?/\d+(?:mW)?(?=\s|$)")


def l4t_release(tegra_release: str | None, dpkg_status: str | None) -> str | None:
    """Return e.g. "36.4.3", from /etc/nv_tegra_release, else from the package nvidia-l4t-core in dpkg's status."""
    match = re.search(r"R(\d+)\s*\(release\),\s*REVISION:\s*([0-9.]+)", tegra_release or "")
    if match:
        return f"{match[1]}.{match[2]}"
    for package in (dpkg_status or "").split("\n\n"):
        if re.search(r"^Package: nvidia-l4t-core$", package, re.MULTILINE):
            version = re.search(r"^Version: (\d+\.\d+(?:\.\d+)?)", package, re.MULTILINE)
            if version:
                return version[1]
    return None


def jetpack_of(l4t: str | None) -> str | None:
    """Return the major JetPack of an L4T release ("36.4.3" is "6"), None where it is not known."""
    return JETPACKS.get(int(l4t.split(".")[0]), (None, ""))[0] if l4t else None


def power_modes(text: str | None) -> dict[str, int]:
    """Return name -> id of every mode in `nvpmodel -p --verbose` or in /etc/nvpmodel.conf. The ids differ by board."""
    return {
        match[2]: int(match[1])
        for match in re.finditer(r"^[^#\n]*POWER_MODEL:?\s+ID=(\d+)\s+NAME=([^\s>]+)", text or "", re.MULTILINE)
    }


def power_mode(text: str | None) -> str | None:
    """Return the mode that `nvpmodel -q` names, e.g. "15W"."""
    match = re.search(r"^NV Power Mode:\s*(\S+)", text or "", re.MULTILINE)
    return match[1] if match else None


def tegrastats(text: str | None) -> dict[str, Any]:
    """Return what the last line of `tegrastats` says; an empty dict where there is none.

    Keys, where the line has them: ``ram_mb`` and ``ram_total_mb``, ``cpu_percent`` and ``cpu_mhz`` (a list each, None
    for a core that is off), ``gpu_percent``, ``temperatures_c`` (by sensor), ``power_mw`` (by rail, now).
    """
    lines = [line for line in (text or "").splitlines() if "RAM " in line and "CPU [" in line]
    if not lines:
        return {}
    line = lines[-1]
    facts: dict[str, Any] = {}
    ram = re.search(r"\bRAM (\d+)/(\d+)MB", line)
    if ram:
        facts["ram_mb"], facts["ram_total_mb"] = int(ram[1]), int(ram[2])
    cores = re.search(r"\bCPU \[([^\]]*)\]", line)
    parsed = [re.fullmatch(r"(\d+)%@(\d+)", core.strip()) for core in (cores[1] if cores else "").split(",")]
    facts["cpu_percent"] = [int(core[1]) if core else None for core in parsed]
    facts["cpu_mhz"] = [int(core[2]) if core else None for core in parsed]
    gpu = re.search(r"\bGR3D_FREQ (\d+)%", line)
    if gpu:
        facts["gpu_percent"] = int(gpu[1])
    # A rail or a sensor that is powered down reads -256C.
    facts["temperatures_c"] = {
        name.lower(): float(value) for name, value in re.findall(r"(\w+)@(-?[0-9.]+)C\b", line) if float(value) > -100
    }
    facts["power_mw"] = {name: int(now) for name, now in re.findall(_RAIL, line)}
    return facts
