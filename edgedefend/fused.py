"""The fast path of the defence: one pass over the image, from pixels to the model's input tensor.

`FusedDefense` gives what `kernels.quantize_blocks`, `kernels.gather` and a conversion to the tensor's type give,
without a temporary image. Eight rows at a time are decoded into a strip that stays in the cache (`transform`), and
every output row that reads from the strip is written at once. Several draws of one image share the strip: it is
decoded once and gathered as often as there are draws.

**Agreement.** Arithmetic is float32, as in `kernels`, in another order: values may differ where a coefficient or a
pixel lies on a rounding tie, and nowhere else. Blocks that keep only their mean are computed exactly, and all
rounding is half to even.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgedefend.dct import as_image, as_quant_table
from edgedefend.encoding import AFFINE, AS_IS, FLOATS, LOOK_UP, Encoding
from edgedefend.errors import InputError
from edgedefend.grid import Grid, check_axis
from edgedefend.jit import kernel
from edgedefend.simd import fma, load, load_bytes, move16, read_only, store, store_bytes, to_float
from edgedefend.transform import analyse, fold_table, quantize, synthesise

__all__ = ["FusedDefense", "defend_into"]

_RUN = 5  # pixels that one 16-byte move carries
# Triples of blocks that go through each of the three steps together: what a step needs was then written long
# enough ago not to be waited for (a fifth faster than one at a time on x86).
_GROUP = 2
_WORK = 192  # numbers a triple of blocks
_EDGE_PITCH = 64  # bytes from row to row of the copy of an edge block

_NO_BYTES, _NO_FLOATS = np.empty(0, np.uint8), np.empty(0, np.float32)


# --- the grid ---------------------------------------------------------------------------------------------------


@kernel
def _inside(indices, side):
    """Tell whether every index lies in 0..side-1."""
    for index in indices.flat:  # noqa: SIM110 - Numba knows no all()
        if index < 0 or index >= side:
            return False
    return True


@kernel
def _runs_backwards(cols):
    """Tell whether the columns mostly descend: then they are read from a mirrored strip, so that runs ascend."""
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
def _last_whole_move(write, moves, count):
    """Return the last move that starts at least 16 bytes before the end of a row of `count` bytes; -1 if none."""
    last = moves - 1
    while last >= 0 and write[last] > count - 16:
        last -= 1
    return last


@kernel
def _sort_rows(rows, first, following):
    """Chain the output rows by the strip they read from: ``first[strip]``, then ``following[row]``, -1 ends."""
    first[:] = -1
    for y in range(rows.size - 1, -1, -1):
        strip = rows[y] >> 3
        following[y] = first[strip]
        first[strip] = y


@kernel
def _used_blocks(cols, used):
    """Write the numbers of the blocks that any of `cols` reads from to the front of `used`; return how many."""
    wanted = np.zeros(used.size, np.bool_)
    for column in cols.flat:
        wanted[column >> 3] = True
    count = 0
    for number in range(used.size):
        if wanted[number]:
            used[count] = number
            count += 1
    return count


# --- one strip of eight rows ------------------------------------------------------------------------------------


@kernel
def _copy_edge(source, starts, width, number, edge):
    """Copy the last block of a strip to `edge`, 8 rows of 24 bytes, repeating the image's last pixel.

    Row y begins at ``_EDGE_PITCH * y + 24``: there is room before it for the pixels of the block before, which come
    with the row's last 24 bytes, and behind it for what a move of 16 bytes writes beyond the block.
    """
    inside = width - 8 * number
    for y in range(8):
        begin = _EDGE_PITCH * y + 24
        if width >= 8:
            end = starts[y] + 3 * width
            move16(source, end - 24, edge, begin + 3 * inside - 24, np.uint8(0))
            move16(source, end - 16, edge, begin + 3 * inside - 16, np.uint8(0))
        else:
            for x in range(3 * width):
                edge[begin + x] = source[starts[y] + x]
        for x in range(inside, 8):
            move16(edge, begin + 3 * x - 3, edge, begin + 3 * x, np.uint8(0))


@kernel
def _decode_strip(source, height, width, top, used, tables, work, order, strip):
    """Quantise the blocks of the eight rows from `top` on that are `used`, to `strip`, uint8 (8 * pitch,).

    A block that hangs over the right side reads a copy that repeats the last pixel; rows below the image are the
    last row again.
    """
    reciprocal, step = tables
    analysed, done, starts, edge = work
    first, next_channel, next_pixel, begin, next_block = order
    pitch = strip.size // 8
    for y in range(8):
        starts[y] = 3 * width * min(top + y, height - 1)
    for start in range(0, used.size, _GROUP):
        count = min(_GROUP, used.size - start)
        for k in range(count):
            number = used[start + k]
            if 24 * number + 24 <= 3 * width:
                analyse(source, starts, 24 * number, analysed, _WORK * k)
            else:
                _copy_edge(source, starts, width, number, edge)
                for y in range(8):
                    starts[y] = _EDGE_PITCH * y + 24
                analyse(read_only(edge), starts, 0, analysed, _WORK * k)
        for k in range(count):
            quantize(analysed, _WORK * k, reciprocal, step, done, _WORK * k + first, next_channel, next_pixel)
        for k in range(count):
            synthesise(done, _WORK * k, strip, begin + used[start + k] * next_block, pitch)


@kernel
def _mirror_strip(strip, width, mirrored):
    """Write the pixels of each row of `strip`, `width` of them, in reverse order to `mirrored`."""
    pitch = strip.size // 8
    for y in range(8):
        for x in range(width):
            move16(strip, y * pitch + 3 * (width - 1 - x), mirrored, y * pitch + 3 * x, np.uint8(0))


@kernel
def _gather(strip, base, read, write, begin, end, sign, out, at):
    """Carry out the moves from `begin` to `end` of one row, with the bits of `sign` turned."""
    for k in range(begin, end):
        move16(strip, base + read[k], out, at + write[k], sign)


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


@kernel(forceinline=True)
def _write_group(line, x, scale, offset, out, at):
    """Write the 24 levels from ``line[x]`` on as floats to ``out[at]``."""
    for k in range(0, 24, 8):
        store(out, at + k, fma(to_float(load_bytes(line, x + k)), load(scale, k), load(offset, k)))


@kernel
def _write_floats(line, count, scale, offset, spare, out, at):
    """Write a row of levels as ``level * scale + offset``; both repeat every pixel, and here every 24 numbers.

    The last group overlaps the one before it, with the same values. A row shorter than a group goes through `spare`.
    """
    if count < 24:
        _write_group(line, 0, scale, offset, spare, 0)
        for x in range(count):
            out[at + x] = spare[x]
        return
    for x in range(0, count - 24, 24):
        _write_group(line, x, scale, offset, out, at + x)
    _write_group(line, count - 24, scale, offset, out, at + count - 24)


@kernel
def _write_bytes(line, begin, count, sign, out, at):
    """Copy a row from `begin` on, with the bits of `sign` turned. The last move overlaps the one before it."""
    if count < 16:
        for x in range(begin, count):
            out[at + x] = line[x] ^ sign
        return
    for x in range(begin, count - 16, 16):
        move16(line, x, out, at + x, sign)
    move16(line, count - 16, out, at + count - 16, sign)


@kernel
def _write_strip(strip, rows, y, following, plan, line, encoding, out, floats, start):
    """Write the output rows of one draw that read from `strip`: row `y` and those chained to it.

    `start` is where the draw begins in the output.
    """
    read, write, moves, last = plan
    mode, sign, scale, offset, table, spare = encoding
    count = line.size - 24
    pitch = strip.size // 8
    keep = np.uint8(0)
    previous = -1
    while y >= 0:
        base, at = (rows[y] & 7) * pitch, start + y * count
        if mode == AS_IS and last >= 0:
            # Straight to the output. Rows come in any order: nothing may be written beyond the end of this one.
            _gather(strip, base, read, write, 0, last, sign, out, at)
            _gather(strip, base, read, write, last, moves, keep, line, 0)
            _write_bytes(line, write[last], count, sign, out, at)
        else:
            if rows[y] != previous:
                previous = rows[y]
                _gather(strip, base, read, write, 0, moves, keep, line, 0)
                if mode in (AFFINE, LOOK_UP):
                    _encode_bytes(line, count, mode, scale, offset, table)
            if mode == FLOATS:
                _write_floats(line, count, scale, offset, spare, floats, at)
            else:
                _write_bytes(line, 0, count, sign, out, at)
        y = following[y]


# --- the pass over the image ------------------------------------------------------------------------------------


@kernel
def defend_into(
    source, height, width, reciprocal, step, rows, cols, swap, mode, sign, scale, offset, table, out, floats
):
    """Defend `source`, uint8 (height * width * 3,), into `out` (uint8) or, in mode FLOATS, into `floats`.

    `rows` and `cols` are int32 (draws, output height) and (draws, output width). Both outputs are flat, (draws *
    output height * output width * 3,); the one that is not used may be empty. The workspace is this call's own, so
    that threads need no lock. Returns False, and writes nothing, if an index lies outside the image.
    """
    if not (_inside(rows, height) and _inside(cols, width)):
        return False
    draws, out_height = rows.shape
    out_width = cols.shape[1]
    blocks, strips = (width + 7) // 8, (height + 7) // 8
    count = 3 * out_width
    pitch = 24 * blocks + 16  # a move may read 15 bytes beyond its first
    strip = np.empty(8 * pitch, np.uint8)
    line = np.empty(count + 24, np.uint8)
    work = (
        np.empty(_GROUP * _WORK, np.float32),
        np.empty(_GROUP * _WORK, np.float32),
        np.empty(8, np.int64),
        np.empty(8 * _EDGE_PITCH, np.uint8),
    )
    spare = np.empty(24, np.float32)
    used = np.empty(blocks, np.int32)
    used = used[: _used_blocks(cols, used)]

    # The strip is decoded in the order of the first draw; draws the other way round read a mirrored copy of it.
    read, write = np.empty((draws, out_width), np.int32), np.empty((draws, out_width), np.int32)
    first, following = np.empty((draws, strips), np.int32), np.empty((draws, out_height), np.int32)
    moves, last = np.empty(draws, np.int32), np.empty(draws, np.int32)
    mirror = np.empty(draws, np.bool_)
    both = False
    for draw in range(draws):
        mirror[draw] = _runs_backwards(cols[draw])
        both |= mirror[draw] != mirror[0]
        moves[draw] = _plan_moves(cols[draw], mirror[draw], 8 * blocks, read[draw], write[draw])
        last[draw] = _last_whole_move(write[draw], moves[draw], count)
        _sort_rows(rows[draw], first[draw], following[draw])
    mirrored = np.empty(strip.size if both else 0, np.uint8)
    order = (
        (16 if swap else 0) + (168 if mirror[0] else 0),
        -8 if swap else 8,
        -24 if mirror[0] else 24,
        24 * (blocks - 1) if mirror[0] else 0,
        -24 if mirror[0] else 24,
    )

    for number in range(strips):
        needed = False
        for draw in range(draws):
            needed |= first[draw, number] >= 0
        if not needed:
            continue
        _decode_strip(source, height, width, 8 * number, used, (reciprocal, step), work, order, strip)
        if both:
            _mirror_strip(strip, 8 * blocks, mirrored)
        for draw in range(draws):
            _write_strip(
                mirrored if mirror[draw] != mirror[0] else strip,
                rows[draw],
                first[draw, number],
                following[draw],
                (read[draw], write[draw], moves[draw], last[draw]),
                line,
                (mode, sign, scale, offset, table, spare),
                out,
                floats,
                draw * out_height * count,
            )
    return True


# --- what the rest of the package calls -------------------------------------------------------------------------


def _as_axis(indices: ArrayLike, side: int, name: str) -> NDArray[np.int32]:
    """Return an axis of the grid as the kernel wants it; one from `sample_grid` is left to the kernel to check."""
    if type(indices) is np.ndarray and indices.dtype == np.int32 and indices.ndim == 1 and indices.size:
        return indices
    return check_axis(indices, side, name)


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
        mode, sign, scale, offset, table = self.encoding.kernel_plan()
        self._plan = (self.encoding.channel_order == "BGR", mode, np.uint8(sign), scale, offset, table)
        self._floats = mode == FLOATS

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
        rows = _as_axis(grid[0], source.shape[0], "rows")
        cols = _as_axis(grid[1], source.shape[1], "cols")
        self._run(source, rows.reshape(1, -1), cols.reshape(1, -1), out, (rows.size, cols.size, 3))

    def into_many(self, image: ArrayLike, grids: Sequence[Grid], out: NDArray[np.generic]) -> None:
        """Write several draws of one defended `image` to `out`; it is quantised only once.

        Parameters
        ----------
        image : uint8 (H, W, 3)
            As in `into`.
        grids : sequence of Grid
            At least one, of the same lengths.
        out : dtype of the encoding, (len(grids), len(rows), len(cols), 3)
            C-contiguous, for instance the interpreter's batched input tensor.

        Raises
        ------
        InputError
            If the grids are of different lengths, an index lies outside the image, or `out` does not fit.
        """
        source = as_image(image)
        axes = [
            [_as_axis(grid[axis], source.shape[axis], name) for grid in grids] for axis, name in enumerate(Grid._fields)
        ]
        if len({(rows.size, cols.size) for rows, cols in zip(*axes, strict=True)}) != 1:
            raise InputError("expected at least one grid, all with as many rows and as many columns")
        rows, cols = (np.stack(axis) for axis in axes)
        self._run(source, rows, cols, out, (len(grids), rows.shape[1], cols.shape[1], 3))

    def _run(
        self,
        source: NDArray[np.uint8],
        rows: NDArray[np.int32],
        cols: NDArray[np.int32],
        out: NDArray[np.generic],
        expected: tuple[int, ...],
    ) -> None:
        flags = out.flags
        if out.dtype != self.encoding.dtype or out.shape != expected or not (flags.c_contiguous and flags.writeable):
            raise InputError(
                f"out is {out.dtype} {out.shape}, expected a writeable C-contiguous {self.encoding.dtype} {expected}"
            )
        if not source.flags.c_contiguous or np.may_share_memory(source, out):
            source = source.copy()
        pixels = source.reshape(-1)
        pixels.setflags(write=False)  # a view: one compiled version for both kinds of input
        target = out.reshape(-1)
        if self._floats:
            bytes_out, floats_out = _NO_BYTES, target
        else:
            bytes_out, floats_out = target.view(np.uint8), _NO_FLOATS
        height, width, _ = source.shape
        if not defend_into(pixels, height, width, *self._folded, rows, cols, *self._plan, bytes_out, floats_out):
            raise InputError(f"the grid points outside the image of {height}x{width} pixels")
