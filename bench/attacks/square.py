"""A black-box attack that needs answers only: Square (Andriushchenko et al., "Square attack", ECCV 2020).

Random search: a square of the change is replaced by another; what makes the objective smaller is kept. Against a
defence that draws at random, the objective of an image is the mean over several answers, and the image held so far is
asked about again in every round: the luck with which it was chosen does not last. The attacker may see scores, or only
decisions. ART's Square was not used: see `docs/decisions`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.attacks.base import Attack, Attackable, AttackResult, Classes, Images, Request, fooled
from bench.attacks.norms import per_image, project
from edgedefend.errors import InputError

__all__ = ["Square"]

# The share of the image that a square covers is halved after these parts of all rounds (the paper's schedule).
_HALVED_AT = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
_TILES = 5


@dataclass(frozen=True)
class Square(Attack):
    """Square, targeted and untargeted, for l2_rms and linf.

    Attributes
    ----------
    rounds : int
    score_draws : int
        Answers that judge an image in a round; 1 where the model does not draw at random.
    share : float
        Of the image that the first squares cover; large, because few rounds are halved quickly.
    observe : {"scores", "decisions"}
        Whether the attacker sees the logits or only the answer; then the objective is the fraction of answers that
        are not what he wants.
    fresh_draws : int
        That judge the result.
    """

    rounds: int = 500
    score_draws: int = 4
    share: float = 0.8
    observe: str = "scores"
    fresh_draws: int = 10

    def __post_init__(self) -> None:
        if self.rounds < 1 or self.score_draws < 1 or not 0 < self.share <= 1:
            raise InputError(
                f"rounds {self.rounds}, score_draws {self.score_draws}, share {self.share}: expected rounds and draws "
                "from 1 and a share above 0 and at most 1"
            )
        if self.observe not in ("scores", "decisions"):
            raise InputError(f"observe is {self.observe!r}, expected 'scores' or 'decisions'")

    def run(self, request: Request) -> AttackResult:
        """Attack one batch; images all of whose answers are right for him rest."""
        model, images, classes, targeted = request.model, request.images, request.classes, request.targeted
        epsilon, norm, rng, progress = request.epsilon, request.norm, request.rng, request.progress
        draws = self.score_draws if model.randomised else 1
        count, size = len(images), images.shape[1:3]
        search = _LinfSearch(size, epsilon, rng) if norm == "linf" else _L2Search(size, epsilon, rng)
        held = _Held(images.copy(), count)
        queries, steps, nonfinite = (np.zeros(count, np.int64) for _ in range(3))
        active = np.arange(count)
        for number in range(self.rounds + 1):
            clean, now = images[active], held.images[active]
            change = search.start(clean) if number == 0 else search.move(now - clean, self._side(number - 1, size))
            candidates = project(clean + change, clean, epsilon, norm)
            # A deterministic model gives the image that is held the answer it gave before.
            again = number == 0 or model.randomised
            asked = np.concatenate([candidates, now]) if again else candidates
            wanted = np.concatenate([classes[active]] * (2 if again else 1))
            loss, hits, odd = self._objective(model, asked, wanted, targeted, draws, rng)
            n = active.size
            queries[active] += draws * (2 if again else 1)
            steps[active] += 1
            nonfinite[active] += odd.reshape(-1, n).sum(axis=0)
            if again:
                held.add(active, loss[n:], hits[n:], draws)
            # The start is taken as it is: the search needs a change to work on.
            better = (loss[:n] < held.loss(active)) | (number == 0)
            held.replace(active[better], candidates[better], loss[:n][better], hits[:n][better], draws)
            # With one answer a round, a random model has to say it twice.
            rested = held.fooled_always(active, 2 * draws if model.randomised else 1)
            active = active[~rested]
            if progress is not None:
                done = progress(number + 1, held.images)
                if done is not None:
                    active = active[~done[active]]
            if not active.size:
                break
        return request.verdict(
            held.images,
            draws=self.fresh_draws,
            gradient_queries=np.zeros(count, np.int64),
            steps=steps,
            score_queries=queries,
            nonfinite=nonfinite,
        )

    def _side(self, number: int, size: tuple[int, int]) -> int:
        """Return the side of the squares of a round, in pixels."""
        halvings = sum(number / self.rounds >= part for part in _HALVED_AT)
        return max(1, min(round(math.sqrt(self.share / 2**halvings * size[0] * size[1])), *size))

    def _objective(
        self,
        model: Attackable,
        images: Images,
        classes: Classes,
        targeted: bool,
        draws: int,
        rng: np.random.Generator,
    ) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
        """Return per image the mean objective, how many draws were fooled, and how many answers were not finite."""
        total, hits, odd = np.zeros(len(images)), np.zeros(len(images), np.int64), np.zeros(len(images), np.int64)
        for _ in range(draws):
            logits = model.logits(images, rng)
            finite = np.isfinite(logits).all(axis=1)
            hit = fooled(logits, classes, targeted)
            if self.observe == "decisions":
                loss = np.where(hit, 0.0, 1.0)
            else:
                loss = np.where(finite, _margin(logits, classes, targeted), np.inf)
            total, hits, odd = total + loss, hits + hit, odd + ~finite
        return total / draws, hits, odd


def _margin(logits: NDArray[np.float32], classes: Classes, targeted: bool) -> NDArray[np.float64]:
    """Return how far each answer is from what the attacker wants: below zero where it is that."""
    rows = np.arange(len(classes))
    own = logits[rows, classes].astype(np.float64)
    others = logits.astype(np.float64)
    others[rows, classes] = -np.inf
    margin: NDArray[np.float64] = others.max(axis=1) - own
    return margin if targeted else -margin


class _Held:
    """The images found so far, with all that has been heard about them."""

    def __init__(self, images: Images, count: int) -> None:
        self.images = images
        self._total, self._rounds = np.zeros(count), np.zeros(count)
        self._hits, self._answers = np.zeros(count, np.int64), np.zeros(count, np.int64)

    def add(self, which: NDArray[np.intp], loss: NDArray[np.float64], hits: NDArray[np.int64], draws: int) -> None:
        self._total[which] += loss
        self._rounds[which] += 1
        self._hits[which] += hits
        self._answers[which] += draws

    def replace(
        self,
        which: NDArray[np.intp],
        images: Images,
        loss: NDArray[np.float64],
        hits: NDArray[np.int64],
        draws: int,
    ) -> None:
        self.images[which] = images
        self._total[which], self._rounds[which] = loss, 1
        self._hits[which], self._answers[which] = hits, draws

    def loss(self, which: NDArray[np.intp]) -> NDArray[np.float64]:
        return self._total[which] / self._rounds[which]

    def fooled_always(self, which: NDArray[np.intp], answers: int) -> NDArray[np.bool_]:
        return (self._answers[which] >= answers) & (self._hits[which] == self._answers[which])


class _LinfSearch:
    """Changes whose every value is plus or minus epsilon."""

    def __init__(self, size: tuple[int, int], epsilon: float, rng: np.random.Generator) -> None:
        self._size, self._epsilon, self._rng = size, np.float32(epsilon), rng

    def start(self, clean: Images) -> Images:
        """Vertical stripes, one pixel wide: convolutions are sensitive to them."""
        signs = _signs(self._rng, (len(clean), 1, self._size[1], 3))
        return np.broadcast_to(self._epsilon * signs, clean.shape)

    def move(self, change: Images, side: int) -> Images:
        """Fill one square of each image with a colour."""
        new = change.copy()
        for one in new:
            y, x = (int(self._rng.integers(0, length - side + 1)) for length in self._size)
            one[y : y + side, x : x + side] = self._epsilon * _signs(self._rng, (3,))
        return new


class _L2Search:
    """Changes that use all of their Euclidean budget and move it from one place to another."""

    def __init__(self, size: tuple[int, int], epsilon: float, rng: np.random.Generator) -> None:
        self._size, self._rng = size, rng
        self._budget = epsilon**2 * size[0] * size[1] * 3  # of the sum of squares

    def start(self, clean: Images) -> Images:
        """Cover the image with bumps."""
        change = np.zeros_like(clean)
        height, width = (max(1, length // _TILES) for length in self._size)
        for one in change:
            for y in range(0, self._size[0] - height + 1, height):
                for x in range(0, self._size[1] - width + 1, width):
                    one[y : y + height, x : x + width] = self._bump(height, width)
        size = np.sqrt(np.sum(np.square(change, dtype=np.float64), axis=(1, 2, 3)))
        return change * per_image(math.sqrt(self._budget) / np.maximum(size, 1e-12))

    def move(self, change: Images, side: int) -> Images:
        """Take what is in two squares away, and put a new bump with all of it into the first."""
        side = max(side, min(3, *self._size))
        new = change.copy()
        for one in new:
            corners = [tuple(int(self._rng.integers(0, length - side + 1)) for length in self._size) for _ in range(2)]
            first, second = (one[y : y + side, x : x + side] for y, x in corners)
            before = first.copy()
            second[:] = 0
            first[:] = 0
            left = self._budget - float(np.sum(np.square(one, dtype=np.float64)))
            bump = self._bump(side, side)
            # What was there pulls the new bump its way, channel by channel, as in the paper.
            size = np.sqrt(np.sum(np.square(before), axis=(0, 1), keepdims=True))
            bump += before / np.maximum(size, 1e-9)
            bump *= np.float32(math.sqrt(max(left, 0.0)) / max(float(np.linalg.norm(bump)), 1e-12))
            first[:] = bump
        return new

    def _bump(self, height: int, width: int) -> NDArray[np.float32]:
        """Return two neighbouring bumps of opposite sign, one sign a channel; each channel has Euclidean size 1."""
        half = max(height // 2, 1)
        shape = np.zeros((height, width))
        shape[:half] = _rings(half, width)
        shape[half:] = -_rings(height - half, width) if height > half else 0
        if height == width and self._rng.random() < 0.5:
            shape = shape.T
        shape /= np.linalg.norm(shape)
        return shape[..., None].astype(np.float32) * _signs(self._rng, (3,))


def _signs(rng: np.random.Generator, shape: tuple[int, ...]) -> NDArray[np.float32]:
    return np.where(rng.random(shape) < 0.5, np.float32(-1), np.float32(1))


def _rings(height: int, width: int) -> NDArray[np.float64]:
    """Return nested rectangles around the middle, each adding 1 / (its distance from the middle)^2."""
    rings = np.zeros((height, width))
    deep = max(1, min(height, width) // 2)
    for level in range(deep):
        # From the whole rectangle (furthest out) to its core.
        y, x = level * height // (2 * deep), level * width // (2 * deep)
        rings[y : height - y, x : width - x] += 1.0 / (deep - level) ** 2
    return rings
