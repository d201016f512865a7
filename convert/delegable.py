"""Rewrites a converted model so that the runtime's fast delegate (XNNPACK) takes the whole of it.

The delegate leaves two kinds of operators of common classifiers alone: AVERAGE_POOL_2D in int8, and
DEPTHWISE_CONV_2D with int8 weights on float activations (dynamic range). Each splits the graph in two and runs in a
plain kernel. Both have a form that says the same and is taken:

* an int8 average pool becomes DEQUANTIZE, the float pool, QUANTIZE with the scale and zero point it had. The mean of
  the same numbers is rounded to the same steps: only at ties may one step of difference come out;
* the depthwise weights become the float numbers that they stood for. They are a small part of a model's weights.

This works on the .tflite file, so it does not matter how the model was built. Whether a rewrite helps is asked of
the runtime itself: one that does not lower the number of undelegated operators is not made.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import Builder
from numpy.typing import NDArray

from edgedefend.interpreter import Interpreter

__all__ = [
    "builtin_code",
    "float_average_pools",
    "float_depthwise_weights",
    "make_delegable",
    "pack_model",
    "unpack_model",
]

_ALIGNMENT = 16  # of buffers: the schema's force_align, which the Python builder does not know


class _AlignedBuilder(Builder):
    def CreateNumpyVector(self, x: NDArray[Any]) -> int:  # noqa: N802 - the library's name
        if x.dtype != np.uint8:
            return int(super().CreateNumpyVector(x))
        self.StartVector(1, x.size, _ALIGNMENT)
        self.head = self.Head() - x.size
        self.Bytes[self.head : self.head + x.size] = x.tobytes()
        self.vectorNumElems = x.size
        return int(self.EndVector())


def unpack_model(content: bytes) -> Any:
    """Return a .tflite file as the tree of objects that the schema describes."""
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))


def pack_model(model: Any, size: int) -> bytes:
    """Return the tree as a .tflite file; `size` is about how large it will be."""
    builder = _AlignedBuilder(size)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def builtin_code(model: Any, operator: Any) -> int:
    """Return which builtin operator (of `schema.BuiltinOperator`) an operator is."""
    code = model.operatorCodes[operator.opcodeIndex]
    # Files for old readers have the code in the deprecated byte alone.
    return max(int(code.builtinCode), int(code.deprecatedBuiltinCode))


def _operator_code(model: Any, builtin: int, version: int) -> int:
    """Return the index of an operator code, added to the model where it is not there."""
    for index, code in enumerate(model.operatorCodes):
        if max(int(code.builtinCode), int(code.deprecatedBuiltinCode)) == builtin and code.version >= version:
            return index
    added = schema.OperatorCodeT()
    added.builtinCode, added.deprecatedBuiltinCode, added.version = builtin, min(builtin, 127), version
    model.operatorCodes.append(added)
    return len(model.operatorCodes) - 1


def _add_float_tensor(graph: Any, like: int, suffix: bytes, buffer: int) -> int:
    """Add a float32 tensor of the shape of tensor `like`; return its index. Buffer 0 is "no constant"."""
    tensor = copy.copy(graph.tensors[like])
    tensor.type, tensor.buffer, tensor.quantization = schema.TensorType.FLOAT32, buffer, None
    tensor.name = (tensor.name or b"") + suffix
    graph.tensors.append(tensor)
    return len(graph.tensors) - 1


def _conversion(code: int, source: int, target: int, kind: int, options: Any) -> Any:
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = code, [source], [target]
    operator.builtinOptionsType, operator.builtinOptions = kind, options
    return operator


def float_average_pools(content: bytes) -> bytes | None:
    """Return a .tflite file with its int8 average pools in float between DEQUANTIZE and QUANTIZE; None without any."""
    model = unpack_model(content)
    found = 0
    for graph in model.subgraphs:
        operators = []
        for operator in graph.operators:
            pool = builtin_code(model, operator) == schema.BuiltinOperator.AVERAGE_POOL_2D
            if not pool or graph.tensors[operator.inputs[0]].type != schema.TensorType.INT8:
                operators.append(operator)
                continue
            found += 1
            source, target = int(operator.inputs[0]), int(operator.outputs[0])
            inner = _add_float_tensor(graph, source, b";float", 0), _add_float_tensor(graph, target, b";float", 0)
            before = _conversion(
                _operator_code(model, schema.BuiltinOperator.DEQUANTIZE, 2),  # 2: takes int8
                source,
                inner[0],
                schema.BuiltinOptions.DequantizeOptions,
                schema.DequantizeOptionsT(),
            )
            after = _conversion(
                _operator_code(model, schema.BuiltinOperator.QUANTIZE, 1),
                inner[1],
                target,
                schema.BuiltinOptions.QuantizeOptions,
                schema.QuantizeOptionsT(),
            )
            operator.inputs, operator.outputs = [inner[0]], [inner[1]]
            operators += [before, operator, after]
        graph.operators = operators
    return pack_model(model, len(content)) if found else None


def float_depthwise_weights(content: bytes) -> bytes | None:
    """Return a .tflite file whose depthwise convolutions of float activations have float weights; None without any."""
    model = unpack_model(content)
    changed: dict[tuple[int, int], int] = {}  # (subgraph, tensor) -> its float twin
    for number, graph in enumerate(model.subgraphs):
        for operator in graph.operators:
            if builtin_code(model, operator) != schema.BuiltinOperator.DEPTHWISE_CONV_2D:
                continue
            index = int(operator.inputs[1])
            weights = graph.tensors[index]
            activations = graph.tensors[operator.inputs[0]]
            if activations.type != schema.TensorType.FLOAT32 or weights.type != schema.TensorType.INT8:
                continue
            data = model.buffers[weights.buffer].data
            if data is None or weights.quantization is None or weights.quantization.scale is None:
                continue
            if (number, index) not in changed:
                buffer = schema.BufferT()
                buffer.data = np.frombuffer(_dequantized(weights, data).tobytes(), np.uint8)
                model.buffers.append(buffer)
                changed[number, index] = _add_float_tensor(graph, index, b";float", len(model.buffers) - 1)
            operator.inputs = [operator.inputs[0], changed[number, index], *operator.inputs[2:]]
    if not changed:
        return None
    _drop_unused_buffers(model)
    return pack_model(model, len(content))


def _dequantized(tensor: Any, data: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return what a constant int8 tensor stands for, float32 of its shape."""
    shape = [int(side) for side in tensor.shape]
    levels = np.frombuffer(np.asarray(data, np.uint8).tobytes(), np.int8).reshape(shape).astype(np.float32)
    quantization = tensor.quantization
    scale = np.asarray(quantization.scale, np.float32)
    zero = np.zeros(len(scale), np.float32)
    if quantization.zeroPoint is not None and len(quantization.zeroPoint):
        zero = np.asarray(quantization.zeroPoint).astype(np.float32)
    along = [1] * len(shape)
    if len(scale) > 1:
        along[quantization.quantizedDimension] = -1
    result: NDArray[np.float32] = (levels - zero.reshape(along)) * scale.reshape(along)
    return result


