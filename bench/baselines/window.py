"""Defences that show a part of the picture, or all of it, resized: a linear map, and its derivative is known."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from bench.baselines.base import Baseline, Picture, each_with_its_rng

__all__ = ["Rectangle", "Window", "Windowed"]


@dataclass(frozen=True)
class Rectangle:
    """Some rows and columns of a picture, in pixels."""

    top: int
    left: int
    rows: int
    columns: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """What selects it from an array (H, W, …)."""
        return slice(self.top, self.top + self.rows), slice(self.left, self.left + self.columns)


@dataclass(frozen=True)
class Window:
    """One draw: a rectangle of the picture, resized onto a rectangle of an equally large one that is grey elsewhere.

    Attributes
    ----------
    source, target : Rectangle
        Of the picture, of the defended one.
    fill : int
        Level of what lies around the target.
    """

    source: Rectangle
    target: Rectangle
    fill: int = 0

    def __call__(self, picture: Picture) -> Picture:
        """Return the defended picture, uint8 (H, W, 3)."""
        cut = np.ascontiguousarray(picture[self.source.slices])
        size = (self.target.columns, self.target.rows)
        out = np.full_like(picture, self.fill)
        out[self.target.slices] = cv2.resize(cut, size, interpolation=cv2.INTER_LINEAR)
        return out

    def pull_back(self, gradient: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the gradient, float32 (H, W, 3), at the picture, given that at the defended one.

        It is zero where the picture is not seen, and exact up to the rounding of the resized picture to whole levels.
        """
        down = _bilinear(self.source.rows, self.target.rows).T
        across = _bilinear(self.source.columns, self.target.columns).T
        inside = gradient[self.target.slices].transpose(2, 0, 1)
        out = np.zeros_like(gradient)
        out[self.source.slices] = (down @ inside @ across.T).transpose(1, 2, 0)
        return out


class Windowed(Baseline):
    """A defence that draws a `Window` for each picture and does nothing else."""

    randomised = True

    @abstractmethod
    def draw(self, height: int, width: int, rng: np.random.Generator) -> Window:
        """Draw the window for a picture of that size."""

    def draw_each(self, pictures: Picture, rng: np.random.Generator) -> list[Window]:
        """Return the windows, one a picture, that `defend` would look through with the same generator."""
        height, width = pictures.shape[1:3]
        return [self.draw(height, width, own) for _, own in each_with_its_rng(pictures, rng)]

    def one(self, picture: Picture, rng: np.random.Generator) -> Picture:
        """Draw a window and look through it."""
        return self.draw(picture.shape[0], picture.shape[1], rng)(picture)


def _bilinear(source: int, target: int) -> NDArray[np.float32]:
    """Return the weights (target, source) of OpenCV's bilinear resize on one axis: centres aligned, ends repeated."""
    places = np.clip((np.arange(target) + 0.5) * (source / target) - 0.5, 0, source - 1)
    before = np.minimum(places.astype(np.intp), max(source - 2, 0))
    share = (places - before).astype(np.float32)
    weights = np.zeros((target, source), np.float32)
    each = np.arange(target)
    weights[each, before] = 1 - share
    weights[each, np.minimum(before + 1, source - 1)] += share
    return weights
