"""ME-Net's matrix estimation: pixels are masked, and a matrix of low rank is estimated from the others."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bench.baselines.base import Baseline, Ingredients, Picture, as_levels
from bench.baselines.parts import part_file, part_for, why_missing
from edgedefend.errors import InputError

if TYPE_CHECKING:
    from convert.models import LoadedModel

__all__ = ["MeNet", "estimate_matrix"]

# Defaults of the authors' published code: masks of 0.8 to 1 in training, their middle when the model is used.
OBSERVED, RANK_SHARE = 0.9, 0.8
OBSERVED_IN_TRAINING = (0.8, 1.0)


def estimate_matrix(matrix: NDArray[np.float64], observed: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Estimate a matrix from some of its entries by singular value thresholding (USVT, Chatterjee 2015).

    The unobserved entries are taken for zero, the strongest 0.8 of the singular values are kept, and the result is
    divided by the fraction observed.

    Parameters
    ----------
    matrix : float64 (rows, columns)
        In [-1, 1]; no more rows than columns.
    observed : bool (rows, columns)

    Returns
    -------
    float64 (rows, columns)
        Of rank ``0.8 * rows`` at most.
    """
    left, strengths, right = np.linalg.svd(np.where(observed, matrix, 0.0), full_matrices=False)
    kept = max(1, int(RANK_SHARE * len(strengths)))
    estimate: NDArray[np.float64] = (left[:, :kept] * strengths[:kept]) @ right[:kept]
    return estimate / max(observed.mean(), 1 / observed.size)


class MeNet(Baseline):
    """Matrix estimation by USVT on the three channels side by side, 0.9 of the entries observed."""

    name, title = "me-net", "ME-Net"
    source = (
        "Yang, Zhang, Katabi and Xu, ME-Net: towards effective adversarial robustness with matrix estimation, ICML 2019"
    )
    randomised = True

    def __init__(self, ingredients: Ingredients) -> None:
        super().__init__(ingredients)
        # The estimation needs no trained part; a part of another model must not be passed over in silence.
        self._wrong = why_missing(self.name, ingredients) if self._given(ingredients) else ""
        self._part = part_for(self.name, ingredients)

    def _given(self, ingredients: Ingredients) -> bool:
        return ingredients.trained is not None and part_file(ingredients.trained, self.name).exists()

    @property
    def missing(self) -> str:
        """Why the retrained classifier that was given does not fit."""
        return self._wrong

    @property
    def remark(self) -> str:
        """Whether the classifier behind it is a retrained one."""
        if not self._part:
            return "matrix estimation alone: the model is not retrained"
        facts = self._part.facts
        return f"the model was trained on for {facts['steps']} steps with {facts['photographs']} photographs"

    def classifier(self, model: LoadedModel) -> LoadedModel:
        """Return the retrained classifier, where there is one."""
        if not self._part:
            return model
        from convert.tf import import_tensorflow

        network = import_tensorflow().keras.models.clone_model(model.keras_model)
        try:
            network.set_weights([self._part.arrays[f"weights_{n}"] for n in range(len(self._part.arrays))])
        except ValueError as error:
            raise InputError(f"the retrained part of me-net does not fit {model.name}: train it again") from error
        return dataclasses.replace(model, keras_model=network)

    def one(self, picture: Picture, rng: np.random.Generator) -> Picture:
        """Draw a mask and estimate what it hides."""
        return self.masked(picture, OBSERVED, rng)

    @staticmethod
    def masked(picture: Picture, share: float, rng: np.random.Generator) -> Picture:
        """Estimate a picture from `share` of its values."""
        height, width, channels = picture.shape
        side_by_side = picture.transpose(0, 2, 1).reshape(height, channels * width) / 127.5 - 1
        observed = rng.random(side_by_side.shape) < share
        estimate = estimate_matrix(side_by_side, observed)
        return as_levels((estimate.reshape(height, channels, width).transpose(0, 2, 1) + 1) * 127.5)
