"""EfficientNet-Lite 0, 1 and 2 as Keras models, with ImageNet weights from PyTorch files.

Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", 2019; the Lite variants
drop squeeze-and-excitation, use ReLU6, and scale neither the stem, the head, nor the depth of the first and the
last stage. The weights were trained by TensorFlow, so padding is "same" and the batch normalisation's epsilon 1e-3.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convert.tf import import_tensorflow
from edgedefend.errors import InputError

__all__ = ["VARIANTS", "Variant", "assign_torch_weights", "build_efficientnet_lite"]


@dataclass(frozen=True)
class Variant:
    """How one variant scales the base network, and its input's side in pixels."""

    width: float
    depth: float
    side: int


VARIANTS = {
    "efficientnet-lite0": Variant(1.0, 1.0, 224),
    "efficientnet-lite1": Variant(1.0, 1.1, 240),
    "efficientnet-lite2": Variant(1.1, 1.2, 260),
}
# repeats, kernel, stride, expansion, output channels (table 1 of the paper, without scaling)
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_STEM, _HEAD, _CLASSES = 32, 1280, 1000
_UNUSED = "num_batches_tracked"


def _scale_channels(channels: int, width: float) -> int:
    """Scale and round to a multiple of 8, never down by more than a tenth."""
    scaled = channels * width
    rounded = max(8, int(scaled + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * scaled else rounded


class _Builder:
    """Adds layers and remembers under which PyTorch name each has its weights."""

    def __init__(self, layers: Any) -> None:
        self.layers = layers
        self.named: dict[str, Any] = {}

    def weighted(self, torch_name: str, layer: type[Any], *arguments: Any, **options: Any) -> Any:
        """Return a new layer whose weights are `torch_name`'s."""
        name = torch_name.replace("._", "_").replace(".", "_").lstrip("_")
        self.named[torch_name] = layer(*arguments, name=name, **options)
        return self.named[torch_name]

    def normalized(self, x: Any, conv: str, norm: str, layer: type[Any], *arguments: Any, **options: Any) -> Any:
        """Apply a convolution without bias and its batch normalisation."""
        x = self.weighted(conv, layer, *arguments, padding="same", use_bias=False, **options)(x)
        return self.weighted(norm, self.layers.BatchNormalization, epsilon=1e-3)(x)

    def block(self, x: Any, index: int, kernel: int, stride: int, expansion: int, channels: int) -> Any:
        """Apply one inverted bottleneck (MBConv), with the shortcut where shapes permit."""
        prefix, shortcut = f"_blocks.{index}", x
        if expansion > 1:
            wide = x.shape[-1] * expansion
            x = self.normalized(x, f"{prefix}._expand_conv", f"{prefix}._bn0", self.layers.Conv2D, wide, 1)
            x = self.layers.ReLU(6.0)(x)
        x = self.normalized(
            x, f"{prefix}._depthwise_conv", f"{prefix}._bn1", self.layers.DepthwiseConv2D, kernel, strides=stride
        )
        x = self.layers.ReLU(6.0)(x)
        x = self.normalized(x, f"{prefix}._project_conv", f"{prefix}._bn2", self.layers.Conv2D, channels, 1)
        return self.layers.Add()([x, shortcut]) if stride == 1 and shortcut.shape[-1] == channels else x


def build_efficientnet_lite(name: str) -> tuple[Any, dict[str, Any]]:
    """Build one variant with untrained weights.

    Parameters
    ----------
    name : str
        A key of `VARIANTS`.

    Returns
    -------
    model : keras.Model
        float32 (N, side, side, 3) raw RGB levels 0..255 -> logits (N, 1000).
    named : dict of str to keras.Layer
        PyTorch's name of each layer that has weights.
    """
    keras = import_tensorflow().keras
    variant = VARIANTS[name]
    build = _Builder(keras.layers)
    image = keras.Input((variant.side, variant.side, 3), name="image")
    # (level - 127) / 128: what the published weights were trained with.
    x = keras.layers.Rescaling(1 / 128, -127 / 128, name="normalize")(image)
    x = build.normalized(x, "_conv_stem", "_bn0", keras.layers.Conv2D, _STEM, 3, strides=2)
    x = keras.layers.ReLU(6.0)(x)
    index = 0
    for stage, (repeats, kernel, stride, expansion, channels) in enumerate(_STAGES):
        if stage not in (0, len(_STAGES) - 1):
            repeats = math.ceil(repeats * variant.depth)  # noqa: PLW2901
        for repeat in range(repeats):
            scaled = _scale_channels(channels, variant.width)
            x = build.block(x, index, kernel, 1 if repeat else stride, expansion, scaled)
            index += 1
    x = build.normalized(x, "_conv_head", "_bn1", keras.layers.Conv2D, _HEAD, 1)
    x = keras.layers.ReLU(6.0)(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    logits = build.weighted("_fc", keras.layers.Dense, _CLASSES)(x)
    return keras.Model(image, logits, name=name.replace("-", "_")), build.named


def _to_keras(kind: str, field: str, array: NDArray[Any]) -> NDArray[Any]:
    """Turn PyTorch's axes into Keras': (out, in, h, w) -> (h, w, in, out), depthwise (c, 1, h, w) -> (h, w, c, 1)."""
    if field != "weight" or array.ndim < 2:
        return array
    if array.ndim != 4:
        return np.array(array.T)
    turned: NDArray[Any] = np.transpose(array, (2, 3, 0, 1) if kind == "DepthwiseConv2D" else (2, 3, 1, 0))
    return turned


def assign_torch_weights(named: Mapping[str, Any], weights: Mapping[str, NDArray[Any]], source: str) -> None:
    """Give every layer of `named` its weights.

    Parameters
    ----------
    named : mapping
        As from `build_efficientnet_lite`.
    weights : mapping
        As from `convert.torch_weights.read_torch_weights`.
    source : str
        Named in errors.

    Raises
    ------
    InputError
        If a weight is missing, left over, of another shape, or not a number.
    """
    left = {key for key in weights if not key.endswith(_UNUSED)}
    for name, layer in named.items():
        kind = type(layer).__name__
        fields = (
            ("weight", "bias", "running_mean", "running_var") if kind == "BatchNormalization" else ("weight", "bias")
        )
        arrays = []
        for field, variable in zip(fields, layer.weights, strict=False):
            key = f"{name}.{field}"
            if key not in left:
                raise InputError(f"{source}: has no {key}: expected the weights of this EfficientNet-Lite variant")
            left.remove(key)
            array = _to_keras(kind, field, weights[key])
            if array.shape != tuple(variable.shape):
                raise InputError(
                    f"{source}: {key} has the shape {weights[key].shape}, which does not fit "
                    f"{tuple(variable.shape)}: the weights of another variant?"
                )
            if not np.isfinite(array).all():
                raise InputError(f"{source}: {key} holds values that are not numbers (NaN or infinity)")
            arrays.append(array)
        layer.set_weights(arrays)
    if left:
        raise InputError(f"{source}: {len(left)} weights fit nowhere in this variant, the first is {min(left)}")
