"""The paper's attack: gradient descent with a fixed rate, the defence taken for the identity on the way back.

Athalye, Carlini and Wagner, "Obfuscated Gradients Give a False Sense of Security", 2018 (BPDA), as Qiu et al. used it:
learning rate 0.1, an image is done when the defended model gives the target or its l2_rms reaches the bound. The gradient
is taken at the current iterate, and the bound ends the attack; in the published code of this defence's evaluation the
gradient was taken at the clean image, and the penalty that stood for the bound had no gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.robustness.judge import Answers, Defend, Verdict, as_pictures, ask, to_unit

__all__ = ["Descent", "descend"]


@dataclass(frozen=True)
class Descent:
    """What became of each image; arrays have a row an image.

    `images` float32 in [0, 1]; `verdicts` one list a round, the clean picture's first; `own_success` whether the attack's
    own draws said so when it stopped; `at_bound` whether it stopped at the bound.
    """

    images: NDArray[np.float32]
    verdicts: list[list[Verdict]]
    own_success: NDArray[np.bool_]
    at_bound: NDArray[np.bool_]
    queries: NDArray[np.int64]
    steps: NDArray[np.int64]
    nonfinite: NDArray[np.int64]


def descend(
    model: Any,
    bare: Answers,
    defend: Defend,
    clean: NDArray[np.uint8],
    labels: NDArray[np.int32],
    targets: NDArray[np.int32],
    *,
    rounds: int,
    learning_rate: float,
    eot_samples: int,
    bound: float,
    draws: int,
    rng: np.random.Generator,
    judge_rng: np.random.Generator,
) -> Descent:
    """Attack a batch, asking fresh draws after every round.

    Parameters
    ----------
    model : GradientModel
        Of the bare model: ``gradient(images, classes, targeted=True)`` is that of the loss towards the classes.
    bare : Answers
        The same model, for the verdicts.
    defend : callable
        ``(uint8 (N, H, W, 3), rng) -> uint8``.
    eot_samples : int
        Draws a gradient: 1 is BPDA, more are BPDA+EOT.
    bound : float
        l2_rms.
    draws : int
        Fresh draws a round.
    """
    start = to_unit(clean)
    images = start.copy()
    count = len(clean)
    open_ = np.ones(count, bool)
    own, at_bound = np.zeros(count, bool), np.zeros(count, bool)
    queries, steps, nonfinite = (np.zeros(count, np.int64) for _ in range(3))
    latest = ask(bare, defend, clean, labels, targets, draws=draws, rng=judge_rng)
    verdicts = [list(latest)]
    for _ in range(rounds):
        rows = np.flatnonzero(open_)
        if not rows.size:
            break
        pictures = np.clip(np.rint(images[rows] * 255), 0, 255).astype(np.uint8)
        total = np.zeros(images[rows].shape, np.float32)
        hits = np.zeros(len(rows))
        for _ in range(eot_samples):
            seen = to_unit(defend(pictures, rng))
            gradient, logits = model.gradient_and_logits(seen, targets[rows], targeted=True)
            total += gradient
            hits += logits.argmax(axis=1) == targets[rows]
        queries[rows] += eot_samples
        # Most of the attack's own draws, those the gradient came from, give the target: it is done.
        done = (2 * hits > eot_samples) & (steps[rows] > 0)
        bad = ~np.isfinite(total).all(axis=(1, 2, 3))
        nonfinite[rows] += bad
        moved = np.clip(images[rows] - learning_rate * total / eot_samples, 0, 1)
        beyond = np.sqrt(np.mean((moved - start[rows]) ** 2, axis=(1, 2, 3))) >= bound
        go_on = ~(done | bad | beyond)
        images[rows[go_on]] = moved[go_on]
        steps[rows[go_on]] += 1
        own[rows[done]] = True
        at_bound[rows[beyond & ~done & ~bad]] = True
        open_[rows[~go_on]] = False
        if go_on.any():
            active = rows[go_on]
            rounded = as_pictures(images[active], clean[active])
            fresh = ask(bare, defend, rounded, labels[active], targets[active], draws=draws, rng=judge_rng)
            for row, verdict in zip(active.tolist(), fresh, strict=True):
                latest[row] = verdict
        verdicts.append(list(latest))
    return Descent(images, verdicts, own, at_bound, queries, steps, nonfinite)
