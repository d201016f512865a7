"""Rand: a random size, padded at a random place."""

from __future__ import annotations

import numpy as np

from bench.baselines.window import Rectangle, Window, Windowed

__all__ = ["Randomization"]

SMALLEST, FRAME = 299, 331
PADDING = 128  # 0.5 of [0, 1], as the authors' code pads


class Randomization(Windowed):
    """Random resizing and padding.

    The authors resize 299x299 to a random size from 299 to below 331, pad it with 0.5 at a random place to 331x331, and
    let the network run at that size. A deployed model takes one size only, so the frame of 331 is brought to the
    model's size in the same resampling: the picture shrinks to 299/331 up to 330/331 of its side.
    """

    name, title = "rand", "Rand"
    source = "Xie, Wang, Zhang, Ren and Yuille, Mitigating adversarial effects through randomization, ICLR 2018"

    @property
    def remark(self) -> str:
        """The model's own size."""
        return "the padded frame has the model's size instead of 331/299 of it"

    def draw(self, height: int, width: int, rng: np.random.Generator) -> Window:
        """Draw a size, then a place."""
        scale = int(rng.integers(SMALLEST, FRAME)) / FRAME
        rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
        top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
        return Window(Rectangle(0, 0, height, width), Rectangle(top, left, rows, columns), PADDING)
