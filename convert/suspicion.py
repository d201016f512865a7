"""Learns from clean pictures how far their answers disagree, so that `classify --suspicion` knows what is unusual."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convert.export import encode
from edgedefend.combining import softmax
from edgedefend.defense import Defense
from edgedefend.interpreter import Interpreter
from edgedefend.suspicion import DRAWS, SuspicionThreshold, learn_threshold, suspicion_score

__all__ = ["learn_suspicion"]


def learn_suspicion(
    content: bytes,
    images: Sequence[NDArray[np.uint8]],
    defense: Defense,
    *,
    output: str,
    threads: int,
    draws: int = DRAWS,
    tick: Callable[[int], Any] = lambda count: None,
) -> SuspicionThreshold:
    """Return the threshold that one clean picture in twenty exceeds, on the exported model itself.

    Parameters
    ----------
    content : bytes
        The .tflite file.
    images : sequence of uint8 (H, W, 3)
        Clean pictures at the model's size.
    output : {"logits", "probabilities"}
        What the model gives.
    """
    interpreter = Interpreter(content, threads=threads)

    def answer(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
        view = interpreter.input_view()
        view[0] = encode(picture, interpreter)
        del view
        result = interpreter.invoke()[0].copy()
        return softmax(result) if output == "logits" else result

    scores = []
    for image in images:
        defended = np.stack([answer(defense(image)) for _ in range(draws)])
        scores.append(suspicion_score(defended, answer(image)))
        tick(1)
    return learn_threshold(np.array(scores), draws)
