"""A smallest change made just large enough to survive the rounding to 8 bits.

Attacks that look for the smallest change end on the boundary, and what a board is sent is a picture: rounded, half of
their results fall back to the right side. An attacker who knows that goes a little further.
"""

from __future__ import annotations

import numpy as np

from bench.attacks.base import Images, Request, to_pictures, to_unit, try_out
from bench.attacks.norms import per_image, project
from bench.attacks.pictures import as_pictures

__all__ = ["enlarge_until_sent"]

_FACTORS = (1.0, 1.1, 1.25, 1.5, 1.8, 2.2, 2.8, 4.0)


def enlarge_until_sent(request: Request, found: Images, *, draws: int) -> Images:
    """Return the images with their changes scaled up, none beyond the request's bound.

    Parameters
    ----------
    request : Request
    found : float32 (N, H, W, 3)
        What an attack found, in [0, 1].
    draws : int
        Of a model that draws at random, for each factor tried.

    Returns
    -------
    float32 (N, H, W, 3)
        For each image the smallest factor at which its picture fools every draw; where there is none, that which
        fools most, and the smallest of several alike: an attack that found nothing stays as it was.
    """
    clean, whole = request.images, to_pictures(request.images)
    out, best = found.copy(), np.full(len(found), -1.0)
    for factor in _FACTORS:
        rows = np.flatnonzero(best < 1)
        if not rows.size:
            break
        grown = found[rows]
        if factor > 1:
            change = per_image(np.full(len(rows), factor)) * (grown - clean[rows])
            grown = project(clean[rows] + change, clean[rows], request.epsilon, request.norm)
        rate, _ = try_out(
            request.model,
            to_unit(as_pictures(grown, whole[rows], norm=request.norm)),
            request.classes[rows],
            targeted=request.targeted,
            draws=draws,
            rng=request.rng,
        )
        better = rate > best[rows]
        out[rows[better]], best[rows[better]] = grown[better], rate[better]
    return out
