"""Rand: a random size, padded at a random place."""

from __future__ import annotations

import cv2
import numpy as np

from bench.baselines.base import Baseline, Picture

__all__ = ["Randomization"]

SMALLEST, FRAME = 299, 331
PADDING = 128  # 0.5 of [0, 1], as the authors' code pads


class Randomization(Baseline):
    """Random resizing and padding.

    The authors resize 299x299 to a random size from 299 to below 331, pad it with 0.5 at a random place to 331x331, and
    let the network run at that size. A deployed model takes one size only, so the frame of 331 is brought to the
    model's size in the same resampling: the picture shrinks to 299/331 up to 330/331 of its side.
    """

    name, title = "rand", "Rand"
    source = "Xie, Wang, Zhang, Ren and Yuille, Mitigating adversarial effects through randomization, ICLR 2018"
    randomised = True

    @property
    def remark(self) -> str:
        """The model's own size."""
        return "the padded frame has the model's size instead of 331/299 of it"

    def one(self, picture: Picture, rng: np.random.Generator) -> Picture:
        """Draw a size, then a place."""
        height, width, _ = picture.shape
        scale = int(rng.integers(SMALLEST, FRAME)) / FRAME
        rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
        small = cv2.resize(picture, (columns, rows), interpolation=cv2.INTER_LINEAR)
        top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
        out = np.full_like(picture, PADDING)
        out[top : top + rows, left : left + columns] = small
        return out
