"""What a worker does for a request: decode, defend, classify; or show every step of that."""

from __future__ import annotations

import base64
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgedefend.classifier import Classifier
from edgedefend.combining import softmax, with_vote
from edgedefend.errors import BackendError
from edgedefend.grid import Grid, remap
from edgedefend.prediction import prediction_record
from edgedefend.sources import decode_image
from edgedefend.suspicion import suspicion_of, suspicion_record

__all__ = ["MAX_DRAWS", "MAX_PICTURES", "MAX_PIXELS", "Options", "classify_picture", "show_stages"]

MAX_DRAWS = 32
MAX_PICTURES = 8  # draws of `show_stages`, each with a picture of its own
MAX_PIXELS = 32_000_000


@dataclass(frozen=True)
class Options:
    """What a request asks for besides the picture."""

    draws: int = 1
    top: int = 5
    defense: bool = True
    suspicion: bool = False


def _decode(data: bytes, max_pixels: int) -> tuple[NDArray[np.uint8], float]:
    started = time.perf_counter()
    image = decode_image(data, "the body", max_pixels=max_pixels)
    return image, round(1e3 * (time.perf_counter() - started), 3)


def classify_picture(
    classifier: Classifier, data: bytes, options: Options, *, max_pixels: int = MAX_PIXELS
) -> dict[str, Any]:
    """Decode and classify an image file's content.

    Returns
    -------
    dict
        What ``edgedefend classify --json`` prints, with ``decode_ms`` among the ``stage_ms``. A suspicion that was
        asked for is None where there is nothing to compare: a single draw, or no defence.

    Raises
    ------
    InputError
        If `data` is not an image, or too large a one.
    """
    image, decode_ms = _decode(data, max_pixels)
    compared = options.suspicion and options.defense and options.draws > 1
    classifier.defended = options.defense
    try:
        prediction = classifier.classify(image, draws=options.draws, top=options.top, suspicion=compared)
    finally:
        classifier.defended = True
    record = prediction_record(prediction, "body", classifier.bundle)
    if options.suspicion and not compared:
        record |= {"suspicion": None, "suspicious": None}
    record["stage_ms"] = {"decode_ms": decode_ms, **record["stage_ms"]}
    return record


def _png(image: NDArray[np.uint8]) -> str:
    """Return an RGB picture as a base64 PNG: lossless, because what the quantiser does is what is to be seen."""
    import cv2

    # Speed before size: it goes over loopback or a local network, and the board has other things to do.
    _, encoded = cv2.imencode(".png", image[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])
    return base64.b64encode(encoded.tobytes()).decode()


def _cell_edges(grid: Grid, num_steps: int) -> dict[str, list[list[int]]]:
    """Return where the cells of a grid begin: ``[position in the distorted picture, position in the quantised one]``.

    Each cell is as large as any other in the distorted picture; where it comes from is what the draw has changed.
    """
    edges = {}
    for name, axis in (("rows", grid.rows), ("columns", grid.cols)):
        cell = len(axis) // min(num_steps, len(axis))
        edges[name] = [[place, int(axis[place])] for place in range(0, len(axis), cell)]
    return edges


def _answers(scores: NDArray[np.float32], labels: Sequence[str], top: int) -> list[dict[str, Any]]:
    best = np.argsort(-scores, kind="stable")[:top]
    return [{"index": int(i), "label": labels[i], "score": round(float(scores[i]), 6)} for i in best]


def show_stages(
    classifier: Classifier, data: bytes, options: Options, *, max_pixels: int = MAX_PIXELS
) -> dict[str, Any]:
    """Classify an image, and return the pictures on the way: original, quantised, one distorted picture a draw.

    Returns
    -------
    dict
        As of `classify_picture`, with a suspicion wherever there are two draws, since the undefended answer is there
        anyway; besides ``undefended``, the answers for the picture as it is; ``pictures`` with
        ``original``, ``quantised`` (base64 PNG at the model's size); and ``each``, one entry a draw with its
        ``picture``, its ``cells`` (see `_cell_edges`) and its own ``top``.

    Raises
    ------
    InputError
        If `data` is not an image, or too large a one.
    """
    bundle = classifier.bundle
    image, decode_ms = _decode(data, max_pixels)
    stages = {"decode_ms": decode_ms, "resize_ms": 0.0, "defend_ms": 0.0, "invoke_ms": 0.0}
    mark = time.perf_counter()

    def spent(stage: str) -> None:
        nonlocal mark
        now = time.perf_counter()
        stages[stage] += 1e3 * (now - mark)
        mark = now

    fitted = classifier.fit(image)
    spent("resize_ms")
    interpreter = classifier.interpreter
    interpreter.set_batch(1)

    def scores_of(grid: Grid | None, *, milder: bool = False) -> NDArray[np.float32]:
        nonlocal mark
        mark = time.perf_counter()
        view = interpreter.input_view()
        if milder and classifier.milder is not None:
            classifier.milder.into(fitted, view[0], classifier.encoding)
        else:
            classifier.prepare_into(fitted, view[0], defended=grid is not None, grid=grid)
        del view
        spent("defend_ms")
        output: NDArray[np.float32] = interpreter.invoke()[0]
        spent("invoke_ms")
        scores = softmax(output) if bundle.output == "logits" else output
        if not np.isfinite(scores).all():
            raise BackendError(f"{bundle.path}: the model's answer is not a number (NaN or infinity)")
        return scores

    undefended = scores_of(None)
    if not bundle.vote.undefended:
        stages["defend_ms"] = stages["invoke_ms"] = 0.0  # of the defended answer alone, as in `classify_picture`
    height, width = fitted.shape[:2]
    grids = [classifier.defense.sample_grid(height, width) for _ in range(options.draws)]
    each = [scores_of(grid) for grid in grids]
    voting = [scores_of(None, milder=True) for _ in range(classifier.runs(options.draws).voters)]
    quantised = classifier.defense.quantize(fitted)
    mean: NDArray[np.float32] = np.mean(each, axis=0)
    voters: NDArray[np.float32] = np.mean(voting, axis=0) if voting else undefended
    top = _answers(with_vote(mean, voters, bundle.vote.share), bundle.labels, options.top)
    suspicion = suspicion_of(np.array(each), undefended, bundle.suspicion) if len(each) > 1 else (None, None)
    agreeing = [int(scores.argmax()) == top[0]["index"] for scores in each]
    return {
        "image": "body",
        "label": top[0]["label"],
        "score": top[0]["score"],
        "top": top,
        "draws": len(each),
        "agreement": round(sum(agreeing) / len(agreeing), 4),
        **suspicion_record(*suspicion),
        "stage_ms": {name: round(value, 3) for name, value in stages.items()},
        "bundle": bundle.sha256,
        "undefended": _answers(undefended, bundle.labels, options.top),
        "pictures": {"original": _png(fitted), "quantised": _png(quantised)},
        "each": [
            {
                "picture": _png(remap(quantised, grid)),
                "cells": _cell_edges(grid, bundle.num_steps),
                "top": _answers(scores, bundle.labels, options.top),
            }
            for grid, scores in zip(grids, each, strict=True)
        ],
    }
