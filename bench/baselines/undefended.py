"""No defence at all: what every other is compared with."""

from __future__ import annotations

import numpy as np

from bench.baselines.base import Baseline, Picture

__all__ = ["Undefended"]


class Undefended(Baseline):
    """Hands on what it gets."""

    name, title = "none", "No defence"
    source = ""
    randomised = False

    def one(self, picture: Picture, rng: np.random.Generator) -> Picture:
        """Return the picture itself."""
        return picture
