"""The board itself: CPU, clocks, temperature, power, groups, camera, memory, disk, time, its settings and service."""

from __future__ import annotations

import datetime
import os
import re
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

from edgedefend.doctor import Finding, bad, ok, warn

if TYPE_CHECKING:
    from edgedefend.doctor import Patient

__all__ = ["CHECKS"]

WARN_C, LIMIT_C = 75.0, 85.0
# A clock this much below the one asked for is being held back.
SLOW = 0.9
LITTLE_DISK_MB, NO_DISK_MB = 500, 50
LITTLE_MEMORY_MB = 150
# Raspberry Pi documentation, "Power supply warnings": undervoltage below 4.63 V; 4.75 V is the USB limit.
LOW_VOLTS, TOO_LOW_VOLTS = 4.75, 4.63
# Video nodes of a Pi that are not cameras: codecs and image processors.
_NOT_CAMERAS = ("codec", "isp", "hevc", "rpivid", "pispbe", "rpi-hevc", "dec", "enc")


def cpu(patient: Patient) -> list[Finding]:
    """Look at the CPU's features, which the compiled libraries count on."""
    facts = patient.facts
    features, name = set(facts["cpu_features"]), f"{facts['cores'] or '?'} x {facts['cpu']}"
    if not features:
        return [ok(f"{name}, its features are unknown")]
    if facts["cpu_parts"] or "asimd" in features or "neon" in features:
        if "asimd" not in features:
            why = "64-bit NEON (asimd) is what every wheel for ARM counts on"
            return [bad(f"{name} without asimd", why, "use a board with a 64-bit ARM CPU")]
        dot = "dot product" if "asimddp" in features else "no dot product: int8 gains less"
        atomics = "" if "atomics" in features else ", no ARMv8.1 atomics: wheels built for newer cores end in SIGILL"
        return [ok(f"{name}: NEON, {dot}{atomics}")]
    if "avx" not in features:
        why = "the runtimes' wheels for x86 are built with AVX"
        return [warn(f"{name} without AVX", why, "see whether the imports above work")]
    return [ok(f"{name}: AVX{'2' if 'avx2' in features else ''}{', FMA' if 'fma' in features else ''}")]


def governor(patient: Patient) -> list[Finding]:
    """Look at the clock governor."""
    now = patient.snapshot["governor"]
    if now is None:
        return [ok("unknown: this system does not set its own clocks")]
    wanted = patient.settings.governor if patient.settings and patient.facts["kind"] != "generic" else None
    if wanted and now != wanted:
        why = "the clock rises only after work has begun: single images take longer and latency scatters"
        return [
            Finding(
                "",
                "warn",
                f"{now}, the settings of {patient.settings.name} have {wanted}",
                why,
                "sudo edgedefend board apply",
            )
        ]
    if now == "powersave" and patient.facts["cpu_parts"]:
        why = "the CPU stays at its lowest clock"
        mend = "echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"
        return [warn(now, why, mend)]
    return [ok(now)]


def clock(patient: Patient) -> list[Finding]:
    """Compare the clock that is asked for with the one that is measured."""
    asked, true = patient.snapshot["requested_mhz"], patient.snapshot["true_mhz"]
    if true is None:
        return [ok(f"{asked:g} MHz asked for, the true one is unknown" if asked else "unknown")]
    if asked and true < SLOW * asked:
        why = "something holds it back: temperature, power supply or power mode, see below"
        return [warn(f"{true:g} MHz, {asked:g} MHz asked for", why, "mend what is named below")]
    return [ok(f"{true:g} MHz" + (f", {asked:g} MHz asked for" if asked else ""))]


def temperature(patient: Patient) -> list[Finding]:
    """Look at the temperature, against the limits of this board."""
    now = patient.snapshot["temperature_c"]
    if now is None:
        return [ok("unknown: no sensor")]
    high = patient.settings.warn_c if patient.settings else WARN_C
    limit = patient.settings.limit_c if patient.settings else LIMIT_C
    mend = "give it a heat sink, a fan or moving air, then look again under load: edgedefend bench soak"
    if now >= limit:
        return [bad(f"{now:g} C, the limit is {limit:g} C", "it is slowing itself down to stay whole", mend)]
    if now >= high:
        return [warn(f"{now:g} C, it slows down from {limit:g} C", "the next warm day it will", mend)]
    return [ok(f"{now:g} C, it slows down from {limit:g} C")]


