"""A small PixelCNN: the density of each value of a picture given those above and to the left of it.

One masked convolution (three rows above, three pixels to the left) and then 1x1 convolutions, which for one pixel are
dense layers. The values of a pixel come in the order R, G, B and see one another. What comes out is PixelCNN++'s
discretised mixture of logistics (Salimans et al., ICLR 2017), placed around the mean of the pixels left and above.
`bench.baselines.pixel_defend` decodes with it, `bench.baselines.training.generative` trains it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

__all__ = ["FEATURES", "MIXTURES", "OFFSETS", "REACH", "Canvas", "PixelCnn", "compiled_likeliest"]

REACH = 3  # pixels that the masked convolution looks back
MIXTURES = 5
OFFSETS = np.array(
    [(dy, dx) for dy in range(-REACH, 0) for dx in range(-REACH, REACH + 1)] + [(0, dx) for dx in range(-REACH, 0)]
)
_ABOVE = int(np.flatnonzero((OFFSETS == (-1, 0)).all(axis=1))[0])
_LEFT = len(OFFSETS) - 1
FEATURES = 3 * len(OFFSETS) + 2 + 3  # the context, the pixel's own R and G where they are known, which value it is

Floats = NDArray[np.float32]


class Canvas:
    """Pictures in [-1, 1] with a frame of zeros, and what the network sees of them.

    Parameters
    ----------
    pictures : uint8 (N, H, W, 3)
    """

    def __init__(self, pictures: NDArray[np.uint8]) -> None:
        count, height, width, _ = pictures.shape
        self._values = np.zeros((count, height + REACH, width + 2 * REACH, 3), np.float32)
        self._values[:, REACH:, REACH : REACH + width] = pictures / np.float32(127.5) - np.float32(1)

    def values(self, rows: NDArray[np.intp], columns: NDArray[np.intp], channel: int) -> Floats:
        """Return one channel at some places of every picture, (N, places)."""
        return self._values[:, rows + REACH, columns + REACH, channel]

    def features(self, rows: NDArray[np.intp], columns: NDArray[np.intp], channel: int) -> tuple[Floats, Floats]:
        """Return what the network sees at some places, and where its means start.

        Returns
        -------
        float32 (N, places, `FEATURES`), float32 (N, places)
        """
        around: Floats = self._values[
            :, rows[:, None] + OFFSETS[:, 0] + REACH, columns[:, None] + OFFSETS[:, 1] + REACH
        ]  # (N, places, offsets, 3)
        out = np.zeros((*around.shape[:2], FEATURES), np.float32)
        out[..., : -2 - 3] = around.reshape(*around.shape[:2], -1)
        for known in range(channel):
            out[..., FEATURES - 5 + known] = self.values(rows, columns, known)
        out[..., FEATURES - 3 + channel] = 1
        start: Floats = (around[:, :, _ABOVE, channel] + around[:, :, _LEFT, channel]) / np.float32(2)
        return out, start


@dataclass(frozen=True)
class PixelCnn:
    """A trained network.

    Attributes
    ----------
    layers : pairs of float32 (inputs, outputs) and float32 (outputs,)
        Dense layers' weights and biases in turn, at least two, with ReLU between them. The first takes what
        `Canvas.features` returns; of the last's outputs the first `MIXTURES` are the logits of the mixture's shares,
        then come the means (from where `Canvas.features` starts them), then the logarithms of the scales (at least -7).
    """

    layers: tuple[tuple[Floats, Floats], ...]


@functools.lru_cache(maxsize=1)
def compiled_likeliest() -> Callable[..., int]:
    """Compile, once a process, what finds the likeliest of some levels; other compiled code may call it."""
    mixtures = MIXTURES

    @numba.njit(nogil=True, error_model="numpy")
    def likeliest(low: int, high: int, start: float, head: Any, inside: Any, likely: Any) -> Any:
        """Return the level of low..high that the mixture in `head` gives most; `inside` and `likely` are scratch."""
        edges = high - low + 2  # level n lies between edges n and n + 1
        likely[: edges - 1] = 0
        largest = head[:mixtures].max()
        for part in range(mixtures):
            share = np.exp(np.float64(head[part] - largest))
            mean = np.float64(start) + head[mixtures + part]
            scale = np.exp(max(np.float64(head[2 * mixtures + part]), -7.0))
            # exp(-(edge - mean) / scale) of neighbouring edges differ by one factor. Going away from the mean on both
            # sides it only vanishes or overflows where the density is 0.
            down = np.exp(1 / (127.5 * scale))
            up = 1 / down
            first = min(max(int((mean + 1) * 127.5 + 0.5) - low, 0), edges - 1)
            inside[first] = np.exp(-((low + first - 0.5) / 127.5 - 1 - mean) / scale)
            for edge in range(first + 1, edges):
                inside[edge] = inside[edge - 1] * up
            for edge in range(first - 1, -1, -1):
                inside[edge] = inside[edge + 1] * down
            for edge in range(edges):
                inside[edge] = 1 / (1 + inside[edge])
            if low == 0:
                inside[0] = 0
            if high == 255:
                inside[edges - 1] = 1
            for level in range(edges - 1):
                likely[level] += share * (inside[level + 1] - inside[level])
        return low + likely[: edges - 1].argmax()

    return likeliest
