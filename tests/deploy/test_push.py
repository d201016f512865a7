"""Releases on two boards at once, over two real sshd. Each test goes on from where the one before left off."""

from __future__ import annotations

import hashlib
import http.client
import json
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from edgedefend.bundle import load_bundle
from edgedefend.signing import sign_bundle
from tests.deploy.boards import TestBoard

pytestmark = pytest.mark.slow


def answers_with(board: TestBoard) -> str | None:
    """The hash of the bundle that the board's service runs, None if it does not answer."""
    connection = http.client.HTTPConnection("127.0.0.1", board.service_port, timeout=30)
    try:
        connection.request("GET", "/healthz")
        return json.loads(connection.getresponse().read())["bundle"]
    except OSError:
        return None
    finally:
        connection.close()


def snapshot(board: TestBoard) -> dict[str, tuple[int, int, int]]:
    """Every file below the prefix with what changes when it is written; the log of the deploys apart."""
    return {
        str(path): (path.lstat().st_ino, path.lstat().st_mtime_ns, path.lstat().st_size)
        for path in board.prefix.rglob("*")
        if "log" not in path.relative_to(board.prefix).parts
    }


def broken_copy(bundle: Path, target: Path, key: Path | None = None, serial: int = 1000) -> Path:
    """A bundle that is whole and loads, and answers otherwise than it says."""
    shutil.copytree(bundle, target)
    golden = json.loads((target / "golden.json").read_text())
    golden["output"] = golden["output"][1:] + golden["output"][:1]
    (target / "golden.json").write_text(json.dumps(golden))
    digest = hashlib.sha256((target / "golden.json").read_bytes()).hexdigest()
    sums = re.sub(r"[0-9a-f]{64}(?=  golden\.json)", digest, (target / "SHA256SUMS").read_text())
    (target / "SHA256SUMS").write_text(sums)
    if key:
        sign_bundle(target, key, serial=serial)
    return target


def test_one_command_releases_on_both(pair, bundles):
    wanted = load_bundle(bundles / "int8").sha256
    for board in (pair.a, pair.b):
        assert re.search(rf"^{board.name}: released: .* first answer '(red|green|blue)'", pair.first.stdout, re.M)
        assert answers_with(board) == wanted
        assert (board.current / "complete").exists()
        assert {entry.name for entry in board.current.iterdir()} >= {
            "venv",
            "bundle",
            "kernels",
            "wheels",
            "edgedefend.service",
        }
        assert f"{board.name}: doctor" in pair.first.stdout
    assert "compiling the kernels" not in pair.first.stdout, "the desktop makes the kernels"


def test_nothing_of_the_board_s_python_or_of_this_checkout_is_used(pair):
    code = "import edgedefend, numba, sys; print(edgedefend.__file__, numba.__file__, sys.prefix)"
    python = pair.a.current / "venv/bin/python"
    printed = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True, env={}, cwd="/").stdout
    assert all(path.startswith(str(pair.a.prefix)) for path in printed.split())


def test_the_second_push_changes_nothing(pair, deploy, bundles, wheelhouse):
    before = [snapshot(board) for board in (pair.a, pair.b)]
    again = deploy("push", bundles / "int8", "--inventory", pair.inventory, "--wheelhouse", wheelhouse)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("nothing to do") == 2
    assert [snapshot(board) for board in (pair.a, pair.b)] == before


def test_status(pair, deploy, bundles):
    table = deploy("status", "--inventory", pair.inventory)
    assert table.returncode == 0, table.stderr
    lines = table.stdout.splitlines()
    assert lines[0].split() == [
        "host",
        "release",
        "bundle",
        "healthy",
        "temperature",
        "throttled",
        "latency",
    ]
    for board, line in zip((pair.a, pair.b), lines[2:], strict=True):
        assert line.split()[:4] == [board.name, board.current.name, load_bundle(bundles / "int8").sha256[:12], "yes"]
    answers = [
        json.loads(line) for line in deploy("status", "--inventory", pair.inventory, "--json").stdout.splitlines()
    ]
    assert [answer["host"] for answer in answers] == ["pi-a", "pi-b"]
    assert all(answer["latency_ms"] > 0 and answer["proven"] and answer["healthy"] for answer in answers)


