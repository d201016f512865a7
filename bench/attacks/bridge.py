"""Any model here as one that foolbox can differentiate, with its gradients counted.

foolbox differentiates eagerly with a TensorFlow tape. The network itself stays one compiled function on that tape; a
defence is put on it with the derivative that its `Backward` gives.
"""

from __future__ import annotations

import logging
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.attacks.base import Attackable, Images, to_pictures, to_unit
from bench.attacks.model import GradientModel
from bench.attacks.voting import LEAST, Voting
from bench.attacks.wrappers import Bpda, Eot
from convert.tf import import_tensorflow
from edgedefend.errors import EdgeDefendError, InputError

__all__ = ["FoolboxBridge", "import_foolbox"]


def import_foolbox() -> Any:
    """Import and return foolbox.

    Raises
    ------
    EdgeDefendError
        If it is not installed.
    """
    import_tensorflow()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import foolbox
    except ModuleNotFoundError:
        raise EdgeDefendError("this attack is foolbox's: pip install 'edgedefend[convert]'") from None
    logging.getLogger("foolbox").setLevel(logging.WARNING)
    return foolbox


class FoolboxBridge:
    """A model for foolbox.

    Parameters
    ----------
    model : Attackable
        A `GradientModel`, a `Bpda` or `Eot` around one, or a `Voting` of two.
    count : int
        Images in the batch that will be attacked.
    rng : numpy.random.Generator
        Of the defence's draws.

    Attributes
    ----------
    gradients : int
        Gradients taken so far of each image, draws included.
    nonfinite : int64 (count,)
        Those that were NaN or infinite; the attack was given zeros instead.
    """

    def __init__(self, model: Attackable, count: int, rng: np.random.Generator) -> None:
        self._tf = import_tensorflow()
        self.gradients, self.nonfinite = 0, np.zeros(count, np.int64)
        self.draws = _gradients_a_step(model)
        function = self._function(model, rng)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.model = import_foolbox().TensorFlowModel(
                lambda images: function(self._counted(images)), bounds=(0, 1), device=_device(self._tf)
            )

    def _counted(self, images: Any) -> Any:
        @self._tf.custom_gradient
        def through(x: Any) -> Any:
            def back(gradient: Any) -> Any:
                self.gradients += self.draws
                value = gradient.numpy()
                odd = ~np.isfinite(value).all(axis=(1, 2, 3))
                if len(odd) == len(self.nonfinite):
                    self.nonfinite += odd
                return self._tf.constant(np.where(odd[:, None, None, None], np.float32(0), value))

            return self._tf.identity(x), back

        return through(images)

    def _function(self, model: Attackable, rng: np.random.Generator) -> Any:
        tf = self._tf
        if isinstance(model, GradientModel):
            network = model.levels_to_logits
            return lambda images: network(255.0 * images)
        if isinstance(model, Bpda):
            network, backward = self._function(model.model, rng), model.backward

            @tf.custom_gradient
            def defend(x: Any) -> Any:
                images: Images = x.numpy()
                defended, draws = backward.forward(to_pictures(images), rng)

                def back(gradient: Any) -> Any:
                    return tf.constant(backward.pull_back(images, draws, gradient.numpy()))

                return tf.constant(to_unit(defended)), back

            return lambda images: network(defend(images))
        if isinstance(model, Eot):
            single, draws = self._function(model.model, rng), model.eot_samples

            def averaged(images: Any) -> Any:
                logits = single(tf.repeat(images, draws, axis=0))
                return tf.reduce_mean(tf.reshape(logits, (-1, draws, logits.shape[-1])), axis=1)

            return averaged
        if isinstance(model, Voting):
            defended, voter, vote = self._function(model.defended, rng), self._function(model.voter, rng), model.vote

            def together(images: Any) -> Any:
                behind, alone = tf.nn.log_softmax(defended(images)), tf.nn.log_softmax(voter(images))
                ballot = tf.one_hot(tf.argmax(alone, axis=1), alone.shape[-1])
                answer = tf.math.log(tf.maximum((1 - vote) * tf.exp(behind) + vote * ballot, LEAST))
                # The answers of `Voting`, with its gradient.
                both = behind if model.draws_alone else behind + alone
                return both + tf.stop_gradient(answer - both)

            return together
        raise InputError(f"foolbox cannot be given a {type(model).__name__}")

    def tensor(self, array: NDArray[Any]) -> Any:
        """Return an array as foolbox wants it."""
        return self._tf.convert_to_tensor(array)


def _gradients_a_step(model: Attackable) -> int:
    if isinstance(model, Voting):
        return _gradients_a_step(model.defended) + (0 if model.draws_alone else _gradients_a_step(model.voter))
    return model.eot_samples if isinstance(model, Eot) else 1


def _device(tf: Any) -> str:
    # foolbox's own look for a GPU is deprecated in TensorFlow.
    return "/GPU:0" if tf.config.list_physical_devices("GPU") else "/CPU:0"
