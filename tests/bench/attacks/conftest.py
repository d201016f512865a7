"""What the tests of attacks share: a small real model whose answers are known, and pictures that it gets right."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="attacks need gradients (extra 'convert')")

from bench.attacks.backward import Identity, Resampling
from bench.attacks.model import GradientModel, load_gradient_model
from edgedefend.dct import load_quant_table
from edgedefend.defense import Defense


class Pictures(NamedTuple):
    images: np.ndarray
    labels: np.ndarray
    targets: np.ndarray


@pytest.fixture(scope="session")
def color_gradients(color_model_file) -> GradientModel:
    """The colour model of tests/conftest.py: the logits are 8 times the mean of each channel."""
    return load_gradient_model(color_model_file)


@pytest.fixture(scope="session")
def reddish() -> Pictures:
    """Grey pictures, a little more red than anything else: margin 0.02 in the mean of a channel."""
    images = np.random.default_rng(0).uniform(0.35, 0.6, (4, 40, 48, 3)).astype(np.float32)
    images -= images.mean(axis=(1, 2), keepdims=True) - 0.5
    images[..., 0] += 0.02
    return Pictures(images, np.zeros(4, np.int32), np.int32([1, 2, 1, 2]))


@pytest.fixture(scope="session")
def defense() -> Defense:
    return Defense(load_quant_table("feature-distillation"))


@pytest.fixture(scope="session")
def defend(defense):
    """The defence as a function of pictures and a generator."""
    return lambda pictures, rng: Resampling(defense).forward(pictures, rng)[0]


@pytest.fixture(scope="session")
def identity(defend) -> Identity:
    return Identity(defend)


class Photographs(NamedTuple):
    model: GradientModel
    images: np.ndarray
    labels: np.ndarray
    targets: np.ndarray


@pytest.fixture(scope="session")
def lite0(photographs) -> Photographs:
    """EfficientNet-Lite0 and four sample photographs that it gets right bare and behind most draws."""
    from bench.attacks.base import to_unit
    from edgedefend.dataset import load_dataset

    model = load_gradient_model("efficientnet-lite0")
    labels = np.int32([item.label for item in load_dataset("sample", model.labels)])
    images = to_unit(np.stack(photographs))
    right = np.flatnonzero(model.logits(images).argmax(1) == labels)[:4]
    return Photographs(model, images[right], labels[right], (labels[right] + 417) % 1000)
