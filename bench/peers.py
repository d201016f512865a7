"""What others would run instead of the fused kernel: each peer coded as a careful user of its library would.

A peer is made once for an image, a table and a grid, outside the clock, and is then a function without arguments that
returns the defended image, uint8 (H, W, 3). Where there is a choice it goes in the peer's favour: the maps of
``cv2.remap`` are made, and brought to OpenCV's own fixed-point form, outside the clock, although every image has a new
grid; vectorised code works in float32 and in place; the published loop stores its blocks in an array made beforehand
instead of growing one.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import scipy.fft
import scipy.fftpack
from numpy.typing import NDArray

from edgedefend import kernels
from edgedefend.errors import EdgeDefendError
from edgedefend.grid import Grid

__all__ = [
    "Peer",
    "grid_distortion",
    "jpeg",
    "jpeg_quality",
    "opencv_remap",
    "plain_kernels",
    "published_loop",
    "simple_scipy",
    "vectorised_scipy",
]

Peer = Callable[[], NDArray[np.uint8]]

# Annex K of the JPEG standard (ITU-T T.81): the luminance table that a quality from 1 to 100 scales.
_JPEG_LUMINANCE_MEAN = 57.625


def _padded(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width, _ = image.shape
    return np.pad(image, ((0, -height % 8), (0, -width % 8), (0, 0)), mode="edge")


def _maps(grid: Grid) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    x, y = np.meshgrid(grid.cols, grid.rows)
    return x.astype(np.float32), y.astype(np.float32)


def published_loop(image: NDArray[np.uint8], table: NDArray[np.float32], grid: Grid) -> Peer:
    """Return the loop of the published implementations: one block of one channel at a time, then ``cv2.remap``.

    The structure is that of the authors' code and of Feature Distillation's, which theirs goes back to:
    ``scipy.fftpack.dct`` along the rows and along the columns of every block, float64, the maps of the grid as float32
    meshes. What differs: the padding (`edgedefend.dct`), and the blocks are written to an array instead of
    concatenated to an ever longer one.
    """
    divisors = table.astype(np.float64)

    def defend() -> NDArray[np.uint8]:
        height, width, channels = image.shape
        padded = _padded(image).astype(np.float64)
        quantized = np.empty_like(padded)
        for channel in range(channels):
            for top in range(0, padded.shape[0], 8):
                for left in range(0, padded.shape[1], 8):
                    block = padded[top : top + 8, left : left + 8, channel]
                    coefficients = scipy.fftpack.dct(scipy.fftpack.dct(block.T, norm="ortho").T, norm="ortho")
                    kept = np.round(coefficients / divisors) * divisors
                    pixels = scipy.fftpack.idct(scipy.fftpack.idct(kept.T, norm="ortho").T, norm="ortho")
                    quantized[top : top + 8, left : left + 8, channel] = pixels
        levels = np.clip(np.round(quantized[:height, :width]), 0, 255).astype(np.uint8)
        return np.asarray(cv2.remap(levels, *_maps(grid), cv2.INTER_NEAREST))

    return defend


def vectorised_scipy(image: NDArray[np.uint8], table: NDArray[np.float32], grid: Grid) -> Peer:
    """Return all blocks at once through ``dctn`` and ``idctn``, float32, in place, then ``take`` along both axes."""
    divisors = table[None, :, None, :, None]

    def defend() -> NDArray[np.uint8]:
        height, width, channels = image.shape
        padded = _padded(image)
        blocks = padded.astype(np.float32).reshape(padded.shape[0] // 8, 8, padded.shape[1] // 8, 8, channels)
        blocks = scipy.fft.dctn(blocks, axes=(1, 3), norm="ortho", overwrite_x=True)
        blocks /= divisors
        np.rint(blocks, out=blocks)
        blocks *= divisors
        blocks = scipy.fft.idctn(blocks, axes=(1, 3), norm="ortho", overwrite_x=True)
        levels = np.rint(blocks.reshape(padded.shape)[:height, :width])
        np.clip(levels, 0, 255, out=levels)
        return levels.astype(np.uint8).take(grid.rows, axis=0).take(grid.cols, axis=1)

    return defend


def simple_scipy(image: NDArray[np.uint8], table: NDArray[np.float32], grid: Grid) -> Peer:
    """Return the same as most would write it: NumPy's default float64, a new array a step."""
    divisors = table.astype(np.float64)[None, :, None, :, None]

    def defend() -> NDArray[np.uint8]:
        height, width, channels = image.shape
        padded = _padded(image)
        blocks = padded.astype(np.float64).reshape(padded.shape[0] // 8, 8, padded.shape[1] // 8, 8, channels)
        kept = np.round(scipy.fft.dctn(blocks, axes=(1, 3), norm="ortho") / divisors) * divisors
        pixels = scipy.fft.idctn(kept, axes=(1, 3), norm="ortho").reshape(padded.shape)[:height, :width]
        levels = np.clip(np.round(pixels), 0, 255).astype(np.uint8)
        return np.take(np.take(levels, grid.rows, axis=0), grid.cols, axis=1)

    return defend


def plain_kernels(image: NDArray[np.uint8], table: NDArray[np.float32], grid: Grid) -> Peer:
    """Return this project's own readable kernels, compiled."""
    cosines = kernels.cosine_matrix()
    quantized = np.empty_like(image)
    out = np.empty((grid.rows.size, grid.cols.size, 3), np.uint8)

    def defend() -> NDArray[np.uint8]:
        kernels.quantize_blocks(image, table, cosines, quantized)
        kernels.gather(quantized, grid.rows, grid.cols, out)
        return out

    return defend


def opencv_remap(image: NDArray[np.uint8], grid: Grid) -> Peer:
    """Return the grid alone, by ``cv2.remap`` with the fixed-point map that it is fastest with."""
    fixed, _ = cv2.convertMaps(*_maps(grid), cv2.CV_16SC2, nninterpolation=True)

    def distort() -> NDArray[np.uint8]:
        return np.asarray(cv2.remap(image, fixed, None, cv2.INTER_NEAREST))

    return distort


def jpeg_quality(table: NDArray[np.float32]) -> int:
    """Return the JPEG quality whose luminance table has the mean that is nearest to that of `table`."""
    # libjpeg: scale = 5000 / quality below 50, else 200 - 2 * quality, in per cent.
    scale = 100 * float(table.mean()) / _JPEG_LUMINANCE_MEAN
    quality = 5000 / scale if scale > 100 else (200 - scale) / 2
    return int(np.clip(round(quality), 1, 100))


def jpeg(image: NDArray[np.uint8], table: NDArray[np.float32], grid: Grid, sampling: str) -> Peer:
    """Return OpenCV's JPEG encoder and decoder (libjpeg-turbo), then ``cv2.remap``.

    JPEG cannot be given the table by OpenCV: it gets the quality whose luminance table is as coarse. It works in YCbCr,
    with a coarser table for chrominance, and codes and decodes its coefficients: it is not the same computation, but
    what people use for it. `sampling` is "4:4:4" or "4:2:0", which transforms half as many blocks.
    """
    factor = {"4:4:4": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444, "4:2:0": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420}[sampling]
    options = [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality(table), cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factor]
    fixed, _ = cv2.convertMaps(*_maps(grid), cv2.CV_16SC2, nninterpolation=True)
    # OpenCV codes BGR: an image that is BGR already, made outside the clock, spares it the exchange of channels.
    swapped = np.ascontiguousarray(image[..., ::-1])

    def defend() -> NDArray[np.uint8]:
        _, coded = cv2.imencode(".jpg", swapped, options)
        return np.asarray(cv2.remap(cv2.imdecode(coded, cv2.IMREAD_COLOR), fixed, None, cv2.INTER_NEAREST))

    return defend


def grid_distortion(image: NDArray[np.uint8], num_steps: int, distort_limit: float) -> Peer:
    """Return albumentations' GridDistortion, nearest neighbour, with the grids that it draws itself.

    Raises
    ------
    EdgeDefendError
        If albumentations is not installed.
    """
    # Without this it asks a server for its newest version when it is imported.
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    try:
        import albumentations
    except ModuleNotFoundError as error:
        raise EdgeDefendError(
            f"a peer needs the Python package {error.name!r}: pip install 'edgedefend[bench]'"
        ) from None
    transform: Any = albumentations.GridDistortion(
        num_steps=num_steps, distort_limit=distort_limit, interpolation=cv2.INTER_NEAREST, p=1.0
    )

    def distort() -> NDArray[np.uint8]:
        return np.asarray(transform(image=image)["image"])

    return distort
