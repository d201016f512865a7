"""Transfer: the attacker has another model, attacks that, and shows the result to the one he cannot look into."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from bench.attacks.base import Attack, Attackable, AttackResult, Classes, Images, Progress, check_request, verdict
from bench.attacks.model import GradientModel
from convert.models import load_model
from convert.tf import import_tensorflow
from edgedefend.errors import InputError

__all__ = ["Transfer", "load_surrogate"]


def load_surrogate(name: str, model: GradientModel) -> GradientModel:
    """Load another zoo model, or a user's own, to be attacked in the place of `model`; images are resized inside it.

    Raises
    ------
    InputError
        If its classes are others.
    """
    loaded = load_model(name)
    if loaded.labels != model.labels:
        raise InputError(f"{name}: has other classes than {model.name}: it cannot stand in for it")
    if loaded.input_size != model.input_size:
        keras = import_tensorflow().keras
        images = keras.Input((*model.input_size, 3))
        resized = keras.layers.Resizing(*loaded.input_size, interpolation="bilinear")(images)
        network = keras.Model(images, loaded.keras_model(resized))
        loaded = replace(loaded, keras_model=network, input_size=model.input_size)
    return GradientModel(loaded, batch=model.batch)


@dataclass(frozen=True)
class Transfer:
    """An attack on a surrogate, judged on the model.

    Attributes
    ----------
    surrogate : Attackable
        A bare surrogate, or one behind the same defence: the attacker may know that.
    attack : Attack
        What is run on the surrogate.
    fresh_draws : int
        That judge the result.
    """

    surrogate: Attackable
    attack: Attack
    fresh_draws: int = 10

    def __call__(
        self,
        model: Attackable,
        images: Images,
        labels: Classes,
        target_classes: Classes | None,
        *,
        epsilon: float,
        norm: str,
        rng: np.random.Generator,
        progress: Progress | None = None,
    ) -> AttackResult:
        """Attack a batch (see `bench.attacks.base.Attack`); `model` has only to answer."""
        check_request(images, labels, target_classes, epsilon, norm)
        found = self.attack(
            self.surrogate, images, labels, target_classes, epsilon=epsilon, norm=norm, rng=rng, progress=progress
        )
        return verdict(
            model, found.images, images, labels, target_classes,
            draws=self.fresh_draws, rng=rng, gradient_queries=found.gradient_queries, steps=found.steps,
            score_queries=found.score_queries, nonfinite=found.nonfinite,
        )  # fmt: skip
