"""The fast path of the defence: one pass over the image, from pixels to the model's input tensor.

`FusedDefense` gives what `kernels.quantize_blocks`, `kernels.gather` and a conversion to the tensor's type give,
without a temporary image. Eight rows at a time are decoded into a strip that stays in the cache, and every output
row that reads from the strip is written at once.

**Transform.** A block of 8 rows by 24 bytes (8 pixels of 3 channels) is transformed vertically with its bytes as
lanes, transposed (8x8 floats, three times), transformed horizontally with its rows as lanes, quantised, and sent
back the same way. The 8-point DCT is the flow graph of Loeffler, Ligtenberg and Moschytz ("Practical fast 1-D DCT
algorithms with 11 multiplications", ICASSP 1989) with each rotation divided by its cosine, so that it is two
fused multiply-adds; what was divided out is folded into the quantisation table, as Arai, Agui and Nakajima do ("A
fast DCT-SQ scheme for images", Trans. IEICE E-71, 1988). That is 16 additions and 10 fused multiply-adds a
transform (their own takes 29 additions and 5 multiplications), 3 operations a coefficient for the quantiser.

**Agreement.** Arithmetic is float32, as in `kernels`, in another order: values may differ where a coefficient or a
pixel lies on a rounding tie, and nowhere else. Blocks that keep only their mean are computed exactly, and all
rounding is half to even. No fastmath: the rounding below must not be simplified away.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgedefend.dct import as_image, as_quant_table
from edgedefend.encoding import AFFINE, FLOATS, LOOK_UP, Encoding
from edgedefend.errors import InputError
from edgedefend.grid import Grid, check_axis
from edgedefend.jit import kernel
from edgedefend.simd import (
    fma,
    load,
    load_bytes,
    move16,
    read_only,
    splat,
    store,
    store_bytes,
    to_float,
    transpose,
)

__all__ = ["FusedDefense", "defend_into", "fold_table"]

_TAN1 = math.tan(math.pi / 16)
_TAN2 = math.tan(math.pi / 8)
_TAN3 = math.tan(3 * math.pi / 16)
_RATIO = math.cos(3 * math.pi / 16) / math.cos(math.pi / 16)
_MAGIC = 12582912.0  # 1.5 * 2**23: x + _MAGIC - _MAGIC is x rounded half to even, for |x| < 2**22
_RUN = 5  # pixels that one 16-byte move carries

_NO_BYTES, _NO_FLOATS = np.empty(0, np.uint8), np.empty(0, np.float32)


def fold_table(quant_table: ArrayLike) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the table with the transform's scale factors folded in, ``(reciprocal, step)``.

    Both are float32 (64,), index 8 * horizontal + vertical frequency (the table transposed: the lanes of the
    horizontal transform are vertical frequencies). ``round(output * reciprocal)`` is the quantised index of a
    coefficient, ``index * step`` the input of the inverse.
    """
    cos1, cos2, root = math.cos(math.pi / 16) / 2, math.cos(math.pi / 8) / 2, math.sqrt(0.5)
    # Outputs 6 and 7 come out negated; so do inputs 6 and 7 of the inverse.
    axis = np.array([root / 2, cos1, cos2, cos1 * root, root / 2, cos1 * root, -cos2, -cos1])
    scale = np.outer(axis, axis)
    scale[np.ix_((0, 4), (0, 4))] = 0.125  # exactly: flat blocks sit on ties
    table = np.asarray(quant_table, np.float64)
    reciprocal = (scale / table).T.astype(np.float32).ravel()
    step = (scale * table).T.astype(np.float32).ravel()
    return reciprocal, step


# --- the transform: eight vectors in, eight vectors out ---------------------------------------------------------


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
def _analyse(source, starts, at, work):
    """Vertical transform of 8 rows by 24 bytes: `source` at ``starts[y] + at`` to `work`, [byte][frequency]."""
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
        _store8(work, 8 * k, 8, transpose(_rotations(f)))


