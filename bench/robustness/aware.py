"""An attacker who knows of the suspicion score: he wants the bare model to agree with the defended one as well."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.attacks.base import Attackable, Classes, Gradient, Images

__all__ = ["AlsoBare"]


class AlsoBare:
    """A defended model whose gradient also draws the bare model's answer to the same class.

    The score compares draws with one another and with the undefended answer. Draws agree once all of them give the
    target, which the attack wants anyhow; the bare answer is one more thing to bring there.

    Parameters
    ----------
    defended, bare : Attackable
    share : float
        Weight of the bare model's gradient, from 0 to 1.
    """

    def __init__(self, defended: Attackable, bare: Attackable, share: float) -> None:
        self._defended, self._bare, self._share = defended, bare, np.float32(share)

    @property
    def randomised(self) -> bool:
        """Whether the defended model draws at random."""
        return self._defended.randomised

    def logits(self, images: Images, rng: np.random.Generator | None = None) -> NDArray[np.float32]:
        """Return the defended model's answers: those are what the attack is judged by."""
        return self._defended.logits(images, rng)

    def gradient(
        self,
        images: Images,
        classes: Classes,
        *,
        targeted: bool,
        loss: str = "cross_entropy",
        rng: np.random.Generator | None = None,
    ) -> Gradient:
        """Return the weighted mean of both gradients, and the answers of both."""
        behind = self._defended.gradient(images, classes, targeted=targeted, loss=loss, rng=rng)
        bare = self._bare.gradient(images, classes, targeted=targeted, loss=loss)
        return Gradient(
            (1 - self._share) * behind.gradient + self._share * bare.gradient,
            np.concatenate([behind.logits, bare.logits], axis=1),
            (1 - float(self._share)) * behind.loss + float(self._share) * bare.loss,
            behind.nonfinite + bare.nonfinite,
            behind.queries + bare.queries,
        )
