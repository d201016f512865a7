"""One process, several, or a Dask cluster: nothing lost, nothing counted twice, also when a worker is killed."""

import concurrent.futures
import contextlib
import os
import signal
import time
from collections import Counter
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.robustness.engines import engine, run_chains
from bench.robustness.store import ResultStore
from edgedefend.errors import EdgeDefendError, InputError, UsageError

IDENTITY = {"seed": 0}


@dataclass(frozen=True)
class Steps:
    """A chain of three steps for one image."""

    image: str
    folder: str
    trap: str = ""

    def next_task(self, store):
        for point in ("1", "2", "3"):
            if ("c", self.image, point) not in store:
                return self.image, point, self.folder, self.trap
        return None


def work(task):
    image, point, folder, trap = task
    # Each execution leaves a file: what ran, in which process, how often.
    (Path(folder) / f"{image}-{point}-{os.getpid()}-{time.monotonic_ns()}").touch()
    if trap == "raise":
        raise InputError(f"{image}: cannot be read")
    if trap == "die" and point == "2" and not (Path(folder) / "died").exists():
        (Path(folder) / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if trap == "always die":
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.01)
    return [{"cell": "c", "image": image, "point": point}]


def run(tmp_path, where, trap="", count=6):
    folder = tmp_path / "ran"
    folder.mkdir(exist_ok=True)
    chains = [Steps(f"i{number}", str(folder), trap if number == 2 else "") for number in range(count)]
    with ResultStore(tmp_path / "run", IDENTITY) as store:
        run_chains(chains, work, store, where)
    lines = (tmp_path / "run" / "records.jsonl").read_text().splitlines()
    return lines, Counter(path.name.rsplit("-", 2)[0] for path in folder.iterdir() if "-" in path.name)


def test_every_step_is_done_once(tmp_path):
    lines, ran = run(tmp_path, engine())
    assert len(lines) == len(set(lines)) == 18
    assert set(ran.values()) == {1}


def test_what_is_there_is_not_done_again(tmp_path):
    run(tmp_path, engine(), count=3)
    lines, ran = run(tmp_path, engine(), count=6)
    assert len(lines) == 18
    assert set(ran.values()) == {1}


def test_an_error_comes_through_and_what_was_done_stays(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        run(tmp_path, engine(), "raise")
    assert len((tmp_path / "run" / "records.jsonl").read_text().splitlines()) == 6


@pytest.mark.slow
def test_a_killed_process_is_replaced(tmp_path):
    lines, ran = run(tmp_path, engine(workers=2), "die")
    assert len(lines) == len(set(lines)) == 18
    assert ran["i2-2"] == 2  # the one it died at was done again


def test_a_pool_that_breaks_before_a_task_reaches_it_loses_no_chain(tmp_path):
    """A process may die between two looks: then it is the handing over that fails, not a task."""
    sessions = []

    class Refuses(concurrent.futures.ThreadPoolExecutor):
        def submit(self, fn, /, *args, **kwargs):
            if len(sessions) == 1 and args[0][:2] == ("i1", "2"):
                raise BrokenProcessPool("a process has died")
            return super().submit(fn, *args, **kwargs)

    class Where:
        width = 2

        @contextlib.contextmanager
        def session(self):
            sessions.append(1)
            with Refuses(2) as pool:
                yield pool

    lines, _ = run(tmp_path, Where(), count=3)
    assert len(lines) == len(set(lines)) == 9
    assert len(sessions) == 2


@pytest.mark.slow
def test_processes_that_always_die_end_in_one_line(tmp_path):
    with pytest.raises(EdgeDefendError, match="died 4 times"):
        run(tmp_path, engine(workers=2), "always die")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_dask_worker_killed_in_the_middle_loses_nothing(tmp_path):
    distributed = pytest.importorskip("distributed", reason="needs the extra 'dask'")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
    ) as cluster:
        lines, ran = run(tmp_path, engine("dask", scheduler=cluster.scheduler_address), "die")
    assert len(lines) == len(set(lines)) == 18
    assert ran["i2-2"] == 2


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_scheduler_that_is_not_there_is_named():
    pytest.importorskip("distributed", reason="needs the extra 'dask'")
    with pytest.raises(InputError, match="no Dask scheduler answers"):
        engine("dask", scheduler="tcp://127.0.0.1:9")


def test_options_that_contradict_one_another():
    with pytest.raises(UsageError, match="--scheduler"):
        engine("dask")
    with pytest.raises(UsageError, match="goes with"):
        engine(scheduler="tcp://127.0.0.1:8786")
    with pytest.raises(UsageError, match="--workers"):
        engine("dask", workers=2, scheduler="tcp://127.0.0.1:8786")