@kernel(forceinline=True)
def _quantize(work, reciprocal, step, done, first, next_channel, next_pixel):
    """Horizontal transform of `work`, quantisation and inverse, to `done`, in any order of pixels and channels."""
    for channel in range(3):
        y = _rotations(_butterflies(_load8(work, 8 * channel, 24)))
        x = _inverse(
            (
                _requantize(y[0], 0, reciprocal, step),
                _requantize(y[1], 8, reciprocal, step),
                _requantize(y[2], 16, reciprocal, step),
                _requantize(y[3], 24, reciprocal, step),
                _requantize(y[4], 32, reciprocal, step),
                _requantize(y[5], 40, reciprocal, step),
                _requantize(y[6], 48, reciprocal, step),
                _requantize(y[7], 56, reciprocal, step),
            )
        )
        _store8(done, first + channel * next_channel, next_pixel, x)


@kernel(forceinline=True)
def _synthesise(work, strip, at, pitch):
    """Inverse vertical transform of `work` to 8 rows by 24 bytes of `strip`, `pitch` apart."""
    for k in range(0, 24, 8):
        x = _inverse(transpose(_load8(work, 8 * k, 8)))
        store_bytes(strip, at + k, x[0])
        store_bytes(strip, at + k + pitch, x[1])
        store_bytes(strip, at + k + 2 * pitch, x[2])
        store_bytes(strip, at + k + 3 * pitch, x[3])
        store_bytes(strip, at + k + 4 * pitch, x[4])
        store_bytes(strip, at + k + 5 * pitch, x[5])
        store_bytes(strip, at + k + 6 * pitch, x[6])
        store_bytes(strip, at + k + 7 * pitch, x[7])


# --- the grid ---------------------------------------------------------------------------------------------------


@kernel
def _inside(indices, side):
    """Tell whether every index lies in 0..side-1."""
    for index in indices:  # noqa: SIM110 - Numba knows no all()
        if index < 0 or index >= side:
            return False
    return True


@kernel
def _runs_backwards(cols):
    """Tell whether the columns mostly descend: then the strip is written mirrored, so that runs ascend."""
    score = 0
    for x in range(1, cols.size):
        if cols[x] != cols[x - 1]:
            score += 1 if cols[x] > cols[x - 1] else -1
    return score < 0


@kernel
def _plan_moves(cols, mirror, width, read, write):
    """Write the byte offsets of the moves that gather one row to `read` and `write`; return how many.

    Neighbours that come from neighbours move together, up to five pixels at a time. A move is always 16 bytes:
    what it writes beyond its pixels, the next one writes over.
    """
    count = 0
    length = _RUN
    previous = -2
    for x in range(cols.size):
        column = width - 1 - cols[x] if mirror else cols[x]
        if column == previous + 1 and length < _RUN:
            length += 1
        else:
            read[count] = 3 * column
            write[count] = 3 * x
            count += 1
            length = 1
        previous = column
    return count


@kernel
def _sort_rows(rows, first, following):
    """Chain the output rows by the strip they read from: ``first[strip]``, then ``following[row]``, -1 ends."""
    first[:] = -1
    for y in range(rows.size - 1, -1, -1):
        strip = rows[y] >> 3
        following[y] = first[strip]
        first[strip] = y


# --- the pass over the image ------------------------------------------------------------------------------------


