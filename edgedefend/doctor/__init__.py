"""What is wrong with a board, why it matters, and the command that mends it.

Standard library only, and written so that Python 3.8 (JetPack 5) can run it: whatever may be broken, NumPy, Numba or
the interpreter, is imported in children, whose death of an illegal instruction becomes a sentence. A board without an
installation runs it from a copy of the sources: ``python3 -m edgedefend.doctor``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edgedefend.device import Device
    from edgedefend.doctor.environment import Environment

__all__ = ["LEVELS", "Finding", "Report", "bad", "examine", "ok", "warn"]

LEVELS = ("ok", "warn", "bad")


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    `level` is "ok", "warn" (works, but not as it could) or "bad" (does not work, or not for long). `what` is what was
    found, `why` what follows from it, `mend` the command or the deed that helps; both are "" where all is well.
    """

    check: str
    level: str
    what: str
    why: str = ""
    mend: str = ""


def ok(what: str) -> Finding:
    """Return a finding that all is well; the check's name is filled in by `examine`, as in the two below."""
    return Finding("", "ok", what)


def warn(what: str, why: str, mend: str) -> Finding:
    """Return a finding that works, but not as it could."""
    return Finding("", "warn", what, why, mend)


def bad(what: str, why: str, mend: str) -> Finding:
    """Return a finding that does not work, or not for long."""
    return Finding("", "bad", what, why, mend)


@dataclass(frozen=True)
class Report:
    """All findings on one system, with what it is (`edgedefend.device`) and which settings fit it."""

    facts: dict[str, Any]
    snapshot: dict[str, Any]
    board: str
    findings: list[Finding]

    @property
    def healthy(self) -> bool:
        """Whether nothing is bad."""
        return all(finding.level != "bad" for finding in self.findings)

    def as_json(self) -> dict[str, Any]:
        """Return the report as JSON-able values."""
        return {
            "format_version": 1,
            "healthy": self.healthy,
            "board": self.board,
            "facts": self.facts,
            "snapshot": self.snapshot,
            "findings": [asdict(finding) for finding in self.findings],
        }


@dataclass(frozen=True)
class Patient:
    """What every check may look at."""

    device: Device
    environment: Environment
    facts: dict[str, Any]
    snapshot: dict[str, Any]
    settings: Any  # BoardConfig, or None where even those cannot be read
    bundle: Path | None


def examine(device: Device, environment: Environment, bundle: Path | None = None) -> Report:
    """Look at everything and return what was found, in the order in which it is worth mending.

    A check that fails by itself is a finding too; nothing is raised for what is broken on the board.
    """
    from edgedefend.doctor import hardware, software

    settings = _settings(device)
    patient = Patient(device, environment, device.facts(), device.snapshot(), settings, bundle)
    findings: list[Finding] = []
    for check in (*software.CHECKS, *hardware.CHECKS):
        findings += _findings(check, patient)
    return Report(patient.facts, patient.snapshot, settings.name if settings else "", findings)


def _findings(check: Callable[[Patient], list[Finding]], patient: Patient) -> list[Finding]:
    name = check.__name__.lstrip("_").replace("_", " ")
    try:
        return [replace(finding, check=name) if not finding.check else finding for finding in check(patient)]
    except Exception as error:  # a doctor who faints helps nobody; the sentence says which check it was
        what = f"could not be looked at: {type(error).__name__}: {' '.join(str(error).split())}"
        return [Finding(name, "warn", what, "this is a fault of the doctor, not of the board", "report it")]


def _settings(device: Device) -> Any:
    try:
        from edgedefend.board import detect

        return detect(device) if device.compatible or device.cpu_parts else None
    except Exception:  # no tomli on an old Python, a broken installation: the checks then use their own limits
        return None
