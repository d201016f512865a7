"""Where a conversion keeps what it has done, so that the same command goes on from there after an interruption."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

__all__ = ["WorkFolder"]


class WorkFolder:
    """Results by a key made of all that they depend on, each written whole."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def path(self, kind: str, key: dict[str, Any], suffix: str) -> Path:
        """Return where the result of a kind with this key is, or would be."""
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:16]
        return self.folder / f"{kind}-{digest}{suffix}"

    def load(self, path: Path) -> dict[str, Any]:
        """Return a result that is JSON, empty where there is none, or none that can be read."""
        try:
            content = json.loads(path.read_bytes())
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}
