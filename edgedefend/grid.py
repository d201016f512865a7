"""Step 2 of the defence: the random grid distortion (Algorithm 1, lines 10 to 22).

Drawing the grid (`sample_grid`, random) and applying it (`remap`, deterministic) are kept apart, so that a
result can be reproduced from its grid alone and an evaluation can differentiate through the second step.

Rows and columns are independent, so the map is separable: a grid is one source index per output row and one
per output column. Deviation from the authors' published code: positions within a cell are linear from its
first edge up to, not including, the next, so that a grid without distortion is the identity.
"""

from __future__ import annotations

import os
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgedefend.dct import as_image, frozen
from edgedefend.errors import InputError

__all__ = ["Grid", "check_axis", "check_grid_parameters", "remap", "sample_grid"]


class Grid(NamedTuple):
    """A separable index map: output pixel (y, x) is source pixel ``(rows[y], cols[x])``."""

    rows: NDArray[np.int32]
    cols: NDArray[np.int32]


def check_grid_parameters(num_steps: int, distort_limit: float) -> None:
    """Raise `InputError` unless `num_steps` is a count from 1 and `distort_limit` lies in [0, 1)."""
    if isinstance(num_steps, bool) or not isinstance(num_steps, (int, np.integer)) or not 1 <= num_steps <= 1024:
        raise InputError(f"num_steps is {num_steps!r}, expected a whole number from 1 to 1024")
    if not isinstance(distort_limit, (int, float, np.floating)) or not 0 <= distort_limit < 1:
        raise InputError(f"distort_limit is {distort_limit!r}, expected a number from 0 to below 1")


def _random_bits(count: int, rng: np.random.Generator | None) -> NDArray[np.uint64]:
    """Return `count` random words, read-only: from the operating system, or from `rng` where one is given."""
    if rng is None:
        return np.frombuffer(os.urandom(8 * count), np.uint64)
    bits = (rng.random(count) * 2.0**53).astype(np.uint64) << np.uint64(11)
    bits.flags.writeable = False  # one compiled kernel for both
    return bits


def sample_grid(
    height: int,
    width: int,
    num_steps: int = 10,
    distort_limit: float = 0.25,
    *,
    rng: np.random.Generator | None = None,
) -> Grid:
    """Draw a random grid for an image of `height` x `width` pixels.

    Each axis has `num_steps` cells of ``side // num_steps`` pixels (a side shorter than `num_steps` has one
    cell a pixel); a cell is stretched by ``1 + U(-distort_limit, +distort_limit)`` and the edges accumulate.
    What is left of the side is a last, partial cell that ends at the image's edge. Positions are rounded to
    the nearest pixel and clipped to the image. The start is one of the four corners, drawn at random.

    Parameters
    ----------
    height, width : int
        In pixels, at least 1.
    num_steps : int
        Whole cells an axis.
    distort_limit : float
        delta of the paper, in [0, 1).
    rng : numpy.random.Generator, optional
        For tests and evaluation only. By default the operating system's randomness is used: a grid that an
        attacker can predict defends nothing.

    Returns
    -------
    Grid
        `rows` int32 (height,) and `cols` int32 (width,), each a source index.
    """
    from edgedefend import kernels

    check_grid_parameters(num_steps, distort_limit)
    if height < 1 or width < 1:
        raise InputError(f"a grid needs an image of at least 1x1 pixels, not {height}x{width}")
    row_cells, col_cells = min(num_steps, height), min(num_steps, width)
    bits = _random_bits(row_cells + col_cells + 2, rng)
    grid = Grid(np.empty(height, np.int32), np.empty(width, np.int32))
    kernels.draw_grid(bits, float(distort_limit), row_cells, grid.rows, grid.cols)
    return grid


def check_axis(indices: ArrayLike, side: int, name: str) -> NDArray[np.int32]:
    """Return one axis of a grid as contiguous int32, or raise `InputError`."""
    array = np.asarray(indices)
    if array.ndim != 1 or array.dtype.kind not in "iu" or array.size == 0:
        raise InputError(f"grid.{name} must be a non-empty list of whole numbers, one an output pixel")
    if array.min() < 0 or array.max() >= side:
        raise InputError(f"grid.{name} points outside the image: expected indices from 0 to {side - 1}")
    return np.ascontiguousarray(array, np.int32)


def remap(image: ArrayLike, grid: Grid) -> NDArray[np.uint8]:
    """Apply `grid` to `image`: ``out[y, x] = image[grid.rows[y], grid.cols[x]]``.

    Parameters
    ----------
    image : uint8 (H, W, 3)
        It is not modified.
    grid : Grid
        As from `sample_grid`; its lengths are the output's height and width.

    Raises
    ------
    InputError
        If an index lies outside the image.
    """
    from edgedefend import kernels

    source = as_image(image)
    rows = check_axis(grid[0], source.shape[0], "rows")
    cols = check_axis(grid[1], source.shape[1], "cols")
    out = np.empty((rows.size, cols.size, 3), np.uint8)
    kernels.gather(frozen(source), rows, cols, out)
    return out
