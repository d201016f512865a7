"""What the desktop hands over to the boards, and what it answers itself.

Kernels are made by a desktop with the board's Python: this machine where it has that one, else a Debian userland of its
own architecture. `Stranger` are kernels that a board must not use: made for another CPU, with another Python, or with
another Numba, each really so made.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.arm.board import StepError
from tests.arm.debian import UnavailableError
from tests.arm.run import BOARDS, command_line
from tests.arm.userland import BUILD, PYTHONS, ROOT, build, pins, python_of, versions_here

__all__ = [
    "ANSWERED_HERE",
    "Bundles",
    "Stranger",
    "answer_here",
    "classify_words",
    "has_our_python",
    "kernels_for",
    "make_bundles",
    "make_kernels",
    "strangers_for",
]

ANSWERED_HERE = BUILD / "here"
_COLORS = ("fp32", "fp16", "dynamic", "int8")


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


@dataclass(frozen=True)
class Bundles:
    """What is handed over: the tests' colour model in every precision and, unless it must be quick, a real one."""

    colors: tuple[Path, ...]
    photographs: tuple[Path, ...]

    @property
    def real(self) -> Path:
        """The bundle nearest to what a board will run."""
        return (self.photographs or self.colors)[-1]

    @property
    def everything(self) -> tuple[Path, ...]:
        """The bundles to verify and to compare answers of."""
        return (*self.photographs, *self.colors[1:3]) if self.photographs else self.colors


def make_bundles(quick: bool) -> Bundles:
    """Convert on this machine what is handed over to the boards."""
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
    colors = tuple(folder / "colors" / name for name in _COLORS)
    if quick:
        return Bundles(colors, ())
    out = folder / "lite0"
    if not (out / "int8").is_dir():
        words = ["--table", "feature-distillation", "--min-agreement", 0.8, "--precision", "fp32"]
        words += ["--precision", "int8", "--steps", 1]
        _here("edgedefend.cli", "convert", "--model", "efficientnet-lite0", "--out", out, *words)
    return Bundles(colors, (out / "fp32", out / "int8"))


def has_our_python(suite: str) -> bool:
    """Tell whether a suite's Python is, in its minor version, the one that runs here."""
    return python_of(suite) == f"{sys.version_info.major}.{sys.version_info.minor}"


def kernels_for(suite: str, cpu: str) -> Path:
    """Return the folder for the kernels of a board, as `make_kernels` fills it."""
    return BUILD / "kernels" / python_of(suite) / cpu


@functools.cache
def make_kernels(suite: str, cpu: str) -> str:
    """Make the kernels for a board on a desktop that has the suite's Python; return who made how many."""
    folder = kernels_for(suite, cpu)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    words = ["edgedefend.cli", "warmup", "--target", cpu, "--out", str(folder)]
    if has_our_python(suite):
        said, where = _here(*words), "this machine"
    else:
        userland = f"{suite}-amd64"
        build(userland)
        command = command_line(userland, None, ["python3", "-m", *words], writable=(folder,))
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=600)
        if done.returncode:
            raise StepError(f"warmup ended with {done.returncode} in {userland}: {done.stderr.strip()[-500:]}")
        said, where = done.stdout, f"the userland {userland}"
    facts = json.loads((folder / "target.json").read_text())
    return f"{said.split(' in ')[0]}, by Python {facts['python']} and Numba {facts['numba']} of {where}"


@dataclass(frozen=True)
class Stranger:
    """Kernels that a board has to refuse, and the word that it must say about them."""

    what: str
    folder: Path
    said: str


def _other_numba() -> tuple[Path, str]:
    """Return a folder with another release of Numba than the one installed here, and which it is."""
    folder, installed = BUILD / "other-numba", versions_here()["numba"]

    def found() -> str:
        return next((path.name.split("-")[1].removesuffix(".dist") for path in folder.glob("numba-*.dist-info")), "")

    if found() in ("", installed):
        shutil.rmtree(folder, ignore_errors=True)
        constraints = BUILD / "other-numba.txt"
        constraints.write_text("".join(f"{pin}\n" for pin in pins(set(versions_here()) - {"numba", "llvmlite"})))
        words = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile"]
        words += ["--only-binary=:all:", "--target", str(folder), "--constraint", str(constraints)]
        done = subprocess.run([*words, f"numba!={installed}"], capture_output=True, text=True, check=False)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise UnavailableError(f"pip cannot get another Numba than {installed}: {reason}")
    return folder, found()


def strangers_for(suite: str, cpu: str) -> list[Stranger]:
    """Make, and return, the kernels that a board is to refuse.

    Each kind is tried once, on boards whose tests are few: the board then compiles under emulation.
    """
    found = []
    if (suite, cpu) == ("bookworm", "cortex-a76"):
        other = next(name for name in BOARDS if name != cpu)
        make_kernels(suite, other)
        said = f"they are for {other}, this CPU is {BOARDS[cpu][0]}"
        found.append(Stranger("another CPU", kernels_for(suite, other), said))
        if has_our_python(suite):
            packages, version = _other_numba()
            folder = BUILD / "kernels" / f"numba-{version}" / cpu
            shutil.rmtree(folder, ignore_errors=True)
            path = {"PYTHONPATH": f"{packages}:{ROOT}"}
            _here("edgedefend.cli", "warmup", "--target", cpu, "--out", folder, env=path)
            found.append(Stranger("another Numba", folder, f"they were made with numba {version}"))
    if (suite, cpu) == ("trixie", "cortex-a72"):
        other = next(name for name in PYTHONS if name != suite)
        make_kernels(other, cpu)
        said = f"they were made with python {python_of(other)}"
        found.append(Stranger("another Python", kernels_for(other, cpu), said))
    return found


def classify_words(bundle: Path, photographs: list[Path]) -> list[object]:
    """Return the words of the `edgedefend classify` that both sides run."""
    return ["classify", "--json", "--seed", 3, bundle, *photographs]


def answer_here(bundles: Bundles, quick: bool) -> list[Path]:
    """Put the same questions to this machine; return the photographs to classify."""
    from edgedefend.dataset import load_dataset

    ANSWERED_HERE.mkdir(parents=True, exist_ok=True)
    photographs = [item.path for item in load_dataset("sample", ["?"] * 1000).photographs][: 3 if quick else None]
    questions = ANSWERED_HERE / "questions.npz"
    _here("tests.arm.answers", "write", questions)
    _here("tests.arm.answers", "answer", questions, ANSWERED_HERE / "answers.npz", *bundles.everything)
    (ANSWERED_HERE / "first.json").write_text(_here("tests.arm.first", bundles.real))
    # The board finds the photographs of the same package in its own folder, under the same names.
    said = _here("edgedefend.cli", *classify_words(bundles.real, photographs))
    (ANSWERED_HERE / "classify.jsonl").write_text(said)
    return photographs
