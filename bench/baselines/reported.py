"""What the paper itself says of each defence: Tables 1 and 2 of Qiu et al., digit by digit.

Both are of Inception V3 and ImageNet. A figure from here is "reported" wherever it is printed, never "measured". Most
of Table 2 was not measured by the paper either: it quotes the papers that broke those defences.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["REPORTED", "Reported", "Table1Row", "Table2Row"]


class Table1Row(NamedTuple):
    """Two draws of one image, means over 1000 images, and the accuracy on clean images."""

    l2_rms: float
    ssim: float
    accuracy: float


class Table2Row(NamedTuple):
    """Accuracy under a bounded attack, None where the table has a dash.

    `requirement` holds "model" (the target model is modified), "input" (preprocessing) and "adversarial training";
    `properties` the numbers of those that the defence is said to have: 1 usability-preserving, 2 non-differentiability,
    3 non-approximation.
    """

    requirement: tuple[str, ...]
    attack: str
    properties: tuple[int, ...]
    linf_0_031: float | None
    l2_rms_0_05: float | None


class Reported(NamedTuple):
    """A defence's rows in the paper, None where it has none."""

    table_1: Table1Row | None = None
    table_2: Table2Row | None = None


_INPUT, _INPUT_AND_TRAINING = ("input",), ("input", "adversarial training")

REPORTED: dict[str, Reported] = {
    "none": Reported(),
    "ours": Reported(Table1Row(0.22, 0.30, 0.95), Table2Row(_INPUT, "BPDA+EOT", (1, 2, 3), None, 0.58)),
    "rand": Reported(Table1Row(0.21, 0.31, 0.96), Table2Row(_INPUT, "EOT", (1, 3), 0.00, None)),
    "fd": Reported(Table1Row(0.00, 1.00, 0.97), Table2Row(_INPUT, "BPDA", (1, 2), None, 0.10)),
    "shield": Reported(Table1Row(0.03, 0.88, 0.94), Table2Row(_INPUT_AND_TRAINING, "BPDA", (1, 2), None, 0.00)),
    "tv": Reported(Table1Row(0.02, 0.97, 0.95), Table2Row(_INPUT_AND_TRAINING, "BPDA+EOT", (1, 2), None, 0.00)),
    "jpeg": Reported(None, Table2Row(_INPUT_AND_TRAINING, "BPDA", (1, 2), None, 0.00)),
    "bdr": Reported(Table1Row(0.00, 1.00, 0.92), None),
    "pd": Reported(Table1Row(0.02, 0.98, 0.97), Table2Row(_INPUT, "BPDA", (1, 2), 0.00, None)),
    "crop": Reported(None, Table2Row(_INPUT_AND_TRAINING, "BPDA+EOT", (2,), None, 0.00)),
    "quilting": Reported(None, Table2Row(_INPUT_AND_TRAINING, "BPDA+EOT", (1, 2), None, 0.00)),
    "me-net": Reported(None, Table2Row(("model", *_INPUT_AND_TRAINING), "BPDA+EOT", (2, 3), 0.13, None)),
    "pixeldefend": Reported(None, Table2Row(_INPUT_AND_TRAINING, "BPDA", (1, 2), 0.09, None)),
    "guided-denoiser": Reported(None, Table2Row(_INPUT, "BPDA", (1, 2), None, 0.00)),
}
