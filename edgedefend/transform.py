"""The 8x8 transform of the fast path, 8 rows by 24 bytes (8 pixels of 3 channels) at a time.

`analyse` transforms vertically with the bytes as lanes and transposes (8x8 floats, three times), `quantize` transforms
horizontally with the rows as lanes, quantises and goes back, `synthesise` transposes and goes back vertically.

The 8-point DCT is the flow graph of Loeffler, Ligtenberg and Moschytz ("Practical fast 1-D DCT algorithms with 11
multiplications", ICASSP 1989) with each rotation divided by its cosine, so that it is two fused multiply-adds; what
was divided out is folded into the quantisation table, as Arai, Agui and Nakajima do ("A fast DCT-SQ scheme for
images", Trans. IEICE E-71, 1988). That is 16 additions and 10 fused multiply-adds a transform (their own takes 29
additions and 5 multiplications), 3 operations a coefficient for the quantiser.

All rounding is half to even, and the mean of a block is computed exactly. No fastmath: the rounding must not be
simplified away.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgedefend.jit import kernel
from edgedefend.simd import fma, load, load_bytes, splat, store, store_bytes, to_float, transpose

__all__ = ["analyse", "fold_table", "quantize", "synthesise"]

_TAN1 = math.tan(math.pi / 16)
_TAN2 = math.tan(math.pi / 8)
_TAN3 = math.tan(3 * math.pi / 16)
_RATIO = math.cos(3 * math.pi / 16) / math.cos(math.pi / 16)
_MAGIC = 12582912.0  # 1.5 * 2**23: x + _MAGIC - _MAGIC is x rounded half to even, for |x| < 2**22


def fold_table(quant_table: ArrayLike) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the table with the transform's scale factors folded in, ``(reciprocal, step)``.

    Both are float32, index 8 * horizontal + vertical frequency (the table transposed: the lanes of the horizontal
    transform are vertical frequencies). ``round(output * reciprocal)`` is the quantised index of a coefficient,
    ``index * step`` the input of the inverse.

    The coefficients of horizontal and vertical frequencies 0 and 4 are whole numbers before they are scaled, and one
    in 8 * table of them lies on a tie. For these to go to even as they do in an exact division, the reciprocals of the
    horizontal frequencies 0 and 4 come in two parts: one of 10 bits, whose products are exact, and what it leaves, at
    64.. and 72... So `reciprocal` is (80,), `step` (64,).
    """
    cos1, cos2, root = math.cos(math.pi / 16) / 2, math.cos(math.pi / 8) / 2, math.sqrt(0.5)
    # Outputs 6 and 7 come out negated; so do inputs 6 and 7 of the inverse.
    axis = np.array([root / 2, cos1, cos2, cos1 * root, root / 2, cos1 * root, -cos2, -cos1])
    scale = np.outer(axis, axis)
    scale[np.ix_((0, 4), (0, 4))] = 0.125  # exactly: flat blocks sit on ties
    table = np.asarray(quant_table, np.float64)
    reciprocal, step = (scale / table).T, (scale * table).T
    whole = reciprocal[[0, 4]]
    mantissa, exponent = np.frexp(whole)
    high = np.ldexp(np.rint(np.ldexp(mantissa, 10)), exponent - 10)
    reciprocal[[0, 4]] = high
    parts = [reciprocal.ravel(), (whole - high).ravel()]
    return np.concatenate(parts).astype(np.float32), step.astype(np.float32).ravel()


# --- eight vectors in, eight vectors out ------------------------------------------------------------------------


@kernel(forceinline=True)
def _butterflies(x):
    """First half of the forward DCT, additions only (14), exact on levels."""
    s0, d0 = x[0] + x[7], x[0] - x[7]
    s1, d1 = x[1] + x[6], x[1] - x[6]
    s2, d2 = x[2] + x[5], x[2] - x[5]
    s3, d3 = x[3] + x[4], x[3] - x[4]
    e0, f0 = s0 + s3, s0 - s3
    e1, f1 = s1 + s2, s1 - s2
    return e0 + e1, e0 - e1, f0, f1, d0, d1, d2, d3


@kernel(forceinline=True)
def _rotations(halves):
    """Second half of the forward DCT, 10 fused multiply-adds and 2 additions: frequencies 0..7, scaled."""
    y0, y4, f0, f1, d0, d1, d2, d3 = halves
    a, c = fma(splat(_TAN1), d3, d0), fma(splat(-_TAN1), d0, d3)
    b, d = fma(splat(_TAN3), d2, d1), fma(splat(-_TAN3), d1, d2)
    p, q = fma(splat(_RATIO), d, c), fma(splat(-_RATIO), b, a)
    y1, y7 = fma(splat(_RATIO), b, a), fma(splat(-_RATIO), d, c)
    y2, y6 = fma(splat(_TAN2), f1, f0), fma(splat(-_TAN2), f0, f1)
    return y0, y1, y2, q - p, y4, q + p, y6, y7


