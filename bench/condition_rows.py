"""The conditions of a result as rows of name and text, in the order in which people look for them."""

from __future__ import annotations

from typing import Any

from bench.resultfile import at, number_at, text_at, texts_at

__all__ = ["condition_rows"]


def _join(separator: str, *texts: str) -> str:
    return separator.join(text for text in texts if text)


def _both(conditions: Any, key: str, unit: str) -> str:
    """Return a sensor's value before and after, "" where the machine told neither."""
    pair = [number_at(conditions, when, key) for when in ("before", "after")]
    if all(value is None for value in pair):
        return ""
    return " → ".join("unknown" if value is None else f"{value:.1f} {unit}" for value in pair)


def _throttled(conditions: Any) -> str:
    names = [*texts_at(conditions, "before", "throttled_now"), *texts_at(conditions, "after", "throttled_now")]
    if names:
        return ", ".join(dict.fromkeys(names))
    return "no" if text_at(conditions, "after", "throttle_source") else ""


def _load(conditions: Any) -> str:
    shares = {name: number_at(conditions, "load", name) for name in ("other", "stolen")}
    words = {"other": "other processes", "stolen": "taken by the host"}
    return ", ".join(f"{words[name]} {100 * value:.1f} %" for name, value in shares.items() if value is not None)


def _versions(conditions: Any) -> str:
    packages = at(conditions, "packages")
    own = [(name, text_at(conditions, name)) for name in ("edgedefend", "python")]
    others = [(text_at([name], 0), text_at(packages, name)) for name in list(packages)[:20]] if packages else []
    return ", ".join(f"{name} {version}" for name, version in [*own, *others] if version)


def condition_rows(result: dict[str, Any]) -> list[tuple[str, str]]:
    """Return (name, text) of everything a result says of its conditions; what it does not say is left away."""
    conditions = at(result, "conditions")
    if not isinstance(at(conditions, "packages"), (dict, type(None))):
        conditions = {**conditions, "packages": None}
    usable = text_at(conditions, "cpus")
    device = at(conditions, "device")
    rows = [
        ("Measured", text_at(conditions, "measured_at")),
        ("Command", text_at(conditions, "command")),
        ("Board", text_at(device, "board")),
        ("CPU", _join(", ", text_at(conditions, "cpu"), f"{usable} usable" if usable else "")),
        ("System", _join(", ", text_at(device, "os"), text_at(device, "kernel"), text_at(conditions, "machine"))),
        ("Governor", text_at(conditions, "before", "governor")),
        ("Power mode", text_at(conditions, "before", "power_mode")),
        ("Requested clock", _both(conditions, "requested_mhz", "MHz")),
        ("True clock", _both(conditions, "true_mhz", "MHz")),
        ("Temperature", _both(conditions, "temperature_c", "°C")),
        ("Throttled", _throttled(conditions)),
        ("Throttled since boot", ", ".join(texts_at(conditions, "after", "throttled_since_boot"))),
        ("Load", _load(conditions)),
        ("Runtime", _join(" ", text_at(result, "interpreter", "backend"), text_at(result, "interpreter", "version"))),
        ("Threads", text_at(result, "interpreter", "threads") or text_at(result, "threads")),
        ("Bundle", text_at(result, "bundle", "sha256")),
        ("Weights", text_at(result, "bundle", "weights")),
        ("Versions", _versions(conditions)),
        ("CPU features", " ".join(texts_at(device, "cpu_features", most=300))),
    ]
    return [(name, text) for name, text in rows if text]
