"""`make arm`: the device part on emulated boards, compared with this machine; prints what it saw and how long it took.

Every combination of a Debian suite (its Python) and a CPU model runs the same steps with the aarch64 wheels that a
board gets: kernels made on the desktop, or why not; the tests; the same answers as here; the commands. On the suite
whose Python this machine has, everything runs with the desktop's kernels; on the other one they are compiled there.
The summary is written to build/arm/summary.json. See docs/arm.md.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from tests.arm.answers import compare
from tests.arm.debian import UnavailableError
from tests.arm.run import BOARDS, command_line, why_not
from tests.arm.userland import BUILD, PYTHONS, ROOT, build, python_of, qemu

# The device part of the test suite: what needs neither TensorFlow nor a desktop.
TESTS = [
    "test_bundle",
    "test_classifier",
    "test_cli",
    "test_dataset",
    "test_dct",
    "test_defense",
    "test_device",
    "test_draws",
    "test_fused",
    "test_grid",
    "test_imports",
    "test_interpreter",
    "test_jit",
    "test_signing",
    "test_sources",
    "test_statistics",
    "test_stream",
    "serving/test_access",
    "serving/test_answers",
    "serving/test_pool",
    "serving/test_service",
]
QUICK_TESTS = ["test_grid", "test_dct"]
# Largest share of a defended image's values that may differ between the two machines; so far none ever did.
TIES = 0.005
# Of an answer of a float model; the quantised ones go through other kernels on another CPU and are compared by top-1.
FLOAT_ERROR = 1e-3

ANSWERED_HERE = BUILD / "here"


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


class StepError(Exception):
    """A step went wrong; the text says how."""


def _here(*words: object, timeout: float = 1800, env: dict[str, str] | None = None) -> str:
    """Run a Python program of the checkout on this machine; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-m", *map(str, words)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "2", **(env or {})},
    )
    if done.returncode:
        raise StepError(f"{words[0]} ended with {done.returncode} on this machine: {done.stderr.strip()[-500:]}")
    return done.stdout


