"""JPEG at quality 75."""

from __future__ import annotations

import cv2
import numpy as np

from bench.baselines.base import Baseline, Picture

__all__ = ["Jpeg", "jpeg_round_trip"]

QUALITY = 75  # Guo et al., section 5.1


def jpeg_round_trip(picture: Picture, quality: int) -> Picture:
    """Code and decode with libjpeg-turbo at the usual 4:2:0, as any program does that is asked for a quality alone."""
    # OpenCV's channel order is BGR.
    _, coded = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR))[..., ::-1]


class Jpeg(Baseline):
    """JPEG compression at quality 75."""

    name, title = "jpeg", "JPEG"
    source = "Guo, Rana, Cisse and van der Maaten, Countering adversarial images using input transformations, ICLR 2018"
    randomised = False

    def one(self, picture: Picture, rng: np.random.Generator) -> Picture:
        """Compress and decompress; `rng` is not used."""
        return jpeg_round_trip(picture, QUALITY)
