"""Which way back an attack takes: through what was drawn where that is known, else through the identity."""

import numpy as np
import pytest

pytest.importorskip("tensorflow", reason="attacks need gradients (extra 'convert')")

from bench.attacks.backward import Identity, Linear, Resampling, ThroughNetwork
from bench.baselines.training.classifying import train_guided_denoiser
from bench.baselines.training.loop import Request
from bench.robustness.attackers import run
from bench.robustness.cells import Cell
from bench.robustness.subject import subject_of
from convert.models import load_model


@pytest.fixture(scope="module")
def denoiser(color_model_file, tmp_path_factory):
    """A folder with a denoiser that was trained for two steps."""
    out = tmp_path_factory.mktemp("parts")
    pictures = list(np.random.default_rng(0).integers(0, 256, (4, 40, 48, 3), np.uint8))
    model = load_model(str(color_model_file))
    request = Request("guided-denoiser", out, pictures, [0] * 4, model, steps=2, batch=2, seed=0, data="noise")
    train_guided_denoiser(request, lambda done: None)
    return out


@pytest.mark.parametrize(
    ("defense", "attack", "options", "way_back"),
    [
        ("rand", "adaptive", {}, Linear),
        ("crop", "adaptive", {}, Linear),
        ("crop", "pgd", {}, Identity),
        ("jpeg", "adaptive", {}, Identity),
        ("guided-denoiser", "adaptive", {}, ThroughNetwork),
        ("guided-denoiser", "pgd", {}, Identity),
        ("ours", "adaptive", {}, Resampling),
        ("ours", "pgd", {}, Identity),
        ("ours", "i-fgsm", {"way_back": "known"}, Resampling),
        ("ours", "i-fgsm", {}, Identity),
    ],
)
def test_the_gradient_goes_back_the_way_that_is_known(color_model_file, denoiser, defense, attack, options, way_back):
    subject = subject_of(str(color_model_file), table="feature-distillation", trained=denoiser)
    images = np.random.default_rng(0).uniform(0.35, 0.6, (2, 40, 48, 3)).astype(np.float32)
    images[..., 0] += 0.05
    seen = []

    def watch(model):
        seen.append(model.model.backward)
        return model

    run(
        subject,
        Cell("attack", defense, attack, options={"steps": 2, "eot_samples": 2, **options}),
        images,
        np.zeros(2, np.int32),
        np.int32([1, 2]),
        epsilon=0.02,
        rng=np.random.default_rng(1),
        watch=watch,
    )
    assert [type(backward) for backward in seen] == [way_back]
