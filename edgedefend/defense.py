"""The defence g(x) of Algorithm 1: DCT quantisation, then a random grid distortion.

Beyond the paper the image may be quantised in several passes, whose mean is taken (docs/decisions/0019), and noise may
be added before (docs/decisions/0023).

`Defense` runs the fused kernel (`edgedefend.fused`); `edgedefend.quantize` and `edgedefend.remap` are the same two
steps one by one, in the readable version that the fused one is tested against.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from edgedefend.dct import as_image, as_quant_table
from edgedefend.encoding import Encoding
from edgedefend.errors import InputError
from edgedefend.grid import Grid, check_grid_parameters, remap, sample_grid
from edgedefend.noise import Noise, as_noise_std, noise_levels, usual_noise

if TYPE_CHECKING:
    from edgedefend.fused import FusedDefense

__all__ = ["Defense", "Offsets", "Parameters"]

_PIXELS = Encoding()
_BLOCK = 8
_MOST_PASSES = 8
# How far above and left of the image the blocks of each pass begin, in pixels.
Offsets = Sequence[tuple[int, int]]


class Parameters(Protocol):
    """What a defence is made from, under the names that `Defense` has for it."""

    @property
    def quant_table(self) -> Any:
        """The table, (8, 8), in pixel levels."""

    @property
    def num_steps(self) -> int:
        """Grid cells an axis."""

    @property
    def distort_limit(self) -> float:
        """How far a cell is stretched, in [0, 1)."""

    @property
    def passes(self) -> int:
        """How often the image is quantised."""

    @property
    def noise_std(self) -> float:
        """Of the noise before it, in pixel levels."""


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
    passes : int
        How often the image is quantised, 1 to 8, each time in blocks that begin elsewhere, drawn at random;
        what goes on is the mean. Algorithm 1 has one pass. The mean has no edges of blocks, so a coarser table costs
        less accuracy.
    noise_std : float
        Standard deviation, in pixel levels, 0 to 64, of normal noise that is added before anything else, to each value
        of each pixel and anew for each draw. Algorithm 1 has none.
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
        passes: int = 1,
        noise_std: float = 0.0,
        rng: np.random.Generator | None = None,
    ) -> None:
        self.quant_table = as_quant_table(quant_table)
        self.quant_table.flags.writeable = False
        check_grid_parameters(num_steps, distort_limit)
        self.num_steps = int(num_steps)
        self.distort_limit = float(distort_limit)
        if isinstance(passes, bool) or not isinstance(passes, (int, np.integer)) or not 1 <= passes <= _MOST_PASSES:
            raise InputError(f"passes is {passes!r}, expected a whole number from 1 to {_MOST_PASSES}")
        self.passes = int(passes)
        self.noise_std = as_noise_std(noise_std)
        self._noise_levels = noise_levels(self.noise_std) if self.noise_std else None
        self._rng = rng
        self._fused: dict[object, FusedDefense] = {}

    @classmethod
    def of(cls, parameters: Parameters, *, rng: np.random.Generator | None = None) -> Defense:
        """Return the defence of anything that has its parameters: a bundle, another defence."""
        return cls(
            parameters.quant_table,
            parameters.num_steps,
            parameters.distort_limit,
            passes=parameters.passes,
            noise_std=parameters.noise_std,
            rng=rng,
        )

    def with_noise(self, noise_std: float) -> Defense:
        """Return the same defence behind other noise, its draws from the same place."""
        return Defense(
            self.quant_table, self.num_steps, self.distort_limit, passes=self.passes, noise_std=noise_std, rng=self._rng
        )

    @property
    def predictable(self) -> bool:
        """Whether the grids come from a given generator: never to be used against an attacker."""
        return self._rng is not None

    def __repr__(self) -> str:
        several = f", passes={self.passes}" if self.passes > 1 else ""
        noisy = f", noise_std={self.noise_std:g}" if self.noise_std else ""
        seeded = ", rng=<given: predictable>" if self.predictable else ""
        return (
            f"Defense(<8x8 table, DC {self.quant_table[0, 0]:g}>, num_steps={self.num_steps}, "
            f"distort_limit={self.distort_limit:g}{several}{noisy}{seeded})"
        )

    @property
    def usual_offsets(self) -> Offsets:
        """Where the blocks of each pass begin when nothing is drawn: for given grids, and to show a picture."""
        steps = [_BLOCK * number // self.passes for number in range(self.passes)]
        # Three times as fast along the columns: no two passes share a row or a column of block edges.
        return [(step, 3 * step % _BLOCK) for step in steps]

    def sample_offsets(self, rng: np.random.Generator | None = None) -> Offsets:
        """Draw where the blocks of each pass begin, all in rows and columns of their own; one pass is always at (0, 0).

        `rng` takes the place of the defence's own randomness (for tests and evaluation).
        """
        if self.passes == 1:
            return self.usual_offsets
        given = rng or self._rng
        if given is None:
            words = np.frombuffer(os.urandom(16 * _BLOCK), np.uint64)
        else:
            words = given.integers(0, 2**63, 2 * _BLOCK, np.uint64)
        # The order of eight random words is a random order.
        rows, cols = np.argsort(words.reshape(2, _BLOCK), axis=1)[:, : self.passes].tolist()
        return list(zip(rows, cols, strict=True))

    def sample_noise(self, height: int, width: int, rng: np.random.Generator | None = None) -> Noise | None:
        """Draw the noise of one image, a random byte for each value of each pixel; None if none is added.

        `rng` takes the place of the defence's own randomness (for tests and evaluation).
        """
        if not self.noise_std:
            return None
        given, count = rng or self._rng, height * width * 3
        drawn = os.urandom(count) if given is None else given.bytes(count)
        return np.frombuffer(drawn, np.uint8).reshape(height, width, 3)

    def _noisy(self, image: NDArray[np.uint8], noise: Noise | None) -> NDArray[np.uint8]:
        if noise is None or self._noise_levels is None:
            return image
        if noise.dtype != np.uint8 or noise.shape != image.shape:
            raise InputError(f"noise is {noise.dtype} {noise.shape}, expected uint8 {image.shape}")
        from edgedefend.kernels import add_noise

        out = np.empty(image.shape, np.uint8)
        pixels, drawn = (np.ascontiguousarray(part).reshape(-1) for part in (image, noise))
        for view in (pixels, drawn):
            view.setflags(write=False)  # one compiled version, whether or not the input may be written
        add_noise(pixels, drawn, self._noise_levels, out.reshape(-1))
        return out

    def _usual_noise(self, image: NDArray[np.uint8]) -> Noise | None:
        return usual_noise(*image.shape[:2]) if self.noise_std else None

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

    def into(
        self,
        image: ArrayLike,
        out: NDArray[np.generic],
        encoding: Encoding,
        *,
        grid: Grid | None = None,
        offsets: Offsets | None = None,
        noise: Noise | None = None,
    ) -> None:
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
        offsets : sequence of (int, int), optional
            The same for the passes; with a given grid `usual_offsets` unless this says otherwise.
        noise : uint8 (H, W, 3), optional
            The same for the noise, as `sample_noise` draws it; with a given grid `edgedefend.noise.usual_noise`.
        """
        source = as_image(image)
        if self.noise_std and noise is None:
            noise = self.sample_noise(*source.shape[:2]) if grid is None else self._usual_noise(source)
        source = self._noisy(source, noise)
        if self.passes > 1 and offsets is None:
            offsets = self.sample_offsets() if grid is None else self.usual_offsets
        if grid is None:
            grid = self.sample_grid(*source.shape[:2])
        if self.passes == 1:
            self.fused(encoding).into(source, grid, out)
        else:
            encoding.write(remap(self._quantized(source, offsets), grid), out)

    def into_many(
        self, image: ArrayLike, out: NDArray[np.generic], encoding: Encoding, *, grids: Sequence[Grid] | None = None
    ) -> None:
        """Defend one image as often as `out` has places, each with a grid of its own.

        It is quantised only once, unless the quantiser makes several passes or noise is added: these are drawn anew for
        each.

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
        if self.passes > 1 or self.noise_std:
            for number, place in enumerate(out):
                self.into(source, place, encoding, grid=None if grids is None else grids[number])
            return
        if grids is None:
            grids = [self.sample_grid(*source.shape[:2]) for _ in range(len(out))]
        self.fused(encoding).into_many(source, grids, out)

    def quantize(self, image: ArrayLike, offsets: Offsets | None = None) -> NDArray[np.uint8]:
        """Return `image` after step 1 alone (see `edgedefend.quantize`): the mean of all passes, rounded to nearest.

        Where noise is added it has been, always the same (`edgedefend.noise.usual_noise`).
        """
        source = as_image(image)
        return self._quantized(self._noisy(source, self._usual_noise(source)), offsets)

    def _quantized(self, source: NDArray[np.uint8], offsets: Offsets | None) -> NDArray[np.uint8]:
        from edgedefend.dct import quantize

        if self.passes == 1:
            return quantize(source, self.quant_table)
        height, width = source.shape[:2]
        one, total = np.empty_like(source), np.full(source.shape, self.passes // 2, np.uint16)
        for top, left in self.usual_offsets if offsets is None else offsets:
            # The fused kernel with a grid that leaves everything in its place: it is many times the plain one's speed.
            padded = np.pad(source, ((top, 0), (left, 0), (0, 0)), mode="edge")
            here = Grid(np.arange(top, top + height, dtype=np.int32), np.arange(left, left + width, dtype=np.int32))
            self.fused(_PIXELS).into(padded, here, one)
            total += one
        return (total // np.uint16(self.passes)).astype(np.uint8)

    def __call__(
        self,
        image: ArrayLike,
        *,
        grid: Grid | None = None,
        offsets: Offsets | None = None,
        noise: Noise | None = None,
    ) -> NDArray[np.uint8]:
        """Defend one image.

        Parameters
        ----------
        image : uint8 (H, W, 3)
            RGB, any size from 1x1. It is not modified.
        grid : Grid, optional
            The grid to use instead of a fresh random one (for tests and evaluation).
        offsets, noise
            See `into`.

        Returns
        -------
        uint8 (H, W, 3)
            The defended image.
        """
        source = as_image(image)
        shape = source.shape[:2] if grid is None else (len(grid[0]), len(grid[1]))
        out = np.empty((*shape, 3), np.uint8)
        self.into(source, out, _PIXELS, grid=grid, offsets=offsets, noise=noise)
        return out