@kernel(forceinline=True)
def _inverse(z):
    """Inverse DCT of scaled frequencies, 16 additions and 10 fused multiply-adds: the forward graph backwards."""
    e0, e1 = z[0] + z[4], z[0] - z[4]
    f0, f1 = fma(splat(-_TAN2), z[6], z[2]), fma(splat(_TAN2), z[2], z[6])
    s0, s3 = e0 + f0, e0 - f0
    s1, s2 = e1 + f1, e1 - f1
    p, q = z[3] + z[5], z[3] - z[5]
    a, b = z[1] + p, z[1] - p
    c, d = q - z[7], q + z[7]
    d0, d3 = fma(splat(_TAN1), c, a), fma(splat(-_TAN1), a, c)
    d1, d2 = fma(splat(_TAN3), d, b), fma(splat(-_TAN3), b, d)
    x1, x6 = fma(splat(_RATIO), d1, s1), fma(splat(-_RATIO), d1, s1)
    x2, x5 = fma(splat(-_RATIO), d2, s2), fma(splat(_RATIO), d2, s2)
    return s0 + d0, x1, x2, s3 - d3, s3 + d3, x5, x6, s0 - d0


@kernel(forceinline=True)
def _requantize(y, at, reciprocal, step):
    """Round one column of coefficients to its table and scale it for the inverse."""
    index = fma(y, load(reciprocal, at), splat(_MAGIC)) - splat(_MAGIC)
    return index * load(step, at)


@kernel(forceinline=True)
def _requantize_whole(y, at, low, reciprocal, step):
    """Do the same for a column with whole numbers in it, whose reciprocal has a second part at `low`."""
    exact = fma(y, load(reciprocal, at), y * load(reciprocal, low))
    index = (exact + splat(_MAGIC)) - splat(_MAGIC)
    return index * load(step, at)


@kernel(forceinline=True)
def _load8(array, at, gap):
    return (
        load(array, at),
        load(array, at + gap),
        load(array, at + 2 * gap),
        load(array, at + 3 * gap),
        load(array, at + 4 * gap),
        load(array, at + 5 * gap),
        load(array, at + 6 * gap),
        load(array, at + 7 * gap),
    )


@kernel(forceinline=True)
def _store8(array, at, gap, v):
    store(array, at, v[0])
    store(array, at + gap, v[1])
    store(array, at + 2 * gap, v[2])
    store(array, at + 3 * gap, v[3])
    store(array, at + 4 * gap, v[4])
    store(array, at + 5 * gap, v[5])
    store(array, at + 6 * gap, v[6])
    store(array, at + 7 * gap, v[7])


@kernel(forceinline=True)
def analyse(source, starts, at, work, to):
    """Vertical transform of 8 rows by 24 bytes: `source` at ``starts[y] + at`` to `work` at `to`, [byte][frequency]."""
    for k in range(0, 24, 8):
        x = at + k
        h = _butterflies(
            (
                load_bytes(source, starts[0] + x),
                load_bytes(source, starts[1] + x),
                load_bytes(source, starts[2] + x),
                load_bytes(source, starts[3] + x),
                load_bytes(source, starts[4] + x),
                load_bytes(source, starts[5] + x),
                load_bytes(source, starts[6] + x),
                load_bytes(source, starts[7] + x),
            )
        )
        f = (
            to_float(h[0]),
            to_float(h[1]),
            to_float(h[2]),
            to_float(h[3]),
            to_float(h[4]),
            to_float(h[5]),
            to_float(h[6]),
            to_float(h[7]),
        )
        _store8(work, to + 8 * k, 8, transpose(_rotations(f)))


@kernel(forceinline=True)
def quantize(work, at, reciprocal, step, done, first, next_channel, next_pixel):
    """Horizontal transform of `work` at `at`, quantisation and inverse, to `done`, pixels and channels in any order."""
    for channel in range(3):
        y = _rotations(_butterflies(_load8(work, at + 8 * channel, 24)))
        x = _inverse(
            (
                _requantize_whole(y[0], 0, 64, reciprocal, step),
                _requantize(y[1], 8, reciprocal, step),
                _requantize(y[2], 16, reciprocal, step),
                _requantize(y[3], 24, reciprocal, step),
                _requantize_whole(y[4], 32, 72, reciprocal, step),
                _requantize(y[5], 40, reciprocal, step),
                _requantize(y[6], 48, reciprocal, step),
                _requantize(y[7], 56, reciprocal, step),
            )
        )
        _store8(done, first + channel * next_channel, next_pixel, x)


@kernel(forceinline=True)
def synthesise(done, start, strip, at, pitch):
    """Inverse vertical transform of `done` at `start` to 8 rows by 24 bytes of `strip` at `at`, `pitch` apart."""
    for k in range(0, 24, 8):
        x = _inverse(transpose(_load8(done, start + 8 * k, 8)))
        store_bytes(strip, at + k, x[0])
        store_bytes(strip, at + k + pitch, x[1])
        store_bytes(strip, at + k + 2 * pitch, x[2])
        store_bytes(strip, at + k + 3 * pitch, x[3])
        store_bytes(strip, at + k + 4 * pitch, x[4])
        store_bytes(strip, at + k + 5 * pitch, x[5])
        store_bytes(strip, at + k + 6 * pitch, x[6])
        store_bytes(strip, at + k + 7 * pitch, x[7])
