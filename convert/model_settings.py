"""What a user must tell about their own model: its normalisation, channel order, labels; read from a small TOML."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgedefend.errors import InputError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found,unused-ignore]

__all__ = ["NORMALIZATIONS", "InputSettings", "load_settings", "read_labels"]

NORMALIZATIONS = (
    "0..1: scale = 0.00392157, offset = 0.0",
    "-1..1: scale = 0.00784314, offset = -1.0",
    "ImageNet mean and deviation: scale = [0.0171248, 0.0175070, 0.0174292], offset = [-2.11790, -2.03571, -1.80444]",
)
_KEYS = {"input": ("scale", "offset", "channel_order", "size"), "output": ("kind", "labels")}
_LARGEST_SIDE = 4096


@dataclass(frozen=True)
class InputSettings:
    """How a user's own model wants its input, and what its output means.

    The model is given ``level * scale + offset`` of RGB levels 0..255. `scale` and `offset` are a number or one a
    channel, in the order the model sees the channels (`channel_order` "RGB" or "BGR"). `input_size` is
    (height, width), needed where the model does not fix it; `labels` a text file with one label a line; `output`
    "logits", "probabilities", or None to find out.
    """

    scale: float | tuple[float, float, float] = 1.0
    offset: float | tuple[float, float, float] = 0.0
    channel_order: str = "RGB"
    input_size: tuple[int, int] | None = None
    labels: Path | None = None
    output: str | None = None

    def __post_init__(self) -> None:
        for name, value in (("scale", self.scale), ("offset", self.offset)):
            numbers = value if isinstance(value, (list, tuple)) else [value]
            if len(numbers) not in (1, 3) or not all(
                isinstance(number, (int, float)) and not isinstance(number, bool) and math.isfinite(number)
                for number in numbers
            ):
                raise InputError(f"{name} is {value!r}, expected a number or three, one a channel")
            if name == "scale" and 0 in numbers:
                raise InputError("scale is 0: the model would see the same input for every image")
        if self.channel_order not in ("RGB", "BGR"):
            raise InputError(f"channel_order is {self.channel_order!r}, expected 'RGB' or 'BGR'")
        size = self.input_size
        if size is not None and not (
            isinstance(size, (list, tuple))
            and len(size) == 2
            and all(type(side) is int and 1 <= side <= _LARGEST_SIDE for side in size)
        ):
            raise InputError(f"size is {size!r}, expected [height, width] in pixels")
        if self.output not in (None, "logits", "probabilities"):
            raise InputError(f"kind is {self.output!r}, expected 'logits' or 'probabilities'")


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def load_settings(path: Path) -> InputSettings:
    """Read `InputSettings` from a TOML file.

    Parameters
    ----------
    path : Path
        ``[input]`` may have scale, offset, channel_order, size; ``[output]`` kind and labels (relative to it).

    Raises
    ------
    InputError
        If the file cannot be read, is not TOML, has an unknown key or a value of the wrong kind.
    """
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: {(error.strerror or str(error)).lower()}") from None
    except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError
        raise InputError(f"{path}: not TOML: {error}") from None
    for section, values in content.items():
        if section not in _KEYS or not isinstance(values, dict):
            raise InputError(f"{path}: unknown key {section!r}: expected the sections [input] and [output]")
        for key in values:
            if key not in _KEYS[section]:
                raise InputError(f"{path}: unknown key {section}.{key}: expected one of {', '.join(_KEYS[section])}")
    given, output = content.get("input", {}), content.get("output", {})
    labels = output.get("labels")
    if labels is not None and not isinstance(labels, str):
        raise InputError(f"{path}: output.labels is {labels!r}, expected the name of a text file")
    try:
        return InputSettings(
            scale=_tuple(given.get("scale", 1.0)),
            offset=_tuple(given.get("offset", 0.0)),
            channel_order=given.get("channel_order", "RGB"),
            input_size=_tuple(given.get("size")),
            labels=None if labels is None else path.parent / labels,
            output=output.get("kind"),
        )
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def read_labels(path: Path, classes: int) -> list[str]:
    """Read a text file with one label a line, UTF-8.

    Raises
    ------
    InputError
        If it cannot be read, a line is empty, or there are not `classes` of them.
    """
    try:
        labels = [line.strip() for line in path.read_text(encoding="utf-8-sig").rstrip().splitlines()]
    except OSError as error:
        raise InputError(f"{path}: {(error.strerror or str(error)).lower()}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not UTF-8 text, expected one label a line") from None
    if "" in labels:
        raise InputError(f"{path}: line {labels.index('') + 1} is empty, expected one label a line")
    if len(labels) != classes:
        raise InputError(f"{path}: holds {len(labels)} labels, the model has {classes} classes")
    return labels
