"""Stand-ins for the derivative of a defence: the way forward is the defence itself, to the bit.

On the way back the gradient at the defended image is turned into one at the image: by the identity; through what was
drawn, for a defence that only resamples; through the network, for a defence that is one; for the defence of this
project through the resampling it drew and a quantiser taken for the identity or for a smooth one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from bench.attacks.base import Images
from bench.attacks.soft_quantizer import SoftQuantizer
from edgedefend.defense import Defense
from edgedefend.errors import InputError
from edgedefend.grid import Grid, sample_grid

__all__ = [
    "Backward",
    "Defend",
    "Identity",
    "Linear",
    "LinearMap",
    "PullBack",
    "Resampling",
    "ThroughNetwork",
    "draw_with",
    "pull_back_remap",
]

Defend = Callable[[NDArray[np.uint8], np.random.Generator], NDArray[np.uint8]]
PullBack = Callable[[NDArray[np.uint8], Images], Images]


class Backward(Protocol):
    """A defence and an approximation of its derivative."""

    @property
    def randomised(self) -> bool:
        """Whether the defence draws at random."""

    def forward(self, pictures: NDArray[np.uint8], rng: np.random.Generator) -> tuple[NDArray[np.uint8], Any]:
        """Defend uint8 (N, H, W, 3) pictures, each with a draw of its own; also return what was drawn."""

    def pull_back(self, images: Images, draws: Any, gradient: Images) -> Images:
        """Return the gradient at `images`, given the one at the defended images and what `forward` has drawn."""


class Identity:
    """Any defence, its derivative taken for the identity, as in the paper's BPDA.

    Parameters
    ----------
    defend : callable
        ``(uint8 (N, H, W, 3), rng) -> uint8 (N, H, W, 3)``.
    randomised : bool
    """

    def __init__(self, defend: Defend, *, randomised: bool = True) -> None:
        self._defend, self.randomised = defend, randomised

    def forward(self, pictures: NDArray[np.uint8], rng: np.random.Generator) -> tuple[NDArray[np.uint8], None]:
        """Defend the pictures."""
        return self._defend(pictures, rng), None

    def pull_back(self, images: Images, draws: None, gradient: Images) -> Images:
        """Return `gradient` as it is."""
        del images, draws
        return gradient


class LinearMap(Protocol):
    """What a defence has drawn for one picture, where that is all it does to it."""

    def __call__(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the defended picture, (H, W, 3)."""

    def pull_back(self, gradient: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the gradient (H, W, 3) at the picture, given the one at the defended picture."""


class Linear:
    """A defence that draws a linear map for each picture, differentiated through it.

    Parameters
    ----------
    draw_each : callable
        ``(uint8 (N, H, W, 3), rng) -> N maps``.
    """

    randomised = True

    def __init__(self, draw_each: Callable[[NDArray[np.uint8], np.random.Generator], Sequence[LinearMap]]) -> None:
        self._draw_each = draw_each

    def forward(
        self, pictures: NDArray[np.uint8], rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], Sequence[LinearMap]]:
        """Defend the pictures; also return the maps."""
        maps = self._draw_each(pictures, rng)
        return np.stack([one(picture) for one, picture in zip(maps, pictures, strict=True)]), maps

    def pull_back(self, images: Images, draws: Sequence[LinearMap], gradient: Images) -> Images:
        """Return the gradient through the maps of `draws`."""
        del images
        return np.stack([one.pull_back(part) for one, part in zip(draws, gradient, strict=True)])


class ThroughNetwork:
    """A defence that is a network and draws nothing, differentiated through the network itself.

    Parameters
    ----------
    defend : callable
        ``(uint8 (N, H, W, 3), rng) -> uint8 (N, H, W, 3)``.
    pull_back : callable
        ``(uint8 (N, H, W, 3), gradient at the defended pictures) -> gradient at the pictures``, both (N, H, W, 3).
    """

    randomised = False

    def __init__(self, defend: Defend, pull_back: PullBack) -> None:
        self._defend, self._pull_back = defend, pull_back

    def forward(
        self, pictures: NDArray[np.uint8], rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Defend the pictures; also return them: the derivative is taken there."""
        return self._defend(pictures, rng), pictures

    def pull_back(self, images: Images, draws: NDArray[np.uint8], gradient: Images) -> Images:
        """Return the gradient through the network at the pictures of `draws`."""
        del images
        return self._pull_back(draws, gradient)


class Resampling:
    """The defence of this project, differentiated through the grid that it drew.

    Parameters
    ----------
    defense : Defense
        Its table and grid parameters are used; grids are drawn with the attack's generator, all four corners included.
    quantizer : {"straight-through", "soft"}
        What the quantiser is taken for: the identity, or a smooth one (`SoftQuantizer`).
    softness : float
        Of the soft quantiser.
    """

    randomised = True

    def __init__(self, defense: Defense, *, quantizer: str = "straight-through", softness: float = 0.5) -> None:
        if quantizer not in ("straight-through", "soft"):
            raise InputError(f"quantizer is {quantizer!r}, expected 'straight-through' or 'soft'")
        self.defense = defense
        self._soft = SoftQuantizer(defense.quant_table, softness=softness) if quantizer == "soft" else None

    def forward(self, pictures: NDArray[np.uint8], rng: np.random.Generator) -> tuple[NDArray[np.uint8], list[Grid]]:
        """Defend the pictures; also return the grids."""
        defended, grids = zip(*(draw_with(self.defense, picture, rng) for picture in pictures), strict=True)
        return np.stack(defended), list(grids)

    def pull_back(self, images: Images, draws: Sequence[Grid], gradient: Images) -> Images:
        """Return the gradient through the grids of `draws` and the quantiser."""
        height, width = images.shape[1:3]
        back = np.stack(
            [pull_back_remap(one, grid, (height, width)) for one, grid in zip(gradient, draws, strict=True)]
        )
        if self._soft is None:
            return back
        # Where the blocks of the passes begin is averaged out over the draws, and here over the usual ones.
        return np.mean(
            [_behind_offset(self._soft, images, back, offset) for offset in self.defense.usual_offsets], axis=0
        )


def draw_with(defense: Defense, picture: NDArray[np.uint8], rng: np.random.Generator) -> tuple[NDArray[np.uint8], Grid]:
    """Return a picture behind a draw from `rng` instead of the operating system's randomness, and its grid."""
    height, width, _ = picture.shape
    grid = sample_grid(height, width, defense.num_steps, defense.distort_limit, rng=rng)
    offsets, noise = defense.sample_offsets(rng), defense.sample_noise(height, width, rng)
    return defense(picture, grid=grid, offsets=offsets, noise=noise), grid


def _behind_offset(soft: SoftQuantizer, images: Images, gradient: Images, offset: tuple[int, int]) -> Images:
    """Return the gradient through a quantiser whose blocks begin `offset` pixels above and left of the images."""
    top, left = offset
    around = ((0, 0), (top, 0), (left, 0), (0, 0))
    back = soft.pull_back(np.pad(images, around, mode="edge"), np.pad(gradient, around))
    # What was repeated at the edge collects what its copies were given.
    back[:, top] += back[:, :top].sum(axis=1)
    back[:, :, left] += back[:, :, :left].sum(axis=2)
    return back[:, top:, left:]


def _sum_rows(values: NDArray[np.float32], indices: NDArray[np.int32], length: int) -> NDArray[np.float32]:
    """Return `length` rows: row i is the sum of the rows of `values` whose index is i."""
    order = np.argsort(indices, kind="stable")
    which, starts = np.unique(indices[order], return_index=True)
    out = np.zeros((length, *values.shape[1:]), np.float32)
    out[which] = np.add.reduceat(values[order], starts, axis=0)
    return out


def pull_back_remap(gradient: Images, grid: Grid, size: tuple[int, int]) -> Images:
    """Return the gradient (H, W, 3) at an image, given that at ``remap(image, grid)``.

    `edgedefend.remap` copies pixel ``(rows[y], cols[x])`` to (y, x), so each source pixel collects the gradients of all
    its copies; one that was dropped has none.
    """
    rows = _sum_rows(gradient, grid.rows, size[0])
    return _sum_rows(rows.transpose(1, 0, 2), grid.cols, size[1]).transpose(1, 0, 2)
