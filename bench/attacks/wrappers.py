"""BPDA and EOT: wrappers around a model, so that any attack can be run through a defence.

`Bpda` puts a defence in front: exact on the way forward, with a stand-in for its derivative on the way back (Athalye,
Carlini and Wagner, "Obfuscated gradients give a false sense of security", 2018). `Eot` averages the gradient over
several draws (Athalye, Engstrom, Ilyas and Kwok, "Synthesizing robust adversarial examples", 2018).
``Eot(Bpda(model, backward), 8)`` is BPDA+EOT.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.attacks.backward import Backward
from bench.attacks.base import Attackable, Classes, Gradient, Images, to_pictures, to_unit
from bench.attacks.model import GradientModel
from edgedefend.errors import InputError

__all__ = ["Bpda", "Eot"]


class Bpda:
    """A model behind a defence whose derivative is approximated.

    Parameters
    ----------
    model : GradientModel
        The bare model.
    backward : Backward
        The defence and what stands in for its derivative.
    """

    def __init__(self, model: GradientModel, backward: Backward) -> None:
        self.model, self.backward = model, backward

    @property
    def randomised(self) -> bool:
        """Whether the defence draws at random."""
        return self.backward.randomised

    def logits(self, images: Images, rng: np.random.Generator | None = None) -> NDArray[np.float32]:
        """Return the logits (N, classes) of the defended images, a draw an image."""
        defended, _ = self.backward.forward(to_pictures(images), _given(rng))
        return self.model.logits(to_unit(defended))

    def gradient(
        self,
        images: Images,
        classes: Classes,
        *,
        targeted: bool,
        loss: str = "cross_entropy",
        rng: np.random.Generator | None = None,
    ) -> Gradient:
        """Return the gradient at the defended images, taken back through the approximation; a draw an image."""
        defended, draws = self.backward.forward(to_pictures(images), _given(rng))
        there = self.model.gradient(to_unit(defended), classes, targeted=targeted, loss=loss)
        gradient = self.backward.pull_back(images, draws, there.gradient)
        odd: NDArray[np.bool_] = np.any(~np.isfinite(gradient), axis=(1, 2, 3))
        gradient = np.where(odd[:, None, None, None], np.float32(0), gradient)
        return there._replace(gradient=gradient, nonfinite=np.maximum(there.nonfinite, odd))


class Eot:
    """A model whose gradient is the mean over several draws.

    Parameters
    ----------
    model : Attackable
        Usually a `Bpda`. One draw is as good as many where it does not draw at random: then there is one.
    eot_samples : int
        Draws a gradient.
    most : int
        Images times draws that are worked on at once: a bound on the memory.
    """

    def __init__(self, model: Attackable, eot_samples: int, *, most: int = 64) -> None:
        if eot_samples < 1:
            raise InputError(f"eot_samples is {eot_samples}, expected at least 1")
        self.model, self.most = model, most
        self.eot_samples = eot_samples if model.randomised else 1

    @property
    def randomised(self) -> bool:
        """Whether the model draws at random."""
        return self.model.randomised

    def logits(self, images: Images, rng: np.random.Generator | None = None) -> NDArray[np.float32]:
        """Return the logits (N, classes) of one draw: averaging is the attacker's doing, not the defence's."""
        return self.model.logits(images, rng)

    def gradient(
        self,
        images: Images,
        classes: Classes,
        *,
        targeted: bool,
        loss: str = "cross_entropy",
        rng: np.random.Generator | None = None,
    ) -> Gradient:
        """Return the mean gradient over the draws, with all their answers."""
        draws = self.eot_samples
        count, at_once = len(images), max(1, self.most // draws)
        parts = []
        for start in range(0, count, at_once):
            several = np.repeat(images[start : start + at_once], draws, axis=0)
            wanted = np.repeat(classes[start : start + at_once], draws)
            parts.append(_mean(self.model.gradient(several, wanted, targeted=targeted, loss=loss, rng=rng), draws))
        return Gradient(
            gradient=np.concatenate([part.gradient for part in parts]),
            logits=np.concatenate([part.logits for part in parts]),
            loss=np.concatenate([part.loss for part in parts]),
            nonfinite=np.concatenate([part.nonfinite for part in parts]),
            queries=parts[0].queries,
        )


def _mean(single: Gradient, draws: int) -> Gradient:
    """Return the mean over each group of `draws` rows of the draws that are finite."""
    shape = single.gradient.shape[1:]
    odd = single.nonfinite.reshape(-1, draws)
    # The rows that are not finite are zero already; the loss there is infinite.
    good = np.maximum((odd == 0).sum(axis=1), 1)
    gradient = single.gradient.reshape(-1, draws, *shape).sum(axis=1) / good[:, None, None, None].astype(np.float32)
    finite = np.isfinite(single.loss).reshape(-1, draws)
    losses = np.where(finite, single.loss.reshape(-1, draws), 0).sum(axis=1) / np.maximum(finite.sum(axis=1), 1)
    losses[~finite.any(axis=1)] = np.inf
    logits = single.logits.reshape(len(losses), -1, single.logits.shape[-1])
    return Gradient(gradient, logits, losses, odd.sum(axis=1), single.queries * draws)


def _given(rng: np.random.Generator | None) -> np.random.Generator:
    # A result must be repeatable from its seed, so the draws of an evaluation never come from somewhere else.
    if rng is None:
        raise InputError("a defended model needs a random generator (rng) for its draws")
    return rng
