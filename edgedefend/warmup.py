"""Compiling every kernel before it is needed: on this machine, or on the desktop for a board's CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from edgedefend import dct, defense, grid
from edgedefend.encoding import Encoding
from edgedefend.errors import EdgeDefendError, InputError
from edgedefend.files import write_file

__all__ = ["cache_statistics", "run_every_variant", "warm_up", "warm_up_for"]


def _kernels() -> list[tuple[Any, str]]:
    """Return (module, name) of every kernel that Python code calls."""
    from edgedefend import fused, kernels

    return [
        (fused, "defend_into"),
        (kernels, "draw_grid"),
        (kernels, "quantize_blocks"),
        (kernels, "gather"),
        (kernels, "add_noise"),
    ]


def run_every_variant() -> None:
    """Call every public function once in each way that needs a kernel of its own (a few pixels each)."""
    image = np.zeros((9, 11, 3), np.uint8)
    defend = defense.Defense(np.full((8, 8), 20.0))
    defend(image)
    defense.Defense(defend.quant_table, noise_std=5.0)(image)
    for dtype in (np.uint8, np.int8, np.float32):
        defend.into(image, np.empty(image.shape, dtype), Encoding(dtype, 0.5, -1.0))
    dct.quantize(image, defend.quant_table)
    grid.remap(image, defend.sample_grid(9, 11))


def cache_statistics() -> tuple[int, int]:
    """Return how many kernels this process has taken from a cache and how many it has compiled."""
    hits = misses = 0
    for module, name in _kernels():
        stats = getattr(module, name).stats
        hits += sum(stats.cache_hits.values())
        misses += sum(stats.cache_misses.values())
    return hits, misses


def warm_up() -> tuple[Path, int, int]:
    """Compile whatever is not in this user's cache yet.

    Returns
    -------
    (folder, found, compiled)

    Raises
    ------
    EdgeDefendError
        If there is no folder that the result could be kept in.
    """
    from edgedefend import jit

    folder = jit.cache_folder()
    if folder is None:
        raise EdgeDefendError(
            "compiled kernels cannot be kept: set NUMBA_CACHE_DIR to a folder that only you can write"
        )
    run_every_variant()
    return folder, *cache_statistics()


def warm_up_for(target: str, folder: Path) -> int:
    """Write all kernels for a CPU into `folder`, to be read there as ``EDGEDEFEND_KERNELS``; return their number.

    Parameters
    ----------
    target : str
        "host", or a key of `edgedefend.jit.TARGETS`, whose code is made here without running it.
    folder : Path
        Made if need be. It is complete once its target.json is there.

    Raises
    ------
    InputError
        If the target is unknown.
    EdgeDefendError
        If the kernels cannot be compiled.
    """
    from edgedefend import jit

    if target not in ("host", *jit.TARGETS):
        raise InputError(f"unknown target {target!r}: expected host, {', '.join(jit.TARGETS)}")
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    (folder / "target.json").unlink(missing_ok=True)
    # Numba has one target a process: a process of its own, whose own cache is the folder.
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder.resolve()), "EDGEDEFEND_KERNELS": ""}
    if target != "host":
        environment |= {"NUMBA_CPU_NAME": target, "NUMBA_CPU_FEATURES": jit.TARGETS[target][1]}
    done = subprocess.run(
        [sys.executable, "-m", "edgedefend.warmup", target],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise EdgeDefendError(f"the kernels cannot be compiled for {target}: {reason}")
    for entry in folder.iterdir():
        entry.chmod(0o644)
    write_file(folder / "target.json", (json.dumps(jit.target_facts(target), indent=1) + "\n").encode())
    return int(done.stdout)


class _Recorder:
    """Stands in for a kernel: notes the types it is called with and calls nothing."""

    def __init__(self) -> None:
        self.signatures: list[tuple[Any, ...]] = []

    def __call__(self, *arguments: Any) -> bool:
        import numba

        types = tuple(numba.typeof(argument) for argument in arguments)
        if types not in self.signatures:
            self.signatures.append(types)
        for argument in arguments:
            # What the kernel would have written is looked at by the next one: zeros are valid everywhere.
            if isinstance(argument, np.ndarray) and argument.flags.writeable:
                argument[...] = 0
        return True


def _compile_without_running() -> int:
    """Compile every variant for the CPU that the environment names, a 64-bit ARM; return their number."""
    import llvmlite.binding as llvm
    from numba.core import codegen

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    triple = "aarch64-unknown-linux-gnu"
    for module in (llvm, llvm.targets, codegen.ll):
        if hasattr(module, "get_process_triple"):
            module.get_process_triple = lambda: triple
    originals = [(module, name, getattr(module, name)) for module, name in _kernels()]
    recorders = []
    for module, name, _ in originals:
        recorders.append(_Recorder())
        setattr(module, name, recorders[-1])
    run_every_variant()
    count = 0
    for (module, name, dispatcher), recorder in zip(originals, recorders, strict=True):
        setattr(module, name, dispatcher)
        for types in recorder.signatures:
            dispatcher.compile(types)
            count += 1
    return count


if __name__ == "__main__":
    if sys.argv[1] == "host":
        run_every_variant()
        sys.stdout.write(str(cache_statistics()[1]))
    else:
        sys.stdout.write(str(_compile_without_running()))