@kernel
def _decode_strip(source, height, width, top, used, tables, work, order, strip):
    """Quantise the blocks of the eight rows from `top` on that are `used`, to `strip`, uint8 (8 * pitch,).

    Blocks that hang over the right side read a copy that repeats the last pixel; rows below the image are the
    last row again.
    """
    reciprocal, step = tables
    block, done, starts, edge = work
    first, next_channel, next_pixel, begin, next_block = order
    pitch = strip.size // 8
    for y in range(8):
        starts[y] = 3 * width * min(top + y, height - 1)
    for number in range(used.size):
        if not used[number]:
            continue
        left = 24 * number
        if left + 24 <= 3 * width:
            _analyse(source, starts, left, block)
        else:
            for y in range(8):
                for x in range(8):
                    pixel = starts[y] + 3 * min(8 * number + x, width - 1)
                    for channel in range(3):
                        edge[24 * y + 3 * x + channel] = source[pixel + channel]
            for y in range(8):
                starts[y] = 24 * y
            _analyse(read_only(edge), starts, 0, block)
        _quantize(block, reciprocal, step, done, first, next_channel, next_pixel)
        _synthesise(done, strip, begin + number * next_block, pitch)


@kernel
def _encode_bytes(line, count, mode, scale, offset, table):
    """Turn a row of levels, in place, into what a byte tensor holds (before its sign bit is turned)."""
    if mode == AFFINE:
        for x in range(0, count, 24):
            for k in range(0, 24, 8):
                levels = to_float(load_bytes(line, x + k))
                store_bytes(line, x + k, fma(levels, load(scale, k), load(offset, k)))
    elif mode == LOOK_UP:
        for x in range(0, count, 3):
            for channel in range(3):
                line[x + channel] = table[channel, line[x + channel]]


@kernel
def _write_floats(line, count, scale, offset, spare, out, at):
    """Write a row of levels as ``level * scale + offset``; both repeat every 24 numbers.

    The last, partial group goes through `spare`: a level has the same value wherever it stands.
    """
    for x in range(0, count, 24):
        whole = x + 24 <= count
        for k in range(0, 24, 8):
            vector = fma(to_float(load_bytes(line, x + k)), load(scale, k), load(offset, k))
            if whole:
                store(out, at + x + k, vector)
            else:
                store(spare, k, vector)
    for x in range(count - count % 24, count):
        out[at + x] = spare[x % 24]


@kernel
def _write_bytes(line, count, sign, out, at):
    """Copy a row, with the bits of `sign` turned. The last move overlaps the one before it."""
    if count < 16:
        for x in range(count):
            out[at + x] = line[x] ^ sign
        return
    for x in range(0, count - 16, 16):
        move16(line, x, out, at + x, sign)
    move16(line, count - 16, out, at + count - 16, sign)


@kernel
def defend_into(
    source, height, width, reciprocal, step, rows, cols, swap, mode, sign, scale, offset, table, out, floats
):
    """Defend `source`, uint8 (height * width * 3,), into `out` (uint8) or, in mode FLOATS, into `floats`.

    Both outputs are flat, (rows.size * cols.size * 3,); the one that is not used may be empty. The workspace is
    this call's own, so that threads need no lock. Returns False, and writes nothing, if an index of `rows` or
    `cols` lies outside the image.
    """
    if not (_inside(rows, height) and _inside(cols, width)):
        return False
    blocks, strips = (width + 7) // 8, (height + 7) // 8
    count = 3 * cols.size
    pitch = 24 * blocks + 16  # a move may read 15 bytes beyond its first
    strip = np.empty(8 * pitch, np.uint8)
    line = np.empty(count + 24, np.uint8)
    work = (np.empty(192, np.float32), np.empty(192, np.float32), np.empty(8, np.int64), np.empty(192, np.uint8))

    mirror = _runs_backwards(cols)
    read, write = np.empty(cols.size, np.int32), np.empty(cols.size, np.int32)
    moves = _plan_moves(cols, mirror, 8 * blocks, read, write)
    used = np.zeros(blocks, np.bool_)
    for column in cols:
        used[column >> 3] = True
    order = (
        (16 if swap else 0) + (168 if mirror else 0),
        -8 if swap else 8,
        -24 if mirror else 24,
        24 * (blocks - 1) if mirror else 0,
        -24 if mirror else 24,
    )
    first, following = np.empty(strips, np.int32), np.empty(rows.size, np.int32)
    _sort_rows(rows, first, following)

    for number in range(strips):
        y = first[number]
        if y < 0:
            continue
        _decode_strip(source, height, width, 8 * number, used, (reciprocal, step), work, order, strip)
        previous = -1
        while y >= 0:
            if rows[y] != previous:
                previous = rows[y]
                base = (previous & 7) * pitch
                for k in range(moves):
                    move16(strip, base + read[k], line, write[k], np.uint8(0))
                if mode in (AFFINE, LOOK_UP):
                    _encode_bytes(line, count, mode, scale, offset, table)
            if mode == FLOATS:
                _write_floats(line, count, scale, offset, work[0], floats, y * count)
            else:
                _write_bytes(line, count, sign, out, y * count)
            y = following[y]
    return True


