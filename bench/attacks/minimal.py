"""Attacks that look for the smallest change, from foolbox: DeepFool, and Carlini and Wagner's.

Moosavi-Dezfooli, Fawzi and Frossard, "DeepFool", 2016; Carlini and Wagner, "Towards evaluating the robustness of neural
networks", 2017. What they find beyond epsilon is scaled back to it. Both can be run through `Bpda` and `Eot`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.attacks.base import Attack, AttackResult, Request
from bench.attacks.bridge import FoolboxBridge, import_foolbox
from bench.attacks.enlarge import enlarge_until_sent
from bench.attacks.norms import project
from edgedefend.errors import InputError

__all__ = ["CarliniWagner", "DeepFool"]


@dataclass(frozen=True)
class DeepFool(Attack):
    """DeepFool; untargeted only, as in its paper.

    Attributes
    ----------
    steps : int
    candidates : int
        The classes it may go to: this many of the likeliest.
    overshoot : float
        How far beyond the boundary, as a fraction of the way to it.
    fresh_draws : int
        That judge the result.
    enlarge : bool
        Whether what was found is made large enough to survive as a picture (see `bench.attacks.enlarge`).
    """

    steps: int = 50
    candidates: int = 10
    overshoot: float = 0.02
    fresh_draws: int = 10
    enlarge: bool = False

    def run(self, request: Request) -> AttackResult:
        """Attack one batch."""
        if request.targeted:
            raise InputError("DeepFool looks for the nearest wrong answer: it has no targeted form")
        attacks = import_foolbox().attacks
        kind = attacks.LinfDeepFoolAttack if request.norm == "linf" else attacks.L2DeepFoolAttack
        attack = kind(steps=self.steps, candidates=self.candidates, overshoot=self.overshoot)
        return _run(attack, request, self.fresh_draws, self.enlarge)


@dataclass(frozen=True)
class CarliniWagner(Attack):
    """Carlini and Wagner's attack; l2_rms only.

    Attributes
    ----------
    steps : int
        Of Adam, for each constant.
    search_steps : int
        Constants tried, by bisection.
    step_size : float
        Of Adam.
    confidence : float
        By how much the logit asked for shall lead. A result with 0 lies on the boundary: behind a defence that draws
        at random about half of the draws fall on either side.
    initial_const : float
    fresh_draws : int
        That judge the result.
    enlarge : bool
        Whether what was found is made large enough to survive as a picture (see `bench.attacks.enlarge`).
    """

    steps: int = 100
    search_steps: int = 5
    step_size: float = 0.01
    confidence: float = 0.0
    initial_const: float = 1.0
    fresh_draws: int = 10
    enlarge: bool = False

    def run(self, request: Request) -> AttackResult:
        """Attack one batch."""
        if request.norm != "l2_rms":
            raise InputError("Carlini and Wagner's attack here minimises l2_rms: it has no form for linf")
        attack = import_foolbox().attacks.L2CarliniWagnerAttack(
            binary_search_steps=self.search_steps,
            steps=self.steps,
            stepsize=self.step_size,
            confidence=self.confidence,
            initial_const=self.initial_const,
        )
        return _run(attack, request, self.fresh_draws, self.enlarge)


def _run(attack: Any, request: Request, fresh_draws: int, enlarge: bool) -> AttackResult:
    """Run one of foolbox's minimising attacks and judge what it found."""
    foolbox = import_foolbox()
    images, kinds = request.images, foolbox.criteria
    bridge = FoolboxBridge(request.model, len(images), request.rng)
    goal = bridge.tensor(request.classes.astype(np.int64))
    criterion = kinds.TargetedMisclassification(goal) if request.targeted else kinds.Misclassification(goal)
    raw = np.asarray(attack.run(bridge.model, bridge.tensor(images), criterion))
    # Where Carlini and Wagner's attack finds nothing it returns black, which is no attempt at all.
    nothing = ~np.isfinite(raw).all(axis=(1, 2, 3)) | ~raw.any(axis=(1, 2, 3))
    found = project(np.where(nothing[:, None, None, None], images, raw), images, request.epsilon, request.norm)
    if request.progress is not None:
        request.progress(bridge.gradients, found)
    if enlarge:
        found = enlarge_until_sent(request, found, draws=fresh_draws)
    count = len(images)
    return request.verdict(
        found,
        draws=fresh_draws,
        gradient_queries=np.full(count, bridge.gradients, np.int64),
        steps=np.full(count, math.ceil(bridge.gradients / bridge.draws), np.int64),
        nonfinite=bridge.nonfinite,
    )
