"""ARM object files in an address space: sections placed, relocations resolved, imports given an address each.

The kernels' object files are those that `edgedefend.warmup` makes for a board: what is looked at here is byte for
byte what a board loads.
"""

from __future__ import annotations

import io
import re
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from elftools.elf.elffile import ELFFile

from edgedefend.errors import EdgeDefendError
from edgedefend.warmup import warm_up_for

__all__ = ["IMPORTS", "Program", "link", "make_kernels", "symbol_of"]

BASE = 0x1000_0000
IMPORTS = 0x1400_0000  # within reach of a call; an import is 16 bytes here, so that an emulator can answer for it
_RET = struct.pack("<I", 0xD65F03C0)


@dataclass
class Program:
    """Code and data as they lie in memory from `base` on.

    Attributes
    ----------
    functions : dict
        Name -> (address, bytes) of every function.
    imports : dict
        Address -> name of what the object expects from outside.
    """

    base: int
    memory: bytes
    functions: dict[str, tuple[int, int]]
    imports: dict[int, str] = field(default_factory=dict)

    def code(self, name: str) -> bytes:
        """Return a function's instructions."""
        address, size = self.functions[name]
        return self.memory[address - self.base : address - self.base + size]

    def function_at(self, address: int) -> str | None:
        """Return the name of the function that begins at `address`."""
        return next((name for name, (begin, _) in self.functions.items() if begin == address), None)


def make_kernels(cpu: str, folder: Path) -> dict[str, list[bytes]]:
    """Compile every kernel for `cpu` (of `edgedefend.jit.TARGETS`) and return its object files, by "module.name".

    The files of Numba's cache are pickles; they are not unpickled, the object files in them are cut out.
    """
    warm_up_for(cpu, folder)
    return read_kernels(folder)


def read_kernels(folder: Path) -> dict[str, list[bytes]]:
    """Return the object files in a folder that `edgedefend warmup --target` has written, by "module.name"."""
    objects: dict[str, list[bytes]] = {}
    for file in sorted(folder.glob("*.nbc")):
        data = file.read_bytes()
        begin = data.index(b"\x7fELF")
        table, _, _, _, _, entry, count = struct.unpack_from("<QIHHHHH", data, begin + 40)
        objects.setdefault(file.name.split("-")[0], []).append(data[begin : begin + table + entry * count])
    return objects


def symbol_of(program: Program, module: str, name: str, types: tuple[Any, ...]) -> str | None:
    """Return the symbol that a kernel has when it takes arguments of these Numba `types`."""
    from numba.core.itanium_mangler import mangle_args

    begin = re.compile(rf"_ZN10edgedefend{len(module)}{module}{len(name)}{name}B")
    end = mangle_args(types)
    return next((symbol for symbol in program.functions if begin.match(symbol) and symbol.endswith(end)), None)


def link(data: bytes) -> Program:
    """Lay out a relocatable AArch64 object file.

    Raises
    ------
    EdgeDefendError
        If it is not one, or asks for a relocation that is not known here.
    """
    elf = ELFFile(io.BytesIO(data))
    if elf["e_machine"] != "EM_AARCH64" or elf["e_type"] != "ET_REL":
        raise EdgeDefendError(f"expected an AArch64 object file, this is {elf['e_machine']} {elf['e_type']}")
    places: dict[int, int] = {}
    cursor = 0
    chunks: list[tuple[int, bytes]] = []
    for index, section in enumerate(elf.iter_sections()):
        if section["sh_flags"] & 2 and section["sh_size"]:  # SHF_ALLOC
            cursor = _aligned(cursor, max(16, section["sh_addralign"]))
            places[index] = BASE + cursor
            content = b"" if section["sh_type"] == "SHT_NOBITS" else section.data()
            chunks.append((cursor, content))
            cursor += section["sh_size"]

    imports: dict[str, int] = {}
    values: list[int] = []
    functions: dict[str, tuple[int, int]] = {}
    for symbol in elf.get_section_by_name(".symtab").iter_symbols():
        where = symbol["st_shndx"]
        if where in places:
            value = places[where] + symbol["st_value"]
            if symbol["st_info"]["type"] == "STT_FUNC":
                functions[symbol.name] = (value, symbol["st_size"])
        elif where == "SHN_COMMON":
            cursor = _aligned(cursor, max(16, symbol["st_value"]))
            value = BASE + cursor
            cursor += symbol["st_size"]
        elif where == "SHN_UNDEF" and symbol.name:
            value = imports.setdefault(symbol.name, IMPORTS + 16 * len(imports))
        else:
            value = 0
        values.append(value)

    table = _aligned(cursor, 16)  # the global offset table: an address for each symbol, used or not
    memory = bytearray(table + 8 * len(values))
    for offset, content in chunks:
        memory[offset : offset + len(content)] = content
    for number, value in enumerate(values):
        struct.pack_into("<Q", memory, table + 8 * number, value)
    for section in elf.iter_sections():
        if section["sh_type"] != "SHT_RELA" or section["sh_info"] not in places:
            continue
        for entry in section.iter_relocations():
            number = entry["r_info_sym"]
            _relocate(
                memory,
                entry["r_info_type"],
                places[section["sh_info"]] + entry["r_offset"],
                values[number] + entry["r_addend"],
                BASE + table + 8 * number,
            )
    return Program(BASE, bytes(memory), functions, {address: name for name, address in imports.items()})


def _aligned(value: int, to: int) -> int:
    return -(-value // to) * to


# "ELF for the Arm 64-bit Architecture": the low 12 bits of an address as the immediate of an addition, or of a load
# or store of 1, 2, 4, 8 or 16 bytes.
_LOW12 = {277: 0, 278: 0, 284: 1, 285: 2, 286: 3, 299: 4}
_MOVES = {263: 0, 264: 0, 265: 16, 266: 16, 267: 32, 268: 32, 269: 48}


def _relocate(memory: bytearray, kind: int, place: int, target: int, slot: int) -> None:
    """Put `target` (or, for the global offset table's kinds, the address of its `slot`) into the code at `place`."""
    at = place - BASE
    if kind == 257:  # ABS64
        struct.pack_into("<Q", memory, at, target & (1 << 64) - 1)
        return
    if kind in (258, 260, 261):  # ABS32, PREL64, PREL32
        size, value = ("<q", target - place) if kind == 260 else ("<i", target - (place if kind == 261 else 0))
        struct.pack_into(size, memory, at, value)
        return
    word: int = struct.unpack_from("<I", memory, at)[0]
    if kind in (282, 283):  # JUMP26, CALL26
        word |= (target - place) >> 2 & 0x3FFFFFF
    elif kind in _MOVES:
        word |= (target >> _MOVES[kind] & 0xFFFF) << 5
    elif kind in (275, 276, 311):  # a page, relative to this one
        pages = ((slot if kind == 311 else target) >> 12) - (place >> 12)
        word |= (pages & 3) << 29 | (pages >> 2 & 0x7FFFF) << 5
    elif kind in _LOW12:
        word |= ((target & 0xFFF) >> _LOW12[kind]) << 10
    elif kind == 312:  # LD64_GOT_LO12_NC
        word |= ((slot & 0xFFF) >> 3) << 10
    else:
        raise EdgeDefendError(f"relocation {kind} of AArch64 is not known here")
    struct.pack_into("<I", memory, at, word)


def import_page(program: Program) -> bytes:
    """Return the bytes at `IMPORTS`: a plain return for each import."""
    return (_RET * 4) * max(1, len(program.imports))
