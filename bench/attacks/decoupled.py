"""The smallest change that works, looked for directly: direction and size of the change are stepped apart.

Rony, Hafemann, Oliveira, Ben Ayed, Sabourin and Granger, "Decoupling direction and norm for efficient gradient-based L2
adversarial attacks and defenses", 2019, whose own code knows neither a model that draws nor pictures of whole levels.
Gradients are averaged over draws by `Eot` and taken at the picture that would be sent, as those of the adaptive attack.
An attack within a ball, tried on balls of several sizes, leaves between two of them what only a search can find.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from bench.attacks.base import Attack, AttackResult, Request, fooled, to_pictures, to_unit
from bench.attacks.norms import per_image, project, steepest
from bench.attacks.pictures import as_pictures
from edgedefend.errors import InputError

__all__ = ["Decoupled"]

_SMALLEST = 1e-5  # l2_rms, far below what one level of one pixel makes
_LEFT = 0.1  # of the change of size, and a fifth of it of the step, at the end of the schedule


@dataclass(frozen=True)
class Decoupled(Attack):
    """DDN with momentum, for models that draw; l2_rms only.

    Attributes
    ----------
    steps : int
    start : float
        The first size tried, l2_rms.
    pace : float, optional
        By which fraction the size grows or shrinks in the first step; a tenth of it in the last. By default as much as
        lets the size change by a factor of about ten either way, however many steps there are.
    step_size : float
        Of the first step, a fraction of the size.
    momentum : float
        Factor of what is kept of the earlier gradients, each of which counts with size 1.
    wanted : float
        Fraction of the draws that have to be fooled, averaged over the last steps, before the size shrinks.
    margin : float
        What comes back is the change that was found times this: it lies on the boundary, where half of the verdicts go
        the other way. Whoever wants the smallest scales it down again (`bench.robustness.scale`).
    fresh_draws : int
        That judge the result.
    """

    steps: int = 100
    start: float = 0.005
    pace: float | None = None
    step_size: float = 0.3
    momentum: float = 0.75
    wanted: float = 0.75
    margin: float = 1.3
    fresh_draws: int = 10

    def __post_init__(self) -> None:
        if self.steps < 1 or not 0 < self.start <= 1 or not 0 < self._first_pace < 1 or self.margin < 1:
            raise InputError(
                f"steps {self.steps}, start {self.start}, pace {self.pace}, margin {self.margin}: expected steps and a "
                "margin from 1, a start from above 0 to 1, a pace between 0 and 1"
            )

    @property
    def _first_pace(self) -> float:
        return min(0.25, 5 / self.steps) if self.pace is None else self.pace

    def run(self, request: Request) -> AttackResult:
        """Attack one batch."""
        if request.norm != "l2_rms":
            raise InputError("the decoupled attack minimises l2_rms: it has no form for linf")
        clean, whole, count = request.images, to_pictures(request.images), len(request.images)
        current, velocity = clean.copy(), np.zeros_like(clean)
        size = np.full(count, min(self.start, request.epsilon))
        often = np.zeros(count)
        queries, nonfinite = np.zeros(count, np.int64), np.zeros(count, np.int64)
        for step in range(self.steps):
            found = request.model.gradient(
                to_unit(as_pictures(current, whole)), request.classes, targeted=request.targeted, rng=request.rng
            )
            queries += found.queries
            nonfinite += found.nonfinite
            hits = fooled(found.logits, request.classes, request.targeted).mean(axis=1)
            often = (often + hits) / 2
            left = (1 + math.cos(math.pi * step / self.steps)) / 2
            pace = self._first_pace * max(left, _LEFT)
            size *= np.where(often >= self.wanted, 1 - pace, 1 + pace)
            np.clip(size, _SMALLEST, request.epsilon, out=size)
            scale = np.abs(found.gradient).mean(axis=(1, 2, 3))
            velocity *= np.float32(self.momentum)
            velocity += found.gradient * per_image(np.divide(1, scale, out=np.zeros_like(scale), where=scale > 0))
            length = self.step_size * max(left, _LEFT / 5) * size
            change = steepest(current - per_image(length) * steepest(velocity, "l2_rms") - clean, "l2_rms")
            current = project(clean + per_image(size) * change, clean, request.epsilon, "l2_rms")
            if request.progress is not None:
                request.progress(step + 1, current)
        grown = project(clean + np.float32(self.margin) * (current - clean), clean, request.epsilon, "l2_rms")
        return request.verdict(
            grown,
            draws=self.fresh_draws,
            pictures=True,
            gradient_queries=queries,
            steps=np.full(count, self.steps, np.int64),
            nonfinite=nonfinite,
        )
