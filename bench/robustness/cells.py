"""What is to be measured, as data: a cell is one attack on one defence, a task is one step of it on a few photographs.

Everything that a result depends on is in the cell, and its id is a hash of all that: a run that asks for the same cell
finds its results, one that changes anything does not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from bench.robustness.store import Record, ResultStore

__all__ = ["Cell", "CellChain", "Photo", "Task", "chains_of", "point_name", "succeeded"]


@dataclass(frozen=True)
class Photo:
    """One photograph: where it is, its class, the class that the attacker wants, and the hash of its content."""

    name: str
    path: str
    label: int
    target: int
    sha256: str

    @property
    def key(self) -> str:
        """What names it in a record."""
        return f"{self.name}:{self.sha256[:12]}>{self.target}"


@dataclass(frozen=True)
class Cell:
    """One series of results.

    Attributes
    ----------
    kind : {"attack", "rounds", "draws"}
        An attack judged when it has ended; the paper's descent judged after every round; no attack, many draws.
    defense : str
        The defence the attacker aims at, by its name in `bench.baselines`.
    attack : str
        Name of the attack in `bench.robustness.attackers`, "" for none.
    targeted : bool
    norm : {"l2_rms", "linf"}
    points : tuple of float
        The epsilons, ascending. With `stop_early` a photograph on which an attack has succeeded is left out of the
        larger ones: whoever may use more distortion may also use less.
    draws : int
        Fresh draws of the defence that judge a result; as many others let the attacker choose.
    options : dict
        Of the attack: steps, eot_samples, …
    judged : tuple of str
        The defences that the result is shown to; by default the one that was attacked.
    chunk : int
        Photographs a task.
    """

    kind: str
    defense: str
    attack: str = ""
    targeted: bool = True
    norm: str = "l2_rms"
    points: tuple[float, ...] = (0.0,)
    draws: int = 10
    options: dict[str, Any] = field(default_factory=dict)
    judged: tuple[str, ...] = ()
    stop_early: bool = True
    chunk: int = 8

    @cached_property
    def id(self) -> str:
        """Twelve hexadecimal digits that stand for all of it."""
        text = json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def cost(self) -> int:
        """About how many runs of the model one result takes: for the time left, nothing else."""
        options = self.options
        steps = int(options.get("rounds", options.get("steps", 0))) * int(options.get("restarts", 1))
        # Constants that a search tries; DeepFool takes a gradient for each of the classes it may go to.
        steps *= 5 if self.attack == "deepfool" else int(options.get("search_steps", 1))
        return 3 * steps * int(options.get("eot_samples", 1)) + 2 * self.draws * len(self.judges)

    @property
    def judges(self) -> tuple[str, ...]:
        """The defences that judge a result."""
        return self.judged or (self.defense,)

    def describe(self) -> dict[str, Any]:
        """Return it as JSON types, with its id."""
        return {"id": self.id, **asdict(self)}

    def rng(self, seed: int, first: int, point: float, purpose: str) -> np.random.Generator:
        """Return the random stream of one task; attacks, choices and verdicts have streams of their own.

        Parameters
        ----------
        first : int
            Number of the first photograph of the chunk.
        purpose : {"attack", "select", "judge"}
        """
        text = f"{self.id}/{first}/{point!r}/{purpose}"
        words = np.frombuffer(hashlib.sha256(text.encode()).digest(), np.uint32)
        return np.random.default_rng([seed, *words.tolist()])


def point_name(point: float) -> str:
    """Return how an epsilon is written in a record."""
    return f"{point:g}"


@dataclass(frozen=True)
class Task:
    """One step: a cell at one epsilon on the photographs of a chunk that still need it."""

    cell: Cell
    point: float
    first: int
    photos: tuple[Photo, ...]


def succeeded(record: Record, targeted: bool) -> bool:
    """Tell whether an attack succeeded on every draw that the attacker looked at himself."""
    select = record.get("select") or {}
    return bool(select.get("hit") == 1.0 if targeted else select.get("right") == 0.0)


@dataclass(frozen=True)
class CellChain:
    """The tasks of one chunk of photographs of a cell, from the smallest epsilon to the largest."""

    cell: Cell
    first: int
    photos: tuple[Photo, ...]

    def next_task(self, store: ResultStore) -> Task | None:
        """Return the next step that has a result missing."""
        cell, done = self.cell, set()
        for point in cell.points:
            for photo in self.photos:
                record = store.get((cell.id, photo.key, point_name(point)))
                if record is not None and cell.stop_early and succeeded(record, cell.targeted):
                    done.add(photo)
            left = tuple(
                photo
                for photo in self.photos
                if photo not in done and (cell.id, photo.key, point_name(point)) not in store
            )
            if left:
                return Task(cell, point, self.first, left)
        return None

    def left(self, store: ResultStore) -> int:
        """Return how many results are missing at most: an early success saves the larger epsilons."""
        count = 0
        for photo in self.photos:
            held = [store.get((self.cell.id, photo.key, point_name(point))) for point in self.cell.points]
            ended = self.cell.stop_early and any(r is not None and succeeded(r, self.cell.targeted) for r in held)
            count += 0 if ended else held.count(None)
        return count


def chains_of(cells: Sequence[Cell], photos: Sequence[Photo], limits: dict[str, int] | None = None) -> list[CellChain]:
    """Return the chains of all cells, chunk by chunk, so that what there is at any time covers all cells alike.

    Parameters
    ----------
    limits : dict, optional
        Cell id -> how many of the photographs it is measured on.
    """
    chains = [
        CellChain(cell, first, tuple(photos[first : min(first + cell.chunk, limit)]))
        for cell in cells
        for limit in [min(len(photos), (limits or {}).get(cell.id, len(photos)))]
        for first in range(0, limit, cell.chunk)
    ]
    return sorted(chains, key=lambda chain: chain.first)
