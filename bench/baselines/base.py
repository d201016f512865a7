"""What every defence of the comparison is: pictures in, pictures of the same size out, and what may be said of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from bench.baselines.reported import REPORTED, Reported
from edgedefend.combining import NOBODY, Vote
from edgedefend.defense import Defense
from edgedefend.errors import InputError

if TYPE_CHECKING:
    from convert.models import LoadedModel

__all__ = ["Baseline", "Ingredients", "Picture", "as_levels", "each_with_its_rng"]

Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Ingredients:
    """What defences are made from; it can be pickled and hashed.

    Attributes
    ----------
    quant_table, num_steps, distort_limit, passes, noise_std, draws, vote
        Of our own method; `draws` is how many an answer is the mean of, `vote` whose answer counts beside them.
    trained : Path, optional
        The folder that `bench train-baseline` writes: patch base, generative model, denoiser, retrained weights.
    weights_sha256 : str
        Of the model behind the defence: a part that was trained on another model is refused. "" takes any.
    """

    quant_table: tuple[tuple[float, ...], ...]
    num_steps: int = 10
    distort_limit: float = 0.25
    trained: Path | None = None
    weights_sha256: str = ""
    passes: int = 1
    noise_std: float = 0.0
    draws: int = 1
    vote: Vote = NOBODY

    def defense(self) -> Defense:
        """Return our own method."""
        return Defense.of(self)


class Baseline(ABC):
    """One defence.

    A subclass says what it does to one picture (`one`), and, where it needs a trained part, why it cannot (`missing`).

    Attributes
    ----------
    name, title : str
        In the registry; in the paper's tables.
    source : str
        Where it was published.
    randomised : bool
        Whether two draws of one picture may differ.
    costly : bool
        Whether a picture takes so long that its security curve is made with the search for the smallest change alone.
    answer_draws : int
        Draws whose answers are averaged here: one, but for our own method in a bundle that asks for more.
    answer_vote : Vote
        Whose answer counts beside them: nobody's, but for our own method in a bundle that says so.
    ingredients : Ingredients
        What it was made from.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    source: ClassVar[str]
    randomised: ClassVar[bool]
    costly: ClassVar[bool] = False

    def __init__(self, ingredients: Ingredients) -> None:
        self.ingredients = ingredients

    @property
    def answer_draws(self) -> int:
        """Of how many draws an answer is the mean."""
        return 1

    @property
    def answer_vote(self) -> Vote:
        """Whose answer counts beside them."""
        return NOBODY

    @property
    def milder(self) -> Baseline | None:
        """The defence behind which those answer who vote, where these are not the undefended model."""
        return None

    @property
    def reported(self) -> Reported:
        """The paper's own figures for this defence."""
        return REPORTED[self.name]

    @property
    def missing(self) -> str:
        """One line that says what is missing before it can be measured and how to get it, "" for nothing."""
        return ""

    @property
    def available(self) -> bool:
        """Whether it can be measured here."""
        return not self.missing

    @property
    def evidence(self) -> str:
        """What a table may call its figures: "measured", or "reported" where only the paper's own exist."""
        return "measured" if self.available else "reported"

    @property
    def remark(self) -> str:
        """How what runs here differs from the original, for a table's footnote; "" where it does not."""
        return ""

    def classifier(self, model: LoadedModel) -> LoadedModel:
        """Return the classifier to put behind this defence: `model` itself, unless it is one that retrains."""
        return model

    def defend(self, pictures: Picture, rng: np.random.Generator) -> Picture:
        """Defend a batch.

        Parameters
        ----------
        pictures : uint8 (N, H, W, 3)
            RGB. They are not modified.
        rng : numpy.random.Generator
            Each picture gets a stream of its own from it: what happens to one does not depend on the others.

        Returns
        -------
        uint8 (N, H, W, 3)

        Raises
        ------
        InputError
            If the pictures are not such, or a trained part is missing.
        """
        if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[3] != 3 or 0 in pictures.shape[1:]:
            raise InputError(f"pictures are {pictures.dtype} {pictures.shape}, expected uint8 (N, height, width, 3)")
        if self.missing:
            raise InputError(self.missing)
        return self._defend(pictures, rng)

    def _defend(self, pictures: Picture, rng: np.random.Generator) -> Picture:
        """Defend one picture after the other; a defence that gains from a batch does it another way."""
        out = np.empty_like(pictures)
        for slot, (picture, own) in zip(out, each_with_its_rng(pictures, rng), strict=True):
            slot[...] = self.one(picture, own)
        return out

    @abstractmethod
    def one(self, picture: Picture, rng: np.random.Generator) -> Picture:
        """Defend one picture, uint8 (H, W, 3)."""


def each_with_its_rng(pictures: Picture, rng: np.random.Generator) -> Iterator[tuple[Picture, np.random.Generator]]:
    """Yield each picture with a generator of its own, seeded from `rng`."""
    for picture, seed in zip(pictures, rng.integers(2**63, size=len(pictures)), strict=True):
        yield picture, np.random.default_rng(int(seed))


def as_levels(values: NDArray[np.floating]) -> Picture:
    """Round values around 0..255 to whole levels within it."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
