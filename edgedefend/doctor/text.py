"""A report as aligned lines for people."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgedefend.doctor import Report

__all__ = ["as_text"]


def _plain(text: str, level: str) -> str:
    return text


def as_text(report: Report, *, width: int = 100, paint: Callable[[str, str], str] = _plain) -> str:
    """Return the report with one line a finding, and why and mend below those that are not well.

    `paint` gets each level's word and the level, and may colour it. What mends is never broken: it is to be copied.
    """
    facts = report.facts
    about = [facts["board"] or "an unknown machine", f"settings {report.board}" if report.board else "", facts["os"]]
    lines = [", ".join(part for part in about if part)]
    column = max((len(finding.check) for finding in report.findings), default=0)
    indent = " " * (4 + 2 + column + 2)
    for finding in report.findings:
        head = f"{finding.check:<{column}}"
        first, *rest = textwrap.wrap(finding.what, max(width - len(indent), 40), break_on_hyphens=False) or [""]
        lines.append(f"{paint(f'{finding.level:<4}', finding.level)}  {head}  {first}")
        lines += [indent + line for line in rest]
        for word, text in (("why:  ", finding.why), ("mend: ", finding.mend)):
            if not text:
                continue
            parts = textwrap.wrap(text, max(width - len(indent) - 6, 40), break_on_hyphens=False)
            parts = parts if word == "why:  " else [text]
            lines.append(indent + word + parts[0])
            lines += [indent + " " * 6 + part for part in parts[1:]]
    counts = {level: sum(finding.level == level for finding in report.findings) for level in ("bad", "warn", "ok")}
    lines.append("")
    lines.append(f"{counts['bad']} bad, {counts['warn']} to look at, {counts['ok']} well")
    return "\n".join(lines)
