"""What a report says of each kind of result: headline figures, tables, plots. How it looks is `bench.report`'s affair.

Nothing here trusts a result: every value is read through `bench.resultfile`, and what is missing is left away.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bench.condition_rows import condition_rows
from bench.resultfile import label_of, text_at, texts_at
from bench.sections.latency import latency
from bench.sections.parts import Plot, Section, Table
from bench.sections.short import accuracy, anything, distortion, memory, startup, throughput
from bench.sections.soak import soak

__all__ = ["Plot", "Section", "Table", "section_of"]


def _robustness(result: dict[str, Any], section: Section) -> None:
    from bench.robustness.section import describe

    describe(result, section)


_KINDS: dict[str, Callable[[dict[str, Any], Section], None]] = {
    "latency": latency,
    "soak": soak,
    "accuracy": accuracy,
    "distortion": distortion,
    "startup": startup,
    "throughput": throughput,
    "memory-growth": memory,
    "robustness": _robustness,
}


def section_of(file: str, result: dict[str, Any]) -> Section:
    """Return what a report says of one result; kinds it does not know are shown as a table of their figures."""
    verdict = text_at(result, "conditions", "verdict")
    section = Section(
        title=label_of(result),
        file=file,
        verdict=verdict if verdict in ("VALID", "TAINTED") else "NO VERDICT",
        reasons=texts_at(result, "conditions", "reasons"),
        unknown=texts_at(result, "conditions", "unknown"),
        facts=condition_rows(result),
    )
    _KINDS.get(text_at(result, "kind"), anything)(result, section)
    return section
