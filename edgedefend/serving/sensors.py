"""The board's sensors, read now and then in a thread of its own: a request must not wait for ``vcgencmd``."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Any

from edgedefend.device import Device

__all__ = ["Sensors"]


class Sensors:
    """Temperature and throttling as they were a moment ago.

    Parameters
    ----------
    device : Device
    every_s : float
        Seconds between two looks.
    kept : int
        How many temperatures `history` remembers.
    """

    def __init__(self, device: Device, *, every_s: float = 5.0, kept: int = 120) -> None:
        self._device, self._every_s = device, every_s
        self._history: deque[tuple[float, float]] = deque(maxlen=kept)
        self._stop = threading.Event()
        self.latest: dict[str, Any] = {}
        self._look()
        self._thread = threading.Thread(target=self._run, daemon=True, name="sensors")
        self._thread.start()

    def _look(self) -> None:
        self.latest = self._device.snapshot()
        degrees = self.latest["temperature_c"]
        if degrees is not None:
            self._history.append((time.monotonic(), degrees))

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            self._look()

    @property
    def temperature(self) -> float | None:
        """Degrees Celsius, None on a board that does not tell."""
        degrees: float | None = self.latest["temperature_c"]
        return degrees

    @property
    def throttled(self) -> list[str] | None:
        """What slows the board down now; None on a board that cannot tell."""
        names: list[str] = self.latest["throttled_now"]
        return names if self.latest["throttle_source"] else None

    def history(self) -> list[list[float]]:
        """Return ``[seconds ago, degrees]``, oldest first."""
        now = time.monotonic()
        return [[round(now - when, 1), degrees] for when, degrees in list(self._history)]

    def close(self) -> None:
        """End the thread; it may still be waiting for a tool, which nobody has to wait for."""
        self._stop.set()
        self._thread.join(1)
