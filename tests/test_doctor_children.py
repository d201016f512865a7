"""The doctor's children, which really die, and its command: here, for a tree of files, with broken libraries."""

import json
import os
import platform
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from edgedefend.board import load_board
from edgedefend.device import Device
from edgedefend.doctor import LEVELS, Patient, examine, software
from edgedefend.doctor.environment import of_this_process
from edgedefend.doctor.probe import try_code
from tests.boards import BOARDS, board
from tests.conftest import ROOT

# A real illegal instruction of this CPU, run in memory of our own.
ILLEGAL = {"x86_64": b"\x0f\x0b", "aarch64": b"\0\0\0\0"}
DIE = f"""
import ctypes, mmap
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write({ILLEGAL.get(platform.machine(), b"")!r})
ctypes.CFUNCTYPE(None)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
"""


def test_a_child_that_dies_of_an_illegal_instruction():
    """A real SIGILL, from the CPU."""
    outcome = try_code(DIE)
    assert outcome.signal == signal.SIGILL
    assert outcome.died_of == "an illegal instruction (SIGILL)"


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("report([1, 'a'])", {"value": [1, "a"]}),
        ("print('noise'); report(2); print('@noise')", {"value": 2}),
        ("import nothing_like_it", {"missing": "nothing_like_it"}),
        ("raise ImportError('two\\nlines')", {"error": "ImportError: two lines"}),
        ("raise SystemExit('away')", {"error": "SystemExit: away"}),
        ("import os; os._exit(7)", {"error": "it ended with 7 and said nothing"}),
        ("import os; os.write(2, b'why\\n'); os._exit(7)", {"error": "why"}),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", {"signal": 11}),
        ("import os; os.kill(os.getpid(), 9)", {"signal": 9}),
        ("def f(:", {"error": "SyntaxError: invalid syntax (<doctor>, line 1)"}),
    ],
)
def test_how_a_child_ends(code, expected):
    outcome = try_code(code)
    if "noise" in code:
        # What a library prints after the report must not hide it, unless it looks the same.
        assert outcome.value == 2 or outcome.error
        return
    assert {key: getattr(outcome, key) for key in expected} == expected


def test_a_child_that_does_not_end():
    assert try_code("import time; time.sleep(60)", timeout=1).error == "it did not end within 1 s"
    assert "could not be started" in try_code("", python="/nonexistent").error


def broken_package(folder: Path, name: str, body: str) -> str:
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").write_text(body)
    return os.pathsep.join([str(folder), str(ROOT)])


def test_numpy_that_dies_of_an_illegal_instruction(run_cli, tmp_path):
    """The command itself survives, says it in a sentence, and ends with 1."""
    path = broken_package(tmp_path, "numpy", DIE)
    result = run_cli("doctor", env={"PYTHONPATH": path})
    assert result.returncode == 1, result.stderr
    assert "NumPy: loading and using it dies of an illegal instruction (SIGILL)" in " ".join(result.stdout.split())
    assert "this wheel was built for instructions that this CPU" in " ".join(result.stdout.split())
    assert "pip install --force-reinstall 'numpy<" in result.stdout
    assert result.stderr == ""
    assert run_cli("classify", "x", "y", env={"PYTHONPATH": path}).returncode == -signal.SIGILL  # what others do


def test_libraries_that_are_broken_otherwise(run_cli, tmp_path):
    broken_package(tmp_path, "cv2", "raise ImportError('libGL.so.1: cannot open shared object file')")
    path = broken_package(tmp_path, "numba", "import nowhere_to_be_found")
    result = run_cli("doctor", "--json", env={"PYTHONPATH": path})
    report = json.loads(result.stdout)
    assert result.returncode == 1
    assert not report["healthy"]
    bad = [finding for finding in report["findings"] if finding["level"] == "bad"]
    assert [finding["what"] for finding in bad if finding["check"] == "imports"] == [
        "not installed: Numba",
        "OpenCV: ImportError: libGL.so.1: cannot open shared object file",
    ]
    assert "kernels" in [finding["check"] for finding in bad]