def _digest() -> str:
    """Return a hash of what bundles are made by."""
    digest = hashlib.sha256()
    for folder in ("convert", "edgedefend"):
        for file in sorted((ROOT / folder).glob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()


def make_bundles(quick: bool) -> dict[str, list[Path]]:
    """Convert on this machine what is handed over to the boards: the tests' colour model and a real one."""
    folder = BUILD / "bundles"
    stamp = folder / "made-by"
    if not stamp.is_file() or stamp.read_text() != _digest():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        stamp.write_text(_digest())
    if not (folder / "colors/int8").is_dir():
        from tests.conftest import convert_colors, write_color_model, write_color_photographs

        (folder / "source").mkdir(exist_ok=True)
        words = convert_colors(
            write_color_model(folder / "source"), write_color_photographs(folder / "source"), folder / "colors"
        )
        _here("edgedefend.cli", *words)
    found = {"colors": [folder / "colors" / name for name in ("fp32", "fp16", "dynamic", "int8")], "photographs": []}
    if not quick:
        out = folder / "lite0"
        if not (out / "int8").is_dir():
            words = ["--table", "feature-distillation", "--min-agreement", 0.8, "--precision", "fp32"]
            words += ["--precision", "int8", "--steps", 1]
            _here("edgedefend.cli", "convert", "--model", "efficientnet-lite0", "--out", out, *words)
        found["photographs"] = [out / "fp32", out / "int8"]
    return found


def _json_lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


class Board:
    """One emulated board: a suite and a CPU, with folders of its own."""

    def __init__(self, suite: str, cpu: str) -> None:
        self.suite, self.cpu = suite, cpu
        self.name = f"{suite} {cpu}"
        self.folder = BUILD / "out" / f"{suite}-{cpu}"
        shutil.rmtree(self.folder, ignore_errors=True)
        (self.folder / "home").mkdir(parents=True)
        self.python = python_of(suite)
        self.has_our_python = self.python == f"{sys.version_info.major}.{sys.version_info.minor}"
        self.kernels = BUILD / "kernels" / cpu

    def environment(self) -> dict[str, str]:
        """Return what every step gets: a home, and the desktop's kernels where they fit."""
        env = {"HOME": str(self.folder / "home")}
        return {**env, "EDGEDEFEND_KERNELS": str(self.kernels)} if self.has_our_python else env

    def run(self, *words: object, timeout: float = 1800, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a command on the board; its output is kept in the board's folder."""
        done = subprocess.run(
            command_line(
                self.suite,
                self.cpu,
                [str(word) for word in words],
                writable=(self.folder,),
                env={**self.environment(), **env},
            ),
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )
        with (self.folder / "log.txt").open("a") as log:
            log.write(f"$ {' '.join(map(str, words))}\n{done.stdout}{done.stderr}[exit code {done.returncode}]\n\n")
        return done

    def must(self, *words: object, timeout: float = 1800, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a command that has to end well."""
        done = self.run(*words, timeout=timeout, **env)
        if done.returncode:
            raise StepError(
                f"{' '.join(map(str, words[:4]))}: exit code {done.returncode}: {done.stderr.strip()[-300:]}"
            )
        return done


def desktop_kernels(board: Board, bundle: Path, expected: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Kernels made on the desktop for this CPU are all found and nothing is compiled; or it says why not."""
    done = board.must("python3", "-m", "tests.arm.first", bundle, EDGEDEFEND_KERNELS=str(board.kernels))
    first = _json_lines(done.stdout)[0]
    if first["parts"] != [BOARDS[board.cpu][0]] or first["machine"] != "aarch64":
        raise StepError(f"this was no {board.cpu}: {first}")
    if (first["tensor"], first["label"]) != (expected["tensor"], expected["label"]):
        raise StepError(f"another answer than on this machine: {first}, expected {expected}")
    if board.has_our_python:
        if first["missed"] or first["compiled"] or not first["found"] or done.stderr:
            raise StepError(f"the kernels were not all found: {first} {done.stderr.strip()}")
        return f"{first['found']} found, 0 compiled, first prediction after {first['seconds']} s, same tensor", first
    if f"made with python {sys.version_info.major}.{sys.version_info.minor}" not in done.stderr:
        raise StepError(f"no word about the other Python: {done.stderr!r}")
    if not first["compiled"] or first["found"]:
        raise StepError(f"kernels for another Python were used: {first}")
    return f"other Python: said so, compiled there, first prediction after {first['seconds']} s, same tensor", first


def other_cpu(board: Board, bundle: Path, expected: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Kernels for another CPU are named and not used."""
    other = next(cpu for cpu in BOARDS if cpu != board.cpu)
    cold = board.folder / "cold"
    cold.mkdir()
    done = board.must(
        "python3", "-m", "tests.arm.first", bundle, EDGEDEFEND_KERNELS=str(BUILD / "kernels" / other), HOME=str(cold)
    )
    first = _json_lines(done.stdout)[0]
    if f"they are for {other}, this CPU is {BOARDS[board.cpu][0]}" not in done.stderr:
        raise StepError(f"no word about the other CPU: {done.stderr!r}")
    if not first["compiled"] or first["found"] or first["tensor"] != expected["tensor"]:
        raise StepError(f"kernels for another CPU were used, or another answer given: {first}")
    return f"{other}'s: said so, compiled there, first prediction after {first['seconds']} s, same tensor", first


def device_tests(board: Board, colors: Path, names: list[str]) -> tuple[str, dict[str, Any]]:
    """The device part of the test suite."""
    report = board.folder / "tests.xml"
    files = [f"tests/{name}.py" for name in names if (ROOT / f"tests/{name}.py").is_file()]
    words = [
        "python3",
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--durations=20",
        f"--junitxml={report}",
        *files,
    ]
    done = board.run(*words, timeout=3600, EDGEDEFEND_TEST_BUNDLES=str(colors))
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


def same_answers(board: Board, bundles: list[Path]) -> tuple[str, dict[str, Any]]:
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


def verify(board: Board, bundles: list[Path]) -> tuple[str, dict[str, Any]]:
    """`edgedefend verify` of every bundle."""
    for bundle in bundles:
        if not board.must("edgedefend", "verify", bundle).stdout.endswith("verified\n"):
            raise StepError(f"{bundle.name}: not verified")
    return f"{len(bundles)} bundles verified", {}


def _classified(lines: list[dict[str, Any]]) -> list[tuple[str, int]]:
    return [(Path(line["image"]).name, line["top"][0]["index"]) for line in lines]


def _classify_words(bundle: Path, photographs: list[Path]) -> list[object]:
    return ["classify", "--json", "--seed", 3, bundle, *photographs]


def classify(board: Board, bundle: Path, photographs: list[Path]) -> tuple[str, dict[str, Any]]:
    """`edgedefend classify` from the files on, with a given seed: the same answers as here."""
    ours = _classified(_json_lines((ANSWERED_HERE / "classify.jsonl").read_text()))
    theirs = _classified(_json_lines(board.must("edgedefend", *_classify_words(bundle, photographs)).stdout))
    differing = [(mine, its) for mine, its in zip(ours, theirs, strict=True) if mine != its]
    if differing:
        raise StepError(f"{len(differing)} of {len(ours)} photographs have another top-1: {differing[:3]}")
    return f"{bundle.parent.name} {bundle.name}: {len(ours)} of {len(ours)} photographs, same top-1", {"top1": theirs}


def bench_latency(board: Board, bundle: Path) -> tuple[str, dict[str, Any]]:
    """`edgedefend bench latency`, a few rounds: that it runs there, not a time (an emulator has none)."""
    result = board.folder / "latency.json"
    board.must(
        "edgedefend", "bench", "latency", bundle, "--iterations", 3, "--warmup", 1, "--threads", 2, "--json", result
    )
    facts = json.loads(result.read_text())
    return f"{bundle.parent.name} {bundle.name}: wrote its result with {len(facts)} entries", {}


def doctor(board: Board, bundle: Path) -> tuple[str, dict[str, Any]]:
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


def _prove(board: Board, bundles: dict[str, list[Path]], photographs: list[Path], quick: bool) -> list[Step]:
    """Run every step on one board; a failed one does not stop the others."""
    from edgedefend.cli import COMMANDS

    real = (bundles["photographs"] or bundles["colors"])[-1]
    everything = bundles["colors"] if quick else [*bundles["photographs"], *bundles["colors"][1:3]]
    expected = json.loads((ANSWERED_HERE / "first.json").read_text())
    steps: list[tuple[str, Any, tuple[Any, ...]]] = [("kernels", desktop_kernels, (real, expected))]
    if board.has_our_python and board.cpu == "cortex-a76":
        # Once is enough: it compiles everything under emulation.
        steps.append(("other kernels", other_cpu, (real, expected)))
    steps += [
        ("verify", verify, (everything,)),
        ("classify", classify, (real, photographs)),
        ("answers", same_answers, (everything,)),
        ("bench latency", bench_latency, (real,)),
    ]
    if "doctor" in COMMANDS:
        steps.append(("doctor", doctor, (real,)))
    steps.append(("tests", device_tests, (bundles["colors"][0].parent, QUICK_TESTS if quick else TESTS)))
    done = []
    for name, function, arguments in steps:
        begin = time.monotonic()
        try:
            said, facts = function(board, *arguments)
            passed = True
        except (StepError, ValueError, OSError, subprocess.TimeoutExpired) as error:
            said, facts, passed = str(error), {}, False
        done.append(Step(board.name, name, passed, said, time.monotonic() - begin, facts))
        print(done[-1].line(), flush=True)
    return done


def _answer_here(bundles: dict[str, list[Path]], quick: bool) -> list[Path]:
    """Put the same questions to this machine; return the photographs to classify."""
    from edgedefend.dataset import load_dataset

    ANSWERED_HERE.mkdir(parents=True, exist_ok=True)
    photographs = [item.path for item in load_dataset("sample", ["?"] * 1000).photographs][: 3 if quick else None]
    real = (bundles["photographs"] or bundles["colors"])[-1]
    everything = bundles["colors"] if quick else [*bundles["photographs"], *bundles["colors"][1:3]]
    questions = ANSWERED_HERE / "questions.npz"
    _here("tests.arm.answers", "write", questions)
    _here("tests.arm.answers", "answer", questions, ANSWERED_HERE / "answers.npz", *everything)
    (ANSWERED_HERE / "first.json").write_text(_here("tests.arm.first", real))
    # The board finds the photographs of the same package in its own folder, under the same names.
    (ANSWERED_HERE / "classify.jsonl").write_text(_here("edgedefend.cli", *_classify_words(real, photographs)))
    return photographs


def main() -> int:
    """Prove it all; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="One board, a small model, few tests.")
    parser.add_argument("--suite", choices=PYTHONS, action="append")
    parser.add_argument("--cpu", choices=BOARDS, action="append")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="Boards at a time.")
    words = parser.parse_args()
    begin = time.monotonic()
    suites = words.suite or (["bookworm"] if words.quick else list(PYTHONS))
    cpus = words.cpu or (["cortex-a72"] if words.quick else list(BOARDS))
    summary = BUILD / ("summary-quick.json" if words.quick else "summary.json")
    BUILD.mkdir(parents=True, exist_ok=True)
    try:
        qemu()
        for suite in suites:
            build(suite)
        if reason := why_not(suites[0]):
            raise UnavailableError(reason)
    except UnavailableError as error:
        summary.write_text(json.dumps({"skipped": str(error)}) + "\n")
        print(f"arm: SKIPPED, nothing was proven: {error}")
        return 0
    built = time.monotonic()
    print(f"userlands {', '.join(suites)}: {built - begin:.1f} s", flush=True)
    bundles = make_bundles(words.quick)
    for cpu in BOARDS:
        _here("edgedefend.cli", "warmup", "--target", cpu, "--out", BUILD / "kernels" / cpu)
    photographs = _answer_here(bundles, words.quick)
    print(f"bundles, kernels and the answers of this machine: {time.monotonic() - built:.1f} s", flush=True)
    boards = [Board(suite, cpu) for suite in suites for cpu in cpus]
    with ThreadPoolExecutor(words.jobs) as pool:
        # The photographs lie in foolbox's folder of each userland.
        runs = [pool.submit(_prove, board, bundles, _inside(board, photographs), words.quick) for board in boards]
        steps = [step for run in runs for step in run.result()]
    seconds = time.monotonic() - begin
    failed = [step for step in steps if not step.passed]
    facts = {
        "seconds": round(seconds, 1),
        "boards": [board.name for board in boards],
        "passed": not failed,
        "steps": [vars(step) for step in steps],
    }
    summary.write_text(json.dumps(facts, indent=1) + "\n")
    if not any(board.has_our_python for board in boards):
        print(f"kernels from the desktop were NOT proven: no userland here has this Python {sys.version.split()[0]}")
    print(f"arm: {len(steps) - len(failed)} of {len(steps)} steps passed, {seconds:.0f} s in all; {summary}")
    return 1 if failed else 0


def _inside(board: Board, photographs: list[Path]) -> list[Path]:
    folder = Path("/usr/local/lib") / f"python{board.python}" / "dist-packages/foolbox/data"
    return [folder / path.name for path in photographs]


if __name__ == "__main__":
    sys.exit(main())