def test_a_dry_run_says_what_would_change_and_changes_nothing(pair, deploy, bundles, wheelhouse):
    before = [snapshot(board) for board in (pair.a, pair.b)]
    dry = deploy("push", bundles / "fp32", "--inventory", pair.inventory, "--wheelhouse", wheelhouse, "--dry-run")
    assert dry.returncode == 0, dry.stderr
    old, new = (load_bundle(bundles / name).sha256[:20] for name in ("int8", "fp32"))
    for name in ("pi-a", "pi-b"):
        assert f"{name}: would change bundle: {old} -> {new}" in dry.stdout
    assert "would change packages" not in dry.stdout
    assert [snapshot(board) for board in (pair.a, pair.b)] == before


def test_another_bundle_takes_over_the_environment_and_keeps_the_one_before(pair, deploy, bundles, wheelhouse):
    first = pair.a.current
    done = deploy("push", bundles / "fp32", "--inventory", pair.inventory, "--wheelhouse", wheelhouse, "--window", 0)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("environment taken over") == 2
    assert answers_with(pair.a) == load_bundle(bundles / "fp32").sha256
    assert (pair.a.prefix / "previous").resolve() == first.resolve()
    # The copy is whole in itself: it does not name the release that it came from.
    for script in (pair.a.current / "venv/bin").iterdir():
        if not script.is_symlink():
            assert first.name.encode() not in script.read_bytes(), script


def test_rollback(pair, deploy, bundles):
    before, there = pair.a.current, (pair.a.prefix / "previous").resolve()
    back = deploy("rollback", "pi-a", "--prefix", pair.a.prefix, "--window", 0)
    assert back.returncode == 0, back.stderr
    assert f"rolled back from {before.name} to {there.name}" in back.stdout
    assert answers_with(pair.a) == load_bundle(bundles / "int8").sha256
    forth = deploy("rollback", "pi-a", "--prefix", pair.a.prefix, "--window", 0)
    assert forth.returncode == 0, forth.stderr
    assert pair.a.current == before


