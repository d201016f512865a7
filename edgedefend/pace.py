"""How fast frames are taken: what was asked for, and less where the board is too hot or throttles."""

from __future__ import annotations

import threading
import time
from typing import Any

__all__ = ["Cooling", "Pace"]

_LOWEST = 5  # halvings: at most 1/32 of the rate
_COOL_LOOKS = 3


class Pace:
    """Says when the next frame is due. Thread-safe: one thread takes frames, another sets `limit`.

    Parameters
    ----------
    fps : float, optional
        Frames a second that were asked for; None takes every one.

    Attributes
    ----------
    limit : float or None
        Frames a second that may not be exceeded now, beside `fps`.
    skipped : int
        Frames of a live source that came before they were due.
    """

    def __init__(self, fps: float | None = None) -> None:
        self.fps = fps
        self.limit: float | None = None
        self.skipped = 0
        self.stop = threading.Event()
        self._next = 0.0

    @property
    def interval(self) -> float:
        """Seconds between two frames, 0.0 without a limit."""
        rates = [rate for rate in (self.fps, self.limit) if rate]
        return 1 / min(rates) if rates else 0.0

    def due(self) -> bool:
        """Tell whether a frame that came now is to be used; one that is not is counted."""
        now = time.monotonic()
        if now < self._next:
            self.skipped += 1
            return False
        # From the time it was due, so that the rate is kept on average; from now after a pause, so that it is no burst.
        self._next = max(self._next + self.interval, now)
        return True

    def wait(self) -> bool:
        """Wait until a frame is due; False if the run was stopped meanwhile."""
        pause = self._next - time.monotonic()
        stopped = self.stop.wait(pause) if pause > 0 else self.stop.is_set()
        self._next = max(self._next, time.monotonic()) + self.interval
        return not stopped


class Cooling:
    """Halves the rate with every look at a board that is too hot or throttles, and doubles it when it has recovered.

    Recovered means below `warn_c` and not throttled at three looks in a row, so that it does not swing between two
    rates. Undervoltage counts as throttling: less work draws less current.

    Parameters
    ----------
    warn_c, limit_c : float
        Degrees Celsius, as in the board's file of `firmware_configs`: the board slows down by itself at `limit_c`.
    """

    def __init__(self, warn_c: float, limit_c: float) -> None:
        self.warn_c, self.limit_c = warn_c, limit_c
        self._halvings = 0
        self._base = 0.0
        self._cool = 0

    @property
    def limit(self) -> float | None:
        """Frames a second that are allowed now; None: as many as come."""
        return self._base / 2**self._halvings if self._halvings else None

    def look(self, sensors: dict[str, Any], fps: float) -> str | None:
        """Take `edgedefend.device.Device.snapshot` and the rate of the last seconds into account.

        Returns
        -------
        str or None
            One line where the limit has changed.
        """
        degrees, throttled = sensors.get("temperature_c"), sensors.get("throttled_now") or []
        signs = [f"{degrees:.0f} °C"] if degrees is not None and degrees >= self.limit_c else []
        signs += throttled
        if signs:
            self._cool = 0
            if self._halvings == _LOWEST or not (self._halvings or fps > 0):
                return None
            self._base = self._base if self._halvings else fps
            self._halvings += 1
            return f"the board is at its limit ({', '.join(signs)}): at most {self.limit:.2g} frames a second now"
        self._cool = self._cool + 1 if degrees is None or degrees < self.warn_c else 0
        if not self._halvings or self._cool < _COOL_LOOKS:
            return None
        self._cool = 0
        self._halvings -= 1
        rate = "the full rate" if self.limit is None else f"at most {self.limit:.2g} frames a second"
        return f"the board has recovered: {rate} again"