# --- what the rest of the package calls -------------------------------------------------------------------------


def _as_axis(indices: ArrayLike, side: int, name: str) -> NDArray[np.int32]:
    """Return an axis of the grid as the kernel wants it; one from `sample_grid` is left to the kernel to check."""
    fast = isinstance(indices, np.ndarray) and indices.dtype == np.int32 and indices.ndim == 1 and indices.size > 0
    return np.ascontiguousarray(indices) if fast else check_axis(indices, side, name)


class FusedDefense:
    """Quantisation, grid and conversion in one pass, written into a tensor the caller gives.

    Safe to call from several threads at once; the GIL is released.

    Parameters
    ----------
    quant_table : (8, 8)
        In pixel levels, DC at ``[0, 0]``.
    encoding : Encoding
        Of the tensor; by default uint8 pixels, as `Defense` returns them.
    """

    def __init__(self, quant_table: ArrayLike, encoding: Encoding | None = None) -> None:
        self.encoding = Encoding() if encoding is None else encoding
        self._folded = fold_table(as_quant_table(quant_table))
        self._plan = self.encoding.kernel_plan()
        self._swap = self.encoding.channel_order == "BGR"

    def into(self, image: ArrayLike, grid: Grid, out: NDArray[np.generic]) -> None:
        """Write the defended `image` to `out`.

        Parameters
        ----------
        image : uint8 (H, W, 3)
            RGB, any size from 1x1. C-contiguous arrays are read in place, others copied first. It is not modified.
        grid : Grid
            Any lists of source indices; those of `sample_grid` are the fast case.
        out : dtype of the encoding, (len(rows), len(cols), 3)
            C-contiguous, for instance a view of the interpreter's input tensor.

        Raises
        ------
        InputError
            If an index lies outside the image or `out` does not fit.
        """
        source = as_image(image)
        rows, cols = (_as_axis(*axis) for axis in zip(grid, source.shape, ("rows", "cols"), strict=False))
        expected = (rows.size, cols.size, 3)
        flags = out.flags
        if out.dtype != self.encoding.dtype or out.shape != expected or not (flags.c_contiguous and flags.writeable):
            raise InputError(
                f"out is {out.dtype} {out.shape}, expected a writeable C-contiguous {self.encoding.dtype} {expected}"
            )
        if not source.flags.c_contiguous or np.may_share_memory(source, out):
            source = source.copy()
        pixels = source.reshape(-1).view()
        pixels.flags.writeable = False  # one compiled version for both kinds of input
        target = out.reshape(-1)
        mode, sign, scale, offset, table = self._plan
        height, width, _ = source.shape
        done = defend_into(
            pixels,
            height,
            width,
            *self._folded,
            rows,
            cols,
            self._swap,
            mode,
            np.uint8(sign),
            scale,
            offset,
            table,
            _NO_BYTES if mode == FLOATS else target.view(np.uint8),
            target if mode == FLOATS else _NO_FLOATS,
        )
        if not done:
            raise InputError(f"the grid points outside the image of {height}x{width} pixels")
