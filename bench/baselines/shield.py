"""SHIELD's stochastic local quantisation: each 8x8 block as JPEG of a random quality left it."""

from __future__ import annotations

import numpy as np

from bench.baselines.base import Baseline, Picture
from bench.baselines.jpeg import jpeg_round_trip

__all__ = ["Shield"]

QUALITIES, BLOCK = (20, 40, 60, 80), 8


class Shield(Baseline):
    """Stochastic local quantisation (SLQ) with the paper's qualities 20, 40, 60, 80 and blocks of 8x8.

    The whole picture is compressed at every quality; each block is then taken from one of the results, drawn anew.
    SHIELD's vaccination (retraining the model on compressed pictures, an ensemble of such models) is left out.
    """

    name, title = "shield", "SHIELD"
    source = (
        "Das et al., Shield: fast, practical defense and vaccination for deep learning using JPEG compression, KDD 2018"
    )
    randomised = True

    @property
    def remark(self) -> str:
        """SHIELD also retrains."""
        return "stochastic local quantisation alone: the model is not vaccinated"

    def one(self, picture: Picture, rng: np.random.Generator) -> Picture:
        """Draw a quality for each block."""
        height, width, _ = picture.shape
        versions = np.stack([jpeg_round_trip(picture, quality) for quality in QUALITIES])
        drawn = rng.integers(len(QUALITIES), size=(-(-height // BLOCK), -(-width // BLOCK)))
        chosen = drawn.repeat(BLOCK, axis=0).repeat(BLOCK, axis=1)[:height, :width]
        return np.take_along_axis(versions, chosen[None, :, :, None], axis=0)[0]
