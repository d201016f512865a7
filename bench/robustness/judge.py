"""The verdict on an attacked picture: rounded to 8 bits first, then asked about on draws that no attack has seen.

A defence that draws at random answers one picture in many ways. What is reported is the fraction of fresh draws with
the right answer and the fraction with the attacker's. Where an attacker has several attempts to choose from he
chooses by draws of his own ("select"); the figures come from others ("judge"), or the choice itself would flatter
him.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypedDict

import numpy as np
from numpy.typing import NDArray

from bench.attacks.base import to_unit
from bench.attacks.norms import sizes
from edgedefend.classifier import softmax
from edgedefend.errors import InputError
from edgedefend.suspicion import DRAWS, suspicion_score

__all__ = ["Answers", "Verdict", "as_pictures", "ask", "distortion"]

_BATCH = 32
_MOST_AMPLIFICATION = 16.0
_BISECTIONS = 24


class Answers(Protocol):
    """A classifier of float32 (N, H, W, 3) images in [0, 1]."""

    def logits(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (N, classes)."""


Defend = Callable[[NDArray[np.uint8], np.random.Generator], NDArray[np.uint8]]


class Verdict(TypedDict):
    """Of one picture: the fractions of `draws` with the right answer and with the target, and answers that are NaN.

    `suspicion` is the score of `edgedefend.suspicion`, None where it was not asked for or there is nothing to compare.
    """

    right: float
    hit: float
    draws: int
    nonfinite: int
    suspicion: float | None


def distortion(
    pictures: NDArray[np.uint8], clean: NDArray[np.uint8]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return l2_rms and linf of each picture (see `bench.attacks.norms.sizes`)."""
    return sizes(to_unit(pictures), to_unit(clean))


def as_pictures(
    images: NDArray[np.float32], clean: NDArray[np.uint8], *, norm: str = "l2_rms", limit: float | None = None
) -> NDArray[np.uint8]:
    """Round attacked images to the 8 bits of a picture without giving the attacker less, or more, than he had.

    Rounding loses every change below half a level, which at an l2_rms of 0.002 (half a level) is most of it. So the
    change is scaled until the rounded picture has the l2_rms that the image had: the largest changes are kept. The
    result is what a camera, a file or a request can carry, and what the defence takes.

    Parameters
    ----------
    images : float32 (N, H, W, 3)
        In [0, 1].
    clean : uint8 (N, H, W, 3)
    norm : {"l2_rms", "linf"}
    limit : float, optional
        Largest distortion, in the same norm; by default the one that each image has.

    Returns
    -------
    uint8 (N, H, W, 3)
        Never beyond the limit; an image that is not finite comes back clean.
    """
    if norm not in ("l2_rms", "linf"):
        raise InputError(f"norm is {norm!r}, expected 'l2_rms' or 'linf'")
    base = clean.astype(np.float64)
    out = clean.copy()
    for number, image in enumerate(images):
        change = image.astype(np.float64) * 255 - base[number]
        if not np.isfinite(change).all():
            continue
        if norm == "linf":
            most = np.abs(change).max() if limit is None else limit * 255
            # Half a level is a whole one or none: towards zero, so that the bound holds.
            change = np.clip(np.rint(change), -np.floor(most + 1e-6), np.floor(most + 1e-6))
            out[number] = np.clip(base[number] + change, 0, 255).astype(np.uint8)
            continue
        most = np.sqrt(np.mean(change**2)) if limit is None else min(limit * 255, np.sqrt(np.mean(change**2)))
        out[number] = _scaled(base[number], change, most)
    return out


def _scaled(base: NDArray[np.float64], change: NDArray[np.float64], most: float) -> NDArray[np.uint8]:
    """Return the rounded picture of the largest scale of `change` whose rms, in levels, is not above `most`."""

    def picture(scale: float) -> NDArray[np.float64]:
        return np.clip(np.rint(base + scale * change), 0, 255)

    low, high = 0.0, _MOST_AMPLIFICATION
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if np.sqrt(np.mean((picture(middle) - base) ** 2)) <= most:
            low = middle
        else:
            high = middle
    return picture(low).astype(np.uint8)


def ask(
    model: Answers,
    defend: Defend,
    pictures: NDArray[np.uint8],
    labels: NDArray[np.int32],
    targets: NDArray[np.int32] | None,
    *,
    draws: int,
    rng: np.random.Generator,
    suspicion: bool = False,
) -> list[Verdict]:
    """Ask the defended model about each picture `draws` times, each time behind a fresh draw.

    Parameters
    ----------
    model : Answers
        Without the defence.
    defend : callable
        ``(uint8 (N, H, W, 3), rng) -> uint8 (N, H, W, 3)``, each picture with randomness of its own.
    labels, targets : int32 (N,)
        The right classes, and the attacker's where he has any: without them a wrong answer is a hit.
    draws : int
        1 for a defence that does not draw.
    rng : numpy.random.Generator
        A stream that no attack has used.
    suspicion : bool
        Whether to score how far the first draws and the undefended answer disagree.

    Returns
    -------
    list of Verdict
        One a picture. An answer that is not a number is neither right nor a hit.
    """
    logits = np.stack([_logits(model, pictures, defend, rng) for _ in range(draws)])
    finite = np.asarray(np.isfinite(logits).all(axis=2))
    answers = np.where(finite, logits.argmax(axis=2), -1)
    right = (answers == labels).sum(axis=0)
    wanted = answers != labels if targets is None else answers == targets
    hit = np.asarray(finite & wanted).sum(axis=0)
    scores: list[float | None] = [None] * len(pictures)
    if suspicion and draws > 1 and finite.all():
        bare = softmax(_logits(model, pictures))
        defended = softmax(logits[:DRAWS])
        scores = [round(suspicion_score(defended[:, i], bare[i]), 6) for i in range(len(pictures))]
    return [
        {
            "right": int(right[i]) / draws,
            "hit": int(hit[i]) / draws,
            "draws": draws,
            "nonfinite": int((~finite[:, i]).sum()),
            "suspicion": scores[i],
        }
        for i in range(len(pictures))
    ]


def _logits(
    model: Answers,
    pictures: NDArray[np.uint8],
    defend: Defend | None = None,
    rng: np.random.Generator | None = None,
) -> NDArray[np.float32]:
    """Return the answers to one draw of each picture, or to the pictures themselves, in batches."""
    parts = []
    for start in range(0, len(pictures), _BATCH):
        part = pictures[start : start + _BATCH]
        seen = part if defend is None or rng is None else defend(part, rng)
        parts.append(np.asarray(model.logits(to_unit(seen)), np.float32))
    return np.concatenate(parts)
