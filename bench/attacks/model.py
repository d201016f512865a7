"""The bare model as attacks see it: images in [0, 1], logits, gradients in batches."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.attacks.base import Classes, Gradient, Images
from convert.gradient import InputGradient
from convert.models import InputSettings, LoadedModel, load_model

__all__ = ["GradientModel", "load_gradient_model"]


class GradientModel:
    """A Keras classifier without a defence.

    Parameters
    ----------
    model : LoadedModel
        As `convert.models.load_model` gives it: its normalisation is a layer inside.
    batch : int
        Most images a call of the network; more are done in several.
    """

    randomised = False

    def __init__(self, model: LoadedModel, *, batch: int = 16) -> None:
        self.name, self.labels, self.input_size = model.name, model.labels, model.input_size
        self.batch = batch
        self.input_gradient = InputGradient(model)

    @property
    def levels_to_logits(self) -> Any:
        """The compiled TensorFlow function from float32 levels 0..255 to logits."""
        return self.input_gradient.logits_function

    def logits(self, images: Images, rng: np.random.Generator | None = None) -> NDArray[np.float32]:
        """Return (N, classes); `rng` is not used."""
        del rng
        levels = np.float32(255) * images
        parts = [self.input_gradient.logits(levels[start : start + self.batch]) for start in self._starts(images)]
        return np.concatenate(parts)

    def gradient(
        self,
        images: Images,
        classes: Classes,
        *,
        targeted: bool,
        loss: str = "cross_entropy",
        rng: np.random.Generator | None = None,
    ) -> Gradient:
        """Return the gradient with respect to images in [0, 1] (see `bench.attacks.base.Attackable`)."""
        del rng
        levels = np.float32(255) * images
        parts = [
            self.input_gradient(levels[start : start + self.batch], classes[start : start + self.batch], loss)
            for start in self._starts(images)
        ]
        sign = 1.0 if targeted else -1.0
        gradient = np.concatenate([part.gradient for part in parts]) * np.float32(255 * sign)
        losses = np.concatenate([part.loss for part in parts]).astype(np.float64) * sign
        finite = np.isfinite(gradient).all(axis=(1, 2, 3)) & np.isfinite(losses)
        gradient[~finite] = 0
        losses[~finite] = np.inf
        logits = np.concatenate([part.logits for part in parts])
        return Gradient(gradient, logits[:, None], losses, (~finite).astype(np.int64), 1)

    def _starts(self, images: Images) -> range:
        return range(0, len(images), self.batch)


def load_gradient_model(
    spec: str | os.PathLike[str],
    *,
    weights: str = "imagenet",
    settings: InputSettings | None = None,
    seed: int = 0,
    batch: int = 16,
) -> GradientModel:
    """Load a zoo model or a user's own (see `convert.models.load_model`) to be attacked."""
    return GradientModel(load_model(os.fspath(spec), weights=weights, settings=settings, seed=seed), batch=batch)
