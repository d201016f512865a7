"""The attacks of an evaluation by their names: what a cell says becomes what `bench.attacks` runs, and on what.

On the way back a defence of others is taken for the identity, unless its derivative is known: then the gradient goes
through what it drew, or the network that it is, as it goes through the very grid of ours. All is made once a process.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.attacks.adaptive import Restarts, adaptive_attack
from bench.attacks.approximation import Learned, train_autoencoder
from bench.attacks.backward import Backward, Identity, Linear, Resampling, ThroughNetwork
from bench.attacks.base import Attack, Attackable, AttackResult, Classes, Images, to_pictures, to_unit
from bench.attacks.decoupled import Decoupled
from bench.attacks.descent import fgsm, ifgsm, mi_fgsm
from bench.attacks.lbfgs import Lbfgs
from bench.attacks.minimal import CarliniWagner, DeepFool
from bench.attacks.model import GradientModel
from bench.attacks.square import Square
from bench.attacks.transfer import Transfer, load_surrogate
from bench.attacks.voting import Voting
from bench.attacks.wrappers import Bpda, Eot
from bench.baselines.base import Baseline
from bench.baselines.guided_denoiser import GuidedDenoiser
from bench.baselines.window import Windowed
from bench.robustness.aware import AlsoBare
from bench.robustness.cells import Cell
from bench.robustness.players import bare_model, model_behind, player_of
from bench.robustness.protocols import way_back
from bench.robustness.subject import SubjectSpec, read_pictures
from convert.models import ZOO
from edgedefend.errors import UsageError

__all__ = ["approximate", "attacks_for", "identity_model", "run", "train_approximation"]

Options = dict[str, Any]
_QUANTIZERS = {"known": "straight-through", "soft": "soft"}


def _steps(options: Options) -> int:
    return int(options.get("steps", 30))


def _enlarges(options: Options) -> bool:
    return bool(options.get("enlarge", False))


def _adaptive(options: Options) -> Restarts:
    loss = str(options.get("loss", "cross_entropy"))
    return adaptive_attack(
        _steps(options), restarts=int(options.get("restarts", 1)), loss=loss, enough=options.get("enough")
    )


# Name in a cell -> what makes the attack from the cell's options. "bpda" and "bpda+eot" are the paper's, in rounds.
_ATTACKS: dict[str, Callable[[Options], Attack]] = {
    "adaptive": _adaptive,
    "adaptive-soft": _adaptive,
    "pgd": _adaptive,
    "learned": _adaptive,
    "ddn": lambda options: Decoupled(steps=_steps(options)),
    "fgsm": lambda options: fgsm(),
    "i-fgsm": lambda options: ifgsm(_steps(options)),
    "mi-fgsm": lambda options: mi_fgsm(_steps(options)),
    "deepfool": lambda options: DeepFool(steps=_steps(options), candidates=5, enlarge=_enlarges(options)),
    "l-bfgs": lambda options: Lbfgs(
        steps=_steps(options), search_steps=int(options.get("search_steps", 6)), enlarge=_enlarges(options)
    ),
    "c&w": lambda options: CarliniWagner(
        steps=_steps(options),
        search_steps=int(options.get("search_steps", 5)),
        confidence=float(options.get("confidence", 0.0)),
        enlarge=_enlarges(options),
    ),
    "square": lambda options: Square(rounds=_steps(options), score_draws=int(options.get("score_draws", 4))),
}


def attacks_for(subject: SubjectSpec) -> frozenset[str]:
    """Return the names of the attacks that can be run on a subject."""
    names = set(_ATTACKS)
    if subject.approximation is None:
        names.discard("learned")
    return frozenset(names | {"transfer"} if _surrogate_name(subject) else names)


def _surrogate_name(subject: SubjectSpec) -> str:
    """Return the zoo model that a transfer attack looks into instead, "" where there is none with weights."""
    others = [name for name in ZOO if name.startswith("efficientnet") and name != subject.model]
    return others[0] if subject.model in ZOO and subject.weights == "imagenet" and others else ""


@functools.lru_cache(maxsize=1)
def _surrogate(subject: SubjectSpec) -> GradientModel:
    return load_surrogate(_surrogate_name(subject), bare_model(subject))


@functools.lru_cache(maxsize=1)
def _autoencoder(subject: SubjectSpec) -> Learned:
    defend = player_of(subject, "ours").defend
    return Learned(defend, train_approximation(subject))


def _learned(subject: SubjectSpec, player: Baseline) -> Learned:
    learned = _autoencoder(subject)
    # Who votes differs in its noise alone: what was learned of the defence serves on the way back.
    return (
        learned
        if player.ingredients.vote.share or not subject.vote.milder
        else Learned(player.defend, learned.autoencoder)
    )


def train_approximation(subject: SubjectSpec, tick: Callable[[int], Any] = lambda step: None) -> Any:
    """Train the auto-encoder that learns what our defence does, or load it if its training has ended.

    Raises
    ------
    UsageError
        If the subject has none.
    """
    plan = subject.approximation
    if plan is None:
        raise UsageError("the learned attack needs photographs to learn from")
    about = f"{subject.quant_table} {subject.num_steps} {subject.distort_limit}"
    if subject.passes > 1:
        about += f" {subject.passes} passes"
    if subject.noise_std:
        about += f" noise {subject.noise_std:g}"
    model, _ = train_autoencoder(
        read_pictures(plan.photos, subject), player_of(subject, "ours").defend, Path(plan.path),
        steps=plan.steps, seed=subject.seed, about=about, tick=tick,
    )  # fmt: skip
    return model


def approximate(subject: SubjectSpec, pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return what the auto-encoder makes of pictures, uint8 (N, H, W, 3)."""
    return to_pictures(_autoencoder(subject).approximate(to_unit(pictures)))


