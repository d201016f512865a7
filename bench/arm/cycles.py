"""llvm-mca's bracket of the cycles that code needs on a core, weighted by what was executed.

Each basic block is simulated alone. The lower bound lets blocks overlap without limit: only the pipes count
(reciprocal throughput). The upper bound waits for each block's last result before the next one begins. Both take
every load from the first-level cache and every branch as predicted.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass

from bench.arm.loops import Block
from bench.arm.machine import Run
from bench.arm.toolbox import Toolbox
from edgedefend.errors import EdgeDefendError

__all__ = ["MODELS", "Bracket", "bracket"]

# The scheduling model of each core. LLVM 19 gives the A76 the model of the A57; its own pipes are those of the
# Neoverse N1, which Arm derived from it, and that has a model of its own.
MODELS = {"cortex-a72": "cortex-a72", "cortex-a76": "neoverse-n1"}


@dataclass(frozen=True)
class Bracket:
    """Cycles of a model, for one call: never a time, the clock and the memory of a board are not in it."""

    lower: float
    upper: float


def bracket(blocks: Iterable[Block], run: Run, cpu: str, tools: Toolbox) -> Bracket:
    """Return the bracket for what `run` executed of `blocks`.

    Raises
    ------
    EdgeDefendError
        If llvm-mca cannot read the code.
    """
    executed = [(block, run.executed[block.address]) for block in blocks if run.executed[block.address]]
    text = "".join(
        f"# LLVM-MCA-BEGIN b{number}\n{_assembly(block)}\n# LLVM-MCA-END b{number}\n"
        for number, (block, _) in enumerate(executed)
    )
    regions = _simulate(text, cpu, tools)
    lower = upper = 0.0
    for number, (_, count) in enumerate(executed):
        lower += count * float(regions[f"b{number}"]["BlockRThroughput"])
        upper += count * float(regions[f"b{number}"]["TotalCycles"])
    return Bracket(lower, upper)


def _assembly(block: Block) -> str:
    """Return a block as llvm-mca takes it: a call is a branch to it, what is called has blocks of its own."""
    lines = []
    for instruction in block.instructions:
        if instruction.name.startswith("ldadd"):
            # A reference count, a few dozen an image; the model of the Neoverse N1 lacks the atomic addition.
            value, old, place = instruction.operands.split(", ", 2)
            lines += [f"ldr {old}, {place}", f"str {value}, {place}"]
            continue
        name = {"bl": "b", "blr": "br"}.get(instruction.name, instruction.name)
        operands = instruction.operands
        if instruction.target is not None:
            operands = re.sub(r"#0x[0-9a-f]+$", "#0x40", operands)
        elif name in ("adr", "adrp"):
            operands = re.sub(r"#0x[0-9a-f]+$", "#0", operands)
        lines.append(f"{name} {operands}")
    return "\n".join(lines)


def _simulate(text: str, cpu: str, tools: Toolbox) -> dict[str, dict[str, float]]:
    command = [
        str(tools.llvm_mca), "-mtriple=aarch64-linux-gnu", f"-mcpu={MODELS[cpu]}", "-iterations=1", "-json",
        "-instruction-info=false", "-resource-pressure=false",
    ]  # fmt: skip
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, env=tools.environment)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "error" in line] or ["no reason given"]
        raise EdgeDefendError(f"llvm-mca cannot read the code: {lines[0]}")
    regions = json.loads(done.stdout)["CodeRegions"]
    return {region["Name"]: region["SummaryView"] for region in regions}
