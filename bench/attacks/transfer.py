"""Transfer: the attacker has another model, attacks that, and shows the result to the one he cannot look into."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bench.attacks.base import Attack, Attackable, AttackResult, Request
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
class Transfer(Attack):
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

    def run(self, request: Request) -> AttackResult:
        """Attack one batch; the model has only to answer."""
        found = self.attack.run(replace(request, model=self.surrogate))
        return request.verdict(
            found.images,
            draws=self.fresh_draws,
            gradient_queries=found.gradient_queries,
            steps=found.steps,
            score_queries=found.score_queries,
            nonfinite=found.nonfinite,
        )
