"""Vectors of eight float32 numbers for Numba kernels, the same source on AVX2 and NEON.

LLVM vectorises a loop only when it can prove that arrays do not overlap and that the loop is long enough, and it
never finds an 8x8 transposition. Here a kernel says what it means instead: `load` gives a vector, ``+ - *`` and
`fma` work lane by lane, `transpose` turns eight rows into eight columns, `store` writes. LLVM makes one AVX2
register of such a vector, or two NEON registers; there is no intrinsic of a single architecture in this file.

Each operation is an ordinary function on NumPy arrays of length 8 (that is what runs under ``NUMBA_DISABLE_JIT=1``)
and, beside it, the LLVM instructions that Numba puts in its place. Indices count elements of one-dimensional
arrays and are **not checked**: the caller answers for them.
"""

# ruff: noqa: PLW0108 - Numba wants an overload to have the signature of what it stands for

from __future__ import annotations

import operator

import numpy as np
from llvmlite import ir
from llvmlite.binding import get_process_triple
from numba import types
from numba.core import cgutils
from numba.core.imputils import impl_ret_borrowed
from numba.core.typing import signature
from numba.extending import intrinsic, models, overload, register_model

__all__ = ["LANES", "fma", "load", "load_bytes", "move16", "splat", "store", "store_bytes", "transpose"]

LANES = 8
_FLOATS = ir.VectorType(ir.FloatType(), LANES)
_BYTES = ir.VectorType(ir.IntType(8), LANES)
_SHORTS = ir.VectorType(ir.IntType(16), LANES)
_INTS = ir.VectorType(ir.IntType(32), LANES)
_IS_AARCH64 = get_process_triple().startswith("aarch64")


class Float32x8(types.Type):
    """Numba's type of a vector. It lives in registers: it cannot be kept in an array or cross to Python."""

    def __init__(self) -> None:
        super().__init__(name="Float32x8")


class Levels(types.Type):
    """Numba's type of eight pixel levels and of their sums and differences: whole numbers, until `to_float`."""

    def __init__(self) -> None:
        super().__init__(name="Levels")


_VECTOR = Float32x8()
_LEVELS = Levels()


@register_model(Float32x8)
class _Float32x8Model(models.PrimitiveModel):
    def __init__(self, manager, declared):
        super().__init__(manager, declared, _FLOATS)


@register_model(Levels)
class _LevelsModel(models.PrimitiveModel):
    def __init__(self, manager, declared):
        # NEON adds eight 16-bit numbers in one instruction; AVX2 is faster if it widens them first.
        super().__init__(manager, declared, _SHORTS if _IS_AARCH64 else _INTS)


def _address(context, builder, array_type, array, index):
    """Return the address of ``array[index]``, without the check for negative indices that Numba would make."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [index])


def _call(builder, name, *arguments):
    """Call one of LLVM's own functions from vectors to a vector."""
    kind = ir.FunctionType(_FLOATS, [_FLOATS] * len(arguments))
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)


def _clip(builder, vector, low, high):
    """Clip a vector of signed integers to low..high."""
    for limit, relation in ((low, ">"), (high, "<")):
        bound = ir.Constant(vector.type, [limit] * vector.type.count)
        vector = builder.select(builder.icmp_signed(relation, vector, bound), vector, bound)
    return vector


def _indices(values):
    return ir.Constant(ir.VectorType(ir.IntType(32), len(values)), list(values))


# --- arithmetic -------------------------------------------------------------------------------------------------


def _lanewise(operation, kind, name):
    """Make `operation` (of the `operator` module) on two vectors of type `kind` compile to one instruction."""

    @intrinsic
    def instruction(_context, left, right):
        def generate(_target, builder, _signature, arguments):
            return getattr(builder, name)(*arguments)

        return kind(kind, kind), generate

    def implementation(left, right):
        if left == kind and right == kind:
            return lambda left, right: instruction(left, right)
        return None

    overload(operation)(implementation)


_lanewise(operator.add, _VECTOR, "fadd")
_lanewise(operator.sub, _VECTOR, "fsub")
_lanewise(operator.mul, _VECTOR, "fmul")
_lanewise(operator.add, _LEVELS, "add")
_lanewise(operator.sub, _LEVELS, "sub")


def to_float(vector):
    """Return levels as floats."""
    return vector.astype(np.float32)


