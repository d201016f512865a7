"""Every defence by its name. Its module is imported when it is asked for: each brings libraries of its own."""

from __future__ import annotations

import importlib

from bench.baselines.base import Baseline, Ingredients
from edgedefend.errors import EdgeDefendError, UsageError

__all__ = ["BASELINES", "all_baselines", "make_baseline"]

# In the order of the paper's tables. Every class takes `Ingredients`.
BASELINES = {
    "none": "bench.baselines.undefended:Undefended",
    "ours": "bench.baselines.ours:Ours",
    "rand": "bench.baselines.randomization:Randomization",
    "fd": "bench.baselines.feature_distillation:FeatureDistillation",
    "shield": "bench.baselines.shield:Shield",
    "tv": "bench.baselines.total_variation:TotalVariation",
    "jpeg": "bench.baselines.jpeg:Jpeg",
    "bdr": "bench.baselines.bit_depth:BitDepth",
    "pd": "bench.baselines.pixel_deflection:PixelDeflection",
    "crop": "bench.baselines.random_crop:RandomCrop",
    "quilting": "bench.baselines.quilting:Quilting",
    "me-net": "bench.baselines.me_net:MeNet",
    "pixeldefend": "bench.baselines.pixel_defend:PixelDefend",
    "guided-denoiser": "bench.baselines.guided_denoiser:GuidedDenoiser",
}


def make_baseline(name: str, ingredients: Ingredients) -> Baseline:
    """Make one defence.

    Raises
    ------
    UsageError
        If there is none of that name.
    EdgeDefendError
        If a library that it needs is not installed.
    """
    if name not in BASELINES:
        raise UsageError(f"no defence {name!r}: expected one of {', '.join(BASELINES)}")
    module, kind = BASELINES[name].split(":")
    try:
        made = getattr(importlib.import_module(module), kind)(ingredients)
    except ModuleNotFoundError as error:
        raise EdgeDefendError(
            f"the defence {name!r} needs the Python package {error.name!r}: pip install 'edgedefend[bench]'"
        ) from error
    if not isinstance(made, Baseline):
        raise TypeError(f"{BASELINES[name]} is no Baseline")
    return made


def all_baselines(ingredients: Ingredients) -> dict[str, Baseline]:
    """Return every defence, also those that cannot be measured here for want of a trained part."""
    return {name: make_baseline(name, ingredients) for name in BASELINES}
