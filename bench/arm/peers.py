"""The C that the kernels are compared with, compiled for the same core: ours in peer.c, and libjpeg-turbo's NEON."""

from __future__ import annotations

import math
import re
import subprocess
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.arm.machine import Machine, Run
from bench.arm.objects import Program, link
from bench.arm.toolbox import Toolbox
from edgedefend.errors import EdgeDefendError
from edgedefend.grid import Grid

__all__ = ["PEERS", "build", "call"]

# name in the report -> function that is called
PEERS = {"plain C": "defend_c", "libjpeg-turbo NEON": "defend_libjpeg"}
_HERE = Path(__file__).parent
FLAGS = ("-O3", "-fno-math-errno", "-fno-trapping-math", "-fno-stack-protector", "-fno-asynchronous-unwind-tables")
_LIBJPEG = ("jfdctint-neon.c", "jidctint-neon.c", "jquanti-neon.c")


def build(name: str, cpu: str, tools: Toolbox) -> Program:
    """Compile a peer for `cpu` and link it into one program.

    Raises
    ------
    EdgeDefendError
        If the compiler fails.
    """
    folder = tools.folder / "peers" / cpu
    folder.mkdir(parents=True, exist_ok=True)
    if name == "plain C":
        target = _compile([_HERE / "peer.c"], folder / "peer.o", cpu, tools, ())
    else:
        if tools.libjpeg is None:
            raise EdgeDefendError("the source of libjpeg-turbo is not there")
        configured = _configure(tools.libjpeg, folder)
        sources = [_HERE / "libjpeg_peer.c", *(tools.libjpeg / "simd" / "arm" / file for file in _LIBJPEG)]
        target = _compile(sources, folder / "libjpeg.o", cpu, tools, (configured, tools.libjpeg))
    return link(target.read_bytes())


def _compile(sources: list[Path], target: Path, cpu: str, tools: Toolbox, include: tuple[Path, ...]) -> Path:
    headers = tools.folder / "root" / "usr" / "aarch64-linux-gnu" / "include"
    command = [str(tools.compiler), *FLAGS, f"-mcpu={cpu}", "-r", "-nostdlib", "-o", str(target)]
    for place in include:
        command += ["-I", str(place)]
    if headers.is_dir():
        command += ["-isystem", str(headers)]
    done = subprocess.run(
        [*command, *map(str, sources)], capture_output=True, text=True, check=False, env=tools.environment
    )
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines()
        raise EdgeDefendError(f"{target.stem} cannot be compiled for {cpu}: {(errors or ['no reason given'])[0]}")
    return target


def _configure(source: Path, folder: Path) -> Path:
    """Write the headers that libjpeg-turbo's CMake would, for GCC on AArch64; return their folder."""
    values = {
        "JPEG_LIB_VERSION": "62", "VERSION": "0", "LIBJPEG_TURBO_VERSION_NUMBER": "0", "BITS_IN_JSAMPLE": "8",
        "BUILD": "0", "INLINE": "inline", "THREAD_LOCAL": "__thread", "CMAKE_PROJECT_NAME": "libjpeg-turbo",
        "SIZE_T": "8",
    }  # fmt: skip
    yes = {"WITH_SIMD", "HAVE_VLD1_S16_X3", "HAVE_VLD1_U16_X2", "HAVE_VLD1Q_U8_X4"}
    for template in ("jconfig.h.in", "jconfigint.h.in", "simd/arm/neon-compat.h.in"):
        text = (source / template).read_text(encoding="utf-8")
        text = re.sub(r"@(\w+)@", lambda match: values.get(match[1], "0"), text)
        text = re.sub(
            r"#cmakedefine (\w+)(.*)",
            lambda match: f"#define {match[1]}{match[2] or ' 1'}" if match[1] in yes else "",
            text,
        )
        (folder / Path(template).stem).write_text(text, encoding="utf-8")
    return folder


def call(
    name: str, program: Program, cpu: str, image: NDArray[np.uint8], quant_table: NDArray[np.float32], grid: Grid
) -> tuple[Run, NDArray[np.uint8]]:
    """Run a peer on one image under emulation; return what ran and the defended image, uint8 like `image`.

    Raises
    ------
    EdgeDefendError
        If libjpeg-turbo's 16-bit quantiser cannot hold the table (whole numbers from 1 to 255 only).
    """
    machine = Machine(program, cpu)
    height, width, _ = image.shape
    first, second = _tables(quant_table) if name == "plain C" else _jpeg_tables(quant_table)
    rows, cols = (np.asarray(axis, np.int32) for axis in grid)
    out = machine.allocate(image.nbytes, "out")
    words = [
        machine.place(image, "source"),
        height,
        width,
        machine.place(first, "tables"),
        machine.place(second, "tables"),
        machine.place(rows, "rows"),
        machine.place(cols, "cols"),
        machine.allocate(3 * (height + 8) * (width + 8), "scratch"),
        out,
    ]
    run, _ = machine.call(PEERS[name], words)
    return run, machine.read(out, image)


def _tables(quant_table: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return reciprocals and steps with the scale factors of Arai, Agui and Nakajima folded in, transposed."""
    axis = [1.0, *(math.cos(k * math.pi / 16) * math.sqrt(2) for k in range(1, 8))]
    scale = np.outer(axis, axis)
    table = quant_table.astype(np.float64)
    return (1 / (8 * scale * table)).T.astype(np.float32), (scale * table / 8).T.astype(np.float32)


def _jpeg_tables(quant_table: NDArray[np.float32]) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """Return libjpeg-turbo's divisors, (4, 64), as `compute_reciprocal` of its jcdctmgr.c makes them, and its table."""
    table = np.rint(quant_table).astype(int).ravel()
    if not ((table >= 1) & (table <= 255)).all():
        raise EdgeDefendError("libjpeg-turbo's quantiser takes tables of 1 to 255")
    divisors = np.zeros((4, 64), np.uint16)
    for k, step in enumerate(table):
        divisor = 8 * int(step)
        shift = 16 + divisor.bit_length() - 1
        quotient, rest = divmod(1 << shift, divisor)
        correction = divisor // 2
        if rest == 0:
            quotient, shift = quotient >> 1, shift - 1
        elif rest <= divisor // 2:
            correction += 1
        else:
            quotient += 1
        divisors[:, k] = quotient, correction, 1 << (32 - shift) & 0xFFFF, shift - 16
    return divisors.view(np.int16), table.astype(np.int16)
