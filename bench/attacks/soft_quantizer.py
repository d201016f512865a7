"""A smooth stand-in for the DCT quantiser, and its derivative.

The rounding of a coefficient u (in units of its table entry) is replaced by ``u - softness * sin(2 pi u) / (2 pi)``:
it meets the staircase in the middle of each step and of each riser, and its slope, ``1 - softness * cos(2 pi u)``, is
small on the steps, large at the risers, and 1 on average. Softness 0 is the identity.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgedefend.dct import as_quant_table
from edgedefend.errors import InputError

__all__ = ["SoftQuantizer"]

Images = NDArray[np.float32]


class SoftQuantizer:
    """`edgedefend.quantize` without its jumps, on images in [0, 1].

    Parameters
    ----------
    quant_table : (8, 8)
        In pixel levels.
    softness : float
        From 0 (the identity) to 1 (flat in the middle of each step).
    """

    def __init__(self, quant_table: ArrayLike, *, softness: float = 0.5) -> None:
        if not 0 <= softness <= 1:
            raise InputError(f"softness is {softness!r}, expected a number from 0 to 1")
        from edgedefend.kernels import dct_matrix

        self._basis = dct_matrix()
        self._table = as_quant_table(quant_table) / np.float32(255)
        self.softness = softness

    def __call__(self, images: Images) -> Images:
        """Return the smoothly quantised images, float32 (N, H, W, 3); not clipped and not rounded to levels."""
        units = self._analyse(images)
        wave = np.float32(self.softness / (2 * np.pi)) * np.sin(np.float32(2 * np.pi) * units)
        return self._synthesise(units - wave, images.shape)

    def pull_back(self, images: Images, gradient: Images) -> Images:
        """Return the gradient at `images`, given the one at the quantised images."""
        slope = 1 - np.float32(self.softness) * np.cos(np.float32(2 * np.pi) * self._analyse(images))
        # The transform is orthonormal: its inverse is its transpose, so both ways are the same two functions.
        height, width = images.shape[1:3]
        padded = np.pad(gradient, ((0, 0), (0, -height % 8), (0, -width % 8), (0, 0)))
        whole = self._synthesise(slope * self._analyse(padded), padded.shape)
        # What was repeated at the right and the bottom edge collects what its copies were given.
        whole[:, height - 1] += whole[:, height:].sum(axis=1)
        whole[:, :, width - 1] += whole[:, :, width:].sum(axis=2)
        return whole[:, :height, :width]

    def _analyse(self, images: Images) -> NDArray[np.float32]:
        """Return the coefficients in units of the table, (N, rows, columns, 3, 8, 8)."""
        count, height, width, channels = images.shape
        padded = np.pad(images, ((0, 0), (0, -height % 8), (0, -width % 8), (0, 0)), mode="edge")
        rows, columns = padded.shape[1] // 8, padded.shape[2] // 8
        blocks = padded.reshape(count, rows, 8, columns, 8, channels).transpose(0, 1, 3, 5, 2, 4)
        return (self._basis @ blocks @ self._basis.T) / self._table

    def _synthesise(self, units: NDArray[np.float32], shape: tuple[int, ...]) -> Images:
        """Return the images whose coefficients, in units of the table, these are."""
        blocks = self._basis.T @ (units * self._table) @ self._basis
        count, rows, columns, channels = units.shape[:4]
        whole = blocks.transpose(0, 1, 4, 2, 5, 3).reshape(count, rows * 8, columns * 8, channels)
        return np.ascontiguousarray(whole[:, : shape[1], : shape[2]])
