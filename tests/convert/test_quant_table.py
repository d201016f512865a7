import numpy as np
import pytest

from convert.quant_table import count_votes, table_from_votes
from edgedefend.errors import InputError
from tests import reference


def slow_votes(clean: np.ndarray, adversarial: np.ndarray) -> np.ndarray:
    """Algorithm 2, lines 1 to 14, as they stand."""
    basis, votes = reference.dct_matrix(), np.zeros((8, 8), int)
    for image, attacked in zip(clean, adversarial, strict=True):
        for channel in range(3):
            for top in range(0, image.shape[0] // 8 * 8, 8):
                for left in range(0, image.shape[1] // 8 * 8, 8):
                    here = np.s_[top : top + 8, left : left + 8, channel]
                    before = basis @ image[here].astype(float) @ basis.T
                    after = basis @ attacked[here].astype(float) @ basis.T
                    votes[np.unravel_index(np.abs(before - after).argmax(), (8, 8))] += 1
    return votes


def test_votes_equal_the_algorithm_s_loops(photographs):
    rng = np.random.default_rng(0)
    clean = np.stack(photographs[:2])[:, :45, :61]
    noise = rng.normal(0, 3, clean.shape) + rng.normal(0, 4, (2, 1, 1, 3))
    adversarial = np.clip(np.rint(clean + noise), 0, 255).astype(np.uint8)
    votes, slow = count_votes(clean, adversarial), slow_votes(clean, adversarial)
    assert votes.sum() == 2 * 3 * 5 * 7
    # Two equal differences may be ordered either way by float32.
    assert np.abs(votes - slow).sum() <= 4


@pytest.mark.parametrize("place", [(0, 0), (0, 3), (5, 0), (7, 7), (2, 6)])
def test_a_change_at_one_frequency_is_found_there(place):
    """Row is vertical frequency: a swapped axis would fail here."""
    basis = reference.dct_matrix()
    wave = np.outer(basis[place[0]], basis[place[1]]) * 200
    clean = np.full((1, 16, 16, 3), 128, np.uint8)
    adversarial = np.clip(np.rint(clean + np.tile(wave, (2, 2))[None, :, :, None]), 0, 255).astype(np.uint8)
    votes = count_votes(clean, adversarial)
    assert votes[place] == 12
    table = table_from_votes(votes)
    assert table[place] == 100
    assert np.delete(table.ravel(), place[0] * 8 + place[1]).max() == 20


def test_bad_input():
    image = np.zeros((1, 16, 16, 3), np.uint8)
    with pytest.raises(InputError, match="the same"):
        count_votes(image, image[:, :8])
    with pytest.raises(InputError, match="at least 8 pixels"):
        count_votes(image[:, :7], image[:, :7])
    with pytest.raises(InputError, match="no votes"):
        table_from_votes(np.zeros((8, 8), np.int64))
