"""Boards that cannot take a release: one clear line each, before anything is changed there, and the others go on."""

from __future__ import annotations

import shutil
import socket
import subprocess

import pytest

from tests.deploy.boards import TestBoard, Yard

# All that the facts need, so that a PATH can be made on which there is no Python at all, or another one.
TOOLS = (
    "sh",
    "uname",
    "getconf",
    "id",
    "df",
    "awk",
    "tr",
    "sed",
    "sort",
    "head",
    "basename",
    "dirname",
    "readlink",
    "cat",
)


@pytest.fixture(scope="module")
def bare(yard) -> TestBoard:
    """A board without Python: PATH has the tools and nothing else."""
    return start_bare(yard, "no-python")


def start_bare(yard: Yard, name: str) -> TestBoard:
    board = yard.start(name, PATH=str(yard.folder / name / "fakes"))
    for tool in TOOLS:
        (board.fakes / tool).symlink_to(shutil.which(tool))
    return board


def with_python(board: TestBoard, version: str, bits: int = 64, venv: int = 1, name: str = "python3") -> None:
    board.fake(name, f"echo {version} {bits} {venv}")


def lines_of(result: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """host -> its one line on stderr."""
    found: dict[str, str] = {}
    for line in result.stderr.splitlines():
        assert line.startswith("edgedefend: "), result.stderr
        host, _, text = line.removeprefix("edgedefend: ").partition(": ")
        if text:
            assert host not in found, result.stderr
            found[host] = text
    return found


@pytest.fixture(scope="module")
def result(yard, deploy, bare, color_bundles, request) -> subprocess.CompletedProcess[str]:
    """One dry run on every kind of board at once: each must get its own line, and the good one its plan."""
    yard.start("good")
    yard.start("unknown-key", known=False)
    changed = yard.start("changed-key", known=False)
    yard.make_key(yard.folder / "other-host")
    kind, key, *_ = (yard.folder / "other-host.pub").read_text().split()
    with yard.known_hosts.open("a") as file:
        file.write(f"[127.0.0.1]:{changed.port} {kind} {key}\n")
    refused = yard.start("refused-key")
    yard.entry("refused", refused.port, yard.make_key(yard.folder / "stranger"))
    with yard.config.open("a") as file:
        file.write("Host nowhere\n HostName nowhere.invalid\n")
    # Bound and not listening: nobody else gets the port, and whoever connects is refused.
    closed = socket.socket()
    closed.bind(("127.0.0.1", 0))
    request.addfinalizer(closed.close)
    yard.entry("closed", closed.getsockname()[1])
    yard.start("arm32").fake("uname", "echo armv7l")
    yard.start("userland32").fake("getconf", 'case $1 in LONG_BIT) echo 32;; *) echo "glibc 2.36";; esac')
    with_python(start_bare(yard, "python32"), "3.11.2", bits=32)
    with_python(start_bare(yard, "python38"), "3.8.10")
    with_python(start_bare(yard, "no-venv"), "3.11.2", venv=0)
    yard.start("musl").fake("getconf", "case $1 in LONG_BIT) echo 64;; *) exit 1;; esac")
    yard.start("full").fake("df", 'echo header; echo "/dev/sda1 1000 995 5 99% /"')
    yard.start("broken-shell", force="/bin/echo no shells here")
    hosts = "no-python unknown-key changed-key refused nowhere closed arm32 userland32 python32 python38 no-venv musl"
    hosts += " full broken-shell good"
    prefix = yard.folder / "opt"
    return deploy("push", color_bundles / "int8", *hosts.split(), "--prefix", prefix, "--dry-run", timeout=300)


@pytest.mark.parametrize(
    ("host", "says"),
    [
        ("no-python", "no Python"),
        ("unknown-key", "host key is not in known_hosts"),
        ("changed-key", "host key is not the one in known_hosts"),
        ("refused", "refuses the login (publickey"),
        ("nowhere", "no such host"),
        ("closed", "Connection refused"),
        ("arm32", "32-bit or unknown system (armv7l)"),
        ("userland32", "32-bit userland"),
        ("python32", "32-bit userland (Python is 32-bit)"),
        ("python38", "Python 3.8, expected 3.10 to 3.13"),
        ("no-venv", "python3.11-venv"),
        ("musl", "no glibc"),
        ("full", "the disk is full"),
        ("broken-shell", "a POSIX shell is needed"),
    ],
)
def test_one_clear_line_a_host(result, host, says):
    assert says in lines_of(result)[host]


def test_the_others_go_on(result):
    assert result.returncode == 1
    assert "good: would change first release" in result.stdout
    assert "good" not in lines_of(result)
    assert result.stderr.splitlines()[-1] == "edgedefend: 14 of 15 hosts failed"


def test_an_unknown_host_key_is_not_learned(result, yard):
    port = next(board.port for board in yard.boards if board.name == "unknown-key")
    assert f":{port} " not in yard.known_hosts.read_text()


def test_nothing_was_written(result, yard):
    assert not (yard.folder / "opt").exists()


@pytest.mark.slow
def test_a_disk_that_fills_up_in_the_middle(yard, deploy, color_bundles, wheelhouse):
    """It looked empty enough: the upload fails, is told in one line, and leaves nothing that counts."""
    board = yard.start("filling-up")
    board.fake("df", 'echo header; echo "/dev/sda1 9000000 1 9000000 1% /"')
    board.prefix.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=30m", "tmpfs", board.prefix], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"cannot make a small disk here: {mounted.stderr.strip()}")
    try:
        result = deploy(
            "push", color_bundles / "int8", board.name, "--prefix", board.prefix, "--wheelhouse", wheelhouse
        )
        assert lines_of(result)[board.name] == "the disk is full (No space left on device)"
        assert not (board.prefix / "current").exists()
    finally:
        subprocess.run(["umount", board.prefix], check=True)


def test_a_wheelhouse_that_lacks_something_is_one_line(yard, deploy, color_bundles, tmp_path):
    if not any(board.name == "good" for board in yard.boards):
        yard.start("good")
    result = deploy("push", color_bundles / "int8", "good", "--prefix", tmp_path / "opt", "--wheelhouse", tmp_path)
    assert "not all wheels for Python" in lines_of(result)["good"]
    result = deploy("push", color_bundles / "int8", "good", "--wheelhouse", tmp_path / "nowhere")
    assert "no such folder" in lines_of(result)["good"]


@pytest.mark.parametrize("host", ["-oProxyCommand=touch pwned", "a b", "a;touch pwned", "$(touch pwned)", ""])
def test_a_host_is_never_an_option_or_a_command(deploy, color_bundles, host, tmp_path):
    result = deploy("push", color_bundles / "int8", "--", host, cwd=tmp_path)
    assert result.returncode in (2, 3), result.stderr
    assert not (tmp_path / "pwned").exists()
