"""The ARM report as Markdown: ratios first, what they are made of after."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["render"]

_NAMES = {"fused": "fused kernel", "plain": "plain kernels", "plain C": "plain C (ours, -O3)"}


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a Markdown table, first column left, the others right."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return [f"| {' | '.join(row)} |" for row in [head, rule, *rows]]


def _thousands(number: int) -> str:
    return f"{number:,}".replace(",", " ")


def _times(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}"


def _ratios(result: dict[str, Any]) -> list[str]:
    rows = [
        [
            f"{_NAMES.get(row['way'], row['way'])}, {row['cpu']}, {row['size']}x{row['size']}",
            *(_times(row[key]) for key in ("instructions", "throughput_bound", "latency_bound", "certain")),
        ]
        for row in result["ratios"]
    ]
    head = ["over the fused kernel", "instructions", "cycles, lower bounds", "cycles, upper bounds", "at the least"]
    return _table(head, rows)


def _counts(result: dict[str, Any]) -> list[str]:
    rows = []
    for way in result["ways"]:
        counts = way["by_class"]
        rows.append([
            f"{_NAMES.get(way['way'], way['way'])} -> {way['output']}, {way['cpu']}, {way['size']}",
            _thousands(way["instructions"]),
            *(_thousands(counts[kind]) for kind in ("vector", "fma", "vector load/store")),
            *(_thousands(counts[kind]) for kind in ("scalar float", "scalar load/store", "integer", "branch")),
            {True: "yes", False: "NO", None: "-"}[way.get("identical_to_native")],
        ])  # fmt: skip
    head = [
        "way, output, core, side", "instructions", "vector", "of them fma", "vector ld/st", "scalar float",
        "scalar ld/st", "integer", "branch", "output identical to native",
    ]  # fmt: skip
    return _table(head, rows)


def _loops(result: dict[str, Any], cpu: str) -> list[str]:
    rows, seen = [], set()
    for row in result["loops"]:
        key = row["header"]
        if row["cpu"] != cpu or row["size"] != result["sizes"][-1] or key in seen:
            continue  # most loops are the same whatever the tensor holds
        seen.add(key)
        rows.append([
            row["what"],
            row["output"],
            f"{100 * row['share']:.1f} %",
            *(str(row[key]) for key in ("rounds", "instructions", "vector", "fma", "vector load/store")),
            *(str(row[key]) for key in ("scalar float", "scalar load/store", "stack load/store")),
            "yes" if row["neon"] else "control" if row["outer"] else "NO",
        ])  # fmt: skip
    head = [
        "loop", "output", "of all instructions", "rounds", "instructions a round", "vector", "of them fma",
        "vector ld/st", "scalar float", "scalar ld/st", "of ld/st: stack", "NEON",
    ]  # fmt: skip
    return _table(head, rows)


def render(result: dict[str, Any]) -> str:
    """Return the report of `bench.arm.report.measure` as Markdown."""
    machine = result["conditions"]["machine"]
    side = result["sizes"][-1]
    lines = [
        "# The defence as ARM code",
        "",
        "Made by `make arm-report`, without a board: the kernels are compiled for the core as `edgedefend warmup",
        "--target` does, their object code is run under emulation on a photograph, and every array it leaves is",
        f"compared with what the native code ({machine}) leaves. Counts are exact, and the same on every machine.",
        "Nothing here is a time.",
        "",
        "## Ratios",
        "",
        "How many times as much as the fused kernel (uint8 output), same core, same image, same table, same grid",
        f"(that of seed {result['seed']}; another grid drops other pixels, and the counts move a little).",
        "",
        *_ratios(result),
        "",
        "* *plain kernels*: `quantize_blocks`, then `gather`, the readable version, compiled the same way.",
        "* *plain C*: the same work in C written for a compiler to vectorise (`bench/arm/peer.c`), GCC with",
        f"  `{' '.join(result['compiler_flags'][:3])}` and the core's `-mcpu`.",
        "* *libjpeg-turbo NEON*: its own hand-written 16-bit DCT, quantiser and inverse DCT, without entropy coding,",
        "  then the gather. It works on 8 numbers a vector where 32-bit floats allow 4, and rounds inside.",
        "* *cycles* are llvm-mca's (LLVM 19), each basic block simulated alone and weighted by how often it ran, loads",
        "  from the first-level cache, branches predicted. Lower bound: blocks overlap without limit, only the pipes",
        "  count. Upper bound: each block waits for the one before to end. *At the least*: the other's lower bound",
        "  over our upper one; above 1, the fused kernel is faster however the core overlaps them.",
        *(f"* {core} is simulated with LLVM's model `{model}`." for core, model in result["models"].items()),
        "",
    ]
    if result["missing"]:
        lines += ["**Not in this report:**", "", *(f"* {line}" for line in result["missing"]), ""]
    lines += ["## Instructions for one image", "", *_counts(result), ""]
    for cpu in result["cpus"]:
        lines += [
            f"## Hot loops of the fused kernel, {cpu}, {side}x{side}",
            "",
            "Loops that execute 1 % of all instructions or more, without the loops inside them. *control*: what an",
            "outer loop does between its inner ones. Stack accesses are spills, or the small arrays that live there.",
            "",
            *_loops(result, cpu),
            "",
        ]
    packages = result["conditions"]["packages"]
    lines += [
        f"Numba {packages['numba']}, NumPy {packages['numpy']}, edgedefend {result['conditions']['edgedefend']}, "
        f"{result['conditions']['measured_at']}.",
        "",
    ]
    return "\n".join(lines)
