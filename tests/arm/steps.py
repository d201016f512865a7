"""The steps that `make arm` runs on one emulated board: each proves one thing, or raises `StepError`.

A step returns one line for people and the facts behind it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from tests.arm.answers import compare
from tests.arm.board import EmulatedBoard, StepError, json_lines
from tests.arm.desktop import ANSWERED_HERE, Stranger, classify_words
from tests.arm.run import BOARDS

__all__ = [
    "bench_latency",
    "classify",
    "desktop_kernels",
    "device_tests",
    "doctor",
    "same_answers",
    "strange_kernels",
    "verify",
]

# Largest share of a defended image's values that may differ between the two machines; so far none ever did.
TIES = 0.005
# A dozen two-line functions for reference counts, which Numba has LLVM make in every process, before any kernel.
NUMBA_RUNTIME = ["nrt"]
# Six compilations under emulation each; `strange_kernels` tries the same with kernels that really are other ones.
NOT_AGAIN = "test_kernels_that_do_not_fit_are_named_and_not_used"
# Of an answer of a float model; the quantised ones go through other kernels on another CPU and are compared by top-1.
FLOAT_ERROR = 1e-3


def _first(board: EmulatedBoard, bundle: Path, kernels: Path, home: Path) -> tuple[dict[str, Any], str]:
    """Run `tests.arm.first` with these kernels; return what it saw, and what was said to stderr."""
    environment = {"EDGEDEFEND_KERNELS": str(kernels), "HOME": str(home)}
    done = board.must("python3", "-m", "tests.arm.first", bundle, **environment)
    first = json_lines(done.stdout)[0]
    if first["parts"] != [BOARDS[board.cpu][0]] or first["machine"] != "aarch64":
        raise StepError(f"this was no {board.cpu}: {first}")
    expected = json.loads((ANSWERED_HERE / "first.json").read_text())
    if (first["tensor"], first["label"]) != (expected["tensor"], expected["label"]):
        raise StepError(f"another answer than on this machine: {first}, expected {expected}")
    return first, done.stderr.strip()


def desktop_kernels(board: EmulatedBoard, bundle: Path) -> tuple[str, dict[str, Any]]:
    """Kernels that a desktop made for this CPU and Python are all found; Numba and LLVM compile none."""
    first, said = _first(board, bundle, board.kernels, board.folder / "home")
    if first["missed"] or first["compiled"] or first["linked"] != NUMBA_RUNTIME or not first["found"] or said:
        raise StepError(f"the desktop's kernels were not all found: {first} {said}")
    return (
        f"the desktop's for {board.cpu}, Python {board.python}: {first['found']} found, 0 compiled by Numba "
        f"or LLVM, same tensor, same answer, first prediction after {first['seconds']} s"
    ), first


def strange_kernels(board: EmulatedBoard, bundle: Path, stranger: Stranger) -> tuple[str, dict[str, Any]]:
    """Kernels that do not fit are named and not used: the board compiles for itself and answers the same."""
    cold = board.folder / f"without-{stranger.folder.parent.name}"
    cold.mkdir()
    first, said = _first(board, bundle, stranger.folder, cold)
    if stranger.said not in said:
        raise StepError(f"no word about {stranger.what}: {said!r}, expected {stranger.said!r}")
    if not first["compiled"] or first["linked"] == NUMBA_RUNTIME or first["found"]:
        raise StepError(f"kernels of {stranger.what} were used: {first}")
    return (
        f'of {stranger.what}: said "{stranger.said}", compiled there, same tensor, same answer, first prediction '
        f"after {first['seconds']} s"
    ), first


def device_tests(board: EmulatedBoard, colors: Path, names: Sequence[str]) -> tuple[str, dict[str, Any]]:
    """The device part of the test suite."""
    report = board.folder / "tests.xml"
    files = [f"tests/{name}.py" for name in names]
    words = [
        "python3",
        "-m",
        "pytest",
        "-v",
        "-p",
        "no:cacheprovider",
        "--durations=20",
        f"-k=not {NOT_AGAIN}",
        f"--junitxml={report}",
        *files,
    ]
    done = board.run(*words, timeout=7200, EDGEDEFEND_TEST_BUNDLES=str(colors))
    if not report.is_file():
        raise StepError(f"pytest ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    cases = ElementTree.parse(report).getroot().findall(".//testcase")
    failed = [case.get("name") for case in cases if case.find("failure") is not None or case.find("error") is not None]
    skipped = {
        str(case.get("name")): str(reason.get("message"))
        for case in cases
        if (reason := case.find("skipped")) is not None
    }
    facts = {"files": files, "tests": len(cases), "failed": failed, "skipped": skipped}
    if failed or done.returncode:
        raise StepError(f"{len(failed)} of {len(cases)} tests failed: {', '.join(map(str, failed[:6]))}")
    reasons = "; ".join(sorted(set(skipped.values())))
    return f"{len(cases) - len(skipped)} passed, {len(skipped)} skipped{f' ({reasons})' if skipped else ''}", facts


def same_answers(board: EmulatedBoard, bundles: Sequence[Path]) -> tuple[str, dict[str, Any]]:
    """The defended images, bit for bit, and the models' answers, for the same grids."""
    out = board.folder / "answers.npz"
    board.must("python3", "-m", "tests.arm.answers", "answer", ANSWERED_HERE / "questions.npz", out, *bundles)
    facts = compare(ANSWERED_HERE / "answers.npz", out)
    wrong = []
    for kind, row in facts.items():
        if kind.startswith(("defended", "plain")) and row["differing"] > TIES:
            wrong.append(f"{kind}: {100 * row['differing']:.2f} % of the values of an image differ")
        if kind.startswith(("grid", "labels")) and row["equal"] != row["n"]:
            wrong.append(f"{kind} differs")
        if row.get("same_top1", row["n"]) != row["n"]:
            wrong.append(f"{kind}: {row['n'] - row['same_top1']} of {row['n']} have another top-1")
        if "fp32" in kind and row["largest"] > FLOAT_ERROR:
            wrong.append(f"{kind}: an output differs by {row['largest']:.2g}")
    if wrong:
        raise StepError("; ".join(wrong))
    images = [row for kind, row in facts.items() if kind.startswith("defended")]
    models = [row for row in facts.values() if "same_top1" in row]
    photographs = facts["fitted"]
    said = (
        f"{sum(row['equal'] for row in images)} of {sum(row['n'] for row in images)} defended images bit for bit, "
        f"{sum(row['same_top1'] for row in models)} of {sum(row['n'] for row in models)} top-1 the same, "
        f"{photographs['equal']} of {photographs['n']} photographs decoded and resized bit for bit"
    )
    return said, facts


