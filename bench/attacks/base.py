"""What an attack needs of a model, what it is called with, and what it gives back."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from bench.attacks.norms import check_norm, sizes
from bench.attacks.pictures import as_pictures
from edgedefend.errors import InputError

__all__ = [
    "Attack", "AttackResult", "Attackable", "Gradient", "Images", "Progress", "Request", "fooled", "to_pictures",
    "to_unit", "try_out",
]  # fmt: skip

Images = NDArray[np.float32]
Classes = NDArray[np.int32]
# Told after each step its number (from 1) and the images as they are then; may return which of them (bool, (N,)) are
# done: these are left as they are.
Progress = Callable[[int, Images], "NDArray[np.bool_] | None"]


class Gradient(NamedTuple):
    """The gradient of the attacker's objective: what he wants to be small.

    Attributes
    ----------
    gradient : float32 (N, H, W, 3)
        The mean over the draws whose gradient is finite; zero where there is none.
    logits : float32 (N, draws, classes)
        The answers that the gradients belong to.
    loss : float64 (N,)
        The mean of the objective over the draws with a finite one, infinity where there is none.
    nonfinite : int64 (N,)
        Draws whose gradient or loss was NaN or infinite.
    queries : int
        Gradients taken for each image.
    """

    gradient: Images
    logits: NDArray[np.float32]
    loss: NDArray[np.float64]
    nonfinite: NDArray[np.int64]
    queries: int


class Attackable(Protocol):
    """A classifier of images in [0, 1], with or without a defence in front."""

    @property
    def randomised(self) -> bool:
        """Whether two calls with the same images may give different answers."""

    def logits(self, images: Images, rng: np.random.Generator | None = None) -> NDArray[np.float32]:
        """Return (N, classes), each image behind a draw of its own from `rng`."""

    def gradient(
        self,
        images: Images,
        classes: Classes,
        *,
        targeted: bool,
        loss: str = "cross_entropy",
        rng: np.random.Generator | None = None,
    ) -> Gradient:
        """Return the gradient of the objective: `classes` shall be the answer (targeted) or shall not be."""


@dataclass(frozen=True)
class AttackResult:
    """What an attack made of N images; every attribute has a row an image.

    Attributes
    ----------
    images : float32 (N, H, W, 3)
        In [0, 1], within the epsilon asked for.
    success : bool (N,)
        At least half of the fresh draws give what the attacker wants.
    success_rate : float64 (N,)
        The fraction of fresh draws that do; a deterministic model is asked once.
    l2_rms, linf : float64 (N,)
    gradient_queries : int64 (N,)
        Gradients of single draws.
    score_queries : int64 (N,)
        Answers asked for beyond those that came with a gradient; the final verdict does not count.
    steps : int64 (N,)
    nonfinite : int64 (N,)
        Gradients and answers that were NaN or infinite. Such a gradient moves nothing, such an answer is no success.
    """

    images: Images
    success: NDArray[np.bool_]
    success_rate: NDArray[np.float64]
    l2_rms: NDArray[np.float64]
    linf: NDArray[np.float64]
    gradient_queries: NDArray[np.int64]
    score_queries: NDArray[np.int64]
    steps: NDArray[np.int64]
    nonfinite: NDArray[np.int64]


@dataclass(frozen=True)
class Request:
    """One batch to attack, checked.

    Attributes
    ----------
    model : Attackable
    images : float32 (N, H, W, 3)
        The clean images, in [0, 1], at the model's input size.
    labels : int32 (N,)
        Their classes.
    target_classes : int32 (N,) or None
        What each shall be taken for; None is content with anything but its label.
    epsilon : float
        Largest distortion, in `norm`, of images in [0, 1].
    norm : {"l2_rms", "linf"}
    rng : numpy.random.Generator
        Of the attack and of every draw of the defence it makes.
    progress : callable, optional
        See `Progress`; attacks of other people's libraries call it once, at the end.

    Raises
    ------
    InputError
        If it makes no sense.
    """

    model: Attackable
    images: Images
    labels: Classes
    target_classes: Classes | None
    epsilon: float
    norm: str
    rng: np.random.Generator
    progress: Progress | None = None

    def __post_init__(self) -> None:
        check_norm(self.norm, self.epsilon)
        images, labels, targets = self.images, self.labels, self.target_classes
        if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.float32 or not len(images):
            raise InputError(f"images are {images.dtype} {images.shape}, expected float32 (N, height, width, 3)")
        if not (images.min() >= 0 and images.max() <= 1):
            raise InputError("images must lie in [0, 1]: divide pixel levels by 255")
        if labels.shape != (len(images),) or (targets is not None and targets.shape != labels.shape):
            raise InputError(f"{len(images)} images need as many labels, and as many target classes or none")
        if targets is not None and (targets == labels).any():
            raise InputError("a target class is the image's own label: expected another class")

    @property
    def targeted(self) -> bool:
        """Whether each image shall be taken for a given class."""
        return self.target_classes is not None

    @property
    def classes(self) -> Classes:
        """The classes that the objective is about: the targets, or the labels to get away from."""
        return self.labels if self.target_classes is None else self.target_classes

    def verdict(
        self,
        images: Images,
        *,
        draws: int,
        gradient_queries: NDArray[np.int64],
        steps: NDArray[np.int64],
        pictures: bool = False,
        score_queries: NDArray[np.int64] | None = None,
        nonfinite: NDArray[np.int64] | None = None,
    ) -> AttackResult:
        """Judge attacked images on draws that no attack has seen, and put the result together.

        With `pictures` the model is shown what `bench.attacks.pictures.as_pictures` makes of them.
        """
        shown = to_unit(as_pictures(images, to_pictures(self.images), norm=self.norm)) if pictures else images
        rate, odd = try_out(self.model, shown, self.classes, targeted=self.targeted, draws=draws, rng=self.rng)
        l2_rms, linf = sizes(images, self.images)
        return AttackResult(
            images=images,
            success=rate >= 0.5,
            success_rate=rate,
            l2_rms=l2_rms,
            linf=linf,
            gradient_queries=gradient_queries,
            score_queries=np.zeros_like(steps) if score_queries is None else score_queries,
            steps=steps,
            nonfinite=odd if nonfinite is None else odd + nonfinite,
        )


class Attack(ABC):
    """An attack, ready to be run with its settings."""

    def __call__(
        self,
        model: Attackable,
        images: Images,
        labels: Classes,
        target_classes: Classes | None,
        *,
        epsilon: float,
        norm: str,
        rng: np.random.Generator,
        progress: Progress | None = None,
    ) -> AttackResult:
        """Attack a batch; the parameters are those of `Request`.

        Raises
        ------
        InputError
            If the request makes no sense, or the attack does not do this norm or goal.
        """
        return self.run(Request(model, images, labels, target_classes, epsilon, norm, rng, progress))

    @abstractmethod
    def run(self, request: Request) -> AttackResult:
        """Attack one batch."""


def to_pictures(images: Images) -> NDArray[np.uint8]:
    """Return images in [0, 1] as whole levels 0..255, the only thing that a defence takes."""
    return np.rint(np.clip(images, 0, 1) * 255).astype(np.uint8)


def to_unit(pictures: NDArray[np.uint8]) -> Images:
    """Return levels 0..255 as float32 in [0, 1]."""
    return pictures.astype(np.float32) / np.float32(255)


def fooled(logits: NDArray[np.float32], classes: Classes, targeted: bool) -> NDArray[np.bool_]:
    """Return which answers are what the attacker wants; one that is not finite never is.

    Parameters
    ----------
    logits : (N, classes) or (N, draws, classes)

    Returns
    -------
    bool (N,) or (N, draws)
    """
    own = classes.reshape(-1, *(1,) * (logits.ndim - 2))
    answers = logits.argmax(axis=-1)
    return np.isfinite(logits).all(axis=-1) & ((answers == own) if targeted else (answers != own))


def try_out(
    model: Attackable, images: Images, classes: Classes, *, targeted: bool, draws: int, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return the fraction of `draws` fresh draws that fool each image, and how many answers were not finite."""
    if not model.randomised:
        draws = 1
    hits, nonfinite = np.zeros(len(images)), np.zeros(len(images), np.int64)
    for _ in range(draws):
        logits = model.logits(images, rng)
        hits += fooled(logits, classes, targeted)
        nonfinite += ~np.isfinite(logits).all(axis=-1)
    return hits / draws, nonfinite
