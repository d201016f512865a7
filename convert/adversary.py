"""The one standard attack that Algorithm 2 needs: targeted iterative FGSM on the undefended model.

Kurakin, Goodfellow and Bengio, "Adversarial examples in the physical world", 2016. Attacks that are meant to
break the defence live in `bench.attacks`; this one only shows where a model is sensitive.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from convert.gradient import InputGradient
from edgedefend.errors import InputError

if TYPE_CHECKING:
    from convert.models import LoadedModel

__all__ = ["IFGSM"]


class IFGSM:
    """Targeted I-FGSM against one model, its gradient compiled once.

    Parameters
    ----------
    model : LoadedModel
    epsilon : float
        Largest change of any value (linf), in pixel levels of 0..255.
    steps : int
        Gradient steps.
    step_size : float
        Change a step, in pixel levels.
    """

    def __init__(self, model: LoadedModel, *, epsilon: float = 4.0, steps: int = 10, step_size: float = 1.0) -> None:
        if epsilon <= 0 or steps < 1 or step_size <= 0:
            raise InputError(f"epsilon {epsilon}, steps {steps}, step_size {step_size}: expected all of them above 0")
        self.epsilon, self.steps, self.step_size = epsilon, steps, step_size
        self._gradient = InputGradient(model)

    def __call__(self, images: NDArray[np.uint8], target_classes: NDArray[np.int32]) -> NDArray[np.uint8]:
        """Attack a batch.

        Parameters
        ----------
        images : uint8 (N, H, W, 3)
            RGB at the model's size.
        target_classes : int32 (N,)
            The class each image shall be taken for.

        Returns
        -------
        uint8 (N, H, W, 3)
            The adversarial examples, rounded to whole levels, at most `epsilon` away in each value.

        Raises
        ------
        InputError
            If the model has no gradient, or one that is not a number.
        """
        clean = images.astype(np.float32)
        low, high = np.maximum(clean - self.epsilon, 0), np.minimum(clean + self.epsilon, 255)
        current = clean
        for _ in range(self.steps):
            direction = np.sign(self._gradient(current, target_classes.astype(np.int32)).gradient)
            if not np.isfinite(direction).all():
                raise InputError("the model's gradient is not a number (NaN): check its weights and normalisation")
            # Towards the target: downhill on its loss.
            current = np.clip(current - self.step_size * direction, low, high)
        return np.rint(current).astype(np.uint8)