@intrinsic
def _to_float(_context, vector):
    def generate(_target, builder, _signature, arguments):
        return builder.sitofp(arguments[0], _FLOATS)

    return _VECTOR(vector), generate


@overload(to_float)
def _overload_to_float(vector):
    return lambda vector: _to_float(vector)


def fma(a, b, c):
    """Return ``a * b + c``, rounded once where the processor can (AVX2 with FMA, every AArch64)."""
    return a * b + c


@intrinsic
def _fma(_context, a, b, c):
    def generate(_target, builder, _signature, arguments):
        return _call(builder, "llvm.fmuladd.v8f32", *arguments)

    return _VECTOR(_VECTOR, _VECTOR, _VECTOR), generate


@overload(fma)
def _overload_fma(a, b, c):
    return lambda a, b, c: _fma(a, b, c)


def splat(number):
    """Return a vector with `number` (float32) in every lane."""
    return np.full(LANES, number, np.float32)


@intrinsic
def _splat(_context, number):
    def generate(_target, builder, _signature, arguments):
        first = builder.insert_element(ir.Constant(_FLOATS, ir.Undefined), arguments[0], ir.IntType(32)(0))
        return builder.shuffle_vector(first, ir.Constant(_FLOATS, ir.Undefined), _indices([0] * LANES))

    return _VECTOR(types.float32), generate


@overload(splat)
def _overload_splat(number):
    return lambda number: _splat(np.float32(number))


def transpose(rows):
    """Return the eight columns of the 8x8 matrix with these eight `rows`."""
    return tuple(np.array(rows).T.copy())


# Within each half of four lanes first (zip on NEON, unpack on AVX2), then whole halves (renaming on NEON).
_LOW_PAIRS, _HIGH_PAIRS = (0, 8, 1, 9, 4, 12, 5, 13), (2, 10, 3, 11, 6, 14, 7, 15)
_LOW_QUADS, _HIGH_QUADS = (0, 1, 8, 9, 4, 5, 12, 13), (2, 3, 10, 11, 6, 7, 14, 15)
_LOW_HALVES, _HIGH_HALVES = (0, 1, 2, 3, 8, 9, 10, 11), (4, 5, 6, 7, 12, 13, 14, 15)


@intrinsic
def _transpose(_context, rows):
    def generate(_target, builder, _signature, arguments):
        def both(a, b, low, high):
            return builder.shuffle_vector(a, b, _indices(low)), builder.shuffle_vector(a, b, _indices(high))

        r = cgutils.unpack_tuple(builder, arguments[0], LANES)
        pairs = [both(r[k], r[k + 1], _LOW_PAIRS, _HIGH_PAIRS) for k in (0, 2, 4, 6)]
        quads = []  # quads[half][column]: rows 4*half..4*half+3 of columns `column` and `column + 4`
        for half in (0, 2):
            low = both(pairs[half][0], pairs[half + 1][0], _LOW_QUADS, _HIGH_QUADS)
            high = both(pairs[half][1], pairs[half + 1][1], _LOW_QUADS, _HIGH_QUADS)
            quads.append([*low, *high])
        columns = [both(quads[0][k], quads[1][k], _LOW_HALVES, _HIGH_HALVES) for k in range(4)]
        return cgutils.pack_array(builder, [pair[0] for pair in columns] + [pair[1] for pair in columns])

    return types.UniTuple(_VECTOR, LANES)(types.UniTuple(_VECTOR, LANES)), generate


@overload(transpose)
def _overload_transpose(rows):
    return lambda rows: _transpose(rows)


# --- memory -----------------------------------------------------------------------------------------------------


def load(array, index):
    """Return ``array[index : index + 8]`` of a float32 array."""
    return array[index : index + LANES].copy()


@intrinsic
def _load(_context, array, index):
    def generate(target, builder, sig, arguments):
        where = _address(target, builder, sig.args[0], *arguments)
        return builder.load(builder.bitcast(where, _FLOATS.as_pointer()), align=4)

    return signature(_VECTOR, array, types.intp), generate


@overload(load)
def _overload_load(array, index):
    return lambda array, index: _load(array, index)


def store(array, index, vector):
    """Write `vector` to ``array[index : index + 8]`` of a float32 array."""
    array[index : index + LANES] = vector


