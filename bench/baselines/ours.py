"""Our own method, the very `Defense` that runs on a board."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bench.attacks.backward import draw_with
from bench.baselines.base import Baseline, Ingredients, Picture
from edgedefend.combining import NOBODY, Vote

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
        self.defense = ingredients.defense()

    @property
    def answer_draws(self) -> int:
        """As many as the bundle asks for."""
        return self.ingredients.draws

    @property
    def answer_vote(self) -> Vote:
        """Whose the bundle says."""
        return self.ingredients.vote

    @property
    def milder(self) -> Ours | None:
        """The same with the noise of those who vote."""
        vote = self.ingredients.vote
        return Ours(replace(self.ingredients, noise_std=vote.noise_std, vote=NOBODY)) if vote.milder else None

    def one(self, picture: Picture, rng: np.random.Generator) -> Picture:
        """Defend with draws from `rng` instead of the operating system's randomness: a run can be repeated."""
        return draw_with(self.defense, picture, rng)[0]
