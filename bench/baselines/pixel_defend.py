"""PixelDefend: every value moves to the likeliest one nearby, under a generative model of clean pictures."""

from __future__ import annotations

import functools

import numpy as np

from bench.baselines.base import Picture
from bench.baselines.pixel_cnn import REACH, Canvas, PixelCnn
from bench.baselines.trained import TrainedBaseline

__all__ = ["EPSILON", "PixelDefend", "purify"]

EPSILON = 16  # levels; Song et al., section 5, for CIFAR-10


def purify(pictures: Picture, network: PixelCnn, epsilon: int = EPSILON) -> Picture:
    """Decode greedily within `epsilon` levels of each value (Song et al., algorithm 1).

    The order is the usual one, row by row, of which pixels that cannot see one another are done at the same time: the
    network looks `REACH` pixels back, so row y may be ``REACH + 1`` pixels behind row y - 1.

    Parameters
    ----------
    pictures : uint8 (N, H, W, 3)

    Returns
    -------
    uint8 (N, H, W, 3)
    """
    canvas, out = Canvas(pictures), pictures.copy()
    height, width = pictures.shape[1:3]
    behind, steps = REACH + 1, np.arange(-epsilon, epsilon + 1)
    for front in range(width + behind * (height - 1)):
        rows = np.arange(max(0, -(-(front - width + 1) // behind)), min(height - 1, front // behind) + 1)
        columns = front - behind * rows
        for channel in range(3):
            levels = pictures[:, rows, columns, channel][..., None].astype(int) + steps
            features, start = canvas.features(rows, columns, channel)
            likely = network.probabilities(features, start, np.clip(levels, 0, 255))
            likely[(levels < 0) | (levels > 255)] = -1
            best = np.take_along_axis(levels, likely.argmax(axis=-1)[..., None], axis=-1)[..., 0]
            out[:, rows, columns, channel] = best
            canvas.put(rows, columns, channel, (best / np.float32(127.5) - 1).astype(np.float32))
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

    def _defend(self, pictures: Picture, rng: np.random.Generator) -> Picture:
        return purify(pictures, self._network)

    def one(self, picture: Picture, rng: np.random.Generator) -> Picture:
        """Purify one picture; `rng` is not used."""
        return purify(picture[None], self._network)[0]
