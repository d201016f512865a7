"""The first attack of all: box-constrained L-BFGS (Szegedy et al., "Intriguing properties of neural networks", 2013).

It minimises the attacker's loss plus a constant times the squared change, within [0, 1]; the largest constant with
which the minimum still is what he wants is searched for, because it gives the smallest change. For linf the ball itself
is the box, and there is nothing to search. SciPy's L-BFGS-B does the work, an image at a time.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.attacks.base import Attack, AttackResult, Request, fooled
from bench.attacks.enlarge import enlarge_until_sent
from bench.attacks.norms import project
from edgedefend.errors import EdgeDefendError, InputError

__all__ = ["Lbfgs"]

_FIRST, _FACTOR = 1.0, 10.0
_LEAST_LOSS = -100.0  # an untargeted cross-entropy has no minimum: there is nothing to gain below


@dataclass(frozen=True)
class Lbfgs(Attack):
    """Box-constrained L-BFGS.

    Attributes
    ----------
    steps : int
        Most iterations for each constant.
    search_steps : int
        Constants tried: by factors of ten until one succeeds and one fails, then by bisection.
    fresh_draws : int
        That judge the result.
    enlarge : bool
        Whether what was found is made large enough to survive as a picture (see `bench.attacks.enlarge`).
    """

    steps: int = 20
    search_steps: int = 6
    fresh_draws: int = 10
    enlarge: bool = False

    def __post_init__(self) -> None:
        if self.steps < 1 or self.search_steps < 1:
            raise InputError(f"steps {self.steps}, search_steps {self.search_steps}: expected at least 1 of each")

    def run(self, request: Request) -> AttackResult:
        """Attack one batch; `progress` is told after each image."""
        images, progress = request.images, request.progress
        found = images.copy()
        queries, nonfinite, steps = (np.zeros(len(images), np.int64) for _ in range(3))
        for number in range(len(images)):
            search = _Search(request, number)
            raw = search.smallest(self.steps, self.search_steps)
            found[number] = project(raw[None], images[number][None], request.epsilon, request.norm)[0]
            queries[number], nonfinite[number], steps[number] = search.queries, search.nonfinite, search.steps
            if progress is not None:
                progress(number + 1, found)
        if self.enlarge:
            found = enlarge_until_sent(request, found, draws=self.fresh_draws)
        return request.verdict(
            found, draws=self.fresh_draws, gradient_queries=queries, steps=steps, nonfinite=nonfinite
        )


class _Search:
    """The search for one image."""

    def __init__(self, request: Request, number: int) -> None:
        self.model, self.clean = request.model, request.images[number]
        self.classes, self.targeted = request.classes[number : number + 1], request.targeted
        self.epsilon, self.norm, self.rng = request.epsilon, request.norm, request.rng
        self.queries = self.nonfinite = self.steps = 0

    def smallest(self, steps: int, search_steps: int) -> NDArray[np.float32]:
        """Return the image with the smallest change that succeeds, else that of the smallest constant."""
        if self.norm == "linf":
            return self._minimise(0.0, steps)[0]
        constant, low, high = _FIRST, 0.0, np.inf
        best, last = None, self.clean
        for _ in range(search_steps):
            image, success = self._minimise(constant, steps)
            if success:
                best, low = image, constant
            else:
                high, last = constant, image
            if np.isinf(high):
                constant *= _FACTOR
            elif low == 0:
                constant /= _FACTOR
            else:
                constant = float(np.sqrt(low * high))
        return last if best is None else best

    def _minimise(self, constant: float, steps: int) -> tuple[NDArray[np.float32], bool]:
        """Return the minimum of the loss plus ``constant * (l2_rms / epsilon)^2``, and whether it succeeds."""
        try:
            from scipy.optimize import minimize
        except ModuleNotFoundError:
            raise EdgeDefendError("the L-BFGS attack is SciPy's: pip install 'edgedefend[bench]'") from None
        flat = self.clean.astype(np.float64).ravel()
        weight = constant / (flat.size * self.epsilon**2)
        low, high = np.zeros_like(flat), np.ones_like(flat)
        if self.norm == "linf":
            low, high = np.maximum(flat - self.epsilon, 0), np.minimum(flat + self.epsilon, 1)

        def objective(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            image = values.astype(np.float32).reshape(1, *self.clean.shape)
            found = self.model.gradient(image, self.classes, targeted=self.targeted, rng=self.rng)
            self.queries += found.queries
            self.nonfinite += int(found.nonfinite[0])
            change = values - flat
            loss, gradient = float(found.loss[0]), found.gradient[0].astype(np.float64).ravel()
            if not np.isfinite(loss):
                return 1e6, 2 * weight * change
            if loss < _LEAST_LOSS:
                loss, gradient = _LEAST_LOSS, np.zeros_like(gradient)
            return loss + weight * float(change @ change), gradient + 2 * weight * change

        result = minimize(
            objective, flat, jac=True, method="L-BFGS-B", bounds=np.stack([low, high], axis=1),
            options={"maxiter": steps, "maxfun": 2 * steps},
        )  # fmt: skip
        self.steps += int(result.nit)
        image = result.x.astype(np.float32).reshape(self.clean.shape)
        answer = self.model.logits(image[None], self.rng)
        return image, bool(fooled(answer, self.classes, self.targeted)[0])
