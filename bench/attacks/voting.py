"""A defended model beside which another answer has a vote (`edgedefend.combining`), as an attack sees it.

What votes is the undefended model, or milder draws: it is fooled before the defended one. So an attacker brings both to
his class at once; or he leaves milder draws alone, since what fools the others mostly fools them as well.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.attacks.base import Attackable, Classes, Gradient, Images
from edgedefend.combining import softmax, with_vote

__all__ = ["LEAST", "Voting"]

LEAST = np.float32(1e-30)  # probability whose logarithm is taken


class Voting:
    """A defended model and who votes beside it, answering together.

    The answers are logarithms of probabilities, each of one draw with the vote. The loss is that behind the defence
    plus that of the voter, not that of the answer: once the vote is won the logarithm of the sum would hardly feel the
    draws any more, and the gradient would hide what is left to do. Of milder draws that is not always the strongest
    attack, see `draws_alone` (docs/decisions/0028).

    Parameters
    ----------
    defended, voter : Attackable
    vote : float
        See `edgedefend.combining.with_vote`.
    draws_alone : bool
        Leaves the voter out of loss and gradient: it only answers, with as many draws as would make its gradient.
    """

    def __init__(self, defended: Attackable, voter: Attackable, vote: float, *, draws_alone: bool = False) -> None:
        self.defended, self.voter, self.vote, self.draws_alone = defended, voter, vote, draws_alone

    @property
    def randomised(self) -> bool:
        """Whether the defended model draws at random."""
        return self.defended.randomised

    def _answers(self, defended: NDArray[np.float32], voters: NDArray[np.float32]) -> NDArray[np.float32]:
        """Combine the answers of some draws, (..., classes), with the vote of the mean of others."""
        together = with_vote(softmax(defended), voters, self.vote)
        return np.asarray(np.log(np.maximum(together, LEAST)), np.float32)  # NaN stays NaN

    def logits(self, images: Images, rng: np.random.Generator | None = None) -> NDArray[np.float32]:
        """Return the logarithms of the probabilities (N, classes), a draw an image."""
        return self._answers(self.defended.logits(images, rng), self.voter.logits(images, rng))

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
        if self.draws_alone:
            answers = [softmax(self.voter.logits(images, rng)) for _ in range(getattr(self.voter, "eot_samples", 1))]
            return behind._replace(logits=self._answers(behind.logits, np.mean(answers, axis=0)[:, None]))
        voter = self.voter.gradient(images, classes, targeted=targeted, loss=loss, rng=rng)
        voters = softmax(voter.logits).mean(axis=1, keepdims=True)  # (N, 1, classes)
        share = np.ones(len(images), np.float32)
        if not targeted:
            # Away from a class there is always further to go; towards one the gradient ends by itself.
            share = voters[np.arange(len(images)), 0, classes]
        return Gradient(
            behind.gradient + share[:, None, None, None] * voter.gradient,
            self._answers(behind.logits, voters),
            behind.loss + share * voter.loss,
            behind.nonfinite + voter.nonfinite,
            behind.queries + voter.queries,
        )
