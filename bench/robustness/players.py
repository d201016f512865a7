"""The defences of an evaluation, made once a process, and the classifier that stands behind each."""

from __future__ import annotations

import functools
from pathlib import Path

from bench.attacks.model import GradientModel
from bench.baselines.base import Baseline, Ingredients
from bench.baselines.registry import all_baselines, make_baseline
from bench.robustness.subject import SubjectSpec, open_model

__all__ = ["bare_model", "model_behind", "player_of", "players"]


def _ingredients(subject: SubjectSpec) -> Ingredients:
    return Ingredients(
        subject.quant_table,
        subject.num_steps,
        subject.distort_limit,
        None if subject.trained is None else Path(subject.trained),
        subject.weights_sha256,
        subject.passes,
        subject.noise_std,
        subject.draws,
        subject.vote,
    )


def players(subject: SubjectSpec) -> dict[str, Baseline]:
    """Return every defence there is, "none" and "ours" first, also those that lack a trained part."""
    return all_baselines(_ingredients(subject))


@functools.lru_cache(maxsize=32)
def player_of(subject: SubjectSpec, name: str) -> Baseline:
    """Return one defence (see `bench.baselines.registry.make_baseline`)."""
    return make_baseline(name, _ingredients(subject))


@functools.lru_cache(maxsize=1)
def bare_model(subject: SubjectSpec) -> GradientModel:
    """Return the model without any defence, its gradients compiled."""
    return GradientModel(open_model(subject))


@functools.lru_cache(maxsize=4)
def model_behind(subject: SubjectSpec, name: str) -> GradientModel:
    """Return the classifier behind a defence: the bare model, unless the defence retrains it."""
    bare = open_model(subject)
    behind = player_of(subject, name).classifier(bare)
    return bare_model(subject) if behind is bare else GradientModel(behind)
