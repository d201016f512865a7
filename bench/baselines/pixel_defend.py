"""PixelDefend: every value moves to the likeliest one nearby, under a generative model of clean pictures."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from bench.baselines.base import Picture
from bench.baselines.pixel_cnn import OFFSETS, REACH, PixelCnn, compiled_likeliest
from bench.baselines.trained import TrainedBaseline

__all__ = ["EPSILON", "PixelDefend", "purify"]

EPSILON = 16  # levels; Song et al., section 5, for CIFAR-10


@functools.lru_cache(maxsize=1)
def _decoder() -> Callable[..., None]:
    """Compile the decoding, once a process."""
    context = 3 * len(OFFSETS)
    offsets, reach, likeliest = OFFSETS, REACH, compiled_likeliest()

    @numba.njit(nogil=True, error_model="numpy")
    def decode(picture: Any, weights: Any, biases: Any, epsilon: int, out: Any) -> None:
        height, width, _ = picture.shape
        canvas = np.zeros((height + reach, width + 2 * reach, 3), np.float32)
        seen = np.ascontiguousarray(weights[0][:context])
        behind = reach + 1
        inside, likely = np.empty(2 * epsilon + 2), np.empty(2 * epsilon + 1)
        for front in range(width + behind * (height - 1)):
            top = max(0, -((width - 1 - front) // behind))
            places = min(height - 1, front // behind) - top + 1
            around = np.empty((places, context), np.float32)
            for place in range(places):
                row = top + place
                column = front - behind * row
                for number in range(len(offsets)):
                    at_row, at_column = row + reach + offsets[number, 0], column + reach + offsets[number, 1]
                    for channel in range(3):
                        around[place, 3 * number + channel] = canvas[at_row, at_column, channel]
            shared = np.dot(around, seen) + biases[0]  # of the three values of a pixel
            for channel in range(3):
                hidden = shared + weights[0][context + 2 + channel]
                for place in range(places):
                    row = top + place
                    column = front - behind * row
                    for known in range(channel):
                        value = canvas[row + reach, column + reach, known]
                        for unit in range(hidden.shape[1]):
                            hidden[place, unit] += value * weights[0][context + known, unit]
                for layer in range(1, len(weights)):
                    hidden = np.dot(np.maximum(hidden, np.float32(0)), weights[layer]) + biases[layer]
                for place in range(places):
                    row = top + place
                    column = front - behind * row
                    y, x = row + reach, column + reach
                    start = (canvas[y - 1, x, channel] + canvas[y, x - 1, channel]) / np.float32(2)
                    value = int(picture[row, column, channel])
                    low, high = max(0, value - epsilon), min(255, value + epsilon)
                    best = likeliest(low, high, start, hidden[place], inside, likely)
                    out[row, column, channel] = best
                    canvas[y, x, channel] = best / np.float32(127.5) - np.float32(1)

    return decode


def purify(picture: Picture, network: PixelCnn, epsilon: int = EPSILON) -> Picture:
    """Decode greedily within `epsilon` levels of each value (Song et al., algorithm 1).

    The order is the usual one, row by row, of which pixels that cannot see one another are done at the same time: the
    network looks `REACH` pixels back, so row y may be ``REACH + 1`` pixels behind row y - 1.

    Parameters
    ----------
    picture : uint8 (H, W, 3)

    Returns
    -------
    uint8 (H, W, 3)
    """
    weights = tuple(np.ascontiguousarray(layer[0]) for layer in network.layers)
    biases = tuple(np.ascontiguousarray(layer[1]) for layer in network.layers)
    out = np.empty_like(picture)
    _decoder()(picture, weights, biases, epsilon, out)
    return out


class PixelDefend(TrainedBaseline):
    """PixelDefend with a small PixelCNN trained on given photographs, epsilon 16.

    Deterministic. The authors train a full PixelCNN++ on CIFAR-10; at the size of ImageNet pictures theirs would take a
    network run for each of 150 thousand values.
    """

    name, title = "pixeldefend", "PixelDefend"
    source = (
        "Song, Kim, Nowozin, Ermon and Kushman, PixelDefend: leveraging generative models to understand and defend "
        "against adversarial examples, ICLR 2018"
    )
    randomised = False
    trained_as = "a small PixelCNN"

    @functools.cached_property
    def _network(self) -> PixelCnn:
        arrays = self.part.arrays
        return PixelCnn(tuple((arrays[f"weights_{n}"], arrays[f"biases_{n}"]) for n in range(len(arrays) // 2)))

    def one(self, picture: Picture, rng: np.random.Generator) -> Picture:
        """Purify one picture; `rng` is not used."""
        return purify(np.ascontiguousarray(picture), self._network)
