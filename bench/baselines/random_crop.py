"""Random crops, brought back to the picture's size."""

from __future__ import annotations

import numpy as np

from bench.baselines.window import Rectangle, Window, Windowed

__all__ = ["RandomCrop"]

SHARE = 90 / 224  # crops of 90x90 from 224x224, Guo et al., section 5.1


class RandomCrop(Windowed):
    """Cropping and rescaling. One draw is one crop; the authors average the answers to 30."""

    name, title = "crop", "Random Crop"
    source = "Guo, Rana, Cisse and van der Maaten, Countering adversarial images using input transformations, ICLR 2018"

    @property
    def remark(self) -> str:
        """The model was not retrained on crops, and one draw is one crop."""
        return "a draw is one crop (the authors average 30); the model is not trained on crops"

    def draw(self, height: int, width: int, rng: np.random.Generator) -> Window:
        """Draw a place."""
        rows, columns = max(1, round(height * SHARE)), max(1, round(width * SHARE))
        top, left = int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1))
        return Window(Rectangle(top, left, rows, columns), Rectangle(0, 0, height, width))
