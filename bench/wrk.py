"""wrk as the client of the service's throughput: in C, so it takes less of the machine that it shares with the service.

https://github.com/wg/wrk, in Debian and Ubuntu as ``wrk``. It sends the same requests as `bench.load` and counts
answers; it has no open load, so an overload is `bench.load`'s.
"""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.load import TARGET
from edgedefend.errors import EdgeDefendError

__all__ = ["load_with_wrk", "wrk_path"]

# The files come as arguments, so none of their names is ever read as Lua.
_SCRIPT = f"""
local requests, sent = {{}}, 0
function init(files)
  for number = 1, #files do
    local file = assert(io.open(files[number], "rb"))
    requests[number] = wrk.format("POST", "{TARGET}", nil, file:read("*a"))
    file:close()
  end
end
function request()
  sent = sent + 1
  return requests[(sent - 1) % #requests + 1]
end
function done(summary, latency, each)
  local errors = summary.errors
  io.write(string.format('\\n{{"answers":%d,"microseconds":%d,"refused":%d,"broken":%d}}\\n', summary.requests,
    summary.duration, errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
"""


def wrk_path() -> str | None:
    """Return where wrk is installed, None where it is not."""
    return shutil.which("wrk")


def _children_cpu_seconds() -> float:
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def load_with_wrk(port: int, files: Sequence[Path], *, clients: int, seconds: float) -> dict[str, Any]:
    """Keep `clients` requests open; return counts, ``seconds`` and ``cpu_seconds`` as `bench.load` does.

    ``refused`` are all answers but 2xx and 3xx, ``other`` broken connections. wrk takes whole seconds.

    Raises
    ------
    EdgeDefendError
        If wrk is not installed or fails.
    """
    program = wrk_path()
    if program is None:
        raise EdgeDefendError("wrk is not installed: apt-get install wrk, or take --client python")
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(_SCRIPT)
        script.flush()
        words = [program, "-t", "1", "-c", str(clients), "-d", f"{max(1, round(seconds))}s", "-s", script.name]
        before = _children_cpu_seconds()
        done = subprocess.run(
            [*words, f"http://127.0.0.1:{port}/", "--", *map(str, files)], capture_output=True, text=True, check=False
        )
        cpu_seconds = _children_cpu_seconds() - before
    last = done.stdout.strip().rpartition("\n")[2]
    if done.returncode or not last.startswith("{"):
        raise EdgeDefendError(f"wrk fails: {(done.stderr.strip() or last).splitlines()[:1]}")
    counts = json.loads(last)
    return {
        "seconds": counts["microseconds"] / 1e6,
        "cpu_seconds": cpu_seconds,
        "accepted": counts["answers"] - counts["refused"],
        "refused": counts["refused"],
        "other": counts["broken"],
    }
