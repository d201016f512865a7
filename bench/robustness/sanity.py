"""Is the evaluation itself to be believed? Each check can mark a result `unreliable`, and says why.

An attack that fails may be a bad attack. These are the signs by which published evaluations were found wrong: Carlini
et al., "On Evaluating Adversarial Robustness", 2019, and the flags of AutoAttack (Croce and Hein, 2020).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from bench.robustness.store import Record

__all__ = [
    "Check",
    "GradientProbe",
    "black_box",
    "current_iterate",
    "finite_gradients",
    "fresh_draws",
    "more_steps",
    "nonzero_gradients",
    "several_draws",
    "unbounded",
    "unreliable",
]

# Two attacks on the same few images differ by chance; beyond this they do not.
_MARGIN = 0.1
_UNBOUNDED = 0.95


class Check(TypedDict):
    """One check: `passed` is None where it could not be made."""

    name: str
    passed: bool | None
    detail: str


def _rate(records: Sequence[Record], defense: str, what: str = "hit") -> float:
    return float(np.mean([record["judge"][defense][what] for record in records]))


def _common(first: Iterable[Record], second: Iterable[Record]) -> tuple[list[Record], list[Record]]:
    """Return the records of the images that both have, in the same order."""
    left, right = ({str(record["image"]): record for record in side} for side in (first, second))
    images = sorted(left.keys() & right.keys())
    return [left[image] for image in images], [right[image] for image in images]


def more_steps(
    short: Mapping[str, float],
    long: Mapping[str, float],
    largest: float,
    factor: int,
    undefended: tuple[Mapping[str, float], Mapping[str, float]] | None = None,
) -> Check:
    """An attack that gains from more steps had not converged: the defence looks better than it is.

    Success at one distortion would not tell: where all attacks succeed, or none, more steps cannot change it.

    Parameters
    ----------
    short, long : mapping
        Image -> smallest l2_rms that succeeds, infinity if none does; the common images are compared.
    largest : float
        The largest l2_rms that both have tried. An image that withstood, or fell only beyond it, counts with this.
    factor : int
        How many times the steps the second took.
    undefended : pair of mappings, optional
        The same of the bare model: what is quoted is how many times its distortion a defence asks for.
    """
    name = "more steps do not help"
    change, n = _change(short, long, largest)
    same = [{image: side[image] for image in side if image in short and image in long} for side in undefended or ()]
    bare, bare_n = _change(same[0], same[1], largest) if same else (1.0, 0)
    if not n:
        return {"name": name, "passed": None, "detail": "not run"}
    detail = f"with {factor} times the steps the smallest distortion is {change:.2f} times as large"
    if bare_n:
        detail += f", the bare model's {bare:.2f}"
    return {
        "name": name,
        # What is quoted moves by less than a tenth, what it is made of by less than a fifth.
        "passed": change >= min(1.0, bare) * (1 - _MARGIN) and change >= 1 - 2 * _MARGIN,
        "detail": f"{detail} (geometric mean, n = {n})",
    }


def _change(short: Mapping[str, float], long: Mapping[str, float], largest: float) -> tuple[float, int]:
    """Return how the distortions of the common images change, their geometric mean, and how many images these are."""
    images = sorted(short.keys() & long.keys())
    if not images:
        return 1.0, 0
    before, after = (np.minimum([side[image] for image in images], largest) for side in (short, long))
    return float(np.exp(np.log(after / before).mean())), len(images)


def black_box(white: Iterable[Record], black: Mapping[str, Iterable[Record]], defense: str) -> Check:
    """An attack without gradients that beats one with them shows that the gradients are masked."""
    name = "no black-box attack beats the white-box attack"
    held = list(white)
    best: tuple[float, float, str, int] | None = None
    for attack, records in black.items():
        ours, theirs = _common(held, records)
        if ours:
            gain = (1 - _rate(theirs, defense, "right")) - (1 - _rate(ours, defense, "right"))
            if best is None or gain > best[0]:
                best = (gain, 1 - _rate(theirs, defense, "right"), attack, len(ours))
    if best is None:
        return {"name": name, "passed": None, "detail": "not run"}
    gain, rate, attack, n = best
    return {
        "name": name,
        "passed": gain <= _MARGIN,
        "detail": f"wrong answers under {attack} {rate:.2f}, under the white-box attack {rate - gain:.2f} (n = {n})",
    }


def unbounded(records: Iterable[Record], defense: str) -> Check:
    """Without a bound every picture can be made into any other: an attack that then fails is broken."""
    name = "an attack without a bound succeeds"
    held = list(records)
    if not held:
        return {"name": name, "passed": None, "detail": "not run"}
    rate = _rate(held, defense)
    return {
        "name": name,
        "passed": rate >= _UNBOUNDED,
        "detail": f"targeted success {rate:.2f} at l2_rms up to {max(r['l2_rms'] for r in held):.2f} (n = {len(held)})",
    }


def several_draws(records: Iterable[Record], defense: str, *, randomised: bool) -> Check:
    """What a random defence answers once says little about what it answers the next time."""
    draws = [int(record["judge"][defense]["draws"]) for record in records if defense in record["judge"]]
    fewest = min(draws, default=0)
    return {
        "name": "a random answer is judged by several draws",
        "passed": None if not draws else fewest > 1 or not randomised,
        "detail": f"{fewest} draws a picture" if randomised else "this defence does not draw",
    }


def fresh_draws(records: Iterable[Record]) -> Check:
    """Success on the draws that the attack was made with is no success."""
    held = [str(record.get("judged_on", "")) for record in records]
    stale = sum(kind != "fresh" for kind in held)
    return {
        "name": "success is judged on fresh draws",
        "passed": None if not held else stale == 0,
        "detail": f"{stale} of {len(held)} results were judged on the attack's own draws",
    }


def finite_gradients(records: Iterable[Record]) -> Check:
    """A gradient that is not a number moves nothing; the image counts as not attacked."""
    held = [int(record.get("nonfinite", 0)) for record in records]
    bad = sum(count > 0 for count in held)
    return {
        "name": "gradients are numbers",
        "passed": None if not held else bad == 0,
        "detail": f"NaN or infinity in {bad} of {len(held)} attacks",
    }


class GradientProbe:
    """A model for an attack that remembers where its gradients were taken and how many of them were zero.

    Everything but the gradients is the wrapped model's own.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self.points: list[NDArray[np.float32]] = []
        self.zero = self.total = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def gradient(self, images: NDArray[np.float32], *args: Any, **options: Any) -> Any:
        """Pass on a gradient, looking at where it is taken and whether it says anything."""
        result = self._model.gradient(images, *args, **options)
        self.points.append(np.array(images, np.float32))
        flat = result.gradient.reshape(len(result.gradient), -1)
        self.total += len(flat)
        self.zero += int((np.abs(flat).max(axis=1) == 0).sum())
        return result


