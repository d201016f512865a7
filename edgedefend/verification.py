"""Does a bundle do here what it did on the desktop? Its golden input, step by step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgedefend.bundle import Bundle
from edgedefend.classifier import Classifier
from edgedefend.errors import BackendError, BundleError
from edgedefend.partitions import Partitions

__all__ = ["Verification", "verify_bundle"]

# Quantisation has ties (a flat block and a table of 25 give pixels of exactly 12.5): float32 sums in another
# order may round the other way at one. On the same code x86 and ARM have agreed to the bit.
TIE_FRACTION = 0.02


@dataclass(frozen=True)
class Verification:
    """What `verify_bundle` saw: the differences stay below what is allowed.

    `partitions` is how the runtime has divided the model here, None where it does not tell.
    """

    backend: str
    backend_version: str
    differing_pixels: float
    output_error: float
    tolerance: float
    label: str
    partitions: Partitions | None


def verify_bundle(bundle: Bundle, *, threads: int | None = None, backend: str | None = None) -> Verification:
    """Run a bundle's golden input and compare every step with what the desktop got.

    Raises
    ------
    BundleError
        If the defended image differs by more than rounding ties.
    BackendError
        If the interpreter cannot run the model, or runs it and gives another answer.
    """
    golden = bundle.golden()
    classifier = Classifier(bundle, threads=threads, backend=backend, defended=False)
    defended = bundle.defense()(golden.image, grid=golden.grid)
    differing = float(np.mean(defended != golden.defended))
    if differing > TIE_FRACTION:
        raise BundleError(
            f"{bundle.path}: the defence gives another image than on the desktop "
            f"({100 * differing:.2f} % of the values differ, {100 * TIE_FRACTION:.0f} % are allowed)"
        )
    output = classifier.run(golden.defended)
    error = float(np.abs(output - golden.output).max())
    interpreter = classifier.interpreter
    expected, answer = int(golden.output.argmax()), int(output.argmax())
    if not error <= golden.tolerance or answer != expected:
        others = [name for name in ("fp32", "fp16", "int8") if name != bundle.precision]
        raise BackendError(
            f"{bundle.path}: {interpreter.backend} {interpreter.version} runs this {bundle.precision} model and gets "
            f"it wrong: {bundle.labels[answer]!r} where the desktop said {bundle.labels[expected]!r}, "
            f"largest difference {error:.3g}, allowed {golden.tolerance:.3g}: "
            f"use the {' or '.join(others)} bundle here, or another --backend"
        )
    return Verification(
        interpreter.backend,
        interpreter.version,
        differing,
        error,
        golden.tolerance,
        bundle.labels[answer],
        interpreter.partitions(),
    )
