"""What a conversion is asked for, and what is handed to it: the defence by hand, or who chooses it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from convert.models import InputSettings, LoadedModel
from edgedefend.bundle import PRECISIONS
from edgedefend.combining import NOBODY, Vote
from edgedefend.dataset import Dataset
from edgedefend.interpreter import available_threads

__all__ = ["ConvertSettings", "Progress", "Tuned", "Tuner"]


@dataclass(frozen=True)
class ConvertSettings:
    """What `convert_model` is asked for; the command line's options, with its defaults."""

    model: str
    out: Path
    data: str = "sample"
    weights: str = "imagenet"
    input_settings: InputSettings | None = None
    precisions: tuple[str, ...] = PRECISIONS
    table: str = "learn"
    num_steps: int = 10
    distort_limit: float = 0.25
    passes: int = 1
    noise_std: float = 0.0
    draws: int = 1
    vote: Vote = NOBODY
    resize: str = "stretch"
    limit: int | None = None
    epsilon: float = 4.0
    steps: int = 10
    step_size: float = 1.0
    seed: int = 0
    min_agreement: float = 0.9
    pack: bool = False
    force: bool = False
    threads: int = field(default_factory=available_threads)
    command: str = ""
    tuner: Tuner | None = None


@dataclass(frozen=True)
class Tuned:
    """The defence that a bundle gets.

    Attributes
    ----------
    table_file : dict
        The content of quant_table.json.
    num_steps, distort_limit, passes, noise_std
        See `edgedefend.defense.Defense`.
    draws : int
        How many draws an answer is the mean of.
    vote : Vote
        Whose answer counts beside them (`edgedefend.combining`).
    measured : dict
        What a tuning found out about it; empty where there was none.
    """

    table_file: dict[str, Any]
    num_steps: int
    distort_limit: float
    passes: int = 1
    noise_std: float = 0.0
    draws: int = 1
    vote: Vote = NOBODY
    measured: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return what stands in a manifest under "defense"; what older readers do not know only where it is used."""
        facts: dict[str, Any] = {"num_steps": self.num_steps, "distort_limit": self.distort_limit}
        if self.draws > 1:
            facts["draws"] = self.draws
        if self.vote.undefended:
            facts["undefended_vote"] = self.vote.share
        elif self.vote.milder:
            facts["milder_vote"] = asdict(self.vote)
        if self.passes > 1:
            facts["passes"] = self.passes
        if self.noise_std:
            facts["noise_std"] = self.noise_std
        return facts


class Tuner(Protocol):
    """Chooses the defence by attacking it. What does so lives above this package, and is handed down to it."""

    def __call__(
        self,
        model: LoadedModel,
        data: Dataset,
        images: Sequence[NDArray[np.uint8]],
        learned: NDArray[np.float32],
        *,
        folder: Path,
        seed: int,
        progress: Progress,
    ) -> Tuned:
        """Return the best defence for photographs at the model's size, given the table that was learned from them."""


class Progress(Protocol):
    """How the caller shows progress: ``with progress("name", 100) as tick: tick(1)``."""

    def __call__(self, label: str, length: int) -> AbstractContextManager[Callable[[int], Any]]:
        """Start a bar of `length` steps."""
