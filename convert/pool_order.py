"""Moves average pools behind the 1x1 convolutions that follow them, where those leave fewer channels to average.

An average over positions and a 1x1 convolution over channels are both linear and work along different axes, so their
order does not matter; nor does a bias or a batch normalisation in between, because the weights of each average add
up to one at the border as well (Keras' "same" average does not count the padding). Inception V3 averages 192 to 2048
channels and then keeps 32 to 192 of them: moved, its nine pools work on a quarter of the numbers.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from convert.tf import import_tensorflow

__all__ = ["pool_after_projection"]


@dataclass
class _Calls:
    """Who makes and who reads each tensor of a functional graph; tensors are kept, or their ids would be reused."""

    readers: dict[int, list[tuple[Any, Any]]] = field(default_factory=dict)  # id of tensor -> (layer, its output)
    made: list[tuple[Any, Any, Any]] = field(default_factory=list)  # layer, its only positional input, its output
    times: Counter[int] = field(default_factory=Counter)  # id of layer -> calls
    kept: list[Any] = field(default_factory=list)
    outputs: set[int] = field(default_factory=set)

    def only_reader(self, tensor: Any) -> tuple[Any, Any] | None:
        """Return the one layer that reads `tensor`, with its output; None if several do or the model returns it."""
        readers = self.readers.get(id(tensor), [])
        if len(readers) != 1 or id(tensor) in self.outputs or self.times[id(readers[0][0])] != 1:
            return None
        return readers[0]


def _is_functional(keras: Any, layer: Any) -> bool:
    # Exactly these: a class of someone else's may do more in its call than its graph says.
    return isinstance(layer, keras.Model) and type(layer).__name__ in ("Functional", "Sequential") and layer.built


def _record(keras: Any, model: Any) -> _Calls:
    calls = _Calls()

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        result = layer(*args, **kwargs)
        inputs = keras.tree.flatten((args, kwargs))
        for tensor in inputs:
            calls.readers.setdefault(id(tensor), []).append((layer, result))
        calls.made.append((layer, args[0] if len(args) == 1 else None, result))
        calls.times[id(layer)] += 1
        calls.kept += [*inputs, result]
        return result

    copy = keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=call)
    calls.outputs = {id(tensor) for tensor in copy.outputs}
    calls.kept.append(copy)
    return calls


def _is_projection(keras: Any, layer: Any, channels: int) -> bool:
    """Tell whether `layer` is a linear 1x1 convolution that gives fewer channels than it takes."""
    return (
        type(layer) is keras.layers.Conv2D
        and tuple(layer.kernel_size) == (1, 1)
        and tuple(layer.strides) == (1, 1)
        and layer.activation is keras.activations.linear
        and layer.data_format == "channels_last"
        and layer.filters < channels
    )


def _plan(keras: Any, calls: _Calls) -> dict[int, Any]:
    """Return ``{id of layer: pool}``: the pool that goes behind the layer, which is the last it can be moved past."""
    plan: dict[int, Any] = {}
    for layer, source, result in calls.made:
        pool = type(layer) is keras.layers.AveragePooling2D and layer.data_format == "channels_last"
        if not pool or source is None or calls.times[id(layer)] != 1 or len(source.shape) != 4:
            continue
        # A pool with a stride leaves the convolution less to do: there the order is right as it is.
        if tuple(layer.strides) != (1, 1):
            continue
        found = calls.only_reader(result)
        if found is None or not _is_projection(keras, found[0], int(source.shape[-1])):
            continue
        last, output = found
        after = calls.only_reader(output)
        if after is not None and type(after[0]) is keras.layers.BatchNormalization and after[0].axis in (-1, 3):
            last = after[0]
        plan[id(last)] = layer
    return plan


def pool_after_projection(model: Any) -> Any:
    """Return a Keras model with the same answers and its average pools where they cost least.

    Parameters
    ----------
    model : keras.Model
        Functional or sequential models are looked through, and those inside them; any other is returned as it is.

    Returns
    -------
    keras.Model
        It shares the layers, and so the weights, of `model`; `model` itself if there is nothing to move.
    """
    keras = import_tensorflow().keras
    if not _is_functional(keras, model):
        return model
    sequential = type(model).__name__ == "Sequential"
    graph = keras.Model(model.inputs, model.outputs, name=model.name) if sequential else model
    inner = {id(layer): pool_after_projection(layer) for layer in graph.layers if _is_functional(keras, layer)}
    changed = any(inner[id(layer)] is not layer for layer in graph.layers if id(layer) in inner)
    plan = _plan(keras, _record(keras, graph))
    if not plan and not changed:
        return model
    moved = {id(pool) for pool in plan.values()}

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        if id(layer) in moved:
            return args[0]
        result = layer(*args, **kwargs)
        return plan[id(layer)](result) if id(layer) in plan else result

    return keras.models.clone_model(graph, clone_function=lambda layer: inner.get(id(layer), layer), call_function=call)
