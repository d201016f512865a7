"""What one core of this machine can do at most: its copy bandwidth and its peak of float32 arithmetic, both measured.

They turn a time into a fraction of the floor that no implementation can go below: its bytes over the bandwidth, its
operations over the peak.
"""

from __future__ import annotations

import functools
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["OPERATIONS_A_VALUE", "burst_seconds", "copy_peer", "peak_operations", "transform_operations"]

# A pass over a block is 8 columns through 16 additions and 10 fused multiply-adds (two operations each): 36 for 8
# values. Forward and inverse, along both axes: four passes. The quantiser takes a fused multiply-add, a subtraction
# and a multiplication a value.
OPERATIONS_A_VALUE = 4 * 36 / 8 + 4


def transform_operations(height: int, width: int) -> float:
    """Return the float32 operations of the transform of an image with three channels, whole blocks."""
    return OPERATIONS_A_VALUE * 3 * (8 * -(-height // 8)) * (8 * -(-width // 8))


def burst_seconds(function: Callable[[], Any], calls: int) -> float:
    """Return the mean time of `calls` calls one after the other, in s.

    It is this thread's CPU time, system calls and page faults included: what other processes take from a busy machine
    does not count, for either side of a comparison. Everything that is timed here runs in one thread and never waits.
    """
    started = time.thread_time()
    for _ in range(calls):
        function()
    return (time.thread_time() - started) / calls


def copy_peer(image: NDArray[np.uint8]) -> Callable[[], Any]:
    """Return a copy of the image into another array of its size: the bytes that the defence must read and write.

    At the same size it sits in the same level of the cache as the defence's input and output.
    """
    out = np.empty_like(image)
    return lambda: np.copyto(out, image)


def peak_operations(*, seconds: float = 0.05, rounds: int = 7) -> float:
    """Return the float32 operations a second of this core, measured with fused multiply-adds and nothing else.

    Twelve independent chains of the vectors that the kernel uses (`edgedefend.simd`: eight lanes, one AVX2 register or
    two of NEON) cover the latency of the instruction; a multiply-add counts as two operations. Half of the transform's
    instructions are additions, which count as one: it could reach two thirds of this peak at most.
    """
    import numba

    from edgedefend.simd import fma, load, store

    @numba.njit(nogil=True, error_model="numpy")
    def chains(count: int, numbers: Any) -> None:
        a, b = load(numbers, 96), load(numbers, 104)
        c0, c1, c2, c3 = load(numbers, 0), load(numbers, 8), load(numbers, 16), load(numbers, 24)
        c4, c5, c6, c7 = load(numbers, 32), load(numbers, 40), load(numbers, 48), load(numbers, 56)
        c8, c9, c10, c11 = load(numbers, 64), load(numbers, 72), load(numbers, 80), load(numbers, 88)
        for _ in range(count):
            c0, c1, c2, c3 = fma(c0, a, b), fma(c1, a, b), fma(c2, a, b), fma(c3, a, b)
            c4, c5, c6, c7 = fma(c4, a, b), fma(c5, a, b), fma(c6, a, b), fma(c7, a, b)
            c8, c9, c10, c11 = fma(c8, a, b), fma(c9, a, b), fma(c10, a, b), fma(c11, a, b)
        store(numbers, 0, c0)
        store(numbers, 8, c1)
        store(numbers, 16, c2)
        store(numbers, 24, c3)
        store(numbers, 32, c4)
        store(numbers, 40, c5)
        store(numbers, 48, c6)
        store(numbers, 56, c7)
        store(numbers, 64, c8)
        store(numbers, 72, c9)
        store(numbers, 80, c10)
        store(numbers, 88, c11)

    # Chains that converge: no infinities, no denormals.
    numbers = np.full(112, 0.5, np.float32)
    chains(1, numbers)
    count = 1000
    while burst_seconds(functools.partial(chains, count, numbers), 1) < seconds:
        count *= 2
    run = functools.partial(chains, count, numbers)
    return 12 * 8 * 2 * count / statistics.median(burst_seconds(run, 1) for _ in range(rounds))
