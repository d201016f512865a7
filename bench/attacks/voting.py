"""A defended model beside which the undefended answer has a vote (`edgedefend.combining`), as an attack sees it.

What the vote gives to an attacker is his for little: the undefended model is fooled long before the defended one. So he
brings both to his class at once.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.attacks.base import Attackable, Classes, Gradient, Images
from edgedefend.combining import softmax, with_vote

__all__ = ["LEAST", "Voting"]

LEAST = np.float32(1e-30)  # probability whose logarithm is taken


class Voting:
    """A defended model and the bare one, answering together.

    The answers are logarithms of probabilities, each of one draw with the vote. The loss is that behind the defence
    plus that of the bare model, not that of the answer: once the bare model's vote is won the logarithm of the sum
    would hardly feel the draws any more, and the gradient would hide what is left to do.

    Parameters
    ----------
    defended, bare : Attackable
    vote : float
        See `edgedefend.combining.with_vote`.
    """

    def __init__(self, defended: Attackable, bare: Attackable, vote: float) -> None:
        self.defended, self.bare, self.vote = defended, bare, vote

    @property
    def randomised(self) -> bool:
        """Whether the defended model draws at random."""
        return self.defended.randomised

    def _answers(self, defended: NDArray[np.float32], bare: NDArray[np.float32]) -> NDArray[np.float32]:
        together = with_vote(softmax(defended), bare, self.vote)
        return np.asarray(np.log(np.maximum(together, LEAST)), np.float32)  # NaN stays NaN

    def logits(self, images: Images, rng: np.random.Generator | None = None) -> NDArray[np.float32]:
        """Return the logarithms of the probabilities (N, classes), a draw an image."""
        return self._answers(self.defended.logits(images, rng), self.bare.logits(images, None))

    def gradient(
        self,
        images: Images,
        classes: Classes,
        *,
        targeted: bool,
        loss: str = "cross_entropy",
        rng: np.random.Generator | None = None,
    ) -> Gradient:
        """Return the sum of both gradients, and the answers of each draw with the vote."""
        behind = self.defended.gradient(images, classes, targeted=targeted, loss=loss, rng=rng)
        bare = self.bare.gradient(images, classes, targeted=targeted, loss=loss)
        share = np.ones(len(images), np.float32)
        if not targeted:
            # Away from a class there is always further to go; towards one the gradient ends by itself.
            share = softmax(bare.logits[:, 0])[np.arange(len(images)), classes]
        return Gradient(
            behind.gradient + share[:, None, None, None] * bare.gradient,
            self._answers(behind.logits, bare.logits),
            behind.loss + share * bare.loss,
            behind.nonfinite + bare.nonfinite,
            behind.queries + bare.queries,
        )
