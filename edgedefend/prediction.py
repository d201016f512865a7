"""What a classifier says of one image, and how that is written down."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgedefend.bundle import Bundle
from edgedefend.suspicion import suspicion_record

__all__ = ["Answer", "Prediction", "prediction_record"]


@dataclass(frozen=True)
class Answer:
    """One class with its probability."""

    index: int
    label: str
    score: float


@dataclass(frozen=True)
class Prediction:
    """What the classifier says of one image.

    Attributes
    ----------
    top : list of Answer
        The most probable classes, best first.
    probabilities : float32 (classes,)
        Mean over the draws, with the undefended answer's vote where the bundle gives it one.
    draws : int
        How many random draws of the defence were averaged; 0 without the defence.
    agreement : float
        The fraction of draws whose own best class is ``top[0]``; 1.0 for a single one.
    stage_ms : dict
        Milliseconds of ``resize_ms``, ``defend_ms``, ``invoke_ms`` and their sum, ``total_ms``.
    suspicion : float, optional
        How far the answers disagree (`edgedefend.suspicion`), where that was asked for.
    suspicious : bool, optional
        Whether that is more than clean pictures rarely reach, where the bundle knows the threshold.
    """

    top: list[Answer]
    probabilities: NDArray[np.float32]
    draws: int
    agreement: float
    stage_ms: dict[str, float] = field(repr=False)
    suspicion: float | None = None
    suspicious: bool | None = None

    @property
    def index(self) -> int:
        """The most probable class."""
        return self.top[0].index


def prediction_record(prediction: Prediction, image: str, bundle: Bundle) -> dict[str, Any]:
    """Return a prediction as JSON types: what ``classify --json`` prints and the HTTP service answers."""
    return {
        "image": image,
        "label": prediction.top[0].label,
        "score": round(prediction.top[0].score, 6),
        "top": [
            {"index": answer.index, "label": answer.label, "score": round(answer.score, 6)} for answer in prediction.top
        ],
        "draws": prediction.draws,
        "agreement": round(prediction.agreement, 4),
        **suspicion_record(prediction.suspicion, prediction.suspicious),
        "stage_ms": {stage: round(value, 3) for stage, value in prediction.stage_ms.items()},
        "bundle": bundle.sha256,
    }
