"""What a stream's answers become for others: one JSON record a frame, and which of them are worth telling."""

from __future__ import annotations

import json
import os
import time
from datetime import datetime, timezone
from typing import Any

from edgedefend.stream import FrameResult
from edgedefend.suspicion import suspicion_record

__all__ = ["Filter", "Records", "encode"]


def encode(record: dict[str, Any]) -> bytes:
    """Return a record as one line of JSON, without its line end."""
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


class Records:
    """Makes records that can be told apart: each has an ``id`` of this run, drawn at random, and the frame's number.

    Parameters
    ----------
    source : str
        As it may be shown.
    bundle : str
        The bundle's SHA-256.
    draws : int
        0 without the defence.
    """

    def __init__(self, source: str, bundle: str, draws: int) -> None:
        self.run = os.urandom(4).hex()
        self._same = {"source": source, "draws": draws, "bundle": bundle}

    def record(self, result: FrameResult, dropped: int) -> dict[str, Any]:
        """Return one result as JSON types.

        ``captured_at`` is the wall clock's (UTC), which may jump; ``age_ms`` (from capture to now) does not use it.
        """
        now = time.monotonic()
        captured = datetime.fromtimestamp(time.time() - (now - result.captured), timezone.utc)
        return {
            "id": f"{self.run}-{result.number}",
            "frame": result.number,
            "name": result.name,
            "captured_at": captured.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "age_ms": round(1e3 * (now - result.captured), 3),
            "label": result.top[0].label,
            "score": round(result.top[0].score, 6),
            "top": [{"index": a.index, "label": a.label, "score": round(a.score, 6)} for a in result.top],
            "agreement": round(result.agreement, 4),
            **suspicion_record(result.suspicion, result.suspicious),
            "stage_ms": {stage: round(value, 3) for stage, value in result.stage_ms.items()},
            "dropped": dropped,
            **self._same,
        }


class Filter:
    """Decides which answers are published.

    Parameters
    ----------
    on_change : int
        0 publishes each; N only an answer that N frames in a row have given and that is not the last published one.
    min_score : float
        Answers below it are not published, and they break a row.
    """

    def __init__(self, on_change: int = 0, min_score: float = 0.0) -> None:
        self.on_change, self.min_score = on_change, min_score
        self._published: str | None = None
        self._row: tuple[str | None, int] = (None, 0)

    def wants(self, label: str, score: float) -> bool:
        """Tell whether this answer is to be published; every answer must be asked about, in order."""
        if score < self.min_score:
            self._row = (None, 0)
            return False
        if not self.on_change:
            return True
        before, length = self._row
        length = length + 1 if label == before else 1
        self._row = (label, length)
        if length < self.on_change or label == self._published:
            return False
        self._published = label
        return True
