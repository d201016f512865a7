"""BdR: fewer bits a colour."""

from __future__ import annotations

import numpy as np

from bench.baselines.base import Baseline, Ingredients, Picture, as_levels

__all__ = ["BitDepth"]

BITS = 3


class BitDepth(Baseline):
    """Bit-depth reduction to 3 bits a channel.

    The squeezer is that of Xu et al., section 3.1: ``round(x * (2^bits - 1)) / (2^bits - 1)`` for x in [0, 1]. Their
    detector joins several depths; 3 bits is what Guo et al. (ICLR 2018) compare with as a defence on ImageNet.
    """

    name, title = "bdr", "BdR"
    source = "Xu, Evans and Qi, Feature squeezing: detecting adversarial examples in deep neural networks, NDSS 2018"
    randomised = False

    def __init__(self, ingredients: Ingredients) -> None:
        super().__init__(ingredients)
        steps = 2**BITS - 1
        self._levels = as_levels(np.rint(np.arange(256) / 255 * steps) / steps * 255)

    def one(self, picture: Picture, rng: np.random.Generator) -> Picture:
        """Look every level up; `rng` is not used."""
        return self._levels[picture]
