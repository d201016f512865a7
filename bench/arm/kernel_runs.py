"""Running the package's kernels as ARM code on exactly what Python calls them with, and comparing what they write."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.arm.machine import Machine, Run
from bench.arm.objects import Program, link, symbol_of
from edgedefend import dct, fused, grid, kernels
from edgedefend.encoding import Encoding
from edgedefend.errors import EdgeDefendError

__all__ = ["ENCODINGS", "Call", "Kernel", "find_kernel", "record_fused", "record_plain"]

# What a model's input tensor holds: pixels as they are, int8 by arithmetic (0..255 to -1..1, quantised), floats.
ENCODINGS = {
    "uint8": Encoding(),
    "int8, scaled": Encoding(np.int8, 0.9, -120.0),
    "float32": Encoding(np.float32, 1 / 127.5, -1.0),
}


@dataclass(frozen=True)
class Call:
    """One call of a kernel by Python code: its arguments before, and what the native code made of them."""

    module: str
    name: str
    parameters: tuple[str, ...]
    types: tuple[Any, ...]
    before: tuple[Any, ...]
    after: tuple[Any, ...]


@dataclass(frozen=True)
class Kernel:
    """A kernel's program, and the symbol to call."""

    program: Program
    symbol: str
    parameters: tuple[str, ...]

    def run(self, call: Call, cpu: str, *, watch: bool = False) -> tuple[Run, bool]:
        """Repeat `call` under emulation; return what ran, and whether every array is bit for bit the native one."""
        machine = Machine(self.program, cpu)
        run, arrays = machine.call_kernel(self.symbol, call.before, call.parameters, watch=watch)
        same = all(
            got.tobytes() == want.tobytes() for got, want in zip(arrays, call.after, strict=True) if got is not None
        )
        return run, same


@contextlib.contextmanager
def _recording(module: Any, name: str) -> Iterator[list[Call]]:
    """Note every call of a kernel while the block runs."""
    import numba

    dispatcher: Callable[..., Any] = getattr(module, name)
    calls: list[Call] = []
    python: Any = getattr(dispatcher, "py_func", dispatcher)
    parameters = tuple(inspect.signature(python).parameters)

    def recorder(*arguments: Any) -> Any:
        before = tuple(_copy(argument) for argument in arguments)
        result = dispatcher(*arguments)
        types = tuple(numba.typeof(argument) for argument in arguments)
        where = module.__name__.rpartition(".")[2]
        calls.append(Call(where, name, parameters, types, before, tuple(_copy(argument) for argument in arguments)))
        return result

    setattr(module, name, recorder)
    try:
        yield calls
    finally:
        setattr(module, name, dispatcher)


def _copy(argument: Any) -> Any:
    return argument.copy() if isinstance(argument, np.ndarray) else argument


def record_fused(
    image: NDArray[np.uint8], quant_table: NDArray[np.float32], cells: grid.Grid, encoding: Encoding
) -> list[Call]:
    """Return the calls that defend `image` in one pass."""
    with _recording(fused, "defend_into") as calls:
        fused.FusedDefense(quant_table, encoding).into(image, cells, np.empty(image.shape, encoding.dtype))
    return calls


def record_plain(image: NDArray[np.uint8], quant_table: NDArray[np.float32], cells: grid.Grid) -> list[Call]:
    """Return the calls that defend `image` with the readable kernels: quantisation, then the gather."""
    with _recording(kernels, "quantize_blocks") as first, _recording(kernels, "gather") as second:
        grid.remap(dct.quantize(image, quant_table), cells)
    return first + second


def find_kernel(objects: dict[str, list[bytes]], call: Call) -> Kernel:
    """Return the compiled version that `call` would use on a board.

    Raises
    ------
    EdgeDefendError
        If there is none: the board would have to compile it.
    """
    for data in objects.get(f"{call.module}.{call.name}", []):
        program = link(data)
        symbol = symbol_of(program, call.module, call.name, call.types)
        if symbol:
            return Kernel(program, symbol, call.parameters)
    raise EdgeDefendError(f"no kernel {call.module}.{call.name} was made for {call.types}: is it in warmup's list?")
