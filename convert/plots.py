"""The picture of a learned table: the paper's Figure 1, (a) and (b)."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

__all__ = ["votes_and_table"]


def votes_and_table(table_file: dict[str, Any]) -> bytes:
    """Draw the votes and the table of a quant_table.json; return the PNG file's content."""
    from matplotlib.figure import Figure

    votes = np.array(table_file["votes"], float)
    figure = Figure(figsize=(11, 5), layout="constrained")
    left, right = figure.subplots(1, 2)
    share = votes / votes.sum()
    panels = [
        (left, share, "{:.1%}", "(a) share of blocks whose largest change is here"),
        (right, np.array(table_file["quant_table"]), "{:.0f}", "(b) quantisation table, pixel levels"),
    ]
    for axes, values, form, title in panels:
        # A logarithmic shade for the shares: DC outweighs everything else by far.
        shade = np.log10(values + 1e-4) if axes is left else values
        image = axes.imshow(shade, cmap="viridis")
        middle = (shade.max() + shade.min()) / 2
        for (row, column), value in np.ndenumerate(values):
            color = "black" if shade[row, column] > middle else "white"
            axes.text(column, row, form.format(value), ha="center", va="center", color=color, fontsize=8)
        axes.set(title=title, xlabel="horizontal frequency", ylabel="vertical frequency")
        axes.set_xticks(range(8))
        axes.set_yticks(range(8))
        if axes is right:
            figure.colorbar(image, ax=axes, shrink=0.8)
    figure.suptitle(str(table_file["name"]))
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=110)
    return out.getvalue()
