"""Latency and temperature over a long time: what a board does when it gets warm. Can be stopped and gone on with."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from bench.conditions import Watch, bundle_facts, interpreter_facts
from bench.percentiles import percentile
from bench.subject import Subject, clock
from edgedefend.bundle import Bundle
from edgedefend.classifier import Classifier
from edgedefend.errors import InputError

__all__ = ["measure_soak"]

_SENSORS = ("temperature_c", "requested_mhz", "true_mhz", "governor", "throttled_now", "supply_volts")
# The first and the last fifth of the points are compared: less than that is a matter of chance.
_FEWEST_POINTS = 10


def _earlier(
    kept: dict[str, Any], now: dict[str, Any]
) -> tuple[list[dict[str, Any]], list[float], list[dict[str, Any]]]:
    """Return the points, the starts and the sessions of an earlier, stopped run, if it fits what is run now.

    Raises
    ------
    InputError
        If it is no soak, damaged, or of another bundle, runtime, number of threads or machine.
    """
    try:
        if kept["kind"] != "soak":
            raise InputError(f"this is a result of {kept['kind']!r}, expected one of bench soak: choose another file")
        pairs = (
            ("bundle", kept["bundle"]["sha256"], now["bundle"]["sha256"]),
            ("interpreter", kept["interpreter"], now["interpreter"]),
            ("seconds between two points", kept["every_s"], now["every_s"]),
            ("CPU", kept["conditions"]["cpu"], now["cpu"]),
        )
        points, starts, sessions = list(kept["points"]), list(kept["starts_s"]), list(kept["sessions"])
        last = float(points[-1]["t_s"]) if points else 0.0
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError(f"this soak file is damaged ({error}): begin anew with another --json") from None
    for name, before, here in pairs:
        if before != here:
            raise InputError(f"it was begun with another {name} ({before}, now {here}): begin anew with another --json")
    return points, [*starts, last], sessions


def _drift(points: list[dict[str, Any]]) -> dict[str, float] | None:
    """Return how the last fifth of the run compares with its first: what warming up cost."""
    if len(points) < _FEWEST_POINTS:
        return None
    fifth = len(points) // 5

    def median(part: list[dict[str, Any]], side: str) -> float:
        return percentile(sorted(point[side]["p50"] for point in part), 0.5)

    return {side: median(points[-fifth:], side) / median(points[:fifth], side) for side in ("defended", "undefended")}


def measure_soak(
    bundle: Bundle,
    *,
    minutes: float = 30.0,
    every_s: float = 5.0,
    threads: int | None = None,
    backend: str | None = None,
    resume: dict[str, Any] | None = None,
    watch: Watch | None = None,
    keep: Callable[[dict[str, Any]], Any] = lambda result: None,
    keep_every_s: float = 60.0,
    tick: Callable[[int], Any] = lambda count: None,
) -> dict[str, Any]:
    """Classify the golden image without a pause, defended and undefended in turn, and read the sensors now and then.

    Parameters
    ----------
    bundle : Bundle
    minutes : float
        Of all sessions together.
    every_s : float
        Seconds a point of the curve.
    resume : dict, optional
        The result of an earlier run that was stopped: its points stay, the time goes on from its last.
    keep : callable
        Gets the result so far every `keep_every_s` seconds, so that a power cut costs no more than that.
    tick : callable
        Told of each second.

    Returns
    -------
    dict
        ``points``: ``t_s`` (of running, without the breaks), ``n`` and p50, p90 and the largest total_ms of each
        side, and the sensors; ``drift``: median latency of the last fifth of the run over that of the first, a side;
        ``stopped``: whether Ctrl-C ended it. Ctrl-C does not raise: what there is, is returned.

    Raises
    ------
    InputError
        If `resume` does not fit.
    """
    classifier = Classifier(bundle, threads=threads, backend=backend)
    facts: dict[str, Any] = {"bundle": bundle_facts(bundle), "interpreter": interpreter_facts(classifier.interpreter)}
    watch = watch or Watch()
    now = {**facts, "every_s": every_s, "cpu": watch.device.facts()["cpu"]}
    points, starts, sessions = _earlier(resume, now) if resume else ([], [0.0], [])
    subject = Subject(classifier, pictures=[classifier.fit(bundle.golden().image)])
    offset = starts[-1]

    def result(stopped: bool) -> dict[str, Any]:
        too_short = [f"stopped after {points[-1]['t_s'] / 60 if points else 0:.1f} of {minutes:g} minutes"] * stopped
        conditions = watch.finish(*too_short)
        earlier = [reason for session in sessions for reason in session["reasons"] if not reason.startswith("stopped")]
        reasons = list(dict.fromkeys([*earlier, *conditions["reasons"]]))
        return {
            "kind": "soak",
            "minutes": minutes,
            "every_s": every_s,
            "stopped": stopped,
            "points": points,
            "starts_s": starts,
            "drift": _drift(points),
            **facts,
            "sessions": [*sessions, {key: conditions[key] for key in ("measured_at", "load", "reasons")}],
            # A run is as good as the worst of its sessions.
            "conditions": {**conditions, "reasons": reasons, "verdict": "TAINTED" if reasons else "VALID"},
        }

    tick(round(offset))
    begun = kept = time.monotonic()
    stopped = False
    try:
        while offset + time.monotonic() - begun < 60 * minutes:
            points.append(_point(subject, every_s, lambda: offset + time.monotonic() - begun, watch))
            tick(round(every_s))
            if time.monotonic() - kept >= keep_every_s:
                kept = time.monotonic()
                keep(result(stopped=True))
    except KeyboardInterrupt:
        stopped = True
    return result(stopped)


def _point(subject: Subject, seconds: float, elapsed: Callable[[], float], watch: Watch) -> dict[str, Any]:
    """Measure for `seconds`; return one point of the curve."""
    sides: dict[bool, list[float]] = {True: [], False: []}
    end = time.monotonic() + seconds
    while time.monotonic() < end or not sides[True]:
        for defended in (True, False) if len(sides[True]) % 2 else (False, True):
            sides[defended].append(subject.ask(clock(), defended=defended)["total_ms"])
    snapshot = watch.look()
    point: dict[str, Any] = {"t_s": round(elapsed(), 3), "n": len(sides[True])}
    for name, defended in (("defended", True), ("undefended", False)):
        ascending = sorted(sides[defended])
        point[name] = {
            "p50": round(percentile(ascending, 0.5), 4),
            "p90": round(percentile(ascending, 0.9), 4),
            "max": round(ascending[-1], 4),
        }
    return {**point, **{key: snapshot.get(key) for key in _SENSORS}}
