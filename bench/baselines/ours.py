"""Our own method, the very `Defense` that runs on a board."""

from __future__ import annotations

import numpy as np

from bench.baselines.base import Baseline, Ingredients, Picture
from edgedefend.defense import Defense
from edgedefend.grid import sample_grid

__all__ = ["Ours"]


class Ours(Baseline):
    """8x8 DCT quantisation with the given table, then a random grid distortion."""

    name, title = "ours", "Our method"
    source = (
        "Qiu, Zeng, Zheng, Zhang, Qiu and Thuraisingham, An effective and efficient preprocessing-based approach to "
        "mitigate advanced adversarial attacks, 2020"
    )
    randomised = True

    def __init__(self, ingredients: Ingredients) -> None:
        super().__init__(ingredients)
        self.defense = Defense(
            ingredients.quant_table, ingredients.num_steps, ingredients.distort_limit, passes=ingredients.passes
        )

    def one(self, picture: Picture, rng: np.random.Generator) -> Picture:
        """Defend with a grid drawn from `rng` instead of the operating system's randomness: a run can be repeated."""
        defense, (height, width, _) = self.defense, picture.shape
        grid = sample_grid(height, width, defense.num_steps, defense.distort_limit, rng=rng)
        return defense(picture, grid=grid, offsets=defense.sample_offsets(rng))
