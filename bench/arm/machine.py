"""Running ARM code in Unicorn, and counting exactly what it executes.

Numba's calling convention for a kernel: the address for the result, the address for an exception, then the
arguments, an array as seven or more words (owner, parent, number of items, item size, data, shape, strides),
tuples flattened; eight words in registers, the others on the stack (AAPCS64).
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import unicorn
from numpy.typing import NDArray
from unicorn import arm64_const

from bench.arm.objects import IMPORTS, Program, import_page
from edgedefend.errors import EdgeDefendError

__all__ = ["Machine", "Run"]

_STACK, _STACK_SIZE = 0x3000_0000, 1 << 20
_HEAP, _HEAP_SIZE = 0x4000_0000, 256 << 20
_END = 0x5FFF_F000  # where the outermost function returns to
_MODELS = {"cortex-a72": arm64_const.UC_CPU_ARM64_A72}  # Unicorn has no A76: that runs on a CPU with everything


@dataclass
class Run:
    """What one call executed.

    Attributes
    ----------
    executed : Counter
        Address of an instruction -> how often it ran.
    calls : Counter
        Import -> how often it was called. What happens inside is not counted.
    touched : dict
        Address of an instruction -> names of the regions that it read ("<name") or wrote (">name"); empty unless
        asked for.
    """

    executed: Counter[int]
    calls: Counter[str]
    touched: dict[int, set[str]] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """Number of instructions."""
        return self.executed.total()


class Machine:
    """One CPU with a program, a stack, and a heap that only grows.

    Parameters
    ----------
    program : Program
    cpu : str
        "cortex-a72" gets that CPU's instructions and no others.
    """

    def __init__(self, program: Program, cpu: str) -> None:
        self._program = program
        self._engine = unicorn.Uc(unicorn.UC_ARCH_ARM64, unicorn.UC_MODE_ARM)
        self._engine.ctl_set_cpu_model(_MODELS.get(cpu, arm64_const.UC_CPU_ARM64_MAX))
        self._top = _HEAP
        self._regions: list[tuple[int, int, str]] = []
        self._failure: Exception | None = None
        pages = import_page(program)
        for address, size, content in (
            (program.base, len(program.memory), program.memory),
            (IMPORTS, len(pages), pages),
            (_STACK, _STACK_SIZE, b""),
            (_HEAP, _HEAP_SIZE, b""),
            (_END, 0x1000, b""),
        ):
            self._engine.mem_map(address, -(-size // 4096) * 4096)
            self._engine.mem_write(address, content)

    def allocate(self, size: int, name: str) -> int:
        """Return the address of `size` fresh bytes, aligned to a cache line."""
        address = self._top
        self._top += -(-(size + 64) // 64) * 64
        if self._top > _HEAP + _HEAP_SIZE:
            raise EdgeDefendError(f"the emulated code wants more than {_HEAP_SIZE >> 20} MB")
        self._regions.append((address, address + size, name))
        return address

    def place(self, array: NDArray[Any], name: str) -> int:
        """Copy `array` into memory and return its address."""
        address = self.allocate(array.nbytes, name)
        self._engine.mem_write(address, array.tobytes())
        return address

    def read(self, address: int, like: NDArray[Any]) -> NDArray[Any]:
        """Return what is at `address` as an array of the same type and shape as `like`."""
        data = bytes(self._engine.mem_read(address, like.nbytes))
        return np.frombuffer(data, like.dtype).reshape(like.shape)

    def call_kernel(
        self, symbol: str, arguments: Sequence[Any], names: Sequence[str], *, watch: bool = False
    ) -> tuple[Run, list[NDArray[Any] | None]]:
        """Call a Numba kernel; return what ran, and each argument that is an array as the call left it."""
        words: list[int] = [self.allocate(64, "result"), self.allocate(8, "result")]
        places: list[tuple[int, NDArray[Any]] | None] = []
        for argument, name in zip(arguments, names, strict=True):
            begin = len(words)
            self._flatten(argument, name, words)
            places.append((words[begin + 4], argument) if isinstance(argument, np.ndarray) else None)
        run, status = self.call(symbol, words, watch=watch)
        if status & 0xFFFFFFFF:
            raise EdgeDefendError(f"{symbol} raised an exception under emulation (status {status})")
        return run, [place and self.read(*place) for place in places]

    def _flatten(self, argument: Any, name: str, words: list[int]) -> None:
        if isinstance(argument, np.ndarray):
            where = self.place(argument, name)
            words += [0, 0, argument.size, argument.itemsize, where, *argument.shape, *argument.strides]
        elif isinstance(argument, tuple):
            for part in argument:
                self._flatten(part, name, words)
        elif isinstance(argument, (bool, int, np.bool_, np.integer)):
            words.append(int(argument) & (1 << 64) - 1)
        else:
            raise EdgeDefendError(f"argument {name} is {type(argument).__name__}: not known to the emulator")

    def call(self, symbol: str, words: Sequence[int], *, watch: bool = False) -> tuple[Run, int]:
        """Call a function with integers and addresses; return what ran and the function's result.

        Raises
        ------
        EdgeDefendError
            If the code leaves its memory, or calls an import that is not provided.
        """
        engine = self._engine
        stack = _STACK + _STACK_SIZE - 64 - 16 * ((len(words) + 1) // 2)
        for number, word in enumerate(words):
            if number < 8:
                engine.reg_write(arm64_const.UC_ARM64_REG_X0 + number, word)
            else:
                engine.mem_write(stack + 8 * (number - 8), struct.pack("<Q", word))
        engine.reg_write(arm64_const.UC_ARM64_REG_SP, stack)
        engine.reg_write(arm64_const.UC_ARM64_REG_X30, _END)
        blocks: Counter[tuple[int, int]] = Counter()
        run = Run(Counter(), Counter())
        self._failure = None

        def on_block(_engine: Any, address: int, size: int, _data: Any) -> None:
            if address >= IMPORTS:
                self._answer(address, run)
            else:
                blocks[address, size] += 1

        hooks = [engine.hook_add(unicorn.UC_HOOK_BLOCK, on_block)]
        if watch:
            kinds = unicorn.UC_HOOK_MEM_READ | unicorn.UC_HOOK_MEM_WRITE
            hooks.append(engine.hook_add(kinds, self._watcher(run)))
        try:
            engine.emu_start(self._program.functions[symbol][0], _END)
        except unicorn.UcError as error:
            where = engine.reg_read(arm64_const.UC_ARM64_REG_PC)
            raise EdgeDefendError(f"{symbol} stopped at {where:#x} under emulation: {error}") from None
        finally:
            for hook in hooks:
                engine.hook_del(hook)
        if self._failure:
            raise self._failure
        for (address, size), count in blocks.items():
            for instruction in range(address, address + size, 4):
                run.executed[instruction] += count
        return run, engine.reg_read(arm64_const.UC_ARM64_REG_X0)

    def _watcher(self, run: Run) -> Any:
        regions = self._regions

        def on_access(engine: Any, access: int, address: int, _size: int, _value: int, _data: Any) -> None:
            if _STACK <= address < _STACK + _STACK_SIZE:
                name = "stack"
            elif address < _STACK:
                name = "constants"
            else:
                name = next((name for begin, end, name in regions if begin <= address < end), "?")
            where = engine.reg_read(arm64_const.UC_ARM64_REG_PC)
            run.touched.setdefault(where, set()).add((">" if access == unicorn.UC_MEM_WRITE else "<") + name)

        return on_access

    def _answer(self, address: int, run: Run) -> None:
        """Do what an import does: the few functions that kernels and C code call."""
        engine = self._engine
        if address >= _END:
            return
        name = self._program.imports[address]
        run.calls[name] += 1
        x0, x1, x2 = (engine.reg_read(arm64_const.UC_ARM64_REG_X0 + k) for k in range(3))
        if name.startswith("NRT_MemInfo_alloc"):
            data = self.allocate(x0, "scratch")
            # refct, dtor, dtor_info, data, size, external_allocator
            info = self.place(np.array([1, 0, 0, data, x0, 0], np.uint64), "owner")
            engine.reg_write(arm64_const.UC_ARM64_REG_X0, info)
        elif name in ("memcpy", "memmove"):
            engine.mem_write(x0, bytes(engine.mem_read(x1, x2)))
        elif name == "memset":
            engine.mem_write(x0, bytes([x1 & 255]) * x2)
        elif name != "NRT_MemInfo_call_dtor":
            self._failure = EdgeDefendError(f"the code calls {name}: not provided under emulation")
            engine.emu_stop()
