"""Step 1 of the defence: 8x8 DCT quantisation (Algorithm 1, lines 4 to 9), and the tables it uses.

Deviations from the authors' published code, which follows the paper only loosely: sides that are not multiples
of 8 are extended on the right and the bottom by repeating the edge and cropped again (theirs pads around the
centre and crops from the corner, which shifts the image by two pixels).
"""

from __future__ import annotations

import json
import os
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgedefend.errors import InputError

__all__ = ["as_image", "as_quant_table", "frozen", "load_quant_table", "quantize", "shipped_quant_tables"]


def as_image(image: ArrayLike) -> NDArray[np.uint8]:
    """Return `image` as a uint8 (H, W, 3) array, without copying one that already is.

    Raises
    ------
    InputError
        If the dtype is not uint8, the shape is not (H, W, 3), or a side is zero.
    """
    array = np.asarray(image)
    if array.dtype != np.uint8:
        raise InputError(
            f"image has dtype {array.dtype}, expected uint8 levels 0..255: convert it with "
            "image.round().clip(0, 255).astype('uint8') if it is in levels"
        )
    if array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        raise InputError(f"image has shape {array.shape}, expected (height, width, 3) in RGB order")
    return array


def frozen(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a contiguous, read-only view (or copy) of `image`: one compiled kernel then serves every input."""
    view = np.ascontiguousarray(image).view()
    view.flags.writeable = False
    return view


def as_quant_table(table: ArrayLike) -> NDArray[np.float32]:
    """Return `table` as a float32 (8, 8) array of its own.

    Raises
    ------
    InputError
        If it is not 8x8, or an entry is not a finite number of at least 1 pixel level and at most 2048 (the
        largest coefficient an 8x8 block of uint8 pixels can have is 2040).
    """
    try:
        array = np.array(table, dtype=np.float32)
    except (TypeError, ValueError):
        raise InputError("quant_table holds something that is not a number") from None
    if array.shape != (8, 8):
        raise InputError(f"quant_table has shape {array.shape}, expected (8, 8)")
    wrong = ~(np.isfinite(array) & (array >= 1) & (array <= 2048))
    if wrong.any():
        row, column = (int(index[0]) for index in np.nonzero(wrong))
        raise InputError(
            f"quant_table[{row}][{column}] is {float(array[row, column]):g}, expected a number from 1 to 2048"
        )
    return array


def quantize(image: ArrayLike, quant_table: ArrayLike) -> NDArray[np.uint8]:
    """Quantise `image` in the frequency domain, block by block.

    Parameters
    ----------
    image : uint8 (H, W, 3)
        RGB, any size from 1x1, any strides. It is not modified.
    quant_table : (8, 8)
        In pixel levels; row = vertical frequency, DC at ``[0, 0]``.

    Returns
    -------
    uint8 (H, W, 3)
        ``IDCT(round(DCT(image) / quant_table) * quant_table)``, rounded to nearest and clipped to 0..255.
    """
    from edgedefend import kernels

    source = frozen(as_image(image))
    out = np.empty(source.shape, np.uint8)
    kernels.quantize_blocks(source, as_quant_table(quant_table), kernels.cosine_matrix(), out)
    return out


def shipped_quant_tables() -> list[str]:
    """Return the names of the tables that come with the package."""
    folder = resources.files("edgedefend") / "data" / "quant_tables"
    return sorted(entry.name[: -len(".json")] for entry in folder.iterdir() if entry.name.endswith(".json"))


def load_quant_table(name_or_path: str | os.PathLike[str]) -> NDArray[np.float32]:
    """Load a table by the name it ships under (`shipped_quant_tables`) or from a JSON file.

    A file holds either the 8x8 list itself or an object with it under ``"quant_table"``, as `convert` writes.

    Raises
    ------
    InputError
        If there is no such table or file, or it is not a valid table.
    """
    text = str(name_or_path)
    if text in shipped_quant_tables():
        source: Any = resources.files("edgedefend") / "data" / "quant_tables" / f"{text}.json"
    else:
        source = Path(text)
    try:
        content = json.loads(source.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"{text}: no such table ({error.strerror or error}); shipped tables: {', '.join(shipped_quant_tables())}"
        ) from None
    except ValueError:
        raise InputError(f"{text}: not a JSON file with a quantisation table") from None
    if isinstance(content, dict):
        if "quant_table" not in content:
            raise InputError(f'{text}: has no "quant_table"')
        content = content["quant_table"]
    try:
        return as_quant_table(content)
    except InputError as error:
        raise InputError(f"{text}: {error}") from None
