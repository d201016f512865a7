"""`edgedefend` with a wall clock that can be set while it runs: ``python -m bench.jumping_clock FILE COMMAND...``.

A board without a battery-backed clock starts in the past and jumps when it finds a time server. Setting the machine's
clock would move everybody else's too, so only this process's is moved: by the seconds that stand in FILE. What counts
seconds (time.monotonic, the kernel's time-outs) is as it was, as on a real board.
"""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path

__all__ = ["let_it_jump"]


def let_it_jump(file: Path) -> None:
    """Make `time.time` add the seconds in `file`, read at each call."""
    real = time.time

    def moved() -> float:
        with contextlib.suppress(OSError, ValueError):
            return real() + float(file.read_text(encoding="ascii"))
        return real()

    time.time = moved


if __name__ == "__main__":
    from edgedefend.cli import main

    let_it_jump(Path(sys.argv[1]))
    main(sys.argv[2:])
