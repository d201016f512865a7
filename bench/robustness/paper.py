"""The figures of the paper (Qiu et al.), to stand beside ours: Inception V3, 100 ImageNet images that it gets right."""

from __future__ import annotations

__all__ = ["FIGURE_3", "FIGURE_4", "L2_BOUND", "TABLE_1", "TABLE_2", "TABLE_3"]

L2_BOUND = 0.05  # l2_rms; "We only accept AEs with a l2 norm smaller than 0.05"

# defence -> (l2_rms and SSIM between two draws, accuracy on clean images)
TABLE_1: dict[str, tuple[float, float, float]] = {
    "ours": (0.22, 0.30, 0.95),
    "rand": (0.21, 0.31, 0.96),
    "fd": (0.00, 1.00, 0.97),
    "shield": (0.03, 0.88, 0.94),
    "tv": (0.02, 0.97, 0.95),
    "bdr": (0.00, 1.00, 0.92),
    "pd": (0.02, 0.98, 0.97),
}

# defence -> (attack, bound, accuracy under it)
TABLE_2: dict[str, tuple[str, str, float]] = {
    "rand": ("EOT", "linf 0.031", 0.00),
    "pixeldefend": ("BPDA", "linf 0.031", 0.09),
    "crop": ("BPDA+EOT", "l2_rms 0.05", 0.00),
    "jpeg": ("BPDA", "l2_rms 0.05", 0.00),
    "tv": ("BPDA+EOT", "l2_rms 0.05", 0.00),
    "quilting": ("BPDA+EOT", "l2_rms 0.05", 0.00),
    "shield": ("BPDA", "l2_rms 0.05", 0.00),
    "pd": ("BPDA", "linf 0.031", 0.00),
    "guided-denoiser": ("BPDA", "l2_rms 0.05", 0.00),
    "me-net": ("BPDA+EOT", "linf 0.031", 0.13),
    "fd": ("BPDA", "l2_rms 0.05", 0.10),
    "ours": ("BPDA+EOT", "l2_rms 0.05", 0.58),
}

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
