"""How a model's input tensor holds pixels, and the cheapest way to make that of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgedefend.errors import InputError

__all__ = ["AFFINE", "AS_IS", "FLOATS", "LOOK_UP", "Encoding"]

# How `edgedefend.fused` turns a row of levels into a row of the tensor: bytes as they are (or with the sign bit
# turned), bytes by arithmetic, bytes from a table, floats by arithmetic.
AS_IS, AFFINE, LOOK_UP, FLOATS = 0, 1, 2, 3


def _triple(values: ArrayLike, name: str) -> NDArray[np.float64]:
    try:
        numbers = np.broadcast_to(np.asarray(values, np.float64), (3,)).copy()
    except (TypeError, ValueError):
        raise InputError(f"{name} is {values!r}, expected one number or three, one a channel") from None
    if not np.isfinite(numbers).all():
        raise InputError(f"{name} is {values!r}, expected finite numbers")
    return numbers


class Encoding:
    """How a model's input tensor holds pixels: ``level * scale + offset``, as `dtype`.

    Parameters
    ----------
    dtype : uint8, int8 or float32
        For an integer type the value is rounded (half to even) and clipped.
    scale, offset : float or three of them
        One a channel of the tensor. For a quantised tensor that wants ``(level * s + o) / S + Z`` they are
        ``s / S`` and ``o / S + Z``.
    channel_order : {"RGB", "BGR"}
        Of the tensor. Images are always RGB.

    Attributes
    ----------
    table : dtype (3, 256)
        What each level of each channel of the tensor becomes.
    """

    def __init__(
        self,
        dtype: object = np.uint8,
        scale: ArrayLike = 1.0,
        offset: ArrayLike = 0.0,
        channel_order: str = "RGB",
    ) -> None:
        self.dtype = np.dtype(dtype)  # type: ignore[call-overload]
        if self.dtype not in (np.uint8, np.int8, np.float32):
            raise InputError(f"the tensor has dtype {self.dtype}, expected uint8, int8 or float32")
        if channel_order not in ("RGB", "BGR"):
            raise InputError(f"channel_order is {channel_order!r}, expected RGB or BGR")
        self.scale, self.offset = _triple(scale, "scale"), _triple(offset, "offset")
        self.channel_order = channel_order
        self.key = (self.dtype.str, *self.scale.tolist(), *self.offset.tolist(), channel_order)
        exact = np.arange(256) * self.scale[:, None] + self.offset[:, None]
        if self.dtype != np.float32:
            limits = np.iinfo(self.dtype)
            exact = np.clip(np.rint(exact), limits.min, limits.max)
        self.table: NDArray[np.generic] = exact.astype(self.dtype)
        # For `write`: one entry a level and channel, (1, 256, 3); the bits to turn where that is all there is to do.
        self._look_up = np.ascontiguousarray(self.table.T[None])
        turned = np.uint8(0x80 if self.dtype == np.int8 else 0)
        as_is = self.dtype != np.float32 and bool((self.table.view(np.uint8) ^ turned == np.arange(256)).all())
        self._turned_bits = turned if as_is and channel_order == "RGB" else None

    def write(self, image: NDArray[np.uint8], out: NDArray[np.generic]) -> None:
        """Write an RGB image, uint8 (H, W, 3), to `out` as it is, without the defence.

        It is what the undefended side of every comparison does, so it is made as cheap as it can be.
        """
        if self._turned_bits is not None:
            np.bitwise_xor(image, self._turned_bits, out=out.view(np.uint8))
            return
        import cv2

        source = image if self.channel_order == "RGB" else image[..., ::-1]
        out[...] = cv2.LUT(np.ascontiguousarray(source), self._look_up)

    def kernel_plan(self) -> tuple[int, int, NDArray[np.float32], NDArray[np.float32], NDArray[np.uint8]]:
        """Return what the kernel wants: mode, sign bits, scale and offset (24,), table of bytes (3, 256)."""
        scale, offset = self.scale.astype(np.float32), self.offset.astype(np.float32)
        if self.dtype == np.float32:
            return FLOATS, 0, np.tile(scale, 8), np.tile(offset, 8), np.zeros((3, 256), np.uint8)
        # The kernel works on 0..255; int8 is that with the sign bit turned.
        sign = 0x80 if self.dtype == np.int8 else 0
        table = self.table.view(np.uint8) ^ np.uint8(sign)
        offset = (self.offset + sign).astype(np.float32)
        levels = np.arange(256, dtype=np.float32)
        if (table == levels).all():
            mode = AS_IS
        else:
            # Arithmetic is five times as fast as the table, where it rounds as the table does, fused or not.
            product = levels * scale[:, None].astype(np.float64)
            fused = (product + offset[:, None]).astype(np.float32)
            plain = product.astype(np.float32) + offset[:, None]
            same = [(np.clip(np.rint(value), 0, 255) == table).all() for value in (fused, plain)]
            # `simd.store_bytes` clips 16-bit numbers.
            mode = AFFINE if all(same) and np.abs(product + offset[:, None]).max() < 32767 else LOOK_UP
        if mode == LOOK_UP:
            table, sign = self.table.view(np.uint8), 0
        return mode, sign, np.tile(scale, 8), np.tile(offset, 8), table
