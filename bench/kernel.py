"""The fused kernel beside what others would run, beside its own readable version, and beside this core's floor.

One process, one thread. Each measurement is a pair: a burst of the fused kernel, then a burst of the peer, so that what
slows the machine down slows both; the ratio is the median over many pairs. Bursts last about two milliseconds (at least
one call), so that both sides find the caches as warm as they leave them. Times are the thread's CPU time.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from bench import floor, peers
from bench.conditions import Watch
from edgedefend.defense import Defense
from edgedefend.encoding import Encoding
from edgedefend.errors import EdgeDefendError
from edgedefend.fused import FusedDefense
from edgedefend.grid import Grid, sample_grid
from edgedefend.sources import fit_image

__all__ = ["SIZES", "TARGETS", "check_peers", "measure_kernel", "tie_fraction"]

# Peer -> how many times slower than the fused kernel it has to be.
TARGETS = {
    "published loop: SciPy dct + cv2.remap": 400.0,
    "SciPy dctn/idctn + NumPy take": 45.0,
    "JPEG 4:4:4 + cv2.remap": 4.0,
    "JPEG 4:2:0 + cv2.remap": 2.5,
    "albumentations GridDistortion (no DCT)": 4.0,
}
SIZES = {"224x224": (224, 224), "299x299": (299, 299), "640x480": (480, 640), "1920x1080": (1080, 1920)}
FLATNESS = 1.3  # the largest time per pixel over the smallest
TIES = 0.005  # the fraction of values of photographs that may differ from the plain kernels

_BURST_SECONDS = 2e-3
_NUM_STEPS, _DISTORT_LIMIT = 10, 0.25


def _peers(image: NDArray[np.uint8], table: NDArray[np.float32], grid: Grid) -> dict[str, peers.Peer]:
    names = list(TARGETS)
    return {
        names[0]: peers.published_loop(image, table, grid),
        names[1]: peers.vectorised_scipy(image, table, grid),
        names[2]: peers.jpeg(image, table, grid, "4:4:4"),
        names[3]: peers.jpeg(image, table, grid, "4:2:0"),
        names[4]: peers.grid_distortion(image, _NUM_STEPS, _DISTORT_LIMIT),
        "the same in float64, step by step": peers.simple_scipy(image, table, grid),
        "plain kernels of this project": peers.plain_kernels(image, table, grid),
        "cv2.remap alone (no DCT, map given)": peers.opencv_remap(image, grid),
    }


def _variants(image: NDArray[np.uint8], table: NDArray[np.float32], grid: Grid) -> dict[str, Callable[[], Any]]:
    """Return other ways to call our own code, to see what each costs beside the fused kernel that writes pixels."""
    defend, pixels, signed, floats = (
        Defense(table, _NUM_STEPS, _DISTORT_LIMIT),
        Encoding(),
        Encoding(np.int8, 1, -128),
        Encoding(np.float32, 1 / 128, -127 / 128),
    )
    out = {encoding: np.empty(image.shape, encoding.dtype) for encoding in (pixels, signed, floats)}
    many = np.empty((5, *image.shape), np.uint8)
    height, width, _ = image.shape
    grids = [defend.sample_grid(height, width) for _ in range(5)]
    one = FusedDefense(table)
    noisy, several = (
        Defense(table, _NUM_STEPS, _DISTORT_LIMIT, **options) for options in ({"noise_std": 8.0}, {"passes": 4})
    )
    return {
        "Defense.into, fresh random grid": lambda: defend.into(image, out[pixels], pixels),
        "the same with noise of 8 levels": lambda: noisy.into(image, out[pixels], pixels),
        "the same in four passes": lambda: several.into(image, out[pixels], pixels),
        "the grid alone (sample_grid)": lambda: defend.sample_grid(height, width),
        "fused, int8": lambda: defend.into(image, out[signed], signed, grid=grid),
        "fused, float32": lambda: defend.into(image, out[floats], floats, grid=grid),
        "fused, five draws in one pass": lambda: one.into_many(image, grids, many),
    }


def _differing(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    return float(np.mean(a != b))


def _grid_error(height: int, width: int) -> float:
    """Return by how many pixels GridDistortion without distortion displaces, where it draws its grids itself.

    Its cells end on the pixel before the next one begins, so that it is not the identity; a pixel or two is right.

    Raises
    ------
    EdgeDefendError
        If with distortion it does not displace, or does not keep the order of rows and columns.
    """
    y, x = np.mgrid[0:height, 0:width] // 2  # as levels; a side may have up to 511 pixels
    source = np.stack([y, x, np.zeros_like(x)], -1).astype(np.uint8)
    # The last row and column point beyond the image and are filled.
    places = source[:-1, :-1].astype(int)
    moved, still = (
        peers.grid_distortion(source, _NUM_STEPS, limit)().astype(int)[:-1, :-1] for limit in (_DISTORT_LIMIT, 0.0)
    )
    if (np.diff(moved[..., 0], axis=0) < 0).any() or (np.diff(moved[..., 1], axis=1) < 0).any():
        raise EdgeDefendError("albumentations' GridDistortion does not keep the order of rows and columns")
    if np.abs(moved - places).max() < 2:
        raise EdgeDefendError("albumentations' GridDistortion does not distort")
    return 2.0 * float(np.abs(still - places).max())


def check_peers(image: NDArray[np.uint8], table: NDArray[np.float32], grid: Grid) -> dict[str, float]:
    """Return how much each peer's image differs from the fused kernel's; make sure that all do the same work.

    Returns
    -------
    dict
        For the exact peers the fraction of differing values. For JPEG, which is another computation by definition,
        the mean absolute difference from the distorted image in levels. For GridDistortion, whose grids are its own,
        by how many pixels it displaces where it should not.

    Raises
    ------
    EdgeDefendError
        If a peer computes something else, so that a comparison would not be fair.
    """
    fused = np.empty_like(image)
    FusedDefense(table).into(image, grid, fused)
    gathered = image[grid.rows][:, grid.cols]
    found = {}
    for name, peer in _peers(image, table, grid).items():
        result = peer()
        if name.startswith("JPEG"):
            # Its channels are BGR. It has to be as near to the distorted image as the fused kernel's result is.
            found[name] = float(np.abs(result[..., ::-1].astype(int) - gathered).mean())
            limit = 2 * float(np.abs(fused.astype(int) - gathered).mean())
        elif name.startswith("albumentations"):
            found[name], limit = _grid_error(*image.shape[:2]), 2.0
        elif name.startswith("cv2.remap"):
            found[name], limit = _differing(result, gathered), 0.0
        else:
            found[name], limit = _differing(result, fused), 0.02
        if found[name] > limit:
            raise EdgeDefendError(f"{name} computes something else: differs by {found[name]:.4g}, allowed {limit:.4g}")
    return found


def tie_fraction(photographs: Sequence[NDArray[np.uint8]], table: NDArray[np.float32]) -> dict[str, float]:
    """Return the fraction of values in which fused and plain kernels differ: mean and largest of the photographs."""
    fractions = []
    for image in photographs:
        height, width, _ = image.shape
        grid = Grid(np.arange(height, dtype=np.int32), np.arange(width, dtype=np.int32))
        out = np.empty_like(image)
        FusedDefense(table).into(image, grid, out)
        fractions.append(_differing(out, peers.plain_kernels(image, table, grid)()))
    return {"mean": statistics.fmean(fractions), "largest": max(fractions), "photographs": len(fractions)}


def _calls(function: Callable[[], Any]) -> int:
    function()
    return max(1, int(_BURST_SECONDS / floor.burst_seconds(function, 1)))


def _quantile(values: Sequence[float], part: float) -> float:
    ordered = sorted(values)
    return ordered[min(int(part * len(ordered)), len(ordered) - 1)]


def _compare(
    base: Callable[[], Any], others: dict[str, Callable[[], Any]], rounds: int, tick: Callable[[int], Any]
) -> dict[str, dict[str, float]]:
    """Time each of `others` right after `base`, `rounds` times in turn; return the ratios and the times."""
    calls = {name: _calls(function) for name, function in others.items()}
    base_calls = _calls(base)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in others}
    for _ in range(rounds):
        for name, function in others.items():
            ours = floor.burst_seconds(base, base_calls)
            times[name].append((ours, floor.burst_seconds(function, calls[name])))
        tick(1)
    rows = {}
    for name, pairs in times.items():
        ratios = [theirs / ours for ours, theirs in pairs]
        rows[name] = {
            "ratio": statistics.median(ratios),
            "p10": _quantile(ratios, 0.1),
            "p90": _quantile(ratios, 0.9),
            "best_ratio": min(theirs for _, theirs in pairs) / min(ours for ours, _ in pairs),
            "fused_us": 1e6 * statistics.median(ours for ours, _ in pairs),
            "us": 1e6 * statistics.median(theirs for _, theirs in pairs),
        }
    return rows


def measure_kernel(
    photographs: Sequence[NDArray[np.uint8]],
    quant_table: NDArray[np.float32],
    *,
    rounds: int = 60,
    table_name: str = "given",
    tick: Callable[[int], Any] = lambda count: None,
) -> dict[str, Any]:
    """Measure the fused kernel beside its peers, at several sizes, and beside this core's floor.

    Parameters
    ----------
    photographs : sequence of uint8 (H, W, 3)
        The first, brought to each size, is what is timed; in all of them fused and plain kernels are compared.
    quant_table : float32 (8, 8)
    rounds : int
        Pairs of bursts a peer and size; `tick` is called ``2 * rounds`` times for the peers and ``4 * rounds`` for the
        sizes.

    Returns
    -------
    dict
        ``"peers"``: by size, by peer, the ratio (how many times slower than the fused kernel) with its 10th and 90th
        percentile, ``best_ratio`` (the fastest burst of the one over that of the other), target and whether reached.
        ``"variants"``: the same for other ways to call our own code. ``"sizes"``: time a pixel, and the two floors:
        ``copy_fraction`` is the time to copy the image's bytes once, at its size, over the kernel's time,
        ``peak_fraction`` the time of the transform's float32 operations at this core's measured peak over the
        kernel's time. ``"flatness"``: the largest time a pixel over the smallest. ``"ties"``: see `tie_fraction`.

    Raises
    ------
    EdgeDefendError
        If a peer turns out to compute something else.
    """
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        timed, variants, sizes, checks = {}, {}, {}, {}
        watch = Watch()
        peak = floor.peak_operations()
        for size, (height, width) in SIZES.items():
            image = np.ascontiguousarray(fit_image(photographs[0], height, width, "stretch"))
            grid = sample_grid(height, width, _NUM_STEPS, _DISTORT_LIMIT, rng=np.random.default_rng(1))
            fused, out = FusedDefense(quant_table), np.empty_like(image)

            def base(fused: FusedDefense = fused, image: Any = image, grid: Grid = grid, out: Any = out) -> None:
                fused.into(image, grid, out)

            if size in ("224x224", "299x299"):
                checks[size] = check_peers(image, quant_table, grid)
                rows: dict[str, dict[str, Any]] = dict(
                    _compare(base, dict(_peers(image, quant_table, grid)), rounds, tick)
                )
                for name, target in TARGETS.items():
                    rows[name] |= {"target": target, "reached": rows[name]["ratio"] >= target}
                timed[size] = rows
                variants[size] = _compare(base, _variants(image, quant_table, grid), rounds, lambda count: None)
            copy = _compare(base, {"copy": floor.copy_peer(image)}, rounds, tick)["copy"]
            sizes[size] = {
                "fused_us": copy["fused_us"],
                "ns_per_pixel": 1e3 * copy["fused_us"] / (height * width),
                "copy_us": copy["us"],
                "copy_fraction": copy["ratio"],
                "operations": floor.transform_operations(height, width),
                "peak_fraction": 1e6 * floor.transform_operations(height, width) / peak / copy["fused_us"],
            }
        ties = tie_fraction(photographs, quant_table)
    finally:
        cv2.setNumThreads(threads)
    each = [row["ns_per_pixel"] for row in sizes.values()]
    flatness = max(each) / min(each)
    return {
        "kind": "kernel",
        "peers": timed,
        "variants": variants,
        "sizes": sizes,
        "flatness": {"value": flatness, "target": FLATNESS, "reached": flatness <= FLATNESS},
        "ties": {**ties, "target": TIES, "reached": ties["mean"] < TIES},
        "floor": {
            "peak_gflops": peak / 1e9,
            "copy_gb_per_s": {
                name: 2e-3 * 3 * height * width / sizes[name]["copy_us"] for name, (height, width) in SIZES.items()
            },
            "operations_a_value": floor.OPERATIONS_A_VALUE,
        },
        "checks": checks,
        "rounds": rounds,
        "table": table_name,
        "jpeg_quality": peers.jpeg_quality(quant_table),
        "peer_versions": {name: metadata.version(name) for name in ("scipy", "albumentations")},
        "conditions": watch.finish(),
    }
