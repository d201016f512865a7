"""Steps of gradient descent that a kill interrupts but does not lose."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bench.baselines.parts import Part, load_part, part_file, save_part
from edgedefend.errors import EdgeDefendError, InputError

if TYPE_CHECKING:
    from convert.models import LoadedModel

__all__ = ["Request", "descend", "finish"]

_SAVE_EVERY = 50


@dataclass(frozen=True)
class Request:
    """What a training is asked for.

    Attributes
    ----------
    name : str
        The defence.
    out : Path
        The folder of trained parts.
    photographs : sequence of uint8 (H, W, 3)
        At the model's size where there is a model.
    labels : sequence of int
        Their classes.
    model : LoadedModel, optional
        What the defence stands in front of.
    steps, batch, seed : int
    data : str
        Where the photographs came from, for the record.
    """

    name: str
    out: Path
    photographs: Sequence[NDArray[np.uint8]]
    labels: Sequence[int]
    model: LoadedModel | None
    steps: int
    batch: int
    seed: int
    data: str

    def rng(self, step: int) -> np.random.Generator:
        """Return the generator of one step: it does not matter where a run was interrupted."""
        return np.random.default_rng([self.seed, step])

    def facts(self) -> dict[str, Any]:
        """Return what makes one training differ from another."""
        return {
            "name": self.name,
            "data": self.data,
            "photographs": len(self.photographs),
            "steps": self.steps,
            "batch": self.batch,
            "seed": self.seed,
            "weights_sha256": self.model.provenance.get("weights_sha256", "") if self.model else "",
        }


def _checkpoint(request: Request) -> Path:
    return request.out / f".{request.name}-training.npz"


def descend(
    request: Request, variables: Sequence[Any], update: Callable[[int], float], tick: Callable[[int], Any]
) -> list[float]:
    """Run ``update(step)`` for all steps; everything that changes is in `variables`, which are saved on the way.

    Parameters
    ----------
    variables : sequence of tf.Variable
        Of the network and of its optimiser, already built.
    update : callable
        One step; returns its loss.
    tick : callable
        Told how many steps are done since it was told last.

    Returns
    -------
    list of float
        The loss of every step, those of an earlier run included.

    Raises
    ------
    EdgeDefendError
        If a loss is not a number.
    """
    path, losses = _checkpoint(request), list[float]()
    with contextlib.suppress(InputError):
        saved = load_part(path)
        # Another training, or another version of it, starts afresh.
        if saved.facts.get("request") == request.facts() and len(saved.arrays) == len(variables):
            for number, variable in enumerate(variables):
                variable.assign(saved.arrays[f"variable_{number}"])
            losses = [float(loss) for loss in saved.facts["losses"]]
    tick(len(losses))
    try:
        while len(losses) < request.steps:
            loss = update(len(losses))
            if not math.isfinite(loss):
                raise EdgeDefendError(f"training {request.name}: the loss of step {len(losses) + 1} is not a number")
            losses.append(loss)
            tick(1)
            if len(losses) % _SAVE_EVERY == 0:
                _save(path, request, variables, losses)
    except KeyboardInterrupt:
        _save(path, request, variables, losses)
        raise
    return losses


def _save(path: Path, request: Request, variables: Sequence[Any], losses: list[float]) -> None:
    arrays = {f"variable_{number}": np.asarray(variable) for number, variable in enumerate(variables)}
    save_part(path, Part(arrays, {"request": request.facts(), "losses": losses}))


def finish(request: Request, arrays: dict[str, NDArray[Any]], losses: Sequence[float]) -> Path:
    """Write the part and remove what a resumed run would have needed; return the part's file."""
    tail = losses[-max(1, len(losses) // 10) :]
    facts = (
        {**request.facts(), "first_loss": losses[0], "last_loss": float(np.mean(tail))} if losses else request.facts()
    )
    path = part_file(request.out, request.name)
    save_part(path, Part(arrays, facts))
    _checkpoint(request).unlink(missing_ok=True)
    return path