def nonzero_gradients(probe: GradientProbe) -> Check:
    """A gradient of zero leads an attack nowhere: rounding, clipping or saturation hides the true one."""
    return {
        "name": "gradients are not zero",
        "passed": None if not probe.total else probe.zero == 0,
        "detail": f"{probe.zero} of {probe.total} gradients were zero",
    }


def current_iterate(probe: GradientProbe, result: NDArray[np.float32]) -> Check:
    """The gradient has to be taken where the attack stands, not at the clean image.

    Parameters
    ----------
    probe : GradientProbe
        After a whole attack of at least three steps on the images of `result`.
    result : float32 (N, H, W, 3)
        What the attack returned.
    """
    name = "the gradient is taken at the current iterate"
    shapes = [point for point in probe.points if point.shape == result.shape]
    if len(shapes) < 3:
        return {"name": name, "passed": None, "detail": "the attack took too few gradients to tell"}
    moved = [float(np.abs(point - shapes[0]).max()) for point in shapes[1:]]
    travelled = float(np.abs(result - shapes[0]).max())
    fixed = sum(step == 0 for step in moved)
    return {
        "name": name,
        "passed": travelled == 0 or fixed < len(moved),
        "detail": f"{fixed} of {len(moved)} later gradients were taken where the first one was",
    }


def unreliable(checks: Iterable[Check]) -> list[str]:
    """Return the reasons not to believe a result: the checks that failed."""
    return [f"{check['name']}: {check['detail']}" for check in checks if check["passed"] is False]
