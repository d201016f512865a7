import threading
import time

import numpy as np
import pytest

from edgedefend.bundle import load_bundle
from edgedefend.classifier import Classifier
from edgedefend.errors import EdgeDefendError, InputError
from edgedefend.stream import Frame, Stream, _Closed, _Queue

COLORS = {"red": (250, 20, 10), "green": (20, 250, 10), "blue": (10, 20, 250)}


@pytest.fixture
def classifier(color_bundles) -> Classifier:
    return Classifier(load_bundle(color_bundles / "int8"), threads=1)


def frames(count: int, pause: float = 0):
    names = list(COLORS)
    for number in range(count):
        time.sleep(pause)
        name = names[number % 3]
        yield Frame(np.full((50, 60, 3), COLORS[name], np.uint8), time.monotonic(), name)


def test_a_file_loses_nothing_and_keeps_its_order(classifier):
    stream = Stream(classifier)
    results = list(stream.run(frames(200)))
    assert [result.number for result in results] == list(range(200))
    assert all(result.top[0].label == result.name for result in results)
    assert stream.dropped == 0
    assert all(result.age_ms > 0 and set(result.stage_ms) == {"prepare_ms", "invoke_ms"} for result in results)


def test_a_live_source_drops_the_old_and_counts_them(classifier):
    stream = Stream(classifier, live=True)
    seen = []
    for result in stream.run(frames(100, pause=0.001)):
        time.sleep(0.01)  # a consumer slower than the camera
        seen.append(result.number)
    assert seen == sorted(seen)
    assert seen[-1] == 99
    assert stream.dropped > 20
    assert len(seen) + stream.dropped == 100


def test_leaving_early_stops_the_threads(classifier):
    before = threading.active_count()
    for result in Stream(classifier).run(frames(10**9)):
        if result.number == 5:
            break
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == before


def test_what_the_source_raises_arrives_after_the_frames_before_it(classifier):
    def broken():
        yield from frames(4)
        raise InputError("camera: unplugged")

    seen = []
    with pytest.raises(InputError, match="unplugged"):
        for result in Stream(classifier).run(broken()):
            seen.append(result.number)
    assert seen == [0, 1, 2, 3]


def test_what_a_stage_raises_arrives_too(classifier):
    def bad():
        yield from frames(2)
        yield Frame(np.zeros((5, 5), np.uint8), time.monotonic(), "grey")

    with pytest.raises(EdgeDefendError):
        list(Stream(classifier).run(bad()))


def test_the_answers_are_those_of_classify(color_bundles, photographs):
    bundle = load_bundle(color_bundles / "fp32")
    single = Classifier(bundle, threads=1, rng=np.random.default_rng(4))
    expected = [single.classify(image).probabilities for image in photographs[:6]]
    piped = Stream(Classifier(bundle, threads=1, rng=np.random.default_rng(4)))
    source = (Frame(image, time.monotonic(), "") for image in photographs[:6])
    for result, answer in zip(piped.run(source), expected, strict=True):
        assert result.probabilities == pytest.approx(answer, abs=1e-6)


def test_a_queue_bounds_what_waits():
    queue: _Queue[int] = _Queue(2, newest_wins=False)
    queue.put(1)
    queue.put(2)
    waiting = threading.Thread(target=lambda: queue.put(3))
    waiting.start()
    waiting.join(timeout=0.1)
    assert waiting.is_alive()
    assert queue.get() == 1
    waiting.join(timeout=5)
    assert not waiting.is_alive()
    queue.end()
    assert [queue.get(), queue.get(), queue.get()] == [2, 3, None]
    queue.close()
    with pytest.raises(_Closed):
        queue.put(1)


def test_a_slow_consumer_does_not_make_a_file_pile_up(classifier):
    """The source is asked for a frame only when there is room for it: memory stays bounded however long the file."""
    asked = 0

    def counting():
        nonlocal asked
        for frame in frames(60):
            asked += 1
            yield frame

    depth, ahead = 2, []
    for result in Stream(classifier, depth=depth).run(counting()):
        time.sleep(0.01)
        ahead.append(asked - result.number - 1)
    # `depth` in each of three queues, one in the hands of each stage, and the answer the model's thread still holds.
    assert max(ahead) <= 3 * depth + 4
    assert len(ahead) == 60


def test_the_model_goes_on_while_the_consumer_is_busy(classifier):
    """An answer is ready when it is asked for: the consumer's own work does not stop the stages behind it."""
    stream = Stream(classifier)
    run = stream.run(frames(10))
    next(run)
    deadline = time.monotonic() + 5
    while len(stream._answered._items) < 2 and time.monotonic() < deadline:
        time.sleep(0.005)
    assert len(stream._answered._items) == 2
    run.close()


def test_a_live_source_gives_the_newest_answer_to_a_slow_consumer(classifier):
    stream = Stream(classifier, live=True)
    seen = []
    for result in stream.run(frames(60, pause=0.002)):
        time.sleep(0.03)
        seen.append(result)
    numbers = [result.number for result in seen]
    assert numbers == sorted(set(numbers)) and numbers[-1] == 59
    assert len(seen) + stream.dropped == 60
    assert all(result.top[0].label == result.name for result in seen)


def test_a_stream_can_be_run_again(classifier):
    stream = Stream(classifier)

    def broken():
        yield from frames(2)
        raise InputError("camera: unplugged")

    with pytest.raises(InputError):
        list(stream.run(broken()))
    assert [result.number for result in stream.run(frames(5))] == [0, 1, 2, 3, 4]


def test_the_ring_of_tensors_never_gives_one_frame_anothers_answer(color_bundles):
    """With a depth of 1 there are three tensors for every stage: a frame written too early would show."""
    classifier = Classifier(load_bundle(color_bundles / "fp32"), threads=1)
    for depth in (1, 3):
        results = list(Stream(classifier, depth=depth).run(frames(300)))
        assert [result.number for result in results] == list(range(300))
        assert all(result.top[0].label == result.name for result in results)


def test_an_answer_that_is_not_a_number_ends_the_stream(classifier, monkeypatch):
    before = threading.active_count()
    real, calls = classifier.interpreter.invoke, []

    def broken():
        calls.append(1)
        return real() * (np.nan if len(calls) == 3 else 1)

    monkeypatch.setattr(classifier.interpreter, "invoke", broken)
    seen = []
    with pytest.raises(EdgeDefendError, match="not a number"):
        for result in Stream(classifier).run(frames(10**6)):
            seen.append(result.number)
    assert seen == [0, 1]
    assert threading.active_count() == before


def test_what_the_model_raises_arrives_after_the_answers_before_it(classifier, monkeypatch):
    real, calls = classifier.interpreter.invoke, []

    def broken():
        calls.append(1)
        if len(calls) == 4:
            raise MemoryError("no room")
        return real()

    monkeypatch.setattr(classifier.interpreter, "invoke", broken)
    seen = []
    with pytest.raises(EdgeDefendError, match="no room"):
        for result in Stream(classifier).run(frames(10**6)):
            seen.append(result.number)
    assert seen == [0, 1, 2]
