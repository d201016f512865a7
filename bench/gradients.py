"""Gradients a second of our attack beside those of foolbox, on one model in one run: a ratio for any machine."""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.attacks.adaptive import adaptive_attack
from bench.attacks.base import to_unit
from bench.attacks.bridge import import_foolbox
from bench.attacks.model import GradientModel
from bench.attacks.wrappers import Eot
from bench.conditions import Watch
from convert.models import LoadedModel
from edgedefend.errors import InputError

__all__ = ["measure_gradients"]


class _AsIfRandom:
    """A bare model that is asked for every draw: both sides then take the same number of gradients."""

    randomised = True

    def __init__(self, model: GradientModel) -> None:
        self.logits, self.gradient = model.logits, model.gradient


def measure_gradients(
    model: LoadedModel,
    pictures: NDArray[np.uint8],
    labels: NDArray[np.int32],
    targets: NDArray[np.int32],
    *,
    steps: int = 5,
    draws: int = 4,
    rounds: int = 5,
    tick: Callable[[int], Any] = lambda count: None,
) -> dict[str, Any]:
    """Run our attack and foolbox's L2 PGD with its EOT wrapper in turn, both with `steps` rounds of `draws` gradients.

    Foolbox is used as its manual says: its TensorFlow wrapper around the Keras model. No defence stands in front, so
    that what is compared is how fast gradients come.

    Parameters
    ----------
    model : LoadedModel
    pictures : uint8 (N, H, W, 3)
        At the model's size.
    labels, targets : int32 (N,)
    rounds : int
        Times that both are run, after one each that compiles.

    Returns
    -------
    dict
        ``"ratio"``: ours over foolbox's, the median over the rounds, with the least and the largest;
        ``"ours_per_s"`` and ``"foolbox_per_s"``: images x rounds x draws a second, medians.

    Raises
    ------
    InputError
        If there is nothing to measure.
    """
    if not len(pictures) or min(steps, draws, rounds) < 1:
        raise InputError("gradients are measured on at least one picture, step, draw and round")
    foolbox = import_foolbox()
    import tensorflow as tf

    ours, images = Eot(_AsIfRandom(GradientModel(model)), draws), to_unit(pictures)
    attack = adaptive_attack(steps, fresh_draws=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        bare = foolbox.TensorFlowModel(lambda x: model.keras_model(255.0 * x, training=False), bounds=(0, 1), device="")
        theirs = foolbox.models.ExpectationOverTransformationWrapper(bare, n_steps=draws)
        pgd = foolbox.attacks.L2ProjectedGradientDescentAttack(steps=steps, random_start=False)
    criterion = foolbox.criteria.TargetedMisclassification(tf.constant(targets))
    inputs = tf.constant(images)

    def run_ours() -> int:
        found = attack(ours, images, labels, targets, epsilon=0.01, norm="l2_rms", rng=np.random.default_rng(0))
        return int(found.gradient_queries.sum())

    def run_theirs() -> int:
        epsilon = 0.01 * float(np.sqrt(images[0].size))
        pgd.run(theirs, inputs, criterion, epsilon=epsilon)
        return steps * draws * len(images)

    run_ours(), run_theirs()
    watch, speeds = Watch(), []
    for _ in range(rounds):
        pair = []
        for run in (run_ours, run_theirs):
            started = time.perf_counter()
            taken = run()
            pair.append(taken / (time.perf_counter() - started))
        speeds.append(pair)
        watch.glance()
        tick(1)
    ratios = [own / other for own, other in speeds]
    return {
        "kind": "gradients",
        "ratio": statistics.median(ratios),
        "least": min(ratios),
        "largest": max(ratios),
        "ours_per_s": statistics.median(own for own, _ in speeds),
        "foolbox_per_s": statistics.median(other for _, other in speeds),
        "reached": statistics.median(ratios) > 1,
        "steps": steps,
        "rounds": rounds,
        "draws": draws,
        "images": len(images),
        "bundle": {"model": model.name, "precision": "fp32 (Keras)", "weights": model.weights},
        "conditions": watch.finish(),
    }
