"""TV: random pixels are dropped, and the picture of least total variation that fits the others takes their place."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import cv2
import numba
import numpy as np
from numpy.typing import NDArray

from bench.baselines.base import Baseline, Picture, as_levels

__all__ = ["TotalVariation", "masked_split_bregman"]

KEEP, LAMBDA = 0.5, 0.03  # Guo et al., section 5.1: half of the pixels are dropped, lambda_TV is 0.03
_ROUNDS, _TOLERANCE = 100, 1e-3
_AROUND = (5, 5)


@functools.lru_cache(maxsize=1)
def _solver() -> Callable[..., None]:
    """Compile the solver, once a process."""

    @numba.njit(nogil=True, error_model="numpy")
    def shrink(value: float, limit: float) -> float:
        return max(abs(value) - limit, 0.0) * np.sign(value)

    @numba.njit(nogil=True, error_model="numpy")
    def solve(image: Any, keep: Any, weight: float, rounds: int, tolerance: float, u: Any) -> None:
        rows, columns = image.shape
        dx, dy, bx, by = np.zeros_like(u), np.zeros_like(u), np.zeros_like(u), np.zeros_like(u)
        coupling = 2 * weight
        for _ in range(rounds):
            change = 0.0
            for row in range(1, rows + 1):
                for column in range(1, columns + 1):
                    old = u[row, column]
                    right, below = u[row, column + 1] - old, u[row + 1, column] - old
                    around = u[row + 1, column] + u[row - 1, column] + u[row, column + 1] + u[row, column - 1]
                    around += dx[row, column - 1] - dx[row, column] + dy[row - 1, column] - dy[row, column]
                    around += bx[row, column] - bx[row, column - 1] + by[row, column] - by[row - 1, column]
                    # A dropped pixel has no value to be near to: the limit of a weight of zero.
                    if keep[row - 1, column - 1]:
                        new = (coupling * around + weight * image[row - 1, column - 1]) / (weight + 4 * coupling)
                    else:
                        new = around / 4
                    u[row, column] = new
                    change += (new - old) ** 2
                    dx[row, column] = shrink(right + bx[row, column], 1 / coupling)
                    dy[row, column] = shrink(below + by[row, column], 1 / coupling)
                    bx[row, column] += right - dx[row, column]
                    by[row, column] += below - dy[row, column]
            if (change / (rows * columns)) ** 0.5 <= tolerance:
                break

    return solve


def masked_split_bregman(
    channel: NDArray[np.float64],
    keep: NDArray[np.bool_],
    weight: float,
    *,
    rounds: int = _ROUNDS,
    tolerance: float = _TOLERANCE,
) -> NDArray[np.float64]:
    """Minimise ``TV(u) + weight / 2 * sum of (u - channel)^2 over keep``, with anisotropic total variation.

    Split Bregman (Goldstein and Osher, 2009) in the sweep of scikit-image's ``denoise_tv_bregman``, which has no mask:
    with every pixel kept the two agree.

    Parameters
    ----------
    channel : float64 (H, W)
        In [0, 1].
    keep : bool (H, W)
        False where a pixel is dropped; its value is then never looked at: the iteration starts from the mean of what
        was kept around it.
    """
    rows, columns = channel.shape
    weights = cv2.blur(keep.astype(np.float64), _AROUND, borderType=cv2.BORDER_CONSTANT)
    around = cv2.blur(np.where(keep, channel, 0.0), _AROUND, borderType=cv2.BORDER_CONSTANT)
    overall = channel[keep].mean() if keep.any() else 0.5
    guess = np.divide(around, weights, out=np.full_like(channel, overall), where=weights > 1e-9)
    channel = np.where(keep, channel, guess)
    u = np.zeros((rows + 2, columns + 2))
    u[1:-1, 1:-1] = channel
    # scikit-image's frame, which is not symmetric: the second row and column, the last row and column.
    u[0, 1:-1], u[-1, 1:-1] = channel[min(1, rows - 1)], channel[-1]
    u[1:-1, 0], u[1:-1, -1] = channel[:, min(1, columns - 1)], channel[:, -1]
    _solver()(channel, keep, weight, rounds, tolerance, u)
    return u[1:-1, 1:-1]


class TotalVariation(Baseline):
    """Total variation minimisation with random pixel dropout (keep 0.5, lambda 0.03).

    A dropped pixel is dropped in all channels. The weight of the data term is ``2 / lambda``, split Bregman runs for at
    most 100 sweeps.
    """

    name, title = "tv", "TV"
    source = "Guo, Rana, Cisse and van der Maaten, Countering adversarial images using input transformations, ICLR 2018"
    randomised = True

    def one(self, picture: Picture, rng: np.random.Generator) -> Picture:
        """Draw the pixels to drop, then solve for each channel."""
        keep = rng.random(picture.shape[:2]) < KEEP
        unit = picture / 255
        solved = [masked_split_bregman(np.ascontiguousarray(unit[..., k]), keep, 2 / LAMBDA) for k in range(3)]
        return as_levels(np.stack(solved, axis=-1) * 255)
