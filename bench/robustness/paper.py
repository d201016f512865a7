"""What the paper (Qiu et al.) says of its attacks, to stand beside ours: Inception V3, 100 images that it gets right.

What it says of each defence (Tables 1 and 2) is in `bench.baselines.reported`.
"""

from __future__ import annotations

__all__ = ["FIGURE_3", "FIGURE_4", "L2_BOUND", "TABLE_3"]

L2_BOUND = 0.05  # l2_rms; "We only accept AEs with a l2 norm smaller than 0.05"

# attack -> (l2_rms, accuracy and targeted success undefended, accuracy and targeted success behind the defence)
TABLE_3: dict[str, tuple[float, float, float | None, float, float | None]] = {
    "none": (0.000, 1.00, None, 0.95, None),
    "i-fgsm": (0.010, 0.02, 0.95, 0.93, 0.00),
    "l-bfgs": (0.001, 0.00, 1.00, 0.91, 0.00),
    "c&w": (0.016, 0.00, 1.00, 0.87, 0.00),
}

# What the text says of Figure 3: attack -> defence -> (rounds, accuracy, targeted success). "below 5 %, above 90 %" is
# said of all others under BPDA; Rand "slightly lower" than 70 %.
FIGURE_3: dict[str, dict[str, tuple[str, str, str]]] = {
    "bpda": {
        "ours": ("50", "about 0.70", "almost 0"),
        "fd": ("50", "about 0.40", "below 0.20"),
        "others": ("50", "below 0.05", "above 0.90"),
        "ours, to the bound": ("231", "0.57", "0.02"),
    },
    "bpda+eot": {
        "ours": ("50", "about 0.60", "below 0.10"),
        "rand, crop": ("50", "below 0.20 after 20", "1.00"),
        "ours, to the bound": ("-", "0.58", "0.07"),
    },
}

# (l2_rms, SSIM) between the defended picture and the auto-encoder's: the example, and the mean over 100 images
FIGURE_4 = {"example": (0.22, 0.35), "mean": (0.16, 0.36)}
