"""PD: some pixels are replaced by neighbours, then wavelets smooth what that left."""

from __future__ import annotations

import numpy as np
from skimage.restoration import denoise_wavelet

from bench.baselines.base import Baseline, Picture, as_levels

__all__ = ["PixelDeflection"]

# Defaults of the authors' published code; the paper's section 6 settles on the same window and sigma.
DEFLECTIONS, WINDOW, SIGMA = 200, 10, 0.04


class PixelDeflection(Baseline):
    """Pixel deflection with BayesShrink wavelet denoising in YCbCr.

    A deflection replaces one value of one channel by that of a random pixel at most 10 away in each direction. The
    denoiser is scikit-image's, which the authors use. Their map of where the classifier looks (R-CAM, fewer deflections
    there) needs a second model trained with global average pooling; this is their variant without a map.
    """

    name, title = "pd", "PD"
    source = (
        "Prakash, Moran, Garber, DiLillo and Storer, Deflecting adversarial attacks with pixel deflection, CVPR 2018"
    )
    randomised = True

    @property
    def remark(self) -> str:
        """The variant without a map."""
        return "without the class activation map"

    def one(self, picture: Picture, rng: np.random.Generator) -> Picture:
        """Deflect one value after the other, as the authors do: a later one may copy what an earlier one has put."""
        out = picture.copy()
        height, width, channels = out.shape
        for number in range(DEFLECTIONS):
            row, column = int(rng.integers(height)), int(rng.integers(width))
            # Uniform over the part of the window that lies in the picture, as by drawing until it does.
            other_row = int(rng.integers(max(0, row - WINDOW), min(height, row + WINDOW + 1)))
            other_column = int(rng.integers(max(0, column - WINDOW), min(width, column + WINDOW + 1)))
            out[row, column, number % channels] = out[other_row, other_column, number % channels]
        if min(height, width) < 2:
            return out  # nothing that a wavelet could be laid over
        smooth = denoise_wavelet(
            out / 255, sigma=SIGMA, mode="soft", method="BayesShrink", convert2ycbcr=True, channel_axis=-1
        )
        return as_levels(smooth * 255)
