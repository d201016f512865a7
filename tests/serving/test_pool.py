"""The pool alone: places, order, waiting too long, closing."""

from __future__ import annotations

import threading
import time

import pytest

from edgedefend.bundle import load_bundle
from edgedefend.classifier import Classifier
from edgedefend.serving.pool import DroppedError, FullError, Pool


@pytest.fixture(scope="module")
def classifiers(color_bundles) -> list[Classifier]:
    bundle = load_bundle(color_bundles / "int8")
    return [Classifier(bundle, threads=1) for _ in range(2)]


def record(classifier: Classifier) -> dict:
    return {"stage_ms": {}, "by": id(classifier)}


def held(pool: Pool) -> threading.Event:
    """Keep one worker busy until the event is set."""
    free, begun = threading.Event(), threading.Event()

    def task(classifier: Classifier) -> dict:
        begun.set()
        free.wait(30)
        return record(classifier)

    pool.submit(task)
    assert begun.wait(10)
    return free


def test_each_worker_has_its_own_classifier(classifiers):
    pool = Pool(classifiers, waiting=8)
    free = held(pool)
    others = {pool.submit(record).result(10)["by"] for _ in range(5)}
    assert len(others) == 1, "the other worker is busy"
    assert others < {id(classifier) for classifier in classifiers}
    assert pool.busy == 1
    free.set()
    pool.close()


def test_places_are_those_of_workers_and_of_who_waits(classifiers):
    pool = Pool(classifiers[:1], waiting=2)
    free = held(pool)
    waiting = [pool.submit(record) for _ in range(2)]
    assert pool.full
    assert pool.waiting == 2
    with pytest.raises(FullError):
        pool.submit(record)
    free.set()
    answers = [future.result(10) for future in waiting]
    assert all(answer["stage_ms"]["total_ms"] >= answer["stage_ms"]["wait_ms"] > 0 for answer in answers)
    assert pool.submit(record).result(10)
    pool.close()


def test_who_waits_too_long_is_dropped(classifiers):
    pool = Pool(classifiers[:1], waiting=2, patience=0.05)
    free = held(pool)
    late = pool.submit(record)
    time.sleep(0.1)
    free.set()
    with pytest.raises(DroppedError):
        late.result(10)
    assert pool.dropped == 1
    pool.close()


def test_a_cancelled_job_is_never_begun(classifiers):
    pool = Pool(classifiers[:1], waiting=2)
    free = held(pool)
    begun: list[object] = []
    future = pool.submit(lambda classifier: begun.append(1) or record(classifier))
    assert future.cancel()
    free.set()
    pool.submit(record).result(10)
    assert begun == []
    assert pool.dropped == 1
    pool.close()


@pytest.mark.parametrize("error", [ValueError("x"), MemoryError(), KeyboardInterrupt(), SystemExit(3)])
def test_a_worker_survives_its_job(classifiers, error):
    def task(classifier: Classifier) -> dict:
        raise error

    pool = Pool(classifiers[:1])
    with pytest.raises(type(error)):
        pool.submit(task).result(10)
    assert pool.submit(record).result(10)
    assert pool.busy == 0
    pool.close()


def test_closing_answers_who_waits_and_nobody_else(classifiers):
    pool = Pool(classifiers[:1], waiting=2)
    free = held(pool)
    waits = pool.submit(record)
    closing = threading.Thread(target=pool.close)
    closing.start()
    while not pool.full:
        time.sleep(0.01)
    with pytest.raises(FullError):
        pool.submit(record)
    free.set()
    closing.join(10)
    assert waits.result(0)
    assert not any(thread.is_alive() for thread in pool._threads)
