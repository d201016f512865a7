"""The adaptive attack: the strongest thing that is known against this defence, and what its figures must be read by.

It knows the defence, all but the draw: the gradient goes back through the very grid that was drawn (`Resampling`), is
averaged over fresh grids and corners at every step (`Eot`), is taken at the picture of whole levels that would be sent,
and drives normalised steps with momentum that shrink to nothing; the best of several restarts is chosen on draws of its
own. Nothing of what is judged is known to it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from bench.attacks.backward import Resampling
from bench.attacks.base import Attack, AttackResult, Request, to_pictures, to_unit, try_out
from bench.attacks.descent import Descent, descend
from bench.attacks.model import GradientModel
from bench.attacks.pictures import as_pictures
from bench.attacks.wrappers import Bpda, Eot
from edgedefend.defense import Defense
from edgedefend.errors import InputError

__all__ = ["Restarts", "adaptive_attack", "adaptive_model"]


@dataclass(frozen=True)
class Restarts(Attack):
    """A descent run several times: first from the clean images, then from random ones near them.

    Attributes
    ----------
    descent : Descent
    restarts : int
        Runs in all. Images on which all of `select_draws` were fooled sit out the next runs.
    select_draws : int
        Draws that choose between the runs; the verdict has others.
    """

    descent: Descent
    restarts: int = 1
    select_draws: int = 20

    def __post_init__(self) -> None:
        if self.restarts < 1 or self.select_draws < 1:
            raise InputError(f"restarts {self.restarts}, select_draws {self.select_draws}: expected at least 1 of each")

    def run(self, request: Request) -> AttackResult:
        """Attack one batch; `progress` sees the images of one run."""
        model, images, classes, targeted = request.model, request.images, request.classes, request.targeted
        count = len(images)
        best, best_rate = images.copy(), np.full(count, -1.0)
        queries, scores, steps, nonfinite = (np.zeros(count, np.int64) for _ in range(4))
        for run in range(self.restarts):
            left = np.flatnonzero(best_rate < 1)
            if not left.size:
                break
            settings = replace(self.descent, start="random") if run else self.descent
            trace = descend(
                settings, model, images[left], classes[left], targeted,
                epsilon=request.epsilon, norm=request.norm, rng=request.rng, progress=request.progress,
            )  # fmt: skip
            queries[left] += trace.queries
            steps[left] += trace.steps
            nonfinite[left] += trace.nonfinite
            if self.restarts > 1:
                draws = self.select_draws if model.randomised else 1
                shown = trace.images
                if self.descent.pictures:
                    shown = to_unit(as_pictures(shown, to_pictures(images[left]), norm=request.norm))
                rate, _ = try_out(model, shown, classes[left], targeted=targeted, draws=draws, rng=request.rng)
                scores[left] += draws
            else:
                rate = np.zeros(left.size)
            better = rate > best_rate[left]
            best[left[better]], best_rate[left[better]] = trace.images[better], rate[better]
        return request.verdict(
            best,
            draws=self.descent.fresh_draws,
            pictures=self.descent.pictures,
            gradient_queries=queries,
            steps=steps,
            score_queries=scores,
            nonfinite=nonfinite,
        )


def adaptive_model(
    model: GradientModel, defense: Defense, *, eot_samples: int = 8, quantizer: str = "straight-through"
) -> Eot:
    """Return what the adaptive attack is run on: the model behind the defence, differentiable, averaged over draws."""
    return Eot(Bpda(model, Resampling(defense, quantizer=quantizer)), eot_samples)


def adaptive_attack(
    steps: int = 50,
    *,
    step_size: float | None = None,
    momentum: float = 0.75,
    restarts: int = 1,
    loss: str = "cross_entropy",
    fresh_draws: int = 10,
    enough: float | None = None,
) -> Restarts:
    """Return the adaptive attack, to be run on `adaptive_model`; it is also the strongest one on a bare model.

    Parameters
    ----------
    steps : int
        Of each run.
    step_size : float, optional
        First step, a fraction of epsilon; by default enough for the steps to add up to 5 epsilon.
    momentum : float
    restarts : int
        Runs in all.
    loss : {"cross_entropy", "margin"}
    fresh_draws : int
        That judge the result.
    enough : float, optional
        See `bench.attacks.descent.Descent`: where nothing is won by fooling still more surely.
    """
    descent = Descent(
        steps=steps,
        step_size=step_size or min(1.0, 10 / steps),
        momentum=momentum,
        schedule="cosine",
        keep="best",
        loss=loss,
        fresh_draws=fresh_draws,
        pictures=True,
        enough=enough,
    )
    return Restarts(descent, restarts)