def throttling(patient: Patient) -> list[Finding]:
    """Look at whether the board slows itself down, now and since it was started."""
    snapshot, kind = patient.snapshot, patient.facts["kind"]
    if snapshot["throttle_source"] is None:
        if kind == "raspberry-pi":
            why = "whether it slows down cannot be seen without the firmware's answer"
            mend = (
                "sudo usermod -aG video $USER, log in again; if vcgencmd is missing: sudo apt-get install raspi-utils"
            )
            return [warn("unknown: vcgencmd does not answer", why, mend)]
        return [ok("unknown: this board does not tell")]
    source = snapshot["throttle_source"]
    # Undervoltage has a finding of its own.
    now = [name for name in snapshot["throttled_now"] if name != "undervoltage"]
    before = [name for name in snapshot["throttled_since_boot"] if name not in ("undervoltage", *now)]
    counts = snapshot["throttle_counts"]
    named = ", ".join(f"{name} ({counts[name]} times)" if counts.get(name) else name for name in before)
    cooling = "cool it (see temperature); for overcurrent choose a smaller power mode or a stronger supply"
    if now:
        return [bad(f"now: {', '.join(now)}", "latency is not what this board can do", cooling)]
    if before:
        why = "it happened under some load, and will again"
        return [warn(f"not now; since the start: {named}", why, cooling)]
    return [ok(f"neither now nor since the start ({source})")]


def power_supply(patient: Patient) -> list[Finding]:
    """Look at undervoltage and, where it is measured, the voltage; on a Jetson at the power mode."""
    snapshot, settings = patient.snapshot, patient.settings
    if patient.facts["kind"] == "jetson":
        return _power_mode(patient)
    if patient.facts["kind"] != "raspberry-pi":
        return [ok("unknown: this board does not tell")]
    volts = snapshot["supply_volts"]
    measured = f", {volts:g} V" if volts is not None else ""
    wanted = "the official supply"
    if settings and settings.supply_volts:
        wanted = f"a supply of {settings.supply_volts:g} V and {settings.supply_amperes:g} A"
    mend = f"use {wanted} and a short, thick cable; take off what draws current from USB"
    why = "the clock is held down, and the card or a camera may fail at any moment"
    if "undervoltage" in snapshot["throttled_now"] or (volts is not None and volts < TOO_LOW_VOLTS):
        return [bad(f"undervoltage now{measured}", why, mend)]
    if "undervoltage" in snapshot["throttled_since_boot"]:
        return [warn(f"undervoltage since the start, not now{measured}", f"under load it will come back: {why}", mend)]
    if volts is not None and volts < LOW_VOLTS:
        return [warn(f"{volts:g} V", f"little is left above the {TOO_LOW_VOLTS} V of undervoltage", mend)]
    known = snapshot["throttle_source"] is not None
    return [ok(f"{'no undervoltage, now or since the start' if known else 'unknown'}{measured}")]


def _power_mode(patient: Patient) -> list[Finding]:
    now, modes = patient.snapshot["power_mode"], patient.device.power_modes()
    wanted = next((mode for mode in (patient.settings.power_modes if patient.settings else ()) if mode in modes), None)
    if now is None:
        return [warn("the power mode is unknown", "nvpmodel does not answer", "sudo nvpmodel -q")]
    if wanted and now != wanted:
        why = f"{now} gives other clocks and numbers of cores than latency is measured with"
        return [warn(f"power mode {now}, the settings have {wanted}", why, "sudo edgedefend board apply")]
    return [ok(f"power mode {now}")]


def config_txt(patient: Patient) -> list[Finding]:
    """Look for settings in a Pi's config.txt that may void its warranty."""
    if patient.facts["kind"] != "raspberry-pi":
        return []
    from edgedefend.board_schema import forbidden_setting

    for name in ("/boot/firmware/config.txt", "/boot/config.txt"):
        text = patient.device.read(name)
        if text is None:
            continue
        lines = [line.strip() for line in text.splitlines()]
        found = [
            line for line in lines if line and not line.startswith("#") and forbidden_setting(line.partition("=")[0])
        ]
        if found:
            why = (
                "with force_turbo and over_voltage together the firmware may set a permanent bit; both shorten its life"
            )
            return [warn(f"{name}: {', '.join(found[:4])}", why, f"take them out: sudo nano {name}")]
        return [ok(f"{name}: clocks and voltages are as made")]
    return [ok("there is none")]


def groups(patient: Patient) -> list[Finding]:
    """Look at whether this user, or the service's in another tree, may use cameras and ask the firmware."""
    device = patient.device
    lines = [line.split(":") for line in (device.read("/etc/group") or "").splitlines()]
    entry = next((words for words in lines if words[0] == "video" and len(words) > 3), None)
    if entry is None:
        return [ok("there is no group video here")]
    if not device.live:
        if "edgedefend" in entry[3].split(",") or device.read("/etc/sysusers.d/edgedefend.conf"):
            return [ok("the user edgedefend is, or at the start will be, in group video")]
        return [ok("the service's user does not exist yet")]
    if os.geteuid() == 0:
        return [ok("root may use everything")]
    if entry[2].isdigit() and int(entry[2]) in os.getgroups():
        return [ok("this user is in group video")]
    why = "cameras (/dev/video*) and the firmware (vcgencmd) are open to group video only"
    return [warn("this user is not in group video", why, "sudo usermod -aG video $USER, then log in again")]


