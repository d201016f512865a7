"""A board's months in the field, in minutes: a camera, a broker and HTTP requests, and one thing after another fails.

`edgedefend run` watches an MJPEG camera (a video file, played by a process of its own) and publishes to a real broker;
`edgedefend serve` answers requests beside it. Both are processes of their own, as on a board. After an undisturbed
first part, five things happen, one after the other: the run itself is killed and started again, the camera is killed,
the broker is killed, the disk that the results are written to fills up, the clock jumps. What was published is compared
with what a subscriber got.
"""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.conditions import Watch, bundle_facts
from bench.live_faults import MAY_DOUBLE, MOST_DOUBLED, RESULT, Soak
from bench.memory import slope
from bench.percentiles import percentile
from edgedefend.bundle import load_bundle

__all__ = ["measure_live_soak"]

_GROWTH_MB = 8.0
_GROWTH_FILES = 2  # a connection to the broker or to a reader more or less at the moment of looking


def _p99(ages: list[float]) -> float | None:
    return percentile(sorted(ages), 0.99) if ages else None


def _delivery(soak: Soak) -> dict[str, Any]:
    """Compare what was printed with what the subscriber got."""
    made = [record["id"] for record in soak.runner.printed]
    got = [record["id"] for _, record in soak.reader.results(RESULT)]
    counted, known = Counter(got), set(made)
    # What two faults at once may bring twice (docs/live.md) is told apart from what nothing excuses.
    seen: set[str] = set()
    unexcused = 0
    for when, record in soak.reader.results(RESULT):
        if record["id"] in seen:
            before = [row for row in soak.recoveries if row["window"][0] <= when]
            if before:
                before[-1]["doubled"] += 1
            unexcused += not before or before[-1]["fault"] not in MAY_DOUBLE
        seen.add(record["id"])
    first_times = [name for name in dict.fromkeys(got) if name in known]
    return {
        "published": len(made),
        "received": len(got),
        "lost": len([name for name in made if name not in counted]),
        "doubled": sum(count - 1 for count in counted.values()),
        "doubled_unexcused": unexcused,
        "in_order": first_times == [name for name in made if name in counted],
    }


def _growth(samples: list[tuple[float, float, int]]) -> dict[str, Any]:
    """Say how memory and open files of the process that ran to the end have changed, after it has warmed up."""
    settled = samples[len(samples) // 5 :]
    fifth = max(1, len(settled) // 5)
    memory = [sample[1] for sample in settled]
    files = [sample[2] for sample in settled]
    minutes = [(sample[0] - settled[0][0]) / 60 for sample in settled]
    steepness, error = slope(minutes, memory)
    return {
        "memory_mb_begin": round(float(np.median(memory[:fifth])), 2),
        "memory_mb_end": round(float(np.median(memory[-fifth:])), 2),
        "memory_mb_per_minute": round(steepness, 4),
        "memory_slope_error": round(error, 4),
        "files_begin": int(np.median(files[:fifth])),
        "files_end": int(np.median(files[-fifth:])),
    }


def measure_live_soak(
    bundle: str,
    folder: Path,
    *,
    minutes: float = 60.0,
    fps: float = 10.0,
    request_rate: float = 2.0,
    tick: Callable[[int], Any] = lambda count: None,
) -> dict[str, Any]:
    """Run the world for `minutes` and return what came of it.

    Parameters
    ----------
    bundle : str
    folder : Path
        Empty; videos, queues and the broker's files go there.
    minutes : float
        The undisturbed first part is one minute, or a sixth of a shorter run.
    fps : float
        Of the camera.
    request_rate : float
        HTTP requests a second beside it; 0 leaves the server out.
    tick : callable
        Told of each second.

    Returns
    -------
    dict
        ``delivery`` (published, received, lost, doubled and by no kill, in_order), ``growth`` (memory and open files of
        the process), ``age_ms`` (p99 of the first part and of the rest, and their ratio), ``recoveries`` (one a fault),
        ``requests`` (by status), ``failures`` (one line for each requirement that was not met).

    Raises
    ------
    DeviceError
        If mosquitto is not installed, a part of the world does not start, or the run does not recover.
    """
    watch = Watch()
    began = datetime.datetime.now(datetime.timezone.utc)
    with Soak(bundle, folder, minutes=minutes, fps=fps, request_rate=request_rate) as soak:
        soak.disturb(tick)
        code = soak.finish()
        requests = None if soak.requests is None else dict(soak.requests.answers)
    ages = [(when, record["age_ms"]) for when, record in soak.reader.results(RESULT)]
    first = [age for when, age in ages if soak.marks["begin"] <= when < soak.marks["first"]]
    rest = [age for when, age in ages if when >= soak.marks["first"]]
    before, after = _p99(first), _p99(rest)
    delivery = _delivery(soak)
    result: dict[str, Any] = {
        "kind": "live-soak",
        "minutes": minutes,
        "fps": fps,
        "request_rate": request_rate,
        "exit_code": code,
        "delivery": delivery,
        "growth": _growth(soak.samples),
        "age_ms": {
            "first_p99": before,
            "first_n": len(first),
            "rest_p99": after,
            "rest_n": len(rest),
            "ratio": after / before if before and after else None,
        },
        "recoveries": [{key: value for key, value in row.items() if key != "window"} for row in soak.recoveries],
        "requests": requests,
        "bundle": bundle_facts(load_bundle(bundle)),
        "began": began.isoformat(timespec="seconds"),
        "conditions": watch.finish(),
    }
    result["failures"] = _failures(result)
    return result


def _failures(result: dict[str, Any]) -> list[str]:
    """Return what was not as it must be."""
    delivery, growth, age = result["delivery"], result["growth"], result["age_ms"]
    found = []
    if result["exit_code"]:
        found.append(f"SIGTERM ended it with {result['exit_code']}")
    if delivery["lost"] or delivery["doubled_unexcused"] or not delivery["in_order"]:
        order = "in order" if delivery["in_order"] else "out of order"
        found.append(f"{delivery['lost']} results lost, {delivery['doubled_unexcused']} doubled by no kill, {order}")
    found += [
        f"{row['doubled']} results doubled after: {row['fault']}"
        for row in result["recoveries"]
        if row["doubled"] > MOST_DOUBLED
    ]
    grown = growth["memory_mb_end"] - growth["memory_mb_begin"]
    if grown > _GROWTH_MB:
        found.append(f"memory has grown by {grown:.1f} MB")
    if growth["files_end"] > growth["files_begin"] + _GROWTH_FILES:
        found.append(f"open files have grown from {growth['files_begin']} to {growth['files_end']}")
    if age["ratio"] is None or age["ratio"] > 2:
        found.append(f"p99 of the age is {age['ratio'] and round(age['ratio'], 2)} times that of the first minute")
    requests = result["requests"] or {}
    other = {status: count for status, count in requests.items() if status not in ("200", "503")}
    if other or (result["requests"] is not None and not requests.get("200")):
        found.append(f"HTTP requests: {requests}")
    if any("Traceback" in line for row in result["recoveries"] for line in row["said"]):
        found.append("a traceback")
    return found
