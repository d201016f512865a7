"""Several draws of one image: through the model in one batch, or one after the other? The faster, found out in use.

A batch saves calls and reads the weights once, but its activations may no longer fit into the cache: on one x86 core
XNNPACK takes 2 % less time for five int8 images in a batch and 3 to 6 % more for five float ones. Which it is depends
on the model, the machine and the threads, so the first calls try both (each gives a valid answer) and the rest keep to
the faster.
"""

from __future__ import annotations

__all__ = ["BatchChoice"]

_TRIALS = 3  # calls each way, of which the first, which plans the new size and fills caches, is not counted


class BatchChoice:
    """Remembers, by number of draws, how long each way has taken."""

    def __init__(self) -> None:
        self._seconds: dict[tuple[int, bool], list[float]] = {}
        self._possible = True

    def batched(self, draws: int) -> bool:
        """Tell whether the next call with this many draws should be one batch."""
        if not self._possible:
            return False
        together, apart = (self._seconds.get((draws, way), []) for way in (True, False))
        if len(together) < _TRIALS:
            return True
        if len(apart) < _TRIALS:
            return False
        return min(together[1:]) <= min(apart[1:])

    def settled(self, draws: int) -> bool:
        """Tell whether both ways have been tried often enough."""
        return not self._possible or all(len(self._seconds.get((draws, way), [])) >= _TRIALS for way in (True, False))

    def rule_out_batches(self) -> None:
        """Remember that this model has a batch of one built in."""
        self._possible = False

    def note(self, draws: int, batched: bool, seconds: float) -> None:
        """Remember that this many draws took the model so long, one way or the other."""
        seen = self._seconds.setdefault((draws, batched), [])
        if len(seen) < _TRIALS:
            seen.append(seconds)
