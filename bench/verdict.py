"""May this figure be quoted? What speaks against it, in words: throttling, a changing clock, other load."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

__all__ = ["TAINTED", "VALID", "judge"]

VALID, TAINTED = "VALID", "TAINTED"
# A clock that is read twice differs a little although nothing changed it.
CLOCK_TOLERANCE = 0.05
# Of all the time of the CPUs that the measurement may use.
OTHER_LOAD, STOLEN = 0.05, 0.01
# Nothing throttles below its limit, but a board within a few degrees of it is about to (Pi: 80 °C).
HOT_C = 80.0


def _throttling(snapshots: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    before, after = snapshots[0], snapshots[-1]
    seen = dict.fromkeys(name for snapshot in snapshots for name in snapshot.get("throttled_now") or [])
    new = [
        name
        for name in after.get("throttled_since_boot") or []
        if name not in (before.get("throttled_since_boot") or [])
    ]
    counts, earlier = after.get("throttle_counts") or {}, before.get("throttle_counts") or {}
    counted = [name for name, count in counts.items() if count > earlier.get(name, 0)]
    for name in dict.fromkeys([*seen, *new, *counted]):
        yield "undervoltage during the run" if name == "undervoltage" else f"throttled during the run: {name}"


def _clock(snapshots: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    governors = dict.fromkeys(snapshot["governor"] for snapshot in snapshots if snapshot.get("governor"))
    for governor in governors:
        if set(governor.split(", ")) != {"performance"}:
            yield f"the governor is {governor}, not performance"
    modes = list(dict.fromkeys(snapshot["power_mode"] for snapshot in snapshots if snapshot.get("power_mode")))
    if len(modes) > 1:
        yield f"the power mode changed from {modes[0]} to {modes[-1]}"
    for key, name in (("requested_mhz", "requested"), ("true_mhz", "true")):
        seen = [snapshot[key] for snapshot in snapshots if snapshot.get(key)]
        if seen and max(seen) > min(seen) * (1 + CLOCK_TOLERANCE):
            yield f"the {name} clock changed between {min(seen):.0f} and {max(seen):.0f} MHz"
    slower = [
        (snapshot["true_mhz"], snapshot["requested_mhz"])
        for snapshot in snapshots
        if snapshot.get("true_mhz")
        and snapshot.get("requested_mhz")
        and snapshot["true_mhz"] < snapshot["requested_mhz"] * (1 - CLOCK_TOLERANCE)
    ]
    if slower:
        yield f"the true clock is {slower[0][0]:.0f} MHz where {slower[0][1]:.0f} MHz were requested"


def _unknown(snapshots: Sequence[Mapping[str, Any]]) -> list[str]:
    names = {
        "governor": "governor",
        "requested_mhz": "requested clock",
        "true_mhz": "true clock",
        "temperature_c": "temperature",
        "throttle_source": "throttling",
    }
    return [name for key, name in names.items() if all(snapshot.get(key) is None for snapshot in snapshots)]


def judge(
    facts: Mapping[str, Any],
    snapshots: Sequence[Mapping[str, Any]],
    load: Mapping[str, float | None],
    reasons: Iterable[str] = (),
) -> dict[str, Any]:
    """Judge a measurement by what was seen of the machine.

    Parameters
    ----------
    facts : mapping
        Of `edgedefend.device.Device.facts`.
    snapshots : sequence of mappings
        Of `edgedefend.device.Device.snapshot`, the first taken before and the last after the measurement; one empty
        mapping where the sensors do not matter.
    load : mapping
        ``other`` and ``stolen``: fractions of the CPUs' time that went to other processes and to other guests of
        the host; None where unknown.
    reasons : iterable of str
        What the measurement itself has to say against its figures (too few samples, stopped early).

    Returns
    -------
    dict
        ``verdict``: "VALID" or "TAINTED"; ``reasons`` for the latter; ``unknown``: what this machine does not
        tell. A board that ought to tell whether it throttles and does not is no witness: TAINTED.
    """
    against = [*reasons, *_throttling(snapshots), *_clock(snapshots)]
    hottest = max((snapshot["temperature_c"] for snapshot in snapshots if snapshot.get("temperature_c")), default=0.0)
    if hottest >= HOT_C:
        against.append(f"hot: {hottest:.0f} °C, boards throttle from {HOT_C:.0f} °C")
    unknown = _unknown(snapshots) if snapshots[0] else []
    if facts.get("kind") in ("raspberry-pi", "jetson") and "throttling" in unknown:
        against.append("the board does not say whether it throttles (on a Pi: is this user in the group video?)")
    other, stolen = load.get("other"), load.get("stolen")
    if other is not None and other > OTHER_LOAD:
        against.append(f"other processes used {100 * other:.0f} % of the CPUs")
    if stolen is not None and stolen > STOLEN:
        against.append(f"the host took {100 * stolen:.0f} % of the CPUs' time away")
    return {"verdict": TAINTED if against else VALID, "reasons": list(dict.fromkeys(against)), "unknown": unknown}
