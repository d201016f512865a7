"""The compiled loops: 8x8 DCT quantisation, the grid's index maps, and the gather that applies them.

These are the readable versions. Importing this module imports Numba, so the public modules (`dct`, `grid`,
`defense`) import it inside their functions: a program that never defends an image never pays for LLVM.
Each kernel is an ordinary function that `edgedefend.jit.kernel` compiles on its first call and keeps on disk;
``NUMBA_DISABLE_JIT=1`` runs the same source interpreted, which the tests do.

Conventions, once for all of them: images are uint8 ``(H, W, C)``; tables are float32 ``(8, 8)``, row = vertical
frequency, DC at ``[0, 0]``, in pixel levels; the DCT is the orthonormal DCT-II, ``D @ block @ D.T``, which is
``C @ block @ C.T / 8`` of the matrix `cosine_matrix`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from edgedefend.jit import kernel


def cosine_matrix() -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return the 8-point DCT-II matrix times the square root of 8, float32 (8, 8), row = frequency.

    Its rows 0 and 4 are exactly +-1: the mean of a block, and a block that keeps only its mean, are computed without
    error, so that what lies on a rounding tie goes to even in every implementation of the defence.

    Ahmed, Natarajan and Rao, "Discrete cosine transform", IEEE Trans. Computers, 1974.
    """
    frequency, position = np.mgrid[0:8, 0:8]
    matrix = np.cos((2 * position + 1) * frequency * math.pi / 16) * math.sqrt(2)
    matrix[0] = 1
    return matrix.astype(np.float32)


def dct_matrix() -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return the orthonormal 8-point DCT-II matrix, float32 (8, 8), row = frequency."""
    return cosine_matrix() / np.float32(math.sqrt(8))


@kernel
def quantize_blocks(image, table, cosines, out):
    """Write the DCT-quantised `image` to `out` (both uint8 (H, W, C)).

    Blocks that hang over the right or lower side read the last column or row again, as if the image had been
    extended by repeating its edge, and write only what lies inside. `cosines` is `cosine_matrix()`: each pass is too
    large by the square root of 8, both by 8.
    """
    height, width, channels = image.shape
    block = np.empty((8, 8), np.float32)
    half = np.empty((8, 8), np.float32)
    eighth = np.float32(0.125)
    for top in range(0, height, 8):
        for left in range(0, width, 8):
            for channel in range(channels):
                for y in range(8):
                    row = min(top + y, height - 1)
                    for x in range(8):
                        block[y, x] = image[row, min(left + x, width - 1), channel]

                # Rows, then columns: half = block @ C.T, block = C @ half / 8.
                for y in range(8):
                    for u in range(8):
                        total = np.float32(0)
                        for x in range(8):
                            total += block[y, x] * cosines[u, x]
                        half[y, u] = total
                for v in range(8):
                    for u in range(8):
                        total = np.float32(0)
                        for y in range(8):
                            total += cosines[v, y] * half[y, u]
                        block[v, u] = np.rint(total * eighth / table[v, u]) * table[v, u]

                # The inverse is the transpose: half = C.T @ block, pixel = half @ C / 8.
                for y in range(8):
                    for u in range(8):
                        total = np.float32(0)
                        for v in range(8):
                            total += cosines[v, y] * block[v, u]
                        half[y, u] = total
                for y in range(min(8, height - top)):
                    for x in range(min(8, width - left)):
                        total = np.float32(0)
                        for u in range(8):
                            total += half[y, u] * cosines[u, x]
                        out[top + y, left + x, channel] = np.uint8(
                            min(max(np.rint(total * eighth), np.float32(0)), np.float32(255))
                        )


@kernel
def fill_axis(stretch, flip, out):
    """Write one axis of a random grid to `out`, int32 (side,): the source index of each output index.

    `stretch` holds one factor a whole cell (1 + U(-delta, +delta)). Whole cells are ``side // len(stretch)``
    wide; what is left over is the last, partial cell, which ends at the image's edge. `flip` starts from the
    far side instead.
    """
    side = out.shape[0]
    cells = stretch.shape[0]
    width = side // cells
    begin = 0.0  # the source position of this cell's first edge
    for cell in range(cells + 1):
        first = cell * width
        count = width if cell < cells else side - first
        if count <= 0:
            break
        end = begin + width * stretch[cell] if cell < cells else float(side)
        for k in range(count):
            position = int(np.rint(begin + (end - begin) * k / count))
            position = min(max(position, 0), side - 1)
            if flip:
                out[side - 1 - (first + k)] = side - 1 - position
            else:
                out[first + k] = position
        begin = end


@kernel
def draw_grid(bits, limit, row_cells, rows, cols):
    """Write a random grid to `rows` and `cols`, int32, from random words `bits`, uint64 (2 + cells of both axes,).

    The upper 53 bits of a word are a number from U(0, 1): the first two flip the rows and the columns (below 0.5),
    then comes one a cell, which is stretched by 1 + U(-limit, +limit), the `row_cells` of the rows first.
    """
    numbers = np.empty(bits.shape[0], np.float64)
    for k in range(bits.shape[0]):
        numbers[k] = (bits[k] >> np.uint64(11)) * 2.0**-53
    stretch = 1 + limit * (2 * numbers[2:] - 1)
    fill_axis(stretch[:row_cells], numbers[0] < 0.5, rows)
    fill_axis(stretch[row_cells:], numbers[1] < 0.5, cols)


@kernel
def add_noise(image, drawn, levels, out):
    """Write `image` plus ``levels[drawn]``, kept within 0..255, to `out`; all flat uint8 but `levels`, int16 (256,)."""
    for k in range(image.shape[0]):
        out[k] = min(max(np.int16(image[k]) + levels[drawn[k]], 0), 255)


@kernel
def gather(image, rows, cols, out):
    """Write ``image[rows][:, cols]`` to `out`: the pixel at (y, x) comes from (rows[y], cols[x])."""
    for y in range(rows.shape[0]):
        row = rows[y]
        for x in range(cols.shape[0]):
            column = cols[x]
            for channel in range(image.shape[2]):
                out[y, x, channel] = image[row, column, channel]
