"""The defence g(x) of Algorithm 1: DCT quantisation, then a random grid distortion.

`Defense` runs the fused kernel (`edgedefend.fused`); `edgedefend.quantize` and `edgedefend.remap` are the same two
steps one by one, in the readable version that the fused one is tested against.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgedefend.dct import as_image, as_quant_table
from edgedefend.encoding import Encoding
from edgedefend.grid import Grid, check_grid_parameters, sample_grid

if TYPE_CHECKING:
    from edgedefend.fused import FusedDefense

__all__ = ["Defense"]

_PIXELS = Encoding()


class Defense:
    """The preprocessing defence, ready to be called on images.

    Parameters
    ----------
    quant_table : (8, 8)
        In pixel levels, DC at ``[0, 0]`` (`edgedefend.load_quant_table` loads one by name).
    num_steps : int
        Grid cells an axis.
    distort_limit : float
        How far a cell is stretched or compressed, in [0, 1). 0 keeps the geometry but for nothing.
    rng : numpy.random.Generator, optional
        For tests and evaluation only; `predictable` is then true. By default every image gets fresh
        randomness from the operating system.

    Raises
    ------
    InputError
        If the table or a parameter is not valid.

    Examples
    --------
    >>> import numpy as np
    >>> from edgedefend import Defense, load_quant_table
    >>> defend = Defense(load_quant_table("feature-distillation"))
    >>> defend(np.zeros((299, 299, 3), np.uint8)).shape
    (299, 299, 3)
    """

    def __init__(
        self,
        quant_table: ArrayLike,
        num_steps: int = 10,
        distort_limit: float = 0.25,
        *,
        rng: np.random.Generator | None = None,
    ) -> None:
        self.quant_table = as_quant_table(quant_table)
        self.quant_table.flags.writeable = False
        check_grid_parameters(num_steps, distort_limit)
        self.num_steps = int(num_steps)
        self.distort_limit = float(distort_limit)
        self._rng = rng
        self._fused: dict[object, FusedDefense] = {}

    @property
    def predictable(self) -> bool:
        """Whether the grids come from a given generator: never to be used against an attacker."""
        return self._rng is not None

    def __repr__(self) -> str:
        seeded = ", rng=<given: predictable>" if self.predictable else ""
        return (
            f"Defense(<8x8 table, DC {self.quant_table[0, 0]:g}>, num_steps={self.num_steps}, "
            f"distort_limit={self.distort_limit:g}{seeded})"
        )

    def sample_grid(self, height: int, width: int) -> Grid:
        """Draw a grid for an image of this size (see `edgedefend.sample_grid`)."""
        return sample_grid(height, width, self.num_steps, self.distort_limit, rng=self._rng)

    def fused(self, encoding: Encoding) -> FusedDefense:
        """Return the fast path that writes tensors of `encoding` (made once an encoding)."""
        found = self._fused.get(encoding.key)
        if found is None:
            from edgedefend.fused import FusedDefense

            found = self._fused[encoding.key] = FusedDefense(self.quant_table, encoding)
        return found

    def into(self, image: ArrayLike, out: NDArray[np.generic], encoding: Encoding, *, grid: Grid | None = None) -> None:
        """Defend one image straight into a tensor.

        Parameters
        ----------
        image : uint8 (H, W, 3)
            RGB. It is not modified.
        out : dtype of `encoding`, (H, W, 3)
            C-contiguous, for instance one slot of an interpreter's input tensor.
        encoding : Encoding
            What the tensor holds.
        grid : Grid, optional
            Instead of a fresh random one (for tests and evaluation).
        """
        source = as_image(image)
        self.fused(encoding).into(source, grid or self.sample_grid(*source.shape[:2]), out)

    def into_many(
        self, image: ArrayLike, out: NDArray[np.generic], encoding: Encoding, *, grids: Sequence[Grid] | None = None
    ) -> None:
        """Defend one image as often as `out` has places, each with a grid of its own; it is quantised only once.

        Parameters
        ----------
        image : uint8 (H, W, 3)
            RGB. It is not modified.
        out : dtype of `encoding`, (draws, H, W, 3)
            C-contiguous, for instance an interpreter's batched input tensor.
        encoding : Encoding
            What the tensor holds.
        grids : sequence of Grid, optional
            One a draw, instead of fresh random ones (for tests and evaluation).
        """
        source = as_image(image)
        if grids is None:
            grids = [self.sample_grid(*source.shape[:2]) for _ in range(len(out))]
        self.fused(encoding).into_many(source, grids, out)

    def quantize(self, image: ArrayLike) -> NDArray[np.uint8]:
        """Return `image` after step 1 alone (see `edgedefend.quantize`)."""
        from edgedefend.dct import quantize

        return quantize(image, self.quant_table)

    def __call__(self, image: ArrayLike, *, grid: Grid | None = None) -> NDArray[np.uint8]:
        """Defend one image.

        Parameters
        ----------
        image : uint8 (H, W, 3)
            RGB, any size from 1x1. It is not modified.
        grid : Grid, optional
            The grid to use instead of a fresh random one (for tests and evaluation).

        Returns
        -------
        uint8 (H, W, 3)
            The defended image.
        """
        source = as_image(image)
        if grid is None:
            grid = self.sample_grid(*source.shape[:2])
        out = np.empty((len(grid[0]), len(grid[1]), 3), np.uint8)
        self.fused(_PIXELS).into(source, grid, out)
        return out
