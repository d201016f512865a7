"""The paper's figures and the security curve as PNG. Each function takes data and returns the content of a file."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgedefend.defense import Defense
from edgedefend.grid import Grid, remap

__all__ = ["approximation", "curves", "receiver_operating", "rounds", "stages", "trade_off"]

# Okabe and Ito's palette, as in `bench.charts`, for a white page; ours is always the strong orange, none is black.
# As many as there are other defences: two of one colour could not be told apart.
_COLORS = (
    "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c564b",
    "#7f7f7f", "#bcbd22", "#17becf", "#9467bd", "#1b1bb3", "#e41a8c",
)  # fmt: skip
_FIXED = {"ours": "#d55e00", "none": "#1f2933"}
_DPI = 120
_MOST_SHADED = 4  # lines with intervals; with more of them only ours and the bare model keep theirs


def _png(figure: Any) -> bytes:
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=_DPI, metadata={"Software": None})
    return out.getvalue()


def _new(width: float, height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _color(name: str, names: Sequence[str]) -> str:
    others = [other for other in names if other not in _FIXED]
    return _FIXED.get(name) or _COLORS[others.index(name) % len(_COLORS)]


def _finish(axes: Any, title: str, x_label: str, y_label: str) -> None:
    axes.set_title(title, loc="left", fontsize=10)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(color="#e3e7ec", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _band(
    axes: Any,
    x: Sequence[float],
    rows: Sequence[Mapping[str, float]],
    color: str,
    label: str,
    *,
    shaded: bool = True,
    **how: Any,
) -> None:
    """Draw a line of proportions, with its interval shaded or, thinner, without."""
    axes.plot(x, [row["value"] for row in rows], color=color, label=label, linewidth=1.8 if shaded else 1.2, **how)
    if shaded:
        axes.fill_between(
            x, [row["low"] for row in rows], [row["high"] for row in rows], color=color, alpha=0.12, linewidth=0
        )


def curves(defenses: Mapping[str, Sequence[Mapping[str, Any]]], titles: Mapping[str, str]) -> bytes:
    """Draw the security curve: accuracy left and targeted success against l2_rms, one line a defence.

    Parameters
    ----------
    defenses : mapping
        Name -> points as `bench.robustness.curve.security_curve` gives them.
    titles : mapping
        Name -> what the legend says.
    """
    figure = _new(12, 4.4)
    panels = figure.subplots(1, 2, sharey=True)
    for axes, key, title in zip(
        panels,
        ("robust_accuracy", "attack_success_rate"),
        ("accuracy left", "success of an attacker who wants one class"),
        strict=True,
    ):
        for name, points in defenses.items():
            x = [point["epsilon"] for point in points]
            rows = [point[key] for point in points]
            shaded = name in _FIXED or len(defenses) <= _MOST_SHADED
            color, label = _color(name, list(defenses)), titles.get(name, name)
            _band(axes, x, rows, color, label, shaded=shaded, marker=".", markersize=4)
        _finish(axes, title, "l2_rms of the change, images in [0, 1]", "fraction of images")
        # Linear up to the smallest epsilon, logarithmic beyond: the curve begins at no change at all.
        smallest = min(
            (p["epsilon"] for points in defenses.values() for p in points if p["epsilon"] > 0), default=0.001
        )
        axes.set_xscale("symlog", linthresh=smallest)
        ticks = [0, *(value for value in (0.001, 0.002, 0.005, 0.01, 0.02, 0.05) if value >= smallest)]
        axes.set_xticks(ticks, [f"{value:g}" for value in ticks], fontsize=8)
        axes.minorticks_off()
        axes.set_ylim(-0.02, 1.02)
    # Beside the panel: inside it would lie on the lines of many defences.
    panels[1].legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return _png(figure)


def rounds(series: Mapping[str, Mapping[str, Mapping[str, Any]]], titles: Mapping[str, str]) -> bytes:
    """Draw the paper's Figure 3: accuracy and targeted success against the rounds of BPDA and of BPDA+EOT.

    Parameters
    ----------
    series : mapping
        Attack -> defence -> ``{"rounds": [...], "accuracy": [Proportion...], "success": [Proportion...]}``.
    """
    attacks = [attack for attack in ("bpda", "bpda+eot") if series.get(attack)]
    figure = _new(11, 4.2 * max(1, len(attacks)))
    panels = np.atleast_2d(figure.subplots(max(1, len(attacks)), 2, sharey=True, squeeze=False))
    names = list(dict.fromkeys(name for attack in attacks for name in series[attack]))
    for row, attack in enumerate(attacks):
        for column, (key, what) in enumerate((("accuracy", "accuracy (ACC)"), ("success", "targeted success (ASR)"))):
            axes = panels[row, column]
            last = max(line["rounds"][-1] for line in series[attack].values())
            for name, line in series[attack].items():
                # Where every image is done the rest of the rounds change nothing: the line goes on as it is.
                x, rows = list(line["rounds"]), list(line[key])
                more = last - x[-1]
                x, rows = x + [x[-1] + 1 + n for n in range(more)], rows + more * rows[-1:]
                _band(axes, x, rows, _color(name, names), titles.get(name, name))
            letter = "abcd"[2 * row + column]
            _finish(axes, f"({letter}) {attack.upper()}: {what}", "rounds", "fraction of images, fresh draws")
            axes.set_ylim(-0.02, 1.02)
        # Beside the panel: inside it would lie on lines that end anywhere.
        panels[row, 1].legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return _png(figure)


def receiver_operating(
    lines: Mapping[str, tuple[Sequence[float], Sequence[float], float]], false_alarms: float
) -> bytes:
    """Draw ROC curves: label -> (false alarms, detections, area); `false_alarms` is marked."""
    figure = _new(8.6, 4.6)
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="#98a4b0", linewidth=1, linestyle=":")
    for number, (label, (false, true, area)) in enumerate(lines.items()):
        axes.plot(false, true, color=_COLORS[number % len(_COLORS)], label=f"{label}, area {area:.2f}", linewidth=1.8)
    axes.axvline(false_alarms, color="#64707d", linewidth=0.8, linestyle="--")
    _finish(axes, "attacked or clean?", "false alarms", "attacks detected")
    axes.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return _png(figure)


def _cells(axes: Any, edges: tuple[NDArray[Any], NDArray[Any]], shape: tuple[int, int]) -> None:
    rows, columns = edges
    axes.hlines(rows, 0, shape[1] - 1, color="#ffffff", linewidth=0.7, alpha=0.8)
    axes.vlines(columns, 0, shape[0] - 1, color="#ffffff", linewidth=0.7, alpha=0.8)


def stages(picture: NDArray[np.uint8], defense: Defense, grid: Grid, name: str) -> bytes:
    """Draw the paper's Figure 2: the stages of the defence on one picture.

    Parameters
    ----------
    picture : uint8 (H, W, 3)
        One that may be shown.
    grid : Grid
        The draw to show; the white lines are its cells, in the source and in the result.
    """
    height, width = picture.shape[:2]
    steps = defense.num_steps
    even = np.arange(0, height, max(1, height // steps)), np.arange(0, width, max(1, width // steps))
    moved = grid.rows[even[0]], grid.cols[even[1]]
    quantized = defense.quantize(picture)
    panels = [
        (picture, even, "1. the picture and its grid"),
        (quantized, even, "2. quantised, block by block"),
        (quantized, moved, "3. cells stretched from a drawn corner"),
        (remap(quantized, grid), even, "4. every cell brought to its place"),
    ]
    figure = _new(12, 3.5)
    for axes, (image, edges, title) in zip(figure.subplots(1, 4), panels, strict=True):
        axes.imshow(image)
        _cells(axes, edges, (height, width))
        axes.set_title(title, fontsize=9)
        axes.axis("off")
    dropped = 1 - len(np.unique(grid.rows)) * len(np.unique(grid.cols)) / (height * width)
    figure.suptitle(f"{name}: this draw leaves out {100 * dropped:.0f} % of the pixels", fontsize=10)
    return _png(figure)


def approximation(
    original: NDArray[np.uint8],
    defended: NDArray[np.uint8],
    approximated: NDArray[np.uint8],
    figures: tuple[float, float],
) -> bytes:
    """Draw the paper's Figure 4; `figures` are l2_rms and SSIM between the last two."""
    figure = _new(9, 3.5)
    panels = [
        (original, "(a) original"),
        (defended, "(b) behind the defence, one draw"),
        (approximated, "(c) approximated by an auto-encoder"),
    ]
    for axes, (image, title) in zip(figure.subplots(1, 3), panels, strict=True):
        axes.imshow(image)
        axes.set_title(title, fontsize=9)
        axes.axis("off")
    figure.suptitle(f"between (b) and (c): l2_rms {figures[0]:.2f}, SSIM {figures[1]:.2f}", fontsize=10)
    return _png(figure)


