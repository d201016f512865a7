"""A deploy that is killed on either side, at twenty moments: `current` is whole, and the next push goes on."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgedefend.bundle import load_bundle
from tests.deploy.boards import TestBoard, stop_service
from tests.deploy.test_push import answers_with, broken_copy

pytestmark = pytest.mark.slow

# What the desktop prints at each stage; the kill comes that many seconds after the line.
STAGES = ("connected", "uploading", "environment", "switching", "waiting", "first prediction", "verify", "watching")
MOMENTS = [
    *((side, stage, 0.0) for stage in STAGES for side in ("desktop", "board")),
    *(
        ("board", stage, delay)
        for stage, delay in (("connected", 0.5), ("environment", 0.4), ("switching", 0.05), ("waiting", 0.7))
    ),
]


def descendants(parent: int) -> list[int]:
    """The processes that an sshd has started, and theirs."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            number, rest = stat.read_text().split(" ", 1)
        except OSError:
            continue
        children.setdefault(int(rest.rpartition(")")[2].split()[1]), []).append(int(number))
    found, wave = [], [parent]
    while wave:
        wave = [child for process in wave for child in children.get(process, [])]
        found += wave
    return found


def kill_board(board: TestBoard) -> None:
    """What a power cut does to processes: all that the deploys have started there ends, the service included."""
    for _ in range(3):  # a process may start another while it is being looked for
        for process in descendants(board.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
    with contextlib.suppress(OSError, ValueError):
        os.kill(json.loads((board.prefix / "run/serve.json").read_text())["pid"], signal.SIGKILL)
    (board.prefix / "run/serve.json").unlink(missing_ok=True)


def settle(board: TestBoard) -> None:
    """Wait until the board has finished by itself what a dead desktop has left to it."""
    with (board.prefix / ".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)


def current_bundle(board: TestBoard, bundles: Path) -> str:
    """Which of the two bundles these tests push in turn is the board's: a kill decides it, not the test."""
    hashes = {load_bundle(bundles / name).sha256: name for name in ("fp32", "int8")}
    return hashes[json.loads((board.current / "release.json").read_text())["bundle"]]


def start_push(board: TestBoard, yard, bundle: Path, wheelhouse: Path) -> subprocess.Popen[str]:
    command = ["push", bundle, board.name, "--prefix", board.prefix, "--port", board.service_port]
    command += ["--wheelhouse", wheelhouse, "--window", "0.5", "--no-doctor", "--ssh-config", yard.config]
    with complaints(board).open("w") as errors:
        return subprocess.Popen(
            [sys.executable, "-m", "edgedefend.cli", "deploy", *map(str, command)],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )


def complaints(board: TestBoard) -> Path:
    """Where the last push to a board has written its errors."""
    return board.folder / "push.errors"


def wait_for(process: subprocess.Popen[str], text: str) -> bool:
    return any(text in line for line in process.stdout)


def assert_whole(board: TestBoard, allowed: set[str]) -> None:
    """What a board that starts now would run: a complete release, which answers as the desktop did."""
    current = board.current
    assert current is not None
    assert (current / "complete").exists()
    facts = json.loads((current / "release.json").read_text())
    assert facts["bundle"] in allowed
    command = [board.prefix / "current/venv/bin/edgedefend", "verify", board.prefix / "current/bundle"]
    env = {"EDGEDEFEND_KERNELS": str(board.prefix / "current/kernels"), "XDG_CACHE_HOME": str(board.folder / "cache"),
           "EDGEDEFEND_TRUSTED_KEYS": str(board.folder / "none")}  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stderr
    assert facts["bundle"][:16] in done.stdout


@pytest.fixture(scope="module")
def board(pair) -> TestBoard:
    return pair.a


def test_killed_at_twenty_moments(board, yard, bundles, wheelhouse, capsys):
    assert len(MOMENTS) == 20
    hashes = {load_bundle(bundles / name).sha256 for name in ("fp32", "int8")}
    seen = []
    for side, stage, delay in MOMENTS:
        for _ in range(3):  # what the cut before left may be finished by the board in between: then nothing is to do
            settle(board)
            target = "int8" if current_bundle(board, bundles) == "fp32" else "fp32"
            if stage == "uploading":  # an earlier moment may have put everything into the store
                model = hashlib.sha256((bundles / target / "model.tflite").read_bytes()).hexdigest()
                (board.prefix / "store" / model).unlink(missing_ok=True)
            process = start_push(board, yard, bundles / target, wheelhouse)
            reached = wait_for(process, f"{board.name}: {stage}")
            if reached:
                break
            process.communicate(timeout=300)
        time.sleep(delay)
        os.killpg(process.pid, signal.SIGKILL)
        if side == "board":
            kill_board(board)
        process.wait(30)
        process.stdout.close()
        assert_whole(board, hashes)
        after = current_bundle(board, bundles)
        seen.append((side, stage, reached, "new" if after == target else "old"))
    with capsys.disabled():
        print()
        for side, stage, reached, which in seen:
            print(
                f"  killed on the {side} at {stage!r}{'' if reached else ' (not reached)'}: the {which} release, whole"
            )
    assert all(reached for _, _, reached, _ in seen)
    assert {which for *_, which in seen} == {"old", "new"}, "kills on both sides of the switch"
    # The last push is not cut: it cleans up after all of them.
    settle(board)
    target = "int8" if current_bundle(board, bundles) == "fp32" else "fp32"
    last = start_push(board, yard, bundles / target, wheelhouse)
    last.communicate(timeout=300)
    assert last.returncode == 0, complaints(board).read_text()
    assert answers_with(board) == load_bundle(bundles / target).sha256
    assert not (board.prefix / "trial.json").exists()
    releases = {path.name for path in (board.prefix / "releases").iterdir()}
    assert releases <= {board.current.name, (board.prefix / "previous").resolve().name}


def test_a_push_whose_desktop_has_died_is_finished_by_the_board(board, yard, bundles, wheelhouse):
    hashes = {load_bundle(bundles / name).sha256: name for name in ("fp32", "int8")}
    target = "int8" if hashes[answers_with(board)] == "fp32" else "fp32"
    process = start_push(board, yard, bundles / target, wheelhouse)
    assert wait_for(process, "environment")
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(30)
    process.stdout.close()
    wanted = load_bundle(bundles / target).sha256
    deadline = time.monotonic() + 120
    while answers_with(board) != wanted or (board.prefix / "trial.json").exists():
        assert time.monotonic() < deadline, (board.prefix / "log/deploy.log").read_text()[-2000:]
        time.sleep(0.2)
    assert_whole(board, {wanted})


def test_a_service_whose_number_nobody_wrote_down_makes_way(board, deploy, bundles, wheelhouse):
    """A kill between the start of the service and the note of its number: it must not keep the port for ever."""
    assert answers_with(board) is not None
    (board.prefix / "run/serve.json").unlink()
    target = "int8" if current_bundle(board, bundles) == "fp32" else "fp32"
    done = deploy(
        "push", bundles / target, board.name, "--prefix", board.prefix, "--port", board.service_port,
        "--wheelhouse", wheelhouse, "--window", 0,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert answers_with(board) == load_bundle(bundles / target).sha256


def test_a_bad_release_that_nobody_could_take_back_is_taken_back_by_the_next_deploy(
    board, yard, deploy, bundles, wheelhouse, tmp_path
):
    """The power fails between the switch to a broken release and its fall."""
    good, name = board.current, current_bundle(board, bundles)
    bad = broken_copy(bundles / "int8", tmp_path / "bad")
    process = start_push(board, yard, bad, wheelhouse)
    assert wait_for(process, "waiting")
    kill_board(board)
    process.communicate(timeout=60)
    assert board.current.name != good.name, "the broken release is the current one: that is the point"
    status = deploy("status", board.name, "--prefix", board.prefix)
    assert (status.returncode, "not proven" in status.stdout) == (1, True)
    again = deploy(
        "push", bundles / name, board.name, "--prefix", board.prefix, "--port", board.service_port,
        "--wheelhouse", wheelhouse, "--window", 0,
    )  # fmt: skip
    assert again.returncode == 0, again.stderr
    assert "a deploy was cut short" in again.stdout
    assert board.current.name == good.name
    assert answers_with(board) == load_bundle(bundles / name).sha256
    stop_service(board.prefix)
