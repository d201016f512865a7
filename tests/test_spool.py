"""The queue on disk: order, bounds, what a kill, a full disk and a power cut leave."""

import os
import signal
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgedefend import spool as spool_module
from edgedefend.errors import EdgeDefendError
from edgedefend.spool import Spool


@pytest.fixture
def opened():
    """Opens spools, and closes at the end those that are still open."""
    found: list[Spool] = []

    def make(folder, **options) -> Spool:
        found.append(Spool(folder, **options))
        return found[-1]

    def close(spool: Spool) -> None:
        found.remove(spool)
        spool.close()

    make.close = close
    yield make
    for spool in found:
        spool.close()


def drain(spool: Spool) -> list[bytes]:
    found = []
    while (message := spool.next_unsent()) is not None:
        found.append(message[1])
    return found


def texts(numbers) -> list[bytes]:
    return [b"%d" % number for number in numbers]


def test_in_order_once_and_again_after_rewind(tmp_path, opened):
    spool = opened(tmp_path / "q")
    for text in texts(range(5)):
        spool.append(text)
    assert drain(spool) == texts(range(5)) and drain(spool) == []
    spool.append(b"5")
    assert spool.next_unsent() == (6, b"5")
    spool.acknowledge(2)
    assert len(spool) == 4
    spool.rewind()
    assert drain(spool) == texts(range(2, 6))
    spool.acknowledge(6)
    assert len(spool) == 0
    spool.append(b"6")
    assert drain(spool) == [b"6"]


def test_what_was_not_acknowledged_is_there_for_the_next_process(tmp_path, opened):
    first = opened(tmp_path)
    for text in texts(range(10)):
        first.append(text)
    drain(first)
    first.acknowledge(4)
    opened.close(first)
    second = opened(tmp_path)
    assert len(second) == 6
    second.append(b"new")
    assert drain(second) == [*texts(range(4, 10)), b"new"]


def test_when_everything_is_taken_the_disk_is_empty(tmp_path, opened, monkeypatch):
    monkeypatch.setattr(spool_module, "_SEGMENT_BYTES", 200)
    spool = opened(tmp_path)
    for number in range(200):
        sequence = spool.append(b"x" * 20)
        assert spool.next_unsent() == (sequence, b"x" * 20)
        if number % 30 == 0:
            spool.acknowledge(sequence)
    spool.acknowledge(200)
    assert sum(path.stat().st_size for path in tmp_path.glob("*.log")) == 0
    assert len(list(tmp_path.glob("*.log"))) <= 1


def test_a_process_that_is_killed_loses_nothing(tmp_path, opened):
    code = (
        "import os, signal, sys; from pathlib import Path; from edgedefend.spool import Spool\n"
        "spool = Spool(Path(sys.argv[1]))\n"
        "for number in range(500): spool.append(b'%d' % number)\n"
        "[spool.next_unsent() for _ in range(300)]; spool.acknowledge(200)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert drain(opened(tmp_path)) == texts(range(200, 500))


@pytest.mark.parametrize("damage", ["cut", "flip", "garbage"])
def test_a_last_line_that_was_not_written_whole_is_left_out(tmp_path, opened, damage):
    spool = opened(tmp_path)
    for text in texts(range(3)):
        spool.append(text)
    opened.close(spool)
    (file,) = tmp_path.glob("*.log")
    data = file.read_bytes()
    file.write_bytes({"cut": data[:-2], "flip": data[:-2] + b"9\n", "garbage": data + b"\0\0\0 4 what\n\xff"}[damage])
    again = opened(tmp_path)
    kept = 3 if damage == "garbage" else 2
    again.append(b"new")
    assert drain(again) == [*texts(range(kept)), b"new"]


def test_beyond_its_bound_the_oldest_goes_and_is_counted(tmp_path, opened, monkeypatch):
    monkeypatch.setattr(spool_module, "_SEGMENT_BYTES", 1000)
    spool = opened(tmp_path, max_bytes=5000)
    for number in range(1000):
        spool.append(b"%06d" % number)
    assert sum(path.stat().st_size for path in tmp_path.glob("*.log")) <= 5000
    left = drain(spool)
    assert left == [b"%06d" % number for number in range(1000 - len(left), 1000)]
    assert spool.lost == 1000 - len(left) > 500


def test_a_disk_that_takes_nothing(tmp_path, opened, monkeypatch):
    spool = opened(tmp_path)
    spool.append(b"0")
    real = os.write

    def full(handle, data):
        if len(data) > 1:
            real(handle, data[: len(data) // 2])  # what a file system does with the last free block
            return len(data) // 2
        return 0

    monkeypatch.setattr(os, "write", full)
    for text in texts(range(1, 5)):
        spool.append(text)
    assert spool.broken == os.strerror(28)
    assert drain(spool) == texts(range(5)), "they wait in memory meanwhile"
    monkeypatch.setattr(os, "write", real)
    spool.append(b"5")
    assert spool.broken is None
    opened.close(spool)
    assert drain(opened(tmp_path)) == texts(range(6)), "and are on the disk whole and in order afterwards"


def test_memory_is_bounded_as_well(tmp_path, opened, monkeypatch):
    spool = opened(tmp_path)

    def broken(*_):
        raise OSError(5, "Input/output error")

    real = os.write
    monkeypatch.setattr(os, "write", broken)
    for number in range(1500):
        spool.append(b"%d" % number)
    monkeypatch.setattr(os, "write", real)
    assert spool.lost == 500
    assert drain(spool) == texts(range(500, 1500))


def test_one_process_at_a_time(tmp_path, opened):
    opened(tmp_path)
    with pytest.raises(EdgeDefendError, match="another edgedefend run"):
        Spool(tmp_path)


def test_a_message_is_one_line(tmp_path, opened):
    with pytest.raises(ValueError, match="one line"):
        opened(tmp_path).append(b"a\nb")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["append", "next", "ack", "rewind", "reopen"]), max_size=60), st.integers(40, 300))
def test_it_behaves_like_a_list(steps, segment):
    """Whatever is done in whatever order: what comes out is what was put in, in order, from the mark on."""
    import tempfile
    from pathlib import Path

    before = spool_module._SEGMENT_BYTES
    spool_module._SEGMENT_BYTES = segment
    try:
        with tempfile.TemporaryDirectory() as folder:
            spool = Spool(Path(folder))
            put, sent, taken = 0, 0, 0
            for step in steps:
                if step == "append":
                    put += 1
                    assert spool.append(b"message %d" % put) == put
                elif step == "next":
                    message = spool.next_unsent()
                    sent += message is not None
                    assert message == ((sent, b"message %d" % sent) if message else None)
                    assert (message is None) == (sent == put) or message is not None
                elif step == "ack":
                    taken = sent
                    spool.acknowledge(taken)
                else:
                    if step == "reopen":
                        spool.close()
                        spool = Spool(Path(folder))
                    else:
                        spool.rewind()
                    sent = taken
                assert len(spool) == put - taken
            assert drain(spool) == [b"message %d" % number for number in range(sent + 1, put + 1)]
            spool.close()
    finally:
        spool_module._SEGMENT_BYTES = before
