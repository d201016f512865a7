"""Outputs, losses and the gradient at the input of a Keras classifier, compiled once a loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from convert.folding import fold_batch_normalization
from convert.tf import import_tensorflow
from edgedefend.errors import InputError

if TYPE_CHECKING:
    from convert.models import LoadedModel

__all__ = ["LOSSES", "InputGradient", "LossGradient"]

LOSSES = ("cross_entropy", "margin")
_SMALLEST_PROBABILITY = 1e-30
_NEVER = 1e9  # taken off the logit of the class itself, so that it is never the best other one


class LossGradient(NamedTuple):
    """What one call gives: the gradient of each image's loss (N, H, W, 3), the losses (N,), the logits (N, classes)."""

    gradient: NDArray[np.float32]
    loss: NDArray[np.float32]
    logits: NDArray[np.float32]


class InputGradient:
    """A model's logits, and how they change with its input.

    The compiled functions leave the size of the batch open: a batch of another size is not compiled anew. Batch
    normalisation is folded into the convolutions first, which changes nothing but the time (`convert.folding`).

    Parameters
    ----------
    model : LoadedModel
        A model that gives probabilities is treated as if its logits were their logarithms.
    """

    def __init__(self, model: LoadedModel) -> None:
        tf = self._tf = import_tensorflow()
        network, from_logits = fold_batch_normalization(model.keras_model), model.output == "logits"
        self._images = tf.TensorSpec((None, *model.input_size, 3), tf.float32)
        self._compiled: dict[str, Any] = {}

        def logits(levels: Any) -> Any:
            output = network(levels, training=False)
            return output if from_logits else tf.math.log(tf.maximum(output, _SMALLEST_PROBABILITY))

        self._logits = logits
        self.logits_function = tf.function(logits, input_signature=[self._images])
        """The compiled TensorFlow function from levels to logits, for libraries that differentiate themselves."""

    def logits(self, levels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the logits (N, classes) of float32 (N, H, W, 3) pixel levels 0..255."""
        return np.asarray(self.logits_function(np.ascontiguousarray(levels, np.float32)))

    def __call__(
        self, levels: NDArray[np.float32], classes: NDArray[np.int32], loss: str = "cross_entropy"
    ) -> LossGradient:
        """Return the gradient of each image's loss with respect to its levels.

        Parameters
        ----------
        levels : float32 (N, H, W, 3)
            Pixel levels 0..255.
        classes : int32 (N,)
        loss : {"cross_entropy", "margin"}
            Both fall as the answer comes nearer to `classes`. The margin is the best other logit less the class's own.

        Raises
        ------
        InputError
            If there is no such loss, or the model has no gradient at its input.
        """
        compiled = self._compiled.get(loss)
        if compiled is None:
            compiled = self._compiled[loss] = self._compile(loss)
        gradient, losses, logits = compiled(
            np.ascontiguousarray(levels, np.float32), np.ascontiguousarray(classes, np.int32)
        )
        if gradient is None:
            raise InputError("the model has no gradient at its input: it cannot be attacked through its gradient")
        return LossGradient(np.asarray(gradient), np.asarray(losses), np.asarray(logits))

    def traces(self, loss: str = "cross_entropy") -> int:
        """Return how many times the gradient of that loss has been compiled."""
        compiled = self._compiled.get(loss)
        return 0 if compiled is None else int(compiled.experimental_get_tracing_count())

    def _compile(self, loss: str) -> Any:
        if loss not in LOSSES:
            raise InputError(f"loss is {loss!r}, expected one of {', '.join(LOSSES)}")
        tf, logits_of = self._tf, self._logits

        def losses_of(logits: Any, classes: Any) -> Any:
            if loss == "cross_entropy":
                return tf.nn.sparse_softmax_cross_entropy_with_logits(classes, logits)
            own = tf.one_hot(classes, tf.shape(logits)[1], dtype=logits.dtype)
            return tf.reduce_max(logits - _NEVER * own, axis=1) - tf.reduce_sum(logits * own, axis=1)

        @tf.function(input_signature=[self._images, tf.TensorSpec((None,), tf.int32)])
        def gradient(levels: Any, classes: Any) -> Any:
            with tf.GradientTape() as tape:
                tape.watch(levels)
                logits = logits_of(levels)
                losses = losses_of(logits, classes)
                total = tf.reduce_sum(losses)
            return tape.gradient(total, levels), losses, logits

        return gradient
