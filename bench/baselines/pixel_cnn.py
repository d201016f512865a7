"""A small PixelCNN: the density of each value of a picture given those above and to the left of it. NumPy only.

One masked convolution (three rows above, three pixels to the left) and then 1x1 convolutions, which for one pixel are
dense layers. The values of a pixel come in the order R, G, B and see one another. What comes out is PixelCNN++'s
discretised mixture of logistics (Salimans et al., ICLR 2017), placed around the mean of the pixels left and above.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["FEATURES", "MIXTURES", "REACH", "Canvas", "PixelCnn"]

REACH = 3  # pixels that the masked convolution looks back
MIXTURES = 5
_OFFSETS = np.array(
    [(dy, dx) for dy in range(-REACH, 0) for dx in range(-REACH, REACH + 1)] + [(0, dx) for dx in range(-REACH, 0)]
)
_ABOVE = int(np.flatnonzero((_OFFSETS == (-1, 0)).all(axis=1))[0])
_LEFT = len(_OFFSETS) - 1
FEATURES = 3 * len(_OFFSETS) + 2 + 3  # the context, the pixel's own R and G where they are known, which value it is
_HALF = np.float32(1 / 255)  # half a level of values in [-1, 1]

Floats = NDArray[np.float32]


class Canvas:
    """Pictures in [-1, 1] with a frame of zeros, whose values can be replaced as a decoder goes along.

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

    def put(self, rows: NDArray[np.intp], columns: NDArray[np.intp], channel: int, values: Floats) -> None:
        """Replace one channel at some places of every picture."""
        self._values[:, rows + REACH, columns + REACH, channel] = values

    def features(self, rows: NDArray[np.intp], columns: NDArray[np.intp], channel: int) -> tuple[Floats, Floats]:
        """Return what the network sees at some places, and where its means start.

        Returns
        -------
        float32 (N, places, `FEATURES`), float32 (N, places)
        """
        around: Floats = self._values[
            :, rows[:, None] + _OFFSETS[:, 0] + REACH, columns[:, None] + _OFFSETS[:, 1] + REACH
        ]  # (N, places, offsets, 3)
        out = np.zeros((*around.shape[:2], FEATURES), np.float32)
        out[..., : -2 - 3] = around.reshape(*around.shape[:2], -1)
        for known in range(channel):
            out[..., FEATURES - 5 + known] = self.values(rows, columns, known)
        out[..., FEATURES - 3 + channel] = 1
        start: Floats = (around[:, :, _ABOVE, channel] + around[:, :, _LEFT, channel]) / np.float32(2)
        return out, start


def _sigmoid(values: Floats) -> Floats:
    with np.errstate(over="ignore"):
        out: Floats = np.float32(1) / (np.float32(1) + np.exp(-values))
    return out


@dataclass(frozen=True)
class PixelCnn:
    """A trained network: dense layers' weights and biases in turn."""

    layers: tuple[tuple[Floats, Floats], ...]

    def probabilities(self, features: Floats, start: Floats, levels: NDArray[np.integer]) -> Floats:
        """Return the probability of each of some levels.

        Parameters
        ----------
        features, start
            As from `Canvas.features`.
        levels : int (N, places, candidates)
            0..255.

        Returns
        -------
        float32 (N, places, candidates)
        """
        hidden = features
        for weights, biases in self.layers[:-1]:
            hidden = np.maximum(hidden @ weights + biases, 0)
        weights, biases = self.layers[-1]
        logits, offsets, log_scales = np.split(hidden @ weights + biases, 3, axis=-1)
        shares = np.exp(logits - logits.max(axis=-1, keepdims=True))
        shares /= shares.sum(axis=-1, keepdims=True)
        means, scales = start[..., None] + offsets, np.exp(np.maximum(log_scales, -7))
        at = (levels / np.float32(127.5) - 1).astype(np.float32)[..., None]
        means, scales = means[..., None, :], scales[..., None, :]
        upper = np.where(levels[..., None] >= 255, 1, _sigmoid((at + _HALF - means) / scales))
        lower = np.where(levels[..., None] <= 0, 0, _sigmoid((at - _HALF - means) / scales))
        out: Floats = ((upper - lower) * shares[..., None, :]).sum(axis=-1)
        return out