def _drop_unused_buffers(model: Any) -> None:
    """Empty the constants that no operator reads any more; their places stay, so that no index changes."""
    used = {int(entry.buffer) for entry in model.metadata or []}
    for graph in model.subgraphs:
        read = {int(index) for operator in graph.operators for index in operator.inputs}
        read |= {int(index) for index in [*graph.inputs, *graph.outputs]}
        for index, tensor in enumerate(graph.tensors):
            if index in read:
                used.add(int(tensor.buffer))
            elif tensor.buffer and model.buffers[tensor.buffer].data is not None:
                tensor.buffer = 0
    for index, buffer in enumerate(model.buffers):
        if index not in used:
            buffer.data = None


def _undelegated(content: bytes) -> int | None:
    found = Interpreter(content, threads=1, backend="ai-edge-litert").partitions()
    return None if found is None else sum(found.undelegated.values())


REWRITES: tuple[Callable[[bytes], bytes | None], ...] = (float_average_pools, float_depthwise_weights)


def make_delegable(content: bytes) -> bytes:
    """Return a .tflite file with every rewrite made that leaves fewer operators outside the delegate.

    Raises
    ------
    BackendError
        If the runtime cannot load the model.
    """
    left: int | None = None
    for rewrite in REWRITES:
        rewritten = rewrite(content)
        if rewritten is None:
            continue
        left = _undelegated(content) if left is None else left
        after = _undelegated(rewritten)
        if left is not None and after is not None and after < left:
            content, left = rewritten, after
    return content
