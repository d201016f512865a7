"""What the compiler made of a kernel: its instructions by class, its basic blocks, and the loops among them."""

from __future__ import annotations

import functools
import re
from collections import Counter
from dataclasses import dataclass

import capstone

from bench.arm.objects import Program

__all__ = ["CLASSES", "Block", "Function", "Instruction", "Loop", "disassemble"]

# Every instruction is in exactly one class.
CLASSES = ("vector", "vector load/store", "scalar float", "scalar load/store", "integer", "branch")
_BRANCHES = {"b", "bl", "br", "blr", "ret", "cbz", "cbnz", "tbz", "tbnz"}
_ARRANGED = re.compile(r"\bv\d+\.(\d+[bhsd]\b|[bhsd]\}?\[)")
_FLOAT_REGISTER = re.compile(r"\b[qdshb]\d+\b")
_VECTOR_REGISTER = re.compile(r"\b[qd]\d+\b")
_LANE = re.compile(r"\.[bh]\}\[")
_SCALAR_FLOAT = re.compile(r"(f(?!mov)|[su]cvtf)")


@dataclass(frozen=True)
class Instruction:
    """One instruction, as capstone writes it."""

    address: int
    name: str
    operands: str

    @functools.cached_property
    def kind(self) -> str:
        """Its class, one of `CLASSES`."""
        if self.name in _BRANCHES or self.name.startswith("b."):
            return "branch"
        wide = bool(_ARRANGED.search(self.operands))
        floats = wide or bool(_FLOAT_REGISTER.search(self.operands))
        if self.name.startswith(("ld", "st", "prfm")):
            wide = wide or bool(_VECTOR_REGISTER.search(self.operands))
            return "vector load/store" if wide else "scalar load/store"
        if wide:
            return "vector"
        if not floats:
            return "integer"
        # Moves between register files are what the vector code next to them needs.
        return "scalar float" if _SCALAR_FLOAT.match(self.name) else "vector"

    @property
    def is_fma(self) -> bool:
        """Whether it multiplies and adds vectors of floats."""
        return self.name in ("fmla", "fmls") and self.kind == "vector"

    @property
    def touches_stack(self) -> bool:
        """Whether it loads from or stores to the stack: a spill, or an array that lives there."""
        return self.kind.endswith("load/store") and "[sp" in self.operands

    @property
    def moves_bytes(self) -> bool:
        """Whether it loads or stores a byte or two: the mark of a loop that goes pixel by pixel."""
        if self.kind == "scalar load/store":
            return self.name.endswith(("b", "h")) or self.operands[0] in "bh"
        return self.kind == "vector load/store" and bool(_LANE.search(self.operands))

    @functools.cached_property
    def target(self) -> int | None:
        """Where a direct branch goes."""
        found = re.search(r"#0x([0-9a-f]+)$", self.operands) if self.kind == "branch" else None
        return int(found[1], 16) if found else None


@dataclass(frozen=True)
class Block:
    """A basic block: entered at its first instruction, left after its last."""

    instructions: tuple[Instruction, ...]
    successors: tuple[int, ...]

    @property
    def address(self) -> int:
        """Of its first instruction."""
        return self.instructions[0].address


@dataclass(frozen=True)
class Loop:
    """A natural loop: `blocks` without those of the loops inside it; `outer` if there are any."""

    header: int
    blocks: tuple[Block, ...]
    outer: bool

    @property
    def instructions(self) -> list[Instruction]:
        """The loop's own instructions."""
        return [instruction for block in self.blocks for instruction in block.instructions]

    def count(self) -> Counter[str]:
        """Return how many instructions of each class, and marks, the loop has."""
        counts: Counter[str] = Counter()
        for instruction in self.instructions:
            counts[instruction.kind] += 1
            counts["fma"] += instruction.is_fma
            counts["byte load/store"] += instruction.moves_bytes
            if instruction.touches_stack:
                counts[f"stack, {instruction.kind}"] += 1
        return counts


@dataclass(frozen=True)
class Function:
    """A function's basic blocks by address, and its loops, innermost first."""

    name: str
    blocks: dict[int, Block]
    loops: tuple[Loop, ...]


def disassemble(program: Program, entry: str) -> list[Function]:
    """Return `entry` and every function of the program that can be reached from it."""
    found: dict[str, Function] = {}
    waiting = [entry]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        blocks = _blocks(program, name)
        found[name] = Function(name, blocks, _loops(blocks, program.functions[name][0]))
        for block in blocks.values():
            last = block.instructions[-1]
            callee = None if last.target is None else program.function_at(last.target)
            if callee:
                waiting.append(callee)
    return list(found.values())


def _blocks(program: Program, name: str) -> dict[int, Block]:
    begin, size = program.functions[name]
    engine = capstone.Cs(capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM)
    engine.skipdata = True  # a table of jump targets between functions
    listing = [Instruction(i.address, i.mnemonic, i.op_str) for i in engine.disasm(program.code(name), begin)]
    inside = range(begin, begin + size)
    leaders = {begin}
    for instruction in listing:
        if instruction.kind == "branch":
            leaders.add(instruction.address + 4)
            if instruction.target in inside and instruction.name != "bl":
                leaders.add(instruction.target or 0)
    blocks: dict[int, Block] = {}
    run: list[Instruction] = []
    for instruction in listing:
        run.append(instruction)
        following = instruction.address + 4
        if following in leaders or following not in inside:
            goes = set()
            if instruction.name not in ("b", "br", "ret"):
                goes.add(following)
            if instruction.target is not None and instruction.name != "bl":
                goes.add(instruction.target)
            blocks[run[0].address] = Block(tuple(run), tuple(sorted(goes & leaders)))
            run = []
    return blocks


def _dominators(blocks: dict[int, Block], entry: int) -> dict[int, set[int]]:
    """Return, for each block that can be reached, the blocks that every way to it goes through."""
    reached, waiting = {entry}, [entry]
    while waiting:
        for following in blocks[waiting.pop()].successors:
            if following in blocks and following not in reached:
                reached.add(following)
                waiting.append(following)
    before: dict[int, set[int]] = {address: set() for address in reached}
    for address in reached:
        for following in blocks[address].successors:
            if following in reached:
                before[following].add(address)
    dominators = {address: set(reached) for address in reached}
    dominators[entry] = {entry}
    changed = True
    while changed:
        changed = False
        for address in sorted(reached - {entry}):
            new = set.intersection(*(dominators[previous] for previous in before[address])) | {address}
            if new != dominators[address]:
                dominators[address], changed = new, True
    return dominators


def _loops(blocks: dict[int, Block], entry: int) -> tuple[Loop, ...]:
    """Return the natural loops (Aho, Sethi and Ullman), each without the loops inside it, innermost first."""
    dominators = _dominators(blocks, entry)
    before: dict[int, set[int]] = {address: set() for address in dominators}
    for address in dominators:
        for following in blocks[address].successors:
            if following in before:
                before[following].add(address)
    bodies: dict[int, set[int]] = {}
    for address in dominators:
        for header in blocks[address].successors:
            if header not in dominators[address]:
                continue
            body = bodies.setdefault(header, {header})
            waiting = [address]
            while waiting:
                inner = waiting.pop()
                if inner not in body:
                    body.add(inner)
                    waiting.extend(before[inner])
    loops = []
    taken: set[int] = set()
    for header, body in sorted(bodies.items(), key=lambda item: len(item[1])):
        own = body - taken
        taken |= body
        loops.append(Loop(header, tuple(blocks[address] for address in sorted(own)), own != body))
    return tuple(loops)
