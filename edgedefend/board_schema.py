"""The schema of the TOML files in `firmware_configs`: which keys there are, of which type and in which unit.

A board's file can be wrong in one way only that matters later: quietly. So every key is known here, quantities carry
their unit as text, and nothing that could harm a board has a name that passes. firmware_configs/README.md explains
the keys to people.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from edgedefend.errors import InputError

__all__ = ["CONFIG_TXT_KEYS", "SCHEMA", "THROTTLE_SOURCES", "check", "forbidden_setting"]

FORMAT_VERSION = 1
# What config.txt may be given. Everything not listed is refused: clocks and voltages above all.
CONFIG_TXT_KEYS = (
    "arm_64bit",
    "arm_boost",
    "camera_auto_detect",
    "display_auto_detect",
    "disable_splash",
    "dtoverlay",
    "dtparam",
    "enable_uart",
    "gpu_mem",
)
CONFIG_TXT_FILTERS = ("all", "pi02", "pi3", "pi4", "pi5")
THROTTLE_SOURCES = (
    "vcgencmd get_throttled",
    "hwmon rpi_volt",
    "hwmon oc*_event_cnt",
    "ina3221 crit_alarm",
    "throttle-alert cooling devices",
)
# The names of LLVM for which kernels can be made beforehand: the keys of edgedefend.jit.TARGETS (which imports Numba,
# so that a test compares the two instead of an import), and "host" for compiling on the board.
NUMBA_TARGETS = ("cortex-a53", "cortex-a72", "cortex-a76", "cortex-a78ae", "host")
GOVERNORS = ("performance", "ondemand", "schedutil", "conservative", "powersave")
PRECISIONS = ("fp32", "fp16", "dynamic", "int8")

# Settings that may set a permanent bit or void a warranty, wherever they stand. Source: Raspberry Pi documentation,
# "Overclocking options" (force_turbo with over_voltage_* may set the warranty bit; clocks above the rated ones lead
# there) and "OTP register and bit definitions" (program_usb_boot_mode and its like burn a fuse).
_FORBIDDEN = re.compile(r"force_turbo|over_?voltage|_freq\b|program_\w+|\botp_\w+")


def forbidden_setting(text: str) -> str | None:
    """Return the first setting in `text` that this project never writes, None where there is none."""
    match = _FORBIDDEN.search(text.lower())
    return match[0] if match else None


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value or not value.isprintable():
        raise ValueError("a text")
    return value


def _pattern(expression: str, what: str) -> Callable[[Any], str]:
    def parse(value: Any) -> str:
        if not isinstance(value, str) or not re.fullmatch(expression, value):
            raise ValueError(what)
        return value

    return parse


def _one_of(choices: tuple[str, ...]) -> Callable[[Any], str]:
    def parse(value: Any) -> str:
        if not isinstance(value, str) or value not in choices:
            raise ValueError("one of " + ", ".join(choices))
        return value

    return parse


def _whole(low: int, high: int) -> Callable[[Any], int]:
    def parse(value: Any) -> int:
        if type(value) is not int or not low <= value <= high:
            raise ValueError(f"a whole number from {low} to {high}")
        return value

    return parse


def _bool(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def _quantity(unit: str, low: float, high: float) -> Callable[[Any], float]:
    def parse(value: Any) -> float:
        match = re.fullmatch(rf"(\d+(?:\.\d+)?) {re.escape(unit)}", value) if isinstance(value, str) else None
        if match is None or not low <= float(match[1]) <= high:
            raise ValueError(f'a text with its unit from "{low:g} {unit}" to "{high:g} {unit}"')
        return float(match[1])

    return parse


def _list_of(item: Callable[[Any], Any]) -> Callable[[Any], tuple[Any, ...]]:
    def parse(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise ValueError("a list")
        try:
            return tuple(item(entry) for entry in value)
        except ValueError as error:
            raise ValueError(f"a list of which each is {error}") from None

    return parse


_config_value = _pattern(r"[A-Za-z0-9_,=.:-]{1,64}", "a word of letters, digits and _ , = . : -")


def _config_txt(value: Any) -> tuple[tuple[str, str], ...]:
    """Return (key, value) a line of config.txt: a key with a list stands once an entry."""
    if not isinstance(value, dict):
        raise ValueError("a table of config.txt keys")
    lines = []
    for key, given in value.items():
        if key not in CONFIG_TXT_KEYS:
            why = "can void the warranty or set a permanent bit" if forbidden_setting(key) else "is not known"
            raise ValueError(f"a table without {key!r}, which {why}: allowed are {', '.join(CONFIG_TXT_KEYS)}")
        for entry in given if isinstance(given, list) else [given]:
            word = str(entry) if type(entry) is int else entry
            try:
                line = key, _config_value(word)
            except ValueError as error:
                raise ValueError(f"{key} = {error} or a whole number, or a list of them") from None
            if forbidden_setting(line[1]):
                raise ValueError(f"{key} without {line[1]!r}, which can void the warranty or set a permanent bit")
            lines.append(line)
    return tuple(lines)


def _sysctl(value: Any) -> tuple[tuple[str, int], ...]:
    if not isinstance(value, dict):
        raise ValueError("a table of kernel settings")
    for name, number in value.items():
        if not re.fullmatch(r"(kernel|vm|fs|net)(\.[a-z0-9_]+)+", name) or type(number) is not int:
            raise ValueError(f'settings such as "vm.swappiness" = 10, not {name} = {number!r}')
    return tuple(value.items())


# key (dotted) -> (parser, required). A parser raises ValueError with what was expected.
SCHEMA: dict[str, tuple[Callable[[Any], Any], bool]] = {
    "format_version": (_whole(FORMAT_VERSION, FORMAT_VERSION), True),
    "name": (_pattern(r"[a-z0-9-]{1,40}", "lower-case letters, digits and -"), True),
    "title": (_text, True),
    "recognise.kind": (_one_of(("raspberry-pi", "jetson", "generic")), True),
    "recognise.compatible": (_list_of(_pattern(r"[a-z0-9,.+*_-]+", "a device tree name, * allowed")), True),
    "cpu.name": (_text, True),
    "cpu.parts": (_list_of(_pattern(r"0x[0-9a-f]{3}", 'a part number such as "0xd08"')), True),
    "cpu.cores": (_whole(1, 64), True),
    "cpu.threads": (_whole(1, 64), True),
    "cpu.numba_target": (_one_of(NUMBA_TARGETS), True),
    "cpu.governor": (_one_of(GOVERNORS), True),
    "config_txt.filter": (_one_of(CONFIG_TXT_FILTERS), False),
    "config_txt.keys": (_config_txt, False),
    "nvpmodel.modes": (_list_of(_pattern(r"[A-Z0-9_]{1,32}", 'the name of a mode such as "15W"')), False),
    "nvpmodel.jetson_clocks": (_bool, False),
    "watchdog.service": (_quantity("s", 5, 600), True),
    # The Raspberry Pi's counts to 15 s at most.
    "watchdog.hardware": (_quantity("s", 5, 15), False),
    "memory.high": (_quantity("MiB", 128, 65536), True),
    "memory.max": (_quantity("MiB", 128, 65536), True),
    "sysctl": (_sysctl, True),
    "packages.apt": (_list_of(_pattern(r"[a-z0-9][a-z0-9+.-]+", "the name of a Debian package")), True),
    "throttle.sources": (_list_of(_one_of(THROTTLE_SOURCES)), True),
    "thermal.warn": (_quantity("C", 40, 110), True),
    "thermal.limit": (_quantity("C", 40, 110), True),
    "supply.nominal": (_quantity("V", 4, 24), False),
    "supply.minimum": (_quantity("V", 4, 24), False),
    "supply.current": (_quantity("A", 0.5, 10), False),
    "model.precision": (_one_of(PRECISIONS), True),
}
# Tables that are values of their own: their keys are not the schema's.
_WHOLE_TABLES = ("config_txt.keys", "sysctl")


def _flatten(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in table.items():
        name = prefix + key
        if isinstance(value, dict) and name not in _WHOLE_TABLES:
            if not any(known.startswith(name + ".") for known in SCHEMA):
                flat[name] = value
            flat |= _flatten(value, name + ".") if name not in flat else {}
        else:
            flat[name] = value
    return flat


def check(table: dict[str, Any], file: str) -> dict[str, Any]:
    """Return the parsed values of a board's file by dotted key; keys that are optional and missing are absent.

    Raises
    ------
    InputError
        One line with the file and the key: unknown key, missing key, wrong type, wrong unit, out of range.
    """
    flat = _flatten(table)
    values: dict[str, Any] = {}
    for key, value in flat.items():
        if key not in SCHEMA:
            raise InputError(f"{file}: {key}: no such key: see the README of firmware_configs for those there are")
        try:
            values[key] = SCHEMA[key][0](value)
        except ValueError as error:
            raise InputError(f"{file}: {key} is {value!r}, expected {error}") from None
    for key, (_, required) in SCHEMA.items():
        if required and key not in values:
            raise InputError(f"{file}: {key} is missing")
    for low, high in (("memory.high", "memory.max"), ("thermal.warn", "thermal.limit"), ("cpu.threads", "cpu.cores")):
        if values[low] > values[high]:
            raise InputError(f"{file}: {low} is {values[low]:g}, expected no more than {high} ({values[high]:g})")
    kind = values["recognise.kind"]
    for name, fitting in (("config_txt", "raspberry-pi"), ("supply", "raspberry-pi"), ("nvpmodel", "jetson")):
        used = [key for key in values if key.startswith(name + ".")]
        if used and kind != fitting:
            raise InputError(f"{file}: {used[0]} is for a {fitting}, this board is of the kind {kind!r}")
        if used and len(used) < sum(key.startswith(name + ".") for key in SCHEMA):
            raise InputError(f"{file}: the table {name} is not complete: it has only {', '.join(used)}")
    return values