@intrinsic
def _store(_context, array, index, vector):
    def generate(target, builder, sig, arguments):
        where = _address(target, builder, sig.args[0], *arguments[:2])
        builder.store(arguments[2], builder.bitcast(where, _FLOATS.as_pointer()), align=4)
        return target.get_dummy_value()

    return signature(types.none, array, types.intp, _VECTOR), generate


@overload(store)
def _overload_store(array, index, vector):
    return lambda array, index, vector: _store(array, index, vector)


def load_bytes(array, index):
    """Return the eight levels ``array[index : index + 8]`` of a uint8 array as whole numbers."""
    return array[index : index + LANES].astype(np.int16)


@intrinsic
def _load_bytes(_context, array, index):
    def generate(target, builder, sig, arguments):
        where = _address(target, builder, sig.args[0], *arguments)
        levels = builder.load(builder.bitcast(where, _BYTES.as_pointer()), align=1)
        return builder.zext(levels, _SHORTS if _IS_AARCH64 else _INTS)

    return signature(_LEVELS, array, types.intp), generate


@overload(load_bytes)
def _overload_load_bytes(array, index):
    return lambda array, index: _load_bytes(array, index)


def store_bytes(array, index, vector):
    """Write `vector` rounded (ties to even) and clipped to 0..255 to ``array[index : index + 8]``, uint8.

    Only for numbers in -32768..32767.
    """
    array[index : index + LANES] = np.clip(np.rint(vector), 0, 255)


@intrinsic
def _store_bytes(_context, array, index, vector):
    def generate(target, builder, sig, arguments):
        if _IS_AARCH64:
            # 1.5 * 2**23 added leaves the rounded number in the low 16 bits; sqxtun clips. Five instructions, where
            # frintn and fcvtzs and two steps of saturation take eight.
            magic = ir.Constant(_FLOATS, [12582912.0] * LANES)
            whole = builder.bitcast(builder.fadd(arguments[2], magic), _INTS)
            level = _clip(builder, builder.trunc(whole, _SHORTS), 0, 255)
        else:
            # LLVM knows the pattern: vcvtps2dq, then packss and packus, or vpmovusdb with AVX-512.
            whole = builder.fptosi(_call(builder, "llvm.rint.v8f32", arguments[2]), _INTS)
            level = _clip(builder, whole, 0, 255)
        where = _address(target, builder, sig.args[0], *arguments[:2])
        builder.store(builder.trunc(level, _BYTES), builder.bitcast(where, _BYTES.as_pointer()), align=1)
        return target.get_dummy_value()

    return signature(types.none, array, types.intp, vector), generate


@overload(store_bytes)
def _overload_store_bytes(array, index, vector):
    return lambda array, index, vector: _store_bytes(array, index, vector)


def move16(source, at, target, to, flip):
    """Copy the 16 bytes at ``source[at]`` to ``target[to]``, both uint8, with the bits of `flip` (uint8) turned."""
    target[to : to + 16] = source[at : at + 16] ^ flip


@intrinsic
def _move16(_context, source, at, target, to, flip):
    def generate(context, builder, sig, arguments):
        block = ir.VectorType(ir.IntType(8), 16)
        read = _address(context, builder, sig.args[0], *arguments[:2])
        write = _address(context, builder, sig.args[2], *arguments[2:4])
        first = builder.insert_element(ir.Constant(block, ir.Undefined), arguments[4], ir.IntType(32)(0))
        bits = builder.shuffle_vector(first, ir.Constant(block, ir.Undefined), _indices([0] * 16))
        value = builder.xor(builder.load(builder.bitcast(read, block.as_pointer()), align=1), bits)
        builder.store(value, builder.bitcast(write, block.as_pointer()), align=1)
        return context.get_dummy_value()

    return signature(types.none, source, types.intp, target, types.intp, types.uint8), generate


@overload(move16)
def _overload_move16(source, at, target, to, flip):
    return lambda source, at, target, to, flip: _move16(source, at, target, to, flip)


def read_only(array):
    """Return `array` with the type of a read-only one, so that a kernel is compiled once for both."""
    return array


@intrinsic
def _read_only(_context, array):
    frozen = array.copy(readonly=True)

    def generate(context, builder, sig, arguments):
        return impl_ret_borrowed(context, builder, sig.return_type, arguments[0])

    return frozen(array), generate


@overload(read_only)
def _overload_read_only(array):
    return lambda array: _read_only(array)
