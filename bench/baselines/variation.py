"""The paper's Table 1: how far two draws of one picture lie apart, and the accuracy over many draws."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.baselines.base import Baseline, Picture
from edgedefend.errors import InputError

__all__ = ["Variation", "between_draws", "measure_variation"]

_BATCH = 25
_WINDOW = 7  # of scikit-image's SSIM, its default


class Variation(NamedTuple):
    """Of one picture: l2_rms and SSIM between two of its draws, and how many of its `draws` were answered rightly."""

    l2_rms: float
    ssim: float
    right: int
    draws: int


def between_draws(first: Picture, second: Picture) -> tuple[float, float]:
    """Return l2_rms, of images in [0, 1], and the mean SSIM between two pictures.

    SSIM is scikit-image's with its defaults (windows of 7x7, the mean of the three channels).

    Raises
    ------
    InputError
        If they are smaller than a window.
    """
    from skimage.metrics import structural_similarity

    if min(first.shape[:2]) < _WINDOW:
        raise InputError(f"pictures of {first.shape[0]}x{first.shape[1]}: SSIM needs {_WINDOW}x{_WINDOW} at least")
    l2_rms = float(np.sqrt(np.mean((first / 255 - second / 255) ** 2)))
    return l2_rms, float(structural_similarity(first, second, channel_axis=2, data_range=255))


def measure_variation(
    baseline: Baseline,
    pictures: Sequence[Picture],
    labels: Sequence[int],
    answer: Callable[[Picture], NDArray[np.integer[Any]]],
    *,
    draws: int = 100,
    rng: np.random.Generator,
    tick: Callable[[int], Any] = lambda count: None,
) -> list[Variation]:
    """Defend each picture `draws` times, compare two of the results chosen at random, and ask about all of them.

    Parameters
    ----------
    baseline : Baseline
        One that is deterministic is asked once a picture; its two draws are the same.
    pictures : sequence of uint8 (H, W, 3)
    labels : sequence of int
    answer : callable
        uint8 (N, H, W, 3) -> the model's class for each, (N,).
    draws : int
        The paper has 100.
    tick : callable
        Told after each picture.
    """
    rows = []
    draws = draws if baseline.randomised else 1
    for picture, label in zip(pictures, labels, strict=True):
        chosen = rng.choice(draws, 2, replace=False) if draws > 1 else np.zeros(2, int)
        kept: dict[int, Picture] = {}
        right = 0
        for start in range(0, draws, _BATCH):
            count = min(_BATCH, draws - start)
            drawn = baseline.defend(np.repeat(picture[None], count, axis=0), rng)
            right += int((answer(drawn) == label).sum())
            kept |= {int(number): drawn[number - start] for number in chosen if start <= number < start + count}
        l2_rms, ssim = between_draws(kept[int(chosen[0])], kept[int(chosen[1])])
        rows.append(Variation(l2_rms, ssim, right, draws))
        tick(1)
    return rows
