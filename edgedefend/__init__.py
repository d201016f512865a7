"""edgedefend: a tested preprocessing defence in front of TFLite image classifiers on edge boards.

Importing the package imports nothing: NumPy comes with the first name that is used, Numba, OpenCV and the interpreter
with the first call that needs them. So `edgedefend doctor` runs where one of them is broken, and says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgedefend.dct import load_quant_table, quantize, shipped_quant_tables
    from edgedefend.defense import Defense
    from edgedefend.grid import Grid, remap, sample_grid

__all__ = ["Defense", "Grid", "load_quant_table", "quantize", "remap", "sample_grid", "shipped_quant_tables"]
__version__ = "0.1.0"

_HOME = {
    "Defense": "defense",
    "Grid": "grid",
    "load_quant_table": "dct",
    "quantize": "dct",
    "remap": "grid",
    "sample_grid": "grid",
    "shipped_quant_tables": "dct",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