def camera(patient: Patient) -> list[Finding]:
    """Look for cameras that the kernel has found, and whether this user may open them."""
    device = patient.device
    names = {}
    for path in sorted(device.path("/sys/class/video4linux").glob("video*/name")):
        label = device.read("/" + str(path.relative_to(device.root))) or ""
        if not any(word in label.lower() for word in _NOT_CAMERAS):
            names[path.parent.name] = label
    if not names:
        board = patient.facts["kind"] != "generic"
        what = "none found"
        if not board:
            return [ok(f"{what}: files, folders and HTTP work without")]
        why = "files, folders and HTTP work without; a ribbon cable in the wrong way round looks like this too"
        return [warn(what, why, "check the cable, then: rpicam-hello --list-cameras, or v4l2-ctl --list-devices")]
    what = ", ".join(f"/dev/{node} ({label})" for node, label in list(names.items())[:4])
    closed = [node for node in names if device.live and not os.access(f"/dev/{node}", os.R_OK | os.W_OK)]
    if closed:
        return [
            bad(
                f"/dev/{closed[0]} may not be opened by this user",
                "group video owns it",
                "sudo usermod -aG video $USER, then log in again",
            )
        ]
    return [ok(what)]


def memory(patient: Patient) -> list[Finding]:
    """Look at how much memory is left."""
    total = patient.facts["memory_mb"]
    if total is None:
        return [ok("unknown")]
    match = re.search(r"^MemAvailable:\s*(\d+) kB", patient.device.read("/proc/meminfo") or "", re.MULTILINE)
    left = int(match[1]) // 1024 if match else None
    what = f"{total} MB" + (f", {left} MB available" if left is not None else "")
    if left is not None and left < LITTLE_MEMORY_MB:
        why = (
            "an int8 model with the runtime needs about 100 MB, fp32 Inception V3 235 MB; the kernel kills what is over"
        )
        return [warn(what, why, "stop the desktop: sudo systemctl set-default multi-user.target, then reboot")]
    return [ok(what)]


def disk(patient: Patient) -> list[Finding]:
    """Look at the room where releases and kernels go."""
    device = patient.device
    place = next(path for path in (device.path("/opt/edgedefend"), device.path("/opt"), device.root) if path.exists())
    left = shutil.disk_usage(place).free // 2**20
    what = f"{left} MB left at {place}"
    if left < NO_DISK_MB:
        return [bad(what, "nothing can be deployed and no log be written", "sudo apt-get clean; df -h")]
    if left < LITTLE_DISK_MB:
        why = "a release with its environment takes about 400 MB, and the one before is kept"
        return [warn(what, why, "sudo apt-get clean; df -h")]
    return [ok(what)]


def time_sync(patient: Patient) -> list[Finding]:
    """Look at whether the clock is set: certificates, logs and results are dated by it."""
    if not patient.device.live:
        return [ok("not looked at: this is not the running system")]
    mend = "sudo timedatectl set-ntp true"
    # A board without a battery starts in the past; this file cannot be from the future.
    written = Path(__file__).stat().st_mtime
    if time.time() < written - 86400:
        day = datetime.date.fromtimestamp(time.time()).isoformat()
        return [bad(f"the clock says {day}, which is past", "certificates are refused, logs are misdated", mend)]
    if patient.device.path("/run/systemd/timesync/synchronized").exists():
        return [ok("synchronised (systemd-timesyncd)")]
    answer = (patient.device.run(["timedatectl", "show", "--property=NTPSynchronized", "--value"]) or "").strip()
    if answer == "yes":
        return [ok("synchronised")]
    if answer == "no":
        why = "a board without a battery forgets the time at every power cut"
        return [warn("not synchronised", why, mend)]
    return [ok("unknown: no systemd answers")]


def settings(patient: Patient) -> list[Finding]:
    """Look at whether this board's settings are applied."""
    if patient.settings is None or not patient.device.compatible:
        return []
    from edgedefend.board_apply import plan

    name = patient.settings.name
    # The service's own unit may be another's: `deploy` installs it with the port and folder it was told.
    paths = [change.path for change in plan(patient.device, patient.settings)]
    changes = [path for path in paths if not path.endswith("/edgedefend.service")]
    if changes:
        why = "governor, watchdog, memory limits and kernel settings are the system's own"
        what = f"the settings of {name} are not applied, or not all ({len(changes)} files differ)"
        return [warn(what, why, "edgedefend board diff, then: sudo edgedefend board apply")]
    return [ok(f"those of {name} are applied")]


def service(patient: Patient) -> list[Finding]:
    """Look at the service, where it is installed."""
    if not patient.device.path("/etc/systemd/system/edgedefend.service").exists():
        return [ok("not installed")]
    # `is-active` ends with 3 for everything but active: ask for the property instead.
    answer = patient.device.run(["systemctl", "show", "edgedefend.service", "--property=ActiveState", "--value"])
    state = (answer or "").strip()
    if state == "failed":
        why = "nothing answers on its port"
        return [
            bad(
                "it has failed",
                why,
                "journalctl -u edgedefend -n 50, then: sudo systemctl restart edgedefend",
            )
        ]
    return [ok(state or "installed, its state is unknown")]


CHECKS = (
    cpu,
    governor,
    clock,
    temperature,
    throttling,
    power_supply,
    config_txt,
    groups,
    camera,
    memory,
    disk,
    time_sync,
    settings,
    service,
)
