"""A defence that is nothing without its trained part: a patch base, a generative model, a denoiser."""

from __future__ import annotations

from typing import ClassVar

from bench.baselines.base import Baseline, Ingredients
from bench.baselines.parts import Part, part_for, why_missing
from edgedefend.errors import InputError

__all__ = ["TrainedBaseline"]


class TrainedBaseline(Baseline):
    """A defence whose part is read from `Ingredients.trained`.

    Attributes
    ----------
    trained_as : str
        What the part is, for a table's footnote.
    """

    trained_as: ClassVar[str] = "a part"

    def __init__(self, ingredients: Ingredients) -> None:
        super().__init__(ingredients)
        self._missing = why_missing(self.name, ingredients)
        self._part = part_for(self.name, ingredients)

    @property
    def missing(self) -> str:
        """Why there is no part that fits, "" if there is."""
        return self._missing

    @property
    def part(self) -> Part:
        """The trained part.

        Raises
        ------
        InputError
            If it is missing.
        """
        if self._part is None:
            raise InputError(self._missing)
        return self._part

    @property
    def remark(self) -> str:
        """How far the part was trained; "" where there is none."""
        if self._part is None:
            return ""
        facts = self._part.facts
        return f"{self.trained_as} trained on {facts['photographs']} photographs for {facts['steps']} steps"
