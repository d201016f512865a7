"""BPDA with a learned approximation: a network is trained to do what the defence does, and gives the derivative.

The paper's "adaptive BPDA" takes a 6-layer DenseNet auto-encoder (after Raff et al., "Barrage of random transforms",
2019), but gives no further detail. Here: six convolutions, each fed with the outputs of all before it; the first halves
the resolution, the last restores it. It is trained on pairs (image, a fresh draw of its defended version) with the mean
squared error, so it learns the mean of what the defence may do.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.attacks.backward import Defend
from bench.attacks.base import Images, to_unit
from convert.tf import import_tensorflow
from edgedefend.errors import InputError
from edgedefend.files import write_file

__all__ = ["Learned", "build_autoencoder", "train_autoencoder"]

_GROWTH = 16
_LAYERS = 6
_SAVE_EVERY = 50
_BATCH = 8
_MOST_BYTES = 64 << 20


def build_autoencoder(size: tuple[int, int], *, seed: int = 0) -> Any:
    """Return the Keras model: float32 (N, height, width, 3) in [0, 1] to the same shape.

    A side that is not even is padded inside, by repeating the edge.
    """
    keras = import_tensorflow().keras
    layers, ops = keras.layers, keras.ops

    def init(number: int) -> Any:
        return keras.initializers.HeNormal(seed=seed * 100 + number)

    height, width = size
    images = keras.Input((height, width, 3))
    even = images
    if height % 2 or width % 2:
        even = layers.Lambda(lambda x: ops.pad(x, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="symmetric"))(
            images
        )
    x = layers.Conv2D(_GROWTH, 3, 2, padding="same", activation="relu", kernel_initializer=init(0))(even)
    for number in range(1, _LAYERS - 1):
        new = layers.Conv2D(_GROWTH, 3, padding="same", activation="relu", kernel_initializer=init(number))(x)
        x = layers.Concatenate()([x, new])
    last = keras.initializers.GlorotUniform(seed=seed * 100 + _LAYERS)
    output = layers.Conv2DTranspose(3, 4, 2, padding="same", kernel_initializer=last)(x)
    return keras.Model(images, output[:, :height, :width])


class _Checkpoint:
    """Weights, optimizer and step count of a training in one file of plain arrays."""

    def __init__(self, path: Path, about: dict[str, Any]) -> None:
        self.path, self._about = path, json.dumps(about, sort_keys=True)

    def save(self, step: int, variables: list[Any], losses: list[float]) -> None:
        arrays: dict[str, Any] = {
            f"variable_{number}": np.asarray(variable) for number, variable in enumerate(variables)
        }
        out = io.BytesIO()
        np.savez(out, step=step, about=np.array(self._about), losses=np.array(losses, np.float64), **arrays)
        write_file(self.path, out.getvalue())

    def load(self, variables: list[Any]) -> tuple[int, list[float]]:
        """Fill the variables; return the steps done and the losses so far, 0 and none where nothing was saved."""
        if not self.path.exists():
            return 0, []
        expected = f"{self.path}: not the training that is asked for: remove it, or name another file"
        try:
            if self.path.stat().st_size > _MOST_BYTES:
                raise InputError(expected)
            content = io.BytesIO(self.path.read_bytes())  # NumPy leaves a damaged file open
            with np.load(content, allow_pickle=False) as saved:
                if str(saved["about"]) != self._about:
                    raise InputError(expected)
                arrays = [saved[f"variable_{number}"] for number in range(len(variables))]
                step, losses = int(saved["step"]), [float(loss) for loss in saved["losses"]]
        except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise InputError(f"{expected} ({str(error).splitlines()[0][:80]})") from None
        for variable, array in zip(variables, arrays, strict=True):
            if tuple(variable.shape) != array.shape:
                raise InputError(expected)
            variable.assign(array)
        return step, losses


def train_autoencoder(
    pictures: NDArray[np.uint8],
    defend: Defend,
    path: Path,
    *,
    steps: int = 500,
    batch: int = _BATCH,
    learning_rate: float = 1e-3,
    seed: int = 0,
    about: str = "",
    tick: Callable[[int], Any] = lambda step: None,
) -> tuple[Any, list[float]]:
    """Train the auto-encoder on what a defence does, or go on where a killed training stopped.

    Batches and draws depend on the seed and the number of the step alone: a training that was interrupted takes the
    same steps as one that was not.

    Parameters
    ----------
    pictures : uint8 (N, H, W, 3)
        Photographs that are not attacked later.
    defend : callable
        ``(pictures, rng) -> pictures``.
    path : Path
        Where the state is kept, every 50 steps and at the end.
    steps : int
        In all.
    about : str
        Names the defence and its parameters: a file of another one is refused.
    tick : callable
        Told the number of each step.

    Returns
    -------
    model, losses : Keras model, list of float
        The mean squared error of each step, images in [0, 1].

    Raises
    ------
    InputError
        If the file is of another training or is damaged.
    """
    tf = import_tensorflow()
    size = (int(pictures.shape[1]), int(pictures.shape[2]))
    model = build_autoencoder(size, seed=seed)
    optimizer = tf.keras.optimizers.Adam(learning_rate)
    optimizer.build(model.trainable_variables)
    variables = [*model.variables, *optimizer.variables]
    digest = hashlib.sha256(np.ascontiguousarray(pictures).tobytes()).hexdigest()
    checkpoint = _Checkpoint(
        path,
        {"size": size, "batch": batch, "rate": learning_rate, "seed": seed, "about": about, "pictures": digest},
    )
    done, losses = checkpoint.load(variables)

    @tf.function
    def train(images: Any, wanted: Any) -> Any:
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(images, training=True) - wanted))
        optimizer.apply_gradients(
            zip(tape.gradient(loss, model.trainable_variables), model.trainable_variables, strict=True)
        )
        return loss

    for step in range(done, steps):
        rng = np.random.default_rng([seed, step])
        chosen = pictures[rng.integers(0, len(pictures), batch)]
        losses.append(float(train(to_unit(chosen), to_unit(defend(chosen, rng)))))
        if (step + 1) % _SAVE_EVERY == 0 or step + 1 == steps:
            checkpoint.save(step + 1, variables, losses)
        tick(step + 1)
    return model, losses


class Learned:
    """A defence whose derivative is that of a network trained to do the same (see `train_autoencoder`).

    Parameters
    ----------
    defend : callable
        The defence itself: ``(uint8 (N, H, W, 3), rng) -> uint8 (N, H, W, 3)``.
    autoencoder : Keras model
    randomised : bool
    """

    def __init__(self, defend: Defend, autoencoder: Any, *, randomised: bool = True) -> None:
        tf = import_tensorflow()
        self._defend, self.autoencoder, self.randomised = defend, autoencoder, randomised
        images = tf.TensorSpec((None, *autoencoder.input_shape[1:]), tf.float32)

        @tf.function(input_signature=[images, images])
        def pull_back(x: Any, gradient: Any) -> Any:
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = autoencoder(x, training=False)
            return tape.gradient(y, x, output_gradients=gradient)

        self._pull_back = pull_back

    def forward(self, pictures: NDArray[np.uint8], rng: np.random.Generator) -> tuple[NDArray[np.uint8], None]:
        """Defend the pictures."""
        return self._defend(pictures, rng), None

    def approximate(self, images: Images) -> Images:
        """Return what the network makes of the images, within [0, 1]."""
        return np.clip(np.asarray(self.autoencoder(images, training=False)), 0, 1)

    def pull_back(self, images: Images, draws: None, gradient: Images) -> Images:
        """Return the gradient through the network."""
        del draws
        # A copy: TensorFlow's own memory is read-only.
        return np.array(self._pull_back(images, gradient))
