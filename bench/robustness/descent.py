"""The paper's attack, judged after every round: plain descent, the defence taken for the identity on the way back.

Athalye, Carlini and Wagner, "Obfuscated Gradients Give a False Sense of Security", 2018 (BPDA), as Qiu et al. used it:
learning rate 0.1, an image is done when the defended model gives the target or its l2_rms reaches the bound.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bench.attacks.base import Attackable, Classes, Images, to_unit, try_out
from bench.attacks.descent import descend, plain_descent
from bench.attacks.norms import sizes
from bench.attacks.pictures import as_pictures
from bench.robustness.judge import Answers, Defend, Verdict, ask
from edgedefend.combining import NOBODY, Vote

__all__ = ["Rounds", "descend_in_rounds"]

# A projected image lies a hair inside the bound.
_AT_BOUND = 1 - 1e-4


@dataclass(frozen=True)
class Rounds:
    """What became of each image; arrays have a row an image.

    Attributes
    ----------
    images : float32 (N, H, W, 3)
        In [0, 1].
    verdicts : list of list of Verdict
        One list a round, the clean picture's first; an image that is done keeps its last verdict.
    own_success, at_bound : bool (N,)
        Why it stopped: the attack's own draws gave the target (the paper's count of successes), or the bound.
    queries, steps, nonfinite : int64 (N,)
    """

    images: Images
    verdicts: list[list[Verdict]]
    own_success: NDArray[np.bool_]
    at_bound: NDArray[np.bool_]
    queries: NDArray[np.int64]
    steps: NDArray[np.int64]
    nonfinite: NDArray[np.int64]


class _Watcher:
    """Looks at the images after every round: asks fresh draws about them, and says which are done."""

    def __init__(
        self,
        model: Attackable,
        bare: Answers,
        defend: Defend,
        clean: NDArray[np.uint8],
        labels: Classes,
        targets: Classes,
        bound: float,
        draws: int,
        stop_draws: int,
        rng: np.random.Generator,
        judge_rng: np.random.Generator,
        averaged: int,
        vote: Vote,
        milder: Defend | None,
    ) -> None:
        self._model, self._bare, self._defend = model, bare, defend
        self._clean, self._labels, self._targets = clean, labels, targets
        self._bound, self._draws, self._stop_draws = bound, draws, stop_draws
        self._rng, self._judge_rng = rng, judge_rng
        self._averaged, self._vote, self._milder = averaged, vote, milder
        self.own_success, self.at_bound = np.zeros(len(clean), bool), np.zeros(len(clean), bool)
        self._latest = self._ask(clean, np.arange(len(clean)))
        self.verdicts = [list(self._latest)]

    def _ask(self, pictures: NDArray[np.uint8], rows: NDArray[np.intp]) -> list[Verdict]:
        return ask(
            self._bare, self._defend, pictures, self._labels[rows], self._targets[rows],
            draws=self._draws, rng=self._judge_rng, averaged=self._averaged, vote=self._vote,
            milder=self._milder,
        )  # fmt: skip

    def __call__(self, step: int, images: Images) -> NDArray[np.bool_]:
        del step
        open_ = np.flatnonzero(~(self.own_success | self.at_bound))
        fresh = self._ask(as_pictures(images[open_], self._clean[open_]), open_)
        for row, verdict in zip(open_.tolist(), fresh, strict=True):
            self._latest[row] = verdict
        self.verdicts.append(list(self._latest))
        rate, _ = try_out(
            self._model, images[open_], self._targets[open_], targeted=True, draws=self._stop_draws, rng=self._rng
        )
        l2_rms, _ = sizes(images[open_], to_unit(self._clean[open_]))
        self.own_success[open_] = rate > 0.5
        self.at_bound[open_] = (l2_rms >= self._bound * _AT_BOUND) & (rate <= 0.5)
        return self.own_success | self.at_bound


def descend_in_rounds(
    model: Attackable,
    bare: Answers,
    defend: Defend,
    clean: NDArray[np.uint8],
    labels: Classes,
    targets: Classes,
    *,
    rounds: int,
    learning_rate: float,
    bound: float,
    draws: int,
    stop_draws: int,
    rng: np.random.Generator,
    judge_rng: np.random.Generator,
    averaged: int = 1,
    vote: Vote = NOBODY,
    milder: Defend | None = None,
) -> Rounds:
    """Attack a batch towards `targets`, asking fresh draws after every round.

    Parameters
    ----------
    model : Attackable
        Behind the defence: `bench.attacks.wrappers.Bpda` with the identity on the way back, in `Eot` for BPDA+EOT.
    bare : Answers
        The model without the defence, for the verdicts.
    defend : callable
        ``(uint8 (N, H, W, 3), rng) -> uint8``, for the verdicts.
    bound : float
        l2_rms.
    draws : int
        Answers a round, each on fresh draws of which the attack knows nothing.
    stop_draws : int
        Draws of the attack's own that decide whether it is done: one in the paper's BPDA.
    averaged : int
        Draws of which an answer is the mean.
    vote, milder
        Whose answer counts beside them, see `bench.robustness.judge.ask`.
    """
    watcher = _Watcher(
        model, bare, defend, clean, labels, targets, bound, draws, stop_draws, rng, judge_rng, averaged, vote, milder
    )
    trace = descend(
        plain_descent(rounds, learning_rate=learning_rate),
        model,
        to_unit(clean),
        targets,
        True,
        epsilon=bound,
        norm="l2_rms",
        rng=rng,
        progress=watcher,
    )
    return Rounds(
        trace.images,
        watcher.verdicts,
        watcher.own_success,
        watcher.at_bound,
        trace.queries,
        trace.steps,
        trace.nonfinite,
    )