def trade_off(
    rows: Sequence[Mapping[str, Any]], budget: float, chosen: str, on_others: Mapping[str, Any] | None = None
) -> bytes:
    """Draw what each candidate of a tuning costs (drop of accuracy) and buys (ratio of distortions, with its interval).

    Those that were left behind after few photographs are pale. `on_others` is the chosen one on photographs that had no
    part in the choice.
    """
    figure = _new(10, 5)
    axes = figure.subplots()
    most = max((row["n"] for row in rows), default=0)
    shown = sorted(rows, key=lambda row: (-row["n"], -row["ratio"]))
    if on_others and on_others["ratio"] is not None:
        shown.append(on_others)
    for number, row in enumerate(shown, 1):
        mine, last = row is on_others or row["name"] == chosen, row["n"] == most
        place, ratio = row["accuracy_drop"], row["ratio"]
        high = ratio if row["high"] is None else row["high"]
        axes.errorbar(
            place, ratio, [[ratio - row["low"]], [high - ratio]], capsize=3, markersize=9 if row is on_others else 6,
            fmt="*" if row is on_others else "o", color=_FIXED["ours"] if mine else _COLORS[0],
            alpha=1.0 if mine else 0.8 if last else 0.3, label=f"{number}   {row['name']} (n = {row['n']})",
        )  # fmt: skip
        axes.annotate(str(number), (place, ratio), fontsize=8, xytext=(5, 3), textcoords="offset points")
    axes.axvline(budget, color="#64707d", linewidth=0.8, linestyle="--")
    _finish(axes, "what it costs and what it buys", "drop of accuracy", "distortion needed, over undefended")
    if shown:
        axes.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return _png(figure)
