"""`make arm`: the device part on emulated boards, compared with this machine; prints what it saw and how long it took.

Every combination of a Debian suite (its Python) and a CPU model runs the same steps with the aarch64 wheels that a
board gets: the desktop's kernels and some that do not fit, the same answers as here, the commands, the tests. All steps
but the one with strange kernels run with kernels made on a desktop; nothing else is compiled on a board.
The summary is written to build/arm/summary.json. See docs/arm.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.arm import steps
from tests.arm.board import EmulatedBoard, StepError
from tests.arm.debian import UnavailableError
from tests.arm.desktop import Bundles, Stranger, answer_here, kernels_for, make_bundles, make_kernels, strangers_for
from tests.arm.run import BOARDS, why_not
from tests.arm.userland import BUILD, PYTHONS, build, qemu

# The device part of the test suite is what needs neither TensorFlow nor a desktop. What depends on the CPU's
# instructions is tested on every board; the rest, which depends on Python and its packages, once with each Python.
CPU_TESTS = [
    "test_classifier",
    "test_dct",
    "test_defense",
    "test_device",
    "test_draws",
    "test_fused",
    "test_grid",
    "test_interpreter",
]
PYTHON_TESTS = [
    "test_bundle",
    "test_cli",
    "test_dataset",
    "test_imports",
    "test_jit",
    "test_signing",
    "test_sources",
    "test_statistics",
    "test_stream",
    "serving/test_access",
    "serving/test_answers",
    "serving/test_limits",
    "serving/test_pool",
    "serving/test_service",
]
QUICK_TESTS = ["test_grid", "test_dct"]
WHOLE = [("bookworm", "cortex-a72"), ("trixie", "cortex-a76")]


@dataclass
class Step:
    """One thing proven (or not) on one emulated board."""

    board: str
    name: str
    passed: bool
    said: str
    seconds: float
    facts: dict[str, Any] = field(default_factory=dict)

    def line(self) -> str:
        """Return one line for people."""
        return (
            f"{self.board:21} {self.name:14} {'ok' if self.passed else 'FAILED':6} {self.seconds:6.1f} s  {self.said}"
        )


def _plan(
    board: EmulatedBoard, bundles: Bundles, strangers: list[Stranger], photographs: list[Path], tests: list[str]
) -> list[tuple[str, Any, tuple[Any, ...]]]:
    """Return the steps for one board: a name, a function of `tests.arm.steps`, and its arguments after the board."""
    return [
        ("kernels", steps.desktop_kernels, (bundles.real,)),
        *(("strange kernels", steps.strange_kernels, (bundles.real, stranger)) for stranger in strangers),
        ("verify", steps.verify, (bundles.everything,)),
        ("classify", steps.classify, (bundles.real, _inside(board, photographs))),
        ("answers", steps.same_answers, (bundles.everything,)),
        ("bench latency", steps.bench_latency, (bundles.real,)),
        ("doctor", steps.doctor, (bundles.real,)),
        ("tests", steps.device_tests, (bundles.colors[0].parent, tests)),
    ]


def _prove(board: EmulatedBoard, plan: list[tuple[str, Any, tuple[Any, ...]]]) -> list[Step]:
    """Run the steps on one board; a failed one does not stop the others."""
    done = []
    for name, function, arguments in plan:
        begin = time.monotonic()
        try:
            said, facts = function(board, *arguments)
            passed = True
        except (StepError, ValueError, OSError, subprocess.TimeoutExpired) as error:
            said, facts, passed = str(error), {}, False
        done.append(Step(board.name, name, passed, said, time.monotonic() - begin, facts))
        print(done[-1].line(), flush=True)
    return done


def _inside(board: EmulatedBoard, photographs: list[Path]) -> list[Path]:
    """Return where the photographs lie on the board: in foolbox's folder of its userland."""
    folder = Path("/usr/local/lib") / f"python{board.python}" / "dist-packages/foolbox/data"
    return [folder / path.name for path in photographs]


def main() -> int:
    """Prove it all; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="One board, a small model, few tests.")
    parser.add_argument("--suite", choices=PYTHONS, action="append")
    parser.add_argument("--cpu", choices=BOARDS, action="append")
    parser.add_argument("--step", action="append", metavar="NAME", help="Only this step, e.g. to look at what failed.")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="Boards at a time.")
    words = parser.parse_args()
    begin = time.monotonic()
    suites = words.suite or (["bookworm"] if words.quick else list(PYTHONS))
    cpus = words.cpu or (["cortex-a72"] if words.quick else list(BOARDS))
    # Those with most to do begin.
    pairs = sorted(((suite, cpu) for suite in suites for cpu in cpus), key=lambda pair: pair not in WHOLE)
    part = "-quick" if words.quick else "-part" if words.suite or words.cpu or words.step else ""
    summary = BUILD / f"summary{part}.json"
    BUILD.mkdir(parents=True, exist_ok=True)
    try:
        qemu()
        for suite in suites:
            build(suite)
        if reason := why_not(suites[0]):
            raise UnavailableError(reason)
        built = time.monotonic()
        print(f"userlands {', '.join(suites)}: {built - begin:.1f} s", flush=True)
        made = {pair: make_kernels(*pair) for pair in pairs}
        strangers = {pair: [] if words.quick else strangers_for(*pair) for pair in pairs}
    except UnavailableError as error:
        summary.write_text(json.dumps({"skipped": str(error)}) + "\n")
        print(f"arm: SKIPPED, nothing was proven: {error}")
        return 0
    for (suite, cpu), said in made.items():
        print(f"{suite} {cpu}: {said}", flush=True)
    bundles = make_bundles(words.quick)
    photographs = answer_here(bundles, words.quick)
    print(f"kernels, bundles and the answers of this machine: {time.monotonic() - built:.1f} s", flush=True)
    boards = {pair: EmulatedBoard(*pair, kernels_for(*pair)) for pair in pairs}
    runs = []
    with ThreadPoolExecutor(words.jobs) as pool:
        for pair, board in boards.items():
            tests = QUICK_TESTS if words.quick else [*CPU_TESTS, *(PYTHON_TESTS if pair in WHOLE else [])]
            plan = _plan(board, bundles, strangers[pair], photographs, tests)
            runs.append(pool.submit(_prove, board, [step for step in plan if not words.step or step[0] in words.step]))
        done = [step for run in runs for step in run.result()]
    seconds = time.monotonic() - begin
    failed = [step for step in done if not step.passed]
    facts = {
        "seconds": round(seconds, 1),
        "boards": [board.name for board in boards.values()],
        "kernels": list(made.values()),
        "passed": not failed,
        "steps": [vars(step) for step in done],
    }
    summary.write_text(json.dumps(facts, indent=1) + "\n")
    print(f"arm: {len(done) - len(failed)} of {len(done)} steps passed, {seconds:.0f} s in all; {summary}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
