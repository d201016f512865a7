"""The attacks and defences of an evaluation by their names: what a cell says becomes what `bench.attacks` runs.

A defence of others is attacked through the identity on the way back; ours through the very grid that was drawn, as
far as an attack can use that. All of it is made once a process.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from bench.attacks.adaptive import Restarts, adaptive_attack
from bench.attacks.backward import Backward, Identity, Resampling
from bench.attacks.base import Attack, Attackable, AttackResult, Classes, Images
from bench.attacks.descent import fgsm, ifgsm, mi_fgsm
from bench.attacks.model import GradientModel
from bench.attacks.wrappers import Bpda, Eot
from bench.robustness.aware import AlsoBare
from bench.robustness.cells import Cell
from bench.robustness.players import player_of
from bench.robustness.subject import SubjectSpec, open_model
from edgedefend.defense import Defense
from edgedefend.errors import UsageError

__all__ = ["ATTACKS", "bare_model", "defended_model", "identity_model", "run"]

Watch = Callable[[Attackable], Any]


@functools.lru_cache(maxsize=1)
def bare_model(subject: SubjectSpec) -> GradientModel:
    """Return the model without any defence, its gradients compiled."""
    return GradientModel(open_model(subject))


def identity_model(subject: SubjectSpec, defense: str, eot_samples: int) -> Attackable:
    """Return the model behind a defence whose derivative is taken for the identity: BPDA, and EOT for several draws."""
    player = player_of(subject, defense)
    return _behind(subject, Identity(player.defend, randomised=player.randomised), eot_samples)


def _behind(subject: SubjectSpec, backward: Backward, eot_samples: int) -> Attackable:
    behind = Bpda(bare_model(subject), backward)
    return Eot(behind, eot_samples) if eot_samples > 1 else behind


def defended_model(subject: SubjectSpec, cell: Cell) -> Attackable:
    """Return what the attack of a cell is run on: the bare model, or the defended one with the right way back."""
    options, name = cell.options, cell.defense
    samples = int(options.get("eot_samples", 1))
    if name == "none":
        return bare_model(subject)
    way_back = str(options.get("backward", "resampling" if cell.attack in THROUGH_THE_GRID else "identity"))
    if way_back == "identity":
        return identity_model(subject, name, samples)
    if name != "ours":
        raise UsageError(f"only our own defence can be differentiated by {way_back!r}, not {name}")
    defense = Defense(subject.quant_table, subject.num_steps, subject.distort_limit)
    kinds = {"resampling": "straight-through", "soft": "soft"}
    behind = _behind(subject, Resampling(defense, quantizer=kinds[way_back]), samples)
    share = float(options.get("bare_share", 0.0))
    return AlsoBare(behind, bare_model(subject), share) if share else behind


def _steps(options: dict[str, Any], default: int = 30) -> int:
    return int(options.get("steps", default))


def _adaptive(options: dict[str, Any]) -> Restarts:
    return adaptive_attack(
        _steps(options), restarts=int(options.get("restarts", 1)), loss=str(options.get("loss", "cross_entropy"))
    )


# name in a cell -> what makes the attack from the cell's options
ATTACKS: dict[str, Callable[[dict[str, Any]], Attack]] = {
    "adaptive": _adaptive,
    "pgd": _adaptive,
    "fgsm": lambda options: fgsm(),
    "i-fgsm": lambda options: ifgsm(_steps(options)),
    "mi-fgsm": lambda options: mi_fgsm(_steps(options)),
}
# These know how ours draws its grid; the others are run as they were published, through the identity.
THROUGH_THE_GRID = ("adaptive",)


def run(
    subject: SubjectSpec,
    cell: Cell,
    images: Images,
    labels: Classes,
    target_classes: Classes | None,
    *,
    epsilon: float,
    rng: np.random.Generator,
    watch: Watch = lambda model: model,
) -> AttackResult:
    """Run the attack of a cell on a batch.

    Parameters
    ----------
    watch : callable
        Wraps the model that is attacked, to look into the attack.

    Raises
    ------
    UsageError
        If there is no such attack.
    """
    if cell.attack not in ATTACKS:
        raise UsageError(f"no attack {cell.attack!r}: expected one of {', '.join(ATTACKS)}")
    attack = ATTACKS[cell.attack](cell.options)
    model = watch(defended_model(subject, cell))
    return attack(model, images, labels, target_classes, epsilon=epsilon, norm=cell.norm, rng=rng)
