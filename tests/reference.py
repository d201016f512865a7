"""Slow, obvious versions of the kernels, in float64 and pure Python: what the fast ones are compared with."""

from __future__ import annotations

import math

import numpy as np


def dct_matrix() -> np.ndarray:
    """The orthonormal 8-point DCT-II, straight from its definition."""
    matrix = np.empty((8, 8))
    for u in range(8):
        for x in range(8):
            matrix[u, x] = math.sqrt((1 if u == 0 else 2) / 8) * math.cos((2 * x + 1) * u * math.pi / 16)
    return matrix


def quantize_with_ties(image: np.ndarray, table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Algorithm 1, lines 4 to 9, and where its answer is a toss-up.

    Returns the quantised image and a mask of the values that lie so near a rounding tie (a pixel's own, or that
    of a coefficient of its block) that float32 may rightly give the neighbour. Everywhere else it may not.
    """
    height, width, channels = image.shape
    padded = np.pad(image, ((0, -height % 8), (0, -width % 8), (0, 0)), mode="edge").astype(np.float64)
    basis, table = dct_matrix(), np.asarray(table, np.float64)
    out = np.empty_like(padded)
    ties = np.zeros(padded.shape, bool)
    for top in range(0, padded.shape[0], 8):
        for left in range(0, padded.shape[1], 8):
            for channel in range(channels):
                here = np.s_[top : top + 8, left : left + 8, channel]
                ratio = basis @ padded[here] @ basis.T / table
                out[here] = basis.T @ (np.round(ratio) * table) @ basis
                ties[here] = _near_tie(ratio, 2e-5).any() | _near_tie(out[here], 2e-3)
    rounded = np.clip(np.round(out), 0, 255).astype(np.uint8)
    return rounded[:height, :width], ties[:height, :width]


def _near_tie(values: np.ndarray, distance: float) -> np.ndarray:
    return np.abs(np.abs(values - np.floor(values)) - 0.5) < distance


def quantize(image: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Algorithm 1, lines 4 to 9: pad by the edge, transform, quantise, transform back, crop."""
    return quantize_with_ties(image, table)[0]


def axis_map(stretch: list[float], side: int, flip: bool) -> list[int]:
    """One axis of the grid as the design's text has it, cell by cell."""
    cells = len(stretch)
    width = side // cells
    edges = [0.0]
    for factor in stretch:
        edges.append(edges[-1] + width * factor)
    indices = []
    for cell in range(cells):
        indices += [edges[cell] + (edges[cell + 1] - edges[cell]) * k / width for k in range(width)]
    rest = side - cells * width
    indices += [edges[-1] + (side - edges[-1]) * k / rest for k in range(rest)]
    rounded = [min(max(int(np.rint(position)), 0), side - 1) for position in indices]
    return [side - 1 - position for position in reversed(rounded)] if flip else rounded


def remap(image: np.ndarray, rows: np.ndarray, cols: np.ndarray) -> np.ndarray:
    """Pixel by pixel."""
    out = np.empty((len(rows), len(cols), image.shape[2]), image.dtype)
    for y, row in enumerate(rows):
        for x, column in enumerate(cols):
            out[y, x] = image[row, column]
    return out
