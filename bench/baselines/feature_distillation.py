"""FD: quantisation of the DCT with a table made for networks instead of eyes."""

from __future__ import annotations

import numpy as np

from bench.baselines.base import Baseline, Ingredients, Picture
from edgedefend.dct import load_quant_table, quantize

__all__ = ["FeatureDistillation"]


class FeatureDistillation(Baseline):
    """Feature Distillation, one pass.

    The table is the authors' (25 in the low 4x4 frequencies, 30 elsewhere), which `edgedefend` ships; the transform is
    `edgedefend.quantize`, on each of R, G and B.
    """

    name, title = "fd", "FD"
    source = "Liu et al., Feature distillation: DNN-oriented JPEG compression against adversarial examples, CVPR 2019"
    randomised = False

    def __init__(self, ingredients: Ingredients) -> None:
        super().__init__(ingredients)
        self.quant_table = load_quant_table("feature-distillation")

    def one(self, picture: Picture, rng: np.random.Generator) -> Picture:
        """Quantise; `rng` is not used."""
        return quantize(picture, self.quant_table)