@pytest.mark.slow
def test_the_command_here_cold_warm_and_with_a_bundle(run_cli, color_bundles, tmp_path):
    env = {"NUMBA_CACHE_DIR": str(tmp_path / "cache"), "EDGEDEFEND_KERNELS": ""}
    report = json.loads(run_cli("doctor", "--json", env=env).stdout)
    assert report["healthy"]
    by_check = {finding["check"]: finding for finding in report["findings"]}
    assert by_check["imports"]["what"] == "NumPy, OpenCV, Numba, the interpreter can be loaded and used"
    assert by_check["kernels"]["level"] == "warn"
    assert by_check["kernels"]["what"].startswith("cold: 5 of 5 had to be compiled")
    assert not list((tmp_path / "cache").rglob("*.nbi"))  # it looked, and wrote nothing
    assert run_cli("warmup", env=env).returncode == 0
    result = run_cli("doctor", color_bundles / "int8", env=env)
    assert result.returncode == 0, result.stdout
    text = " ".join(result.stdout.split())
    assert "warm: all 5 found" in text
    assert "answers as on the desktop with ai-edge-litert" in text
    nowhere = {"NUMBA_CACHE_DIR": "/proc/none/cache", "HOME": "/proc/none", "EDGEDEFEND_KERNELS": ""}
    nowhere |= {"XDG_CACHE_HOME": "", "CACHE_DIRECTORY": ""}
    assert "cannot be kept" in run_cli("doctor", env=nowhere).stdout


def test_a_damaged_bundle(color_bundles, tmp_path):
    damaged = tmp_path / "bundle"
    shutil.copytree(color_bundles / "int8", damaged)
    (damaged / "labels.txt").write_text("red\ngreen\nblack\n")
    device = Device()
    patient = Patient(device, of_this_process(), device.facts(), device.snapshot(), load_board("pi-4"), damaged)
    finding = software.bundle(patient)[0]
    assert finding.level == "bad"
    assert "labels.txt has changed since the bundle was written" in finding.what
    assert f"edgedefend verify {damaged}" in finding.mend


@pytest.mark.parametrize("name", BOARDS)
def test_the_command_for_a_tree(name, run_cli, tmp_path):
    board(name, tmp_path)
    result = run_cli("doctor", "--root", tmp_path)
    assert result.stderr == ""
    assert result.returncode == 0, result.stdout
    lines = result.stdout.splitlines()
    assert lines[0].startswith(examine(Device(tmp_path), of_this_process()).facts["board"])
    assert lines[-1].startswith("0 bad, ")
    # Levels and checks stand in columns.
    columns = {line.index(line[4:].strip().split("  ")[0]) for line in lines[1:-2] if line[:4].strip() in LEVELS}
    assert columns == {6}
    assert all(len(line) <= 100 for line in lines[1:] if "mend: " not in line)


def runs(python: Path | str) -> bool:
    return subprocess.run([python, "-c", ""], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("name", ["python3.8", "python3.9"])
def test_a_python_that_is_too_old_gets_a_sentence(name):
    """The sources, copied to a board that cannot install them, still say what is wrong."""
    candidates = [shutil.which(name), *Path.home().glob(f".pyenv/versions/{name[6:]}.*/bin/{name}")]
    works = [python for python in candidates if python and runs(python)]
    if not works:
        pytest.skip(f"{name} is not installed")
    found_there = str(works[0])
    result = subprocess.run(
        [found_there, "-m", "edgedefend.doctor", "--json"],
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        check=False,
    )
    assert result.returncode == 1, result.stderr
    report = json.loads(result.stdout)
    bad = [finding for finding in report["findings"] if finding["level"] == "bad"]
    assert [finding["check"] for finding in bad] == ["python", "wheels"]
    assert "is too old" in bad[0]["what"]
