"""Gradient descent on the attacker's objective within a ball: FGSM, I-FGSM, MI-FGSM, and the paper's plain descent.

One loop, because they differ only in their settings; the adaptive attack (`adaptive`) is the same loop with restarts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.attacks.base import (
    Attack,
    Attackable,
    AttackResult,
    Classes,
    Images,
    Progress,
    Request,
    fooled,
    to_pictures,
    to_unit,
)
from bench.attacks.norms import per_image, project, random_start, steepest
from bench.attacks.pictures import as_pictures
from edgedefend.errors import InputError

__all__ = ["Descent", "Trace", "descend", "fgsm", "ifgsm", "mi_fgsm", "plain_descent"]


@dataclass(frozen=True)
class Descent(Attack):
    """Projected gradient descent.

    Attributes
    ----------
    steps : int
    step_size : float
        Of a normalised step: a fraction of epsilon. Of a plain one: the learning rate on images in [0, 1].
    momentum : float
        Factor of what is kept of the earlier gradients, each of which counts with size 1 (mean absolute value).
    schedule : {"constant", "cosine"}
        Whether steps keep their size, or shrink to nothing along half a cosine.
    normalised : bool
        Whether a step has a fixed size in the norm (its steepest direction) or is as long as the gradient.
    start : {"clean", "random"}
    keep : {"last", "best"}
        Which images are returned: the last, or those with the highest mean probability of what the attacker wants
        over the draws of a gradient (counting draws that were fooled would reward luck); images that fooled all
        draws come first. It costs one more gradient: the other answers come with the gradients of the steps.
    loss : {"cross_entropy", "margin"}
    fresh_draws : int
        That judge the result.
    pictures : bool
        Whether each image is asked about as the picture of whole levels that will be sent (`as_pictures`), on the way
        and at the end. Far below a level most of a change does not survive plain rounding, and gradients taken at what
        is left of it lead elsewhere. The images that come back are those before rounding.
    enough : float, optional
        An image is done once all draws of a gradient are fooled and the mean probability of what the attacker wants
        reaches this.
    """

    steps: int = 50
    step_size: float = 0.1
    momentum: float = 0.0
    schedule: str = "constant"
    normalised: bool = True
    start: str = "clean"
    keep: str = "last"
    loss: str = "cross_entropy"
    fresh_draws: int = 10
    pictures: bool = False
    enough: float | None = None

    def __post_init__(self) -> None:
        if self.steps < 1 or not self.step_size > 0 or not 0 <= self.momentum <= 1 or self.fresh_draws < 1:
            raise InputError(
                f"steps {self.steps}, step_size {self.step_size}, momentum {self.momentum}, fresh_draws "
                f"{self.fresh_draws}: expected steps and draws from 1, a step above 0, a momentum from 0 to 1"
            )
        for value, choices in (
            (self.schedule, ("constant", "cosine")),
            (self.start, ("clean", "random")),
            (self.keep, ("last", "best")),
        ):
            if value not in choices:
                raise InputError(f"{value!r}: expected one of {', '.join(choices)}")

    def run(self, request: Request) -> AttackResult:
        """Attack one batch."""
        trace = descend(
            self,
            request.model,
            request.images,
            request.classes,
            request.targeted,
            epsilon=request.epsilon,
            norm=request.norm,
            rng=request.rng,
            progress=request.progress,
        )
        return request.verdict(
            trace.images,
            draws=self.fresh_draws,
            pictures=self.pictures,
            gradient_queries=trace.queries,
            steps=trace.steps,
            nonfinite=trace.nonfinite,
        )


@dataclass(frozen=True)
class Trace:
    """Where a descent ended: images, and per image the gradients taken, the steps, and what was not finite."""

    images: Images
    queries: NDArray[np.int64]
    steps: NDArray[np.int64]
    nonfinite: NDArray[np.int64]


def descend(
    settings: Descent,
    model: Attackable,
    images: Images,
    classes: Classes,
    targeted: bool,
    *,
    epsilon: float,
    norm: str,
    rng: np.random.Generator,
    progress: Progress | None = None,
) -> Trace:
    """Run one descent without judging it."""
    count = len(images)
    current = random_start(images, epsilon, norm, rng) if settings.start == "random" else images.copy()
    velocity = np.zeros_like(images)
    best, best_score = current.copy(), np.full(count, -np.inf)
    queries, steps, nonfinite = (np.zeros(count, np.int64) for _ in range(3))
    active, won = np.arange(count), np.zeros(count, bool)
    clean = to_pictures(images)

    def ask_about(which: NDArray[np.intp]) -> Images:
        """Return the gradients of these images, and remember the images if they are the best so far."""
        seen = current[which]
        if settings.pictures:
            seen = to_unit(as_pictures(seen, clean[which], norm=norm))
        found = model.gradient(seen, classes[which], targeted=targeted, loss=settings.loss, rng=rng)
        queries[which] += found.queries
        nonfinite[which] += found.nonfinite
        score = _promise(found.logits, classes[which], targeted)
        better = score > best_score[which]
        best[which[better]], best_score[which[better]] = current[which[better]], score[better]
        won[which] = score >= 1 + settings.enough if settings.enough is not None else False
        return found.gradient

    for step in range(settings.steps):
        moved = ask_about(active)
        moved, active = moved[~won[active]], active[~won[active]]
        if not active.size:
            break
        steps[active] += 1
        if settings.momentum:
            size = np.abs(moved).mean(axis=(1, 2, 3))
            velocity[active] *= np.float32(settings.momentum)
            velocity[active] += moved * per_image(np.divide(1, size, out=np.zeros_like(size), where=size > 0))
            moved = velocity[active]
        length = settings.step_size
        if settings.schedule == "cosine":
            length *= (1 + math.cos(math.pi * step / settings.steps)) / 2
        if settings.normalised:
            moved, length = steepest(moved, norm), length * epsilon
        current[active] = project(current[active] - np.float32(length) * moved, images[active], epsilon, norm)
        if progress is not None:
            done = progress(step + 1, current)
            if done is not None:
                # Whoever stops an image wants it as it is now.
                stopped = active[done[active]]
                best[stopped] = current[stopped]
                active = active[~done[active]]
                if not active.size:
                    break
    if settings.keep == "best":
        if active.size:
            ask_about(active)  # the last step has not been judged yet
        current = best
    return Trace(current, queries, steps, nonfinite)


def _promise(logits: NDArray[np.float32], classes: Classes, targeted: bool) -> NDArray[np.float64]:
    """Return the mean probability (N,) of what the attacker wants over the draws, plus one where all are fooled."""
    finite: NDArray[np.bool_] = np.all(np.isfinite(logits), axis=2)
    safe = np.where(finite[..., None], logits, 0).astype(np.float64)
    powers = np.exp(safe - safe.max(axis=2, keepdims=True))
    own = np.take_along_axis(powers, classes[:, None, None], axis=2)[..., 0] / powers.sum(axis=2)
    wanted = np.where(finite, own if targeted else 1 - own, 0)
    return wanted.mean(axis=1) + fooled(logits, classes, targeted).all(axis=1)


def fgsm(*, loss: str = "cross_entropy", fresh_draws: int = 10) -> Descent:
    """Return the fast gradient (sign) method: one step of the whole epsilon (Goodfellow, Shlens, Szegedy, 2014)."""
    return Descent(steps=1, step_size=1.0, loss=loss, fresh_draws=fresh_draws)


def ifgsm(
    steps: int = 50, *, step_size: float | None = None, loss: str = "cross_entropy", fresh_draws: int = 10
) -> Descent:
    """Return I-FGSM (Kurakin, Goodfellow, Bengio, 2016); by default steps that could reach 2.5 times the epsilon."""
    return Descent(steps=steps, step_size=step_size or min(1.0, 2.5 / steps), loss=loss, fresh_draws=fresh_draws)


def mi_fgsm(
    steps: int = 50,
    *,
    momentum: float = 1.0,
    step_size: float | None = None,
    loss: str = "cross_entropy",
    fresh_draws: int = 10,
) -> Descent:
    """Return MI-FGSM (Dong et al., "Boosting adversarial attacks with momentum", 2018)."""
    return Descent(
        steps=steps,
        step_size=step_size or min(1.0, 2.5 / steps),
        momentum=momentum,
        loss=loss,
        fresh_draws=fresh_draws,
    )


def plain_descent(steps: int = 50, *, learning_rate: float = 0.1, fresh_draws: int = 10) -> Descent:
    """Return the descent of the paper's evaluation: steps as long as the gradient, learning rate 0.1.

    Its loss is the cross-entropy; the penalty on the norm in the published code has no gradient. `progress` can stop
    an image once it has succeeded, as the paper does.
    """
    return Descent(steps=steps, step_size=learning_rate, normalised=False, fresh_draws=fresh_draws)
