"""Where the work is done: in this process, in several local ones, or on a Dask cluster. The same code in all three.

Work comes as chains: each gives one task after another, because an attack at a larger distortion is only worth its
time where a smaller one failed. A task's results are stored before its chain is asked for the next one. So a worker
that dies loses at most the tasks it was at, and those are done again; a result that comes twice is stored once.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

from bench.robustness.store import Record, ResultStore
from edgedefend.errors import EdgeDefendError, InputError, UsageError

__all__ = ["Chain", "Engine", "engine", "run_chains"]

Task = TypeVar("Task")
_REPAIRS = 3  # so often a pool of processes is made anew after one of them died
_ANSWER_S = 10.0  # a scheduler that is there answers sooner


class Chain(Protocol):
    """Tasks that follow one another."""

    def next_task(self, store: ResultStore) -> Any | None:
        """Return the next task that has a result missing in `store`, None when there is nothing left to do."""


class Engine(Protocol):
    """Something that runs tasks; `width` is how many it can be given at once."""

    width: int

    def session(self) -> AbstractContextManager[concurrent.futures.Executor]:
        """Return what runs the tasks, for the length of a ``with`` block."""


class _Inline(concurrent.futures.Executor):
    """Runs a task when it is submitted, in this thread."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> concurrent.futures.Future[Any]:
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class _Local:
    """One process, this one, or `workers` processes of this machine."""

    def __init__(self, workers: int) -> None:
        self.width = workers

    @contextlib.contextmanager
    def session(self) -> Iterator[concurrent.futures.Executor]:
        if self.width == 1:
            yield _Inline()
            return
        # A process that has TensorFlow in it must not be forked.
        threads = max(1, len(os.sched_getaffinity(0)) // self.width)
        pool = concurrent.futures.ProcessPoolExecutor(
            self.width, multiprocessing.get_context("spawn"), _share_processor, (threads,)
        )
        try:
            yield pool
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


class _Dask:
    """The workers of a Dask cluster; edgedefend has to be installed there, and the photographs at the same paths."""

    def __init__(self, scheduler: str) -> None:
        try:
            import distributed
        except ModuleNotFoundError:
            raise EdgeDefendError(
                "--engine dask needs the package distributed: pip install 'edgedefend[dask]'"
            ) from None
        try:
            self._client = distributed.Client(scheduler, timeout=_ANSWER_S, set_as_default=False)
        except (OSError, ValueError, TimeoutError) as error:
            raise InputError(f"{scheduler}: no Dask scheduler answers there ({_first_line(error)})") from None
        workers = self._client.scheduler_info(n_workers=-1).get("workers", {})
        self.width = 2 * sum(int(worker["nthreads"]) for worker in workers.values())
        if not self.width:
            self._client.close()
            raise InputError(f"{scheduler}: this Dask cluster has no workers")

    @contextlib.contextmanager
    def session(self) -> Iterator[concurrent.futures.Executor]:
        from distributed import KilledWorker

        executor = self._client.get_executor(pure=False, retries=_REPAIRS)
        try:
            yield executor
        except KilledWorker as error:
            raise EdgeDefendError(
                f"Dask's workers die at this task ({_first_line(error)}): look into their logs; "
                "the same command goes on from here"
            ) from error
        finally:
            executor.shutdown(wait=False)
            self._client.close()


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:120]


def _share_processor(threads: int) -> None:
    """Give one of several processes its part of the processor, before TensorFlow is imported in it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one that waits for them
    os.environ["TF_NUM_INTRAOP_THREADS"] = os.environ["OMP_NUM_THREADS"] = str(threads)
    os.environ["TF_NUM_INTEROP_THREADS"] = "1"


def engine(name: str = "local", *, workers: int = 1, scheduler: str | None = None) -> Engine:
    """Return the engine of that name.

    Parameters
    ----------
    name : {"local", "dask"}
    workers : int
        Processes of "local"; 1 works in this one.
    scheduler : str, optional
        Address of the scheduler of "dask", e.g. ``tcp://10.0.0.1:8786``. Dask unpickles what its scheduler sends:
        name only one that you trust.

    Raises
    ------
    UsageError
        If the options contradict one another.
    InputError
        If no scheduler answers, or it has no workers.
    EdgeDefendError
        If the package distributed is missing.
    """
    if name == "dask":
        if scheduler is None:
            raise UsageError("--engine dask needs --scheduler ADDRESS")
        if workers != 1:
            raise UsageError("--workers is for local processes; a Dask cluster has its own")
        return _Dask(scheduler)
    if scheduler is not None:
        raise UsageError("--scheduler goes with --engine dask")
    return _Local(workers)


def run_chains(
    chains: Sequence[Chain],
    execute: Callable[[Any], list[Record]],
    store: ResultStore,
    where: Engine,
    *,
    tick: Callable[[Chain | None], Any] = lambda chain: None,
) -> None:
    """Run every chain to its end, `where.width` tasks at a time, and store what comes.

    Parameters
    ----------
    execute : callable
        Does one task, in whatever process; it and the tasks can be pickled.
    tick : callable
        Told of every task that has ended, by its chain; told None each time a pool had to be made anew.

    Raises
    ------
    EdgeDefendError
        If processes die again and again. What a task raises comes through as it is.
    """
    waiting = list(chains)[::-1]
    for repairs in range(_REPAIRS + 1):
        running: dict[concurrent.futures.Future[list[Record]], Chain] = {}
        try:
            with where.session() as executor:
                _drain(waiting, running, execute, store, where.width, executor, tick)
            return
        except BrokenProcessPool:
            if repairs == _REPAIRS:
                break
            waiting += list(running.values())
            tick(None)
    raise EdgeDefendError(
        f"a worker process died {_REPAIRS + 1} times (out of memory?): use fewer --workers; "
        "the same command goes on from here"
    )


def _drain(
    waiting: list[Chain],
    running: dict[concurrent.futures.Future[list[Record]], Chain],
    execute: Callable[[Any], list[Record]],
    store: ResultStore,
    width: int,
    executor: concurrent.futures.Executor,
    tick: Callable[[Chain | None], Any],
) -> None:
    """Keep the executor busy until no chain has a task left; `running` names the chains that are under way."""
    while waiting or running:
        while waiting and len(running) < width:
            chain = waiting.pop()
            task = chain.next_task(store)
            if task is None:
                continue
            try:
                running[executor.submit(execute, task)] = chain
            except concurrent.futures.BrokenExecutor:
                waiting.append(chain)  # a pool that broke since the last look refuses it: it is still to be done
                raise
        if not running:
            return
        for future in concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED).done:
            records = future.result()  # a broken pool raises here, with the chain still among those under way
            chain = running.pop(future)
            if not store.append(records):
                raise EdgeDefendError("a task gave no new result: its chain would never end")
            tick(chain)
            waiting.append(chain)