def verify(board: EmulatedBoard, bundles: Sequence[Path]) -> tuple[str, dict[str, Any]]:
    """`edgedefend verify` of every bundle."""
    for bundle in bundles:
        if not board.must("edgedefend", "verify", bundle).stdout.endswith("verified\n"):
            raise StepError(f"{bundle.name}: not verified")
    return f"{len(bundles)} bundles verified", {}


def _classified(lines: list[dict[str, Any]]) -> list[tuple[str, int]]:
    return [(Path(line["image"]).name, line["top"][0]["index"]) for line in lines]


def classify(board: EmulatedBoard, bundle: Path, photographs: list[Path]) -> tuple[str, dict[str, Any]]:
    """`edgedefend classify` from the files on, with a given seed: the same answers as here."""
    ours = _classified(json_lines((ANSWERED_HERE / "classify.jsonl").read_text()))
    theirs = _classified(json_lines(board.must("edgedefend", *classify_words(bundle, photographs)).stdout))
    differing = [(mine, its) for mine, its in zip(ours, theirs, strict=True) if mine != its]
    if differing:
        raise StepError(f"{len(differing)} of {len(ours)} photographs have another top-1: {differing[:3]}")
    return f"{bundle.parent.name} {bundle.name}: {len(ours)} of {len(ours)} photographs, same top-1", {"top1": theirs}


def bench_latency(board: EmulatedBoard, bundle: Path) -> tuple[str, dict[str, Any]]:
    """`edgedefend bench latency`, a few rounds: that it runs there, not a time (an emulator has none)."""
    result = board.folder / "latency.json"
    board.must(
        "edgedefend", "bench", "latency", bundle, "--iterations", 3, "--warmup", 1, "--threads", 2, "--json", result
    )
    facts = json.loads(result.read_text())
    return f"{bundle.parent.name} {bundle.name}: wrote its result with {len(facts)} entries", {}


def doctor(board: EmulatedBoard, bundle: Path) -> tuple[str, dict[str, Any]]:
    """`edgedefend doctor` knows the emulated board and finds nothing bad: an emulator lacks sensors, no more."""
    done = board.run("edgedefend", "doctor", "--json", bundle)
    try:
        facts = json.loads(done.stdout)
    except ValueError:
        raise StepError(f"exit code {done.returncode}: {done.stderr.strip()[-300:]}") from None
    bad = [f"{found['check']}: {found['what']}" for found in facts["findings"] if found["level"] == "bad"]
    if bad or done.returncode or not facts["healthy"]:
        raise StepError(f"exit code {done.returncode}: {'; '.join(bad)}")
    if BOARDS[board.cpu][1] not in json.dumps(facts):
        raise StepError(f"took the board for {facts['board']}")
    warned = [found["check"] for found in facts["findings"] if found["level"] == "warn"]
    return f"{BOARDS[board.cpu][1]}: nothing bad, {len(warned)} warnings ({', '.join(warned)})", facts
