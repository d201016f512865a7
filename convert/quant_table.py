"""Algorithm 2: learn the quantisation table from where adversarial examples differ most, block by block."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgedefend.errors import InputError
from edgedefend.kernels import dct_matrix

__all__ = ["count_votes", "table_from_votes"]

LOW, SPAN = 20.0, 80.0  # line 15: the table runs from 20 to 100


def _coefficients(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the DCT of every whole 8x8 block of every channel, float32 (blocks, 8, 8)."""
    count, height, width, channels = images.shape
    rows, columns = height // 8, width // 8
    whole = images[:, : rows * 8, : columns * 8].reshape(count, rows, 8, columns, 8, channels)
    blocks = whole.transpose(0, 1, 3, 5, 2, 4).reshape(-1, 8, 8).astype(np.float32)
    basis = dct_matrix()
    return basis @ blocks @ basis.T


def count_votes(clean: NDArray[np.uint8], adversarial: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Let every 8x8 block of every channel vote for the frequency that the attack changed most.

    Paper, Algorithm 2, lines 2 to 14, to the letter: ``argmax |DCT(clean) - DCT(adversarial)|``. Only whole
    blocks vote. A block that the attack left alone votes for DC, the first of equals.

    Parameters
    ----------
    clean, adversarial : uint8 (N, H, W, 3)

    Returns
    -------
    int64 (8, 8)
        Votes; row = vertical frequency.

    Raises
    ------
    InputError
        If the shapes differ or hold no whole block.
    """
    if clean.shape != adversarial.shape or clean.ndim != 4 or min(clean.shape[1:3]) < 8:
        raise InputError(
            f"clean images {clean.shape} and adversarial ones {adversarial.shape}: expected the same "
            "(n, height, width, 3) with sides of at least 8 pixels"
        )
    difference = np.abs(_coefficients(clean) - _coefficients(adversarial)).reshape(-1, 64)
    return np.bincount(difference.argmax(axis=1), minlength=64).reshape(8, 8).astype(np.int64)


def table_from_votes(votes: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return ``votes / max(votes) * 80 + 20`` (Algorithm 2, line 15), float32 (8, 8).

    Raises
    ------
    InputError
        If there is no vote at all.
    """
    if votes.shape != (8, 8) or votes.max() <= 0:
        raise InputError("no votes: a table cannot be learned from no images")
    return (votes / votes.max() * SPAN + LOW).astype(np.float32)