def identity_model(subject: SubjectSpec, defense: str, eot_samples: int) -> Attackable:
    """Return the model behind a defence whose derivative is taken for the identity: BPDA, and EOT for several draws."""
    player, model = player_of(subject, defense), model_behind(subject, defense)
    return _behind(model, lambda each: Identity(each.defend, randomised=each.randomised), eot_samples, player)


def _behind(
    model: GradientModel,
    back_through: Callable[[Baseline], Backward],
    eot_samples: int,
    player: Baseline,
    *,
    draws_alone: bool = False,
) -> Attackable:
    """Return the model behind a defence, averaged over draws, with whoever votes beside it behind its own.

    With `draws_alone` the gradient leaves out those who vote.
    """

    def behind(each: Baseline, samples: int) -> Attackable:
        single = Bpda(model, back_through(each))
        return Eot(single, samples) if samples > 1 else single

    if not player.answer_vote.share:
        return behind(player, eot_samples)
    # Milder draws agree more with one another: half as many of them make a gradient.
    voter = behind(player.milder, max(1, eot_samples // 2)) if player.milder else model
    return Voting(behind(player, eot_samples), voter, player.answer_vote.share, draws_alone=draws_alone)


def _way_through(player: Baseline, way: str) -> Backward:
    if way == "known" and isinstance(player, Windowed):
        return Linear(player.draw_each)
    if way == "known" and isinstance(player, GuidedDenoiser):
        return ThroughNetwork(player.defend, player.pull_back)
    return Identity(player.defend, randomised=player.randomised)


def _defended(subject: SubjectSpec, model: GradientModel, defense: str, way: str, options: Options) -> Attackable:
    """Return what an attack is run on: a bare model, or one behind a defence with the right way back."""
    samples = int(options.get("eot_samples", 1))
    if defense == "none":
        return model
    player = player_of(subject, defense)
    if defense != "ours" or way == "identity":
        return _behind(model, lambda each: _way_through(each, way), samples, player)
    if way == "learned":
        return _behind(model, lambda each: _learned(subject, each), samples, player)
    behind = _behind(
        model,
        lambda each: Resampling(each.ingredients.defense(), quantizer=_QUANTIZERS[way]),
        samples,
        player,
        draws_alone=bool(options.get("draws_alone", False)),
    )
    share = float(options.get("bare_share", 0.0))
    return AlsoBare(behind, model, share) if share else behind


def run(
    subject: SubjectSpec,
    cell: Cell,
    images: Images,
    labels: Classes,
    target_classes: Classes | None,
    *,
    epsilon: float,
    rng: np.random.Generator,
    watch: Callable[[Attackable], Any] = lambda model: model,
) -> AttackResult:
    """Run the attack of a cell on a batch.

    Parameters
    ----------
    watch : callable
        Wraps the model that is attacked, to look into the attack.

    Raises
    ------
    UsageError
        If there is no such attack for this subject.
    """
    if cell.attack not in attacks_for(subject):
        raise UsageError(f"no attack {cell.attack!r}: expected one of {', '.join(sorted(attacks_for(subject)))}")
    model = model_behind(subject, cell.defense)
    if cell.attack == "transfer":
        # He knows the defence, and puts it in front of the model that he can look into.
        stand_in = _defended(subject, _surrogate(subject), cell.defense, "known", cell.options)
        attack: Attack = Transfer(stand_in, _adaptive(cell.options))
    else:
        attack = _ATTACKS[cell.attack](cell.options)
    attacked = watch(_defended(subject, model, cell.defense, way_back(cell), cell.options))
    return attack(attacked, images, labels, target_classes, epsilon=epsilon, norm=cell.norm, rng=rng)
