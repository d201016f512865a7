"""What `vcgencmd` of a Raspberry Pi says, read: plain functions of its text, so that no board is needed to test them.

Sources: Raspberry Pi documentation, "vcgencmd" (`get_throttled`, `measure_clock`, `pmic_read_adc`).
"""

from __future__ import annotations

import re

__all__ = ["THROTTLE_BITS", "throttle_flags", "true_mhz", "volts"]

# Bit n is "now", bit n + 16 "since boot".
THROTTLE_BITS = {0: "undervoltage", 1: "frequency capped", 2: "throttled", 3: "soft temperature limit"}


def throttle_flags(text: str | None) -> tuple[list[str], list[str]] | None:
    """Return (now, since boot) of ``throttled=0x50005``; None where the text is not that."""
    match = re.fullmatch(r"throttled=(0x[0-9a-fA-F]+)", (text or "").strip())
    if match is None:
        return None
    bits = int(match[1], 16)
    now = [name for bit, name in THROTTLE_BITS.items() if bits >> bit & 1]
    since_boot = [name for bit, name in THROTTLE_BITS.items() if bits >> bit + 16 & 1]
    return now, since_boot


def true_mhz(text: str | None) -> float | None:
    """Return the MHz of ``frequency(0)=1800457088`` (`measure_clock arm`)."""
    match = re.fullmatch(r"frequency\(\d+\)=(\d+)", (text or "").strip())
    return round(int(match[1]) / 1e6, 1) if match and int(match[1]) else None


def volts(text: str | None, rail: str = "EXT5V_V") -> float | None:
    """Return the volts of a rail in the output of `pmic_read_adc` (Pi 5), e.g. ``EXT5V_V volt(24)=5.15350000V``."""
    match = re.search(rf"{re.escape(rail)}\s+volt\(\d+\)=([0-9.]+)V", text or "")
    return round(float(match[1]), 3) if match else None
