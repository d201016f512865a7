"""Pictures of the defence at work, drawn with OpenCV alone so that a board can make them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgedefend.classifier import Classifier
from edgedefend.combining import softmax

__all__ = ["stage_sheet"]

_MARGIN, _CAPTION = 12, 40
_INK, _PAPER = (32, 32, 32), 255


def _write(sheet: NDArray[np.uint8], text: str, left: int, baseline: int, width: int, *, bold: bool = False) -> None:
    """Write one line, cut to `width` pixels. OpenCV's own fonts know ASCII only."""
    import cv2

    font, scale, weight = cv2.FONT_HERSHEY_SIMPLEX, 0.42, 1
    text = text.encode("ascii", "replace").decode()
    while len(text) > 4 and cv2.getTextSize(text, font, scale, weight)[0][0] > width:
        text = text[:-4] + "..."
    cv2.putText(sheet, text, (left, baseline), font, scale, _INK, weight + bold, cv2.LINE_AA)


def stage_sheet(classifier: Classifier, images: Sequence[tuple[str, NDArray[np.uint8]]]) -> NDArray[np.uint8]:
    """Draw a row an image and a column a stage, with what the model answers at each stage.

    Parameters
    ----------
    classifier : Classifier
    images : sequence of (name, uint8 (H, W, 3) RGB)

    Returns
    -------
    uint8 (height, width, 3)
        RGB, on white.
    """
    stages = ("original", "quantised", "quantised + distorted", "another draw")
    height, width = classifier.bundle.input.height, classifier.bundle.input.width
    cell_width, cell_height = width + _MARGIN, height + _CAPTION + _MARGIN
    sheet = np.full((_CAPTION + cell_height * len(images), _MARGIN + cell_width * len(stages), 3), _PAPER, np.uint8)
    for column, stage in enumerate(stages):
        _write(sheet, stage, _MARGIN + column * cell_width, 26, width, bold=True)
    for row, (_, image) in enumerate(images):
        fitted = classifier.fit(image)
        quantised = classifier.defense.quantize(fitted)
        pictures = [fitted, quantised, *(classifier.defense(fitted) for _ in range(2))]
        for column, picture in enumerate(pictures):
            top, left = _CAPTION + row * cell_height, _MARGIN + column * cell_width
            sheet[top : top + height, left : left + width] = picture
            output = classifier.run(picture, defended=False)
            scores = softmax(output) if classifier.bundle.output == "logits" else output
            best = int(scores.argmax())
            caption = f"{100 * float(scores[best]):.0f} % {classifier.bundle.labels[best]}"
            _write(sheet, caption, left, top + height + 18, width)
    return sheet