def test_older_releases_are_pruned(pair, deploy, bundles, wheelhouse):
    done = deploy(
        "push", bundles / "int8", "pi-a", "--prefix", pair.a.prefix, "--port", pair.a.service_port,
        "--wheelhouse", wheelhouse, "--window", 0,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    releases = {path.name for path in (pair.a.prefix / "releases").iterdir()}
    assert releases == {pair.a.current.name, (pair.a.prefix / "previous").resolve().name}
    assert all(blob.stat().st_nlink > 1 for blob in (pair.a.prefix / "store").iterdir())
    assert not list((pair.a.prefix / "incoming").iterdir())


def test_a_broken_bundle_goes_back_by_itself(pair, deploy, bundles, wheelhouse, tmp_path):
    bad = broken_copy(bundles / "fp32", tmp_path / "bad")
    before = {
        board.name: (board.current, (board.prefix / "previous").resolve(), answers_with(board))
        for board in (pair.a, pair.b)
    }
    done = deploy("push", bad, "--inventory", pair.inventory, "--wheelhouse", wheelhouse, "--window", 0)
    assert done.returncode == 1
    for board in (pair.a, pair.b):
        current, previous, answer = before[board.name]
        line = next(line for line in done.stderr.splitlines() if line.startswith(f"edgedefend: {board.name}: "))
        assert "gets it wrong" in line, "the reason"
        assert f"back to {current.name}" in line
        assert (board.current, answers_with(board)) == (current, answer)
        assert (board.prefix / "previous").resolve() == previous
    assert done.stderr.splitlines()[-1] == "edgedefend: 2 of 2 hosts failed"
    assert any(line.startswith("    edgedefend: ") for line in done.stderr.splitlines()), "the log's tail"
    assert "Traceback" not in done.stderr


def test_the_logs_tell_what_happened(pair, deploy):
    logs = deploy("logs", "--inventory", pair.inventory, "--lines", 50)
    assert logs.returncode == 0, logs.stderr
    assert re.search(r"^pi-a deploys: .* step going back to ", logs.stdout, re.M)
    assert re.search(r"^pi-b service: .*gets it wrong", logs.stdout, re.M)


def test_a_failed_canary_spares_the_others(pair, deploy, bundles, wheelhouse, tmp_path):
    bad = broken_copy(bundles / "fp32", tmp_path / "bad")
    before = snapshot(pair.b)
    done = deploy("push", bad, "--inventory", pair.inventory, "--wheelhouse", wheelhouse, "--window", 0, "--canary", 1)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == "edgedefend: 1 of 1 canaries failed: 1 hosts left alone"
    assert "pi-b" not in done.stdout
    assert snapshot(pair.b) == before
    good = deploy(
        "push",
        bundles / "fp32",
        "--inventory",
        pair.inventory,
        "--wheelhouse",
        wheelhouse,
        "--canary",
        1,
        "--window",
        0,
    )
    assert good.returncode == 0, good.stderr
    assert good.stdout.index("1 canaries are healthy") < good.stdout.index("pi-b:")


def test_a_service_that_has_died_is_not_nothing_to_do(pair, deploy, bundles, wheelhouse):
    number = json.loads((pair.b.prefix / "run/serve.json").read_text())["pid"]
    import os

    os.kill(number, signal.SIGKILL)
    assert deploy("status", "--inventory", pair.inventory).returncode == 1
    done = deploy("push", bundles / "fp32", "--inventory", pair.inventory, "--wheelhouse", wheelhouse, "--window", 0)
    assert done.returncode == 0, done.stderr
    assert "pi-a: nothing to do" in done.stdout
    assert "pi-b: started again" in done.stdout
    assert answers_with(pair.b) == load_bundle(bundles / "fp32").sha256


def test_a_board_with_a_trusted_key(pair, deploy, color_bundles, bundles, signing_key, wheelhouse, tmp_path):
    def push(bundle):
        return deploy("push", bundle, "--inventory", only_b, "--wheelhouse", wheelhouse, "--window", 0)

    only_b = pair.inventory.with_name("only-b")
    only_b.write_text(pair.inventory.read_text().replace("pi-a", "# pi-a"))
    keys = pair.b.folder / "trusted-keys"
    keys.mkdir(mode=0o755)
    shutil.copy(f"{signing_key}.pub", keys)
    running = pair.b.current
    unsigned = push(color_bundles / "fp32")
    assert unsigned.returncode == 1
    assert "not signed" in unsigned.stderr
    assert f"back to {running.name}" in unsigned.stderr
    shutil.copytree(color_bundles / "int8", tmp_path / "new")
    sign_bundle(tmp_path / "new", signing_key, serial=200)
    assert push(tmp_path / "new").returncode == 0
    shutil.copytree(color_bundles / "fp32", tmp_path / "old")
    sign_bundle(tmp_path / "old", signing_key, serial=150)
    downgrade = push(tmp_path / "old")
    assert downgrade.returncode == 1
    assert "serial 150, accepted 200" in downgrade.stderr
    # Going back on purpose is allowed, and what was refused stays refused only where it is handed in.
    back = deploy("rollback", "--inventory", only_b, "--window", 0)
    assert back.returncode == 0, back.stderr
    assert pair.b.current.name == running.name
    assert answers_with(pair.b) == load_bundle(bundles / "fp32").sha256
    shutil.rmtree(keys)


def test_remove(pair, deploy):
    kept = snapshot(pair.a)
    done = deploy("remove", "pi-b", "--prefix", pair.b.prefix, "--yes")
    assert done.returncode == 0, done.stderr
    assert not pair.b.prefix.exists()
    assert answers_with(pair.b) is None
    assert "nothing was there" in deploy("remove", "pi-b", "--prefix", pair.b.prefix, "--yes").stdout
    assert snapshot(pair.a) == kept
    status = deploy("status", "--inventory", pair.inventory)
    assert status.returncode == 1
    assert re.search(r"^pi-b\s+none\s+no$", status.stdout, re.M)


def test_a_first_release_that_fails_leaves_nothing_running(pair, deploy, bundles, wheelhouse, tmp_path, yard):
    """On a board that had nothing: there is nothing to go back to, and it says so."""
    # An environment to take over would be a release: this is the one push that goes through the index-less slow path
    # again, so it borrows a finished environment by pushing twice.
    bad = broken_copy(bundles / "int8", tmp_path / "bad")
    done = deploy(
        "push", bad, "pi-b", "--prefix", pair.b.prefix, "--port", pair.b.service_port, "--wheelhouse", wheelhouse,
        "--window", 0,
    )  # fmt: skip
    assert done.returncode == 1
    assert "there is no release before it" in done.stderr
    assert pair.b.current is None
    assert answers_with(pair.b) is None
