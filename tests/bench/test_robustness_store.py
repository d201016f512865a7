"""Results survive a kill at any byte, are never counted twice and never mixed."""

import json
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.robustness.store import ResultStore, key_of
from edgedefend.errors import InputError, UsageError

IDENTITY = {"model_sha256": "ab" * 32, "seed": 3}


def record(number: int, **more) -> dict:
    return {"cell": "c", "image": f"{number}.png", "point": "0.01", "value": number, **more}


def test_what_was_appended_is_there_again(tmp_path):
    with ResultStore(tmp_path / "run", IDENTITY) as store:
        assert store.append([record(1), record(2)]) == 2
    with ResultStore(tmp_path / "run", IDENTITY) as store:
        assert len(store) == 2
        assert store.get(key_of(record(2))) == record(2)
        assert ("c", "3.png", "0.01") not in store


def test_a_result_that_comes_twice_is_written_once(tmp_path):
    with ResultStore(tmp_path, IDENTITY) as store:
        store.append([record(1)])
        assert store.append([record(1, value=99), record(1, value=98)]) == 0
    assert len((tmp_path / "records.jsonl").read_bytes().splitlines()) == 1
    with ResultStore(tmp_path, IDENTITY) as store:
        assert [kept["value"] for kept in store.of_cell("c")] == [1]


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_kill_at_any_byte_loses_at_most_the_line_it_cut(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("store")
    with ResultStore(folder, IDENTITY) as store:
        store.append([record(number) for number in range(5)])
    path = folder / "records.jsonl"
    content = path.read_bytes()
    cut = data.draw(st.integers(0, len(content)))
    path.write_bytes(content[:cut])
    whole = content[:cut].count(b"\n")
    with ResultStore(folder, IDENTITY) as store:
        assert len(store) == whole
        store.append([record(number) for number in range(5)])
    with ResultStore(folder, IDENTITY) as store:
        assert sorted(kept["value"] for kept in store.of_cell("c")) == list(range(5))


def test_a_killed_writer_leaves_whole_lines(tmp_path):
    code = (
        "import sys, itertools; from pathlib import Path; from bench.robustness.store import ResultStore\n"
        f"store = ResultStore(Path({str(tmp_path)!r}), {IDENTITY!r})\n"
        "for n in itertools.count():\n"
        "    store.append([{'cell': 'c', 'image': str(n), 'point': '', 'value': n}])\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", code])
    path = tmp_path / "records.jsonl"
    end = time.monotonic() + 60
    while time.monotonic() < end and not (path.exists() and path.stat().st_size > 2000):
        time.sleep(0.02)
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    with ResultStore(tmp_path, IDENTITY) as store:
        values = [kept["value"] for kept in store.of_cell("c")]
    assert values == list(range(len(values))) and len(values) > 10


def test_results_of_something_else_are_refused(tmp_path):
    ResultStore(tmp_path, IDENTITY).__exit__(None, None, None)
    with pytest.raises(InputError, match="another seed"):
        ResultStore(tmp_path, {**IDENTITY, "seed": 4})
    with pytest.raises(InputError, match="another model sha256"):
        ResultStore(tmp_path, {**IDENTITY, "model_sha256": "cd" * 32})


def test_two_runs_cannot_write_to_one_folder(tmp_path):
    with (
        ResultStore(tmp_path, IDENTITY),
        pytest.raises(UsageError, match="another run"),
    ):
        ResultStore(tmp_path, IDENTITY)
    ResultStore(tmp_path, IDENTITY).__exit__(None, None, None)


@pytest.mark.parametrize("line", [b"nonsense\n", b"[1]\n", b'{"cell": "c"}\n', b"\xff\xfe\n"])
def test_a_damaged_line_is_named(tmp_path, line):
    with ResultStore(tmp_path, IDENTITY) as store:
        store.append([record(1)])
    with (tmp_path / "records.jsonl").open("ab") as file:
        file.write(line)
    with pytest.raises(InputError, match="line 2 is no result"):
        ResultStore(tmp_path, IDENTITY)


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="results cannot be kept there"):
        ResultStore(tmp_path / "file" / "run", IDENTITY)


def test_nan_is_refused_before_anything_is_written(tmp_path):
    with ResultStore(tmp_path, IDENTITY) as store:
        with pytest.raises(ValueError, match="JSON"):
            store.append([record(1), record(2, value=float("nan"))])
        assert store.append([record(1)]) == 1
    assert (tmp_path / "records.jsonl").stat().st_size == len(json.dumps(record(1), separators=(",", ":"))) + 1
