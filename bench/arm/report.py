"""What `edgedefend bench arm-report` measures: loops, instructions and cycle brackets, and their ratios."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.arm import cycles, peers
from bench.arm.kernel_runs import ENCODINGS, Call, find_kernel, record_fused, record_plain
from bench.arm.loops import CLASSES, Function, Loop, disassemble
from bench.arm.machine import Run
from bench.arm.objects import make_kernels
from bench.arm.toolbox import Toolbox
from bench.conditions import Watch
from edgedefend.dct import quantize
from edgedefend.grid import remap, sample_grid
from edgedefend.sources import fit_image

__all__ = ["CPUS", "hot_loops", "is_neon", "listing", "measure"]

CPUS = ("cortex-a72", "cortex-a76")
HOT = 0.01  # a loop is hot if it executes this share of all instructions
# What the kernels' parameters hold; a parameter that is not listed goes by its own name.
_ROLES = {
    "source": "image", "out": "tensor", "floats": "tensor", "reciprocal": "table", "step": "table",
    "table": "encoding", "scale": "encoding", "offset": "encoding", "rows": "grid", "cols": "grid",
}  # fmt: skip
_QUIET = ("stack", "constants", "owner", "grid", "encoding")


def is_neon(loop: Loop) -> bool:
    """Tell whether a loop works on vectors: vector registers at least, no scalar floats, no single bytes."""
    counts = loop.count()
    wide = counts["vector"] + counts["vector load/store"]
    return wide > 0 and counts["scalar float"] == 0 and counts["byte load/store"] == 0


def _what(loop: Loop, touched: set[str]) -> str:
    """Say what a loop does, from what it reads and writes and from its instructions."""
    reads = sorted({_ROLES.get(name[1:], name[1:]) for name in touched if name[0] == "<"} - {*_QUIET})
    writes = sorted({_ROLES.get(name[1:], name[1:]) for name in touched if name[0] == ">"} - {*_QUIET})
    names = Counter(instruction.name for instruction in loop.instructions if instruction.kind == "vector")
    additions = sum(count for name, count in names.items() if re.fullmatch(r"[fsu]?(add|sub)[lw]?2?", name))
    tables = any(_ROLES.get(name[1:]) == "table" for name in touched)
    deeds = []
    if names["scvtf"] or names["ucvtf"]:
        deeds.append("levels to floats")
    if additions >= 16:
        deeds.append("DCT")
    if tables and additions:
        deeds.append("quantise")
    if any(name.startswith("fcvt") or name in ("sqxtun", "sqxtun2", "uqxtn", "sqrshrun") for name in names):
        deeds.append("round and clip to levels")
    if not deeds:
        one_by_one = any(i.kind == "scalar load/store" and i.operands[0] in "bhs" for i in loop.instructions)
        if any(instruction.is_fma for instruction in loop.instructions):
            deeds.append("multiply and add")
        elif is_neon(loop):
            deeds.append("copy")
        elif loop.count()["byte load/store"] > 8 or (one_by_one and not loop.outer):
            deeds.append("copy one by one")
        else:
            deeds.append("indices")
    return f"{' + '.join(reads) or 'registers'} -> {' + '.join(writes) or 'registers'}: {', '.join(deeds)}"


def hot_loops(functions: Sequence[Function], run: Run, touched: dict[int, set[str]]) -> list[dict[str, Any]]:
    """Return the loops that execute at least `HOT` of all instructions, hottest first.

    `touched` is that of a run with ``watch=True``; it gives the loops their names.
    """
    found: list[dict[str, Any]] = []
    for function in functions:
        for loop in function.loops:
            instructions = loop.instructions
            executed = sum(run.executed[instruction.address] for instruction in instructions)
            if executed < HOT * run.total:
                continue
            seen: set[str] = set()
            for instruction in instructions:
                seen |= touched.get(instruction.address, set())
            counts = loop.count()
            spills = counts["stack, vector load/store"] + counts["stack, scalar load/store"]
            found.append({
                "function": function.name,
                "header": loop.header,
                "what": _what(loop, seen),
                "share": executed / run.total,
                "rounds": run.executed[loop.header],
                "outer": loop.outer,
                "neon": is_neon(loop),
                "instructions": len(instructions),
                **{kind: counts[kind] for kind in CLASSES},
                "fma": counts["fma"],
                "byte load/store": counts["byte load/store"],
                "stack load/store": spills,
            })  # fmt: skip
    return sorted(found, key=lambda row: -row["share"])


def listing(functions: Sequence[Function], rows: Sequence[dict[str, Any]]) -> str:
    """Return the code of hot loops, `rows` of `hot_loops`, as text: a comment for each loop, then its blocks."""
    loops = {(function.name, loop.header): loop for function in functions for loop in function.loops}
    lines: list[str] = []
    for row in rows:
        neon = "NEON" if row["neon"] else "no vectors"
        lines.append(
            f"// {row['what']}: {100 * row['share']:.1f} % of all instructions ({row['output']} output, "
            f"{row['size']}x{row['size']}), {row['rounds']} rounds, {neon}"
        )
        blocks = loops[row["function"], row["header"]].blocks
        inside = {block.address for block in blocks}
        for block in blocks:
            lines.append(f".L{block.address:x}:")
            for instruction in block.instructions:
                operands = instruction.operands
                if instruction.target in inside:
                    operands = operands.replace(f"#{instruction.target:#x}", f".L{instruction.target:x}")
                lines.append(f"\t{instruction.name}\t{operands}".rstrip())
        lines.append("")
    return "\n".join(lines)


def _by_class(functions: Sequence[Function], run: Run) -> dict[str, int]:
    """Return how many instructions of each class were executed."""
    counts: Counter[str] = Counter(dict.fromkeys((*CLASSES, "fma"), 0))
    for function in functions:
        for block in function.blocks.values():
            for instruction in block.instructions:
                counts[instruction.kind] += run.executed[instruction.address]
                counts["fma"] += run.executed[instruction.address] * instruction.is_fma
    return dict(counts)


def _entry(parts: Sequence[tuple[Sequence[Function], Run]], cpu: str, tools: Toolbox) -> dict[str, Any]:
    """Return the figures of one way to defend an image: the sum of the calls it takes."""
    classes: Counter[str] = Counter()
    lower = upper = 0.0
    for functions, run in parts:
        classes.update(_by_class(functions, run))
        if tools.llvm_mca:
            blocks = [block for function in functions for block in function.blocks.values()]
            part = cycles.bracket(blocks, run, cpu, tools)
            lower, upper = lower + part.lower, upper + part.upper
    return {
        "instructions": sum(run.total for _, run in parts),
        "by_class": dict(classes),
        "cycles": [lower, upper] if tools.llvm_mca else None,
        "runtime_calls": dict(sum((run.calls for _, run in parts), Counter())),
    }


def _kernels(
    calls: Sequence[Call], objects: dict[str, list[bytes]], cpu: str, tools: Toolbox
) -> tuple[dict[str, Any], Sequence[Function], Run]:
    """Run one call or several of the package's kernels; return their entry, and the last one's code and run."""
    parts, same = [], True
    for call in calls:
        kernel = find_kernel(objects, call)
        run, equal = kernel.run(call, cpu)
        parts.append((disassemble(kernel.program, kernel.symbol), run))
        same = same and equal
    return {**_entry(parts, cpu, tools), "identical_to_native": same}, *parts[-1]


def measure(
    image: NDArray[np.uint8],
    quant_table: NDArray[np.float32],
    *,
    sizes: Sequence[int] = (224, 299),
    cpus: Sequence[str] = CPUS,
    tools: Toolbox,
    seed: int = 0,
    tick: Callable[[int], Any] = lambda count: None,
) -> dict[str, Any]:
    """Cross-compile, look at, run and compare everything; takes a minute or two.

    Parameters
    ----------
    image : uint8 (H, W, 3)
        Scaled to each of the `sizes`.
    quant_table : float32 (8, 8)
        Whole numbers up to 255 if libjpeg-turbo is to be compared.
    tools : Toolbox
        What is missing there is missing in the result.
    seed : int
        Of the grid, so that the counts can be had again.

    Returns
    -------
    dict
        "ways": one entry a CPU, size and way to defend the image, with instructions, classes and the bracket of
        cycles; "loops": the fused kernel's hot loops; "ratios": each way over the fused one with uint8 output;
        "listings": CPU -> the code of the hot loops at the last size.
    """
    ways: list[dict[str, Any]] = []
    loops: list[dict[str, Any]] = []
    listings: dict[str, str] = {}
    names = [name for name in peers.PEERS if tools.compiler and (tools.libjpeg or name == "plain C")]
    for cpu in cpus:
        with tempfile.TemporaryDirectory() as folder:
            objects = make_kernels(cpu, Path(folder) / "kernels")
        programs = {name: peers.build(name, cpu, tools) for name in names}
        touched = {kind: _small_run(objects, quant_table, kind, cpu) for kind in ENCODINGS}
        tick(1)
        for size in sizes:
            listed: dict[int, dict[str, Any]] = {}
            picture = fit_image(image, size, size)
            cells = sample_grid(size, size, rng=np.random.default_rng(seed))
            for kind, encoding in ENCODINGS.items():
                calls = record_fused(picture, quant_table, cells, encoding)
                entry, functions, run = _kernels(calls, objects, cpu, tools)
                ways.append({"cpu": cpu, "size": size, "way": "fused", "output": kind, **entry})
                for hot in hot_loops(functions, run, touched[kind]):
                    row = {"cpu": cpu, "size": size, "output": kind, **hot}
                    loops.append(row)
                    listed.setdefault(row["header"], row)  # most loops are the same whatever the tensor holds
            listings[cpu] = listing(functions, list(listed.values()))
            entry, _, _ = _kernels(record_plain(picture, quant_table, cells), objects, cpu, tools)
            ways.append({"cpu": cpu, "size": size, "way": "plain", "output": "uint8", **entry})
            native = remap(quantize(picture, quant_table), cells)
            for name, program in programs.items():
                run, out = peers.call(name, program, cpu, picture, quant_table, cells)
                entry = _entry([(disassemble(program, peers.PEERS[name]), run)], cpu, tools)
                entry["mean_difference"] = float(np.abs(out.astype(int) - native).mean())
                ways.append({"cpu": cpu, "size": size, "way": name, "output": "uint8", **entry})
            tick(1)
    return {
        "kind": "arm-report",
        "cpus": list(cpus),
        "sizes": list(sizes),
        "ways": ways,
        "loops": loops,
        "ratios": _ratios(ways),
        "listings": listings,
        "missing": tools.missing(),
        "models": cycles.MODELS,
        "compiler_flags": peers.FLAGS,
        "seed": seed,
        "quant_table": quant_table.tolist(),
        # Instructions are counted, not timed: what else this machine does changes none of it.
        "conditions": Watch(timed=False).finish(),
    }


def _small_run(
    objects: dict[str, list[bytes]], quant_table: NDArray[np.float32], kind: str, cpu: str
) -> dict[int, set[str]]:
    """Return what each instruction touches, from an image small enough to watch every access."""
    image = np.random.default_rng(0).integers(0, 256, (77, 77, 3), np.uint8)
    cells = sample_grid(77, 77, rng=np.random.default_rng(0))
    call = record_fused(image, quant_table, cells, ENCODINGS[kind])[-1]
    run, _ = find_kernel(objects, call).run(call, cpu, watch=True)
    return run.touched


def _ratios(ways: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return how many times as much each way takes as the fused kernel does, same core, same image."""
    ratios = []
    for way in ways:
        if way["output"] != "uint8" or way["way"] == "fused":
            continue
        fused = next(
            other for other in ways
            if (other["cpu"], other["size"], other["way"], other["output"])
            == (way["cpu"], way["size"], "fused", "uint8")
        )  # fmt: skip
        row = {
            "cpu": way["cpu"],
            "size": way["size"],
            "way": way["way"],
            "instructions": way["instructions"] / fused["instructions"],
            "throughput_bound": None,
            "latency_bound": None,
            "certain": None,
        }
        if way["cycles"]:
            row |= {
                "throughput_bound": way["cycles"][0] / fused["cycles"][0],
                "latency_bound": way["cycles"][1] / fused["cycles"][1],
                # However the blocks overlap: its best case over our worst.
                "certain": way["cycles"][0] / fused["cycles"][1],
            }
        ratios.append(row)
    return ratios
