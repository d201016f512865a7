"""Latency and throughput in MLPerf's scenarios, the defence inside the clock, defended and undefended interleaved.

Scenarios, rules and percentiles follow the MLPerf inference rules (Reddi et al., "MLPerf Inference Benchmark", 2020):

* ``single-stream``: a query is one image, scheduled when the answer before it has come; its figure is p90.
* ``multi-stream``: a query is N images, likewise; its figure is p99 of the query.
* ``offline``: all images are there at the start, and pass through the pipeline; its figure is images a second.

Where they differ from MLPerf: the shortest run that counts is 30 seconds and 1024 queries (MLPerf: 600 seconds), and
every query is asked twice in turn, with and without the defence, because a ratio holds on a noisy machine. An answer is
what ``classify`` makes it: the mean of as many draws as the bundle asks for, with the undefended answer's vote where it
gives it one; the undefended side always runs the model once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.conditions import Watch, bundle_facts, interpreter_facts
from bench.percentiles import PERCENTILES, median_interval, percentile, samples_needed, summarize
from bench.subject import AnswerSubject, PipelineSubject, Subject, clock
from edgedefend.bundle import Bundle
from edgedefend.classifier import Classifier
from edgedefend.errors import UsageError

__all__ = ["SCENARIOS", "Scenario", "histogram", "measure_latency"]

_BINS = 60


@dataclass(frozen=True)
class Scenario:
    """What a scenario asks, and how much of it a figure needs before it may be quoted.

    `samples` is the default number of images a query; `quotable_queries` and `quotable_s` are the least of both.
    """

    samples: int
    figure: str
    quotable_queries: int
    quotable_s: float = 30.0


SCENARIOS = {
    "single-stream": Scenario(1, "p90", 1024),
    "multi-stream": Scenario(8, "p99", samples_needed(PERCENTILES["p99"])),
    # 1024 images are the least here as well.
    "offline": Scenario(64, "samples_per_s", 16),
}


def histogram(values: Sequence[float]) -> dict[str, Any]:
    """Return counts of `values` in equal bins from the least to p99; the tail beyond is one number, ``above``."""
    ascending = sorted(values)
    low, high = ascending[0], percentile(ascending, PERCENTILES["p99"])
    width = max((high - low) / _BINS, 1e-6)
    counts = np.bincount(((np.array(ascending) - low) / width).astype(np.int64).clip(0, _BINS), minlength=_BINS + 1)
    return {
        "start_ms": round(low, 6),
        "width_ms": round(width, 6),
        "counts": [int(count) for count in counts[:_BINS]],
        "above": int(counts[_BINS]),
        "largest_ms": round(ascending[-1], 6),
    }


def _too_few(scenario: str, queries: int, seconds: float, samples: int) -> list[str]:
    """Return what the size of the run has against its being quoted."""
    wanted = SCENARIOS[scenario]
    reasons = []
    if queries < wanted.quotable_queries:
        what = "queries" if samples == 1 else f"queries of {samples}"
        reasons.append(f"too few samples: {queries} {what}, {wanted.quotable_queries} are the least to be quoted")
    if seconds < wanted.quotable_s:
        reasons.append(f"too short: {seconds:.1f} s of queries, {wanted.quotable_s:.0f} s are the least to be quoted")
    return reasons


def _side(scenario: str, queries: list[dict[str, float]], samples: int) -> dict[str, Any]:
    """Summarise one side's queries."""
    totals = [query["total_ms"] for query in queries]
    side: dict[str, Any] = {
        "stages": {name: summarize([query[name] for query in queries]) for name in queries[0]},
        "samples_per_s": 1e3 * samples * len(queries) / sum(totals),
    }
    if scenario != "offline":
        side["histogram"] = histogram(totals)
    return side


def _subject(
    classifier: Classifier,
    pictures: Sequence[NDArray[np.uint8]],
    files: Sequence[Path],
    scenario: str,
    samples: int,
    draws: int,
) -> Subject | AnswerSubject | PipelineSubject:
    if scenario == "offline":
        return PipelineSubject(classifier, pictures=pictures, files=files, samples=samples, draws=draws)
    if classifier.runs(draws).count > 1:
        return AnswerSubject(classifier, pictures=pictures, files=files, samples=samples, draws=draws)
    return Subject(classifier, pictures=pictures, files=files, samples=samples)


def measure_latency(
    bundle: Bundle,
    files: Sequence[Path] = (),
    *,
    scenario: str = "single-stream",
    samples: int | None = None,
    draws: int | None = None,
    min_duration: float = 30.0,
    min_queries: int | None = None,
    warmup: int = 10,
    threads: int | None = None,
    backend: str | None = None,
    watch: Watch | None = None,
    tick: Callable[[int], Any] = lambda count: None,
) -> dict[str, Any]:
    """Measure one scenario, defended and undefended in turn.

    Parameters
    ----------
    bundle : Bundle
    files : sequence of Path, optional
        Image files that every query reads, decodes and resizes inside the clock. By default the bundle's golden
        image, ready at the model's size, so that only the defence and the model are timed.
    scenario : str
        A key of `SCENARIOS`.
    samples : int, optional
        Images a query, for all but "single-stream", where it is one. By default 8 for "multi-stream", as in MLPerf,
        and 64 for "offline".
    draws : int, optional
        Draws of the defence that an answer is the mean of; by default what the bundle asks for.
    min_duration, min_queries : float, int
        The run goes on until the defended queries have taken this many seconds, *and* are this many (by default
        as many as the scenario needs to be quoted).
    warmup : int
        Queries of each side before the clock starts.
    tick : callable
        Told of the seconds of measurement done so far, in hundredths, as increments.

    Returns
    -------
    dict
        ``defended`` and ``undefended``: ``stages`` (p50 p90 p95 p99 in ms, each only where the samples suffice for
        it, see `bench.percentiles.summarize`), ``samples_per_s``, ``histogram``; ``figure``: the scenario's own;
        ``overhead``: median over the queries of defended over undefended time, with its 95 % interval;
        ``defend_share``: the same of defend_ms over invoke_ms; ``missing``: the percentiles that had too few
        samples; and the conditions with their verdict.

    Raises
    ------
    UsageError
        If the scenario is unknown or the numbers do not fit it.
    """
    if scenario not in SCENARIOS:
        raise UsageError(f"unknown scenario {scenario!r}: expected one of {', '.join(SCENARIOS)}")
    count = SCENARIOS[scenario].samples if samples is None else samples
    if scenario == "single-stream" and count != 1:
        raise UsageError(f"single-stream asks one image at a time, not {count}: use --scenario multi-stream")
    if min_queries is None:
        min_queries = SCENARIOS[scenario].quotable_queries
    if min_queries < 1 or min_duration < 0 or warmup < 1:
        raise UsageError("a run needs at least one query, one for warming up, and no negative duration")
    watch = watch or Watch()
    classifier = Classifier(bundle, threads=threads, backend=backend)
    pictures: list[NDArray[np.uint8]] = [] if files else [classifier.fit(bundle.golden().image)]
    draws = bundle.draws if draws is None else draws
    subject = _subject(classifier, pictures, files, scenario, count, draws)
    first = subject.ask(clock(), defended=True)
    for _ in range(warmup - 1):
        subject.ask(clock(), defended=True)
        subject.ask(clock(), defended=False)
    while isinstance(subject, AnswerSubject) and not subject.settled:
        subject.ask(clock(), defended=True)

    sides: dict[bool, list[dict[str, float]]] = {True: [], False: []}
    seconds = 0.0
    ticked = 0
    while seconds < min_duration or len(sides[True]) < min_queries:
        # Who goes first changes, so that neither side always finds the caches as the other left them.
        for side in (True, False) if len(sides[True]) % 2 else (False, True):
            sides[side].append(subject.ask(clock(), defended=side))
        seconds += sides[True][-1]["total_ms"] / 1e3
        watch.glance()
        done = min(seconds / min_duration if min_duration else 1.0, len(sides[True]) / min_queries)
        if int(100 * min(1.0, done)) > ticked:
            tick(int(100 * min(1.0, done)) - ticked)
            ticked = int(100 * min(1.0, done))

    ratios = [a["total_ms"] / b["total_ms"] for a, b in zip(sides[True], sides[False], strict=True)]
    # In the pipeline the defence runs while the model does: its share of the model's time is no cost there.
    shares = [query["defend_ms"] / query["invoke_ms"] for query in sides[True] if "defend_ms" in query]
    defended, undefended = (_side(scenario, sides[side], count) for side in (True, False))
    figure = SCENARIOS[scenario].figure
    queries = len(sides[True])
    return {
        "kind": "latency",
        "scenario": scenario,
        "samples": count,
        "draws": draws,
        "undefended_vote": classifier.vote.share if classifier.vote.undefended else 0.0,
        "milder_vote": asdict(classifier.vote) if classifier.vote.milder else None,
        "batch": subject.batch,
        "queries": queries,
        "seconds": seconds,
        "warmup": warmup,
        "first_ms": first["total_ms"],
        "figure": {
            "name": figure,
            "value": defended["samples_per_s"]
            if figure == "samples_per_s"
            else defended["stages"]["total_ms"].get(figure),
        },
        "missing": {
            name: samples_needed(part)
            for name, part in PERCENTILES.items()
            if name not in defended["stages"]["total_ms"]
        },
        "defended": defended,
        "undefended": undefended,
        "overhead": dict(zip(("median", "low", "high"), median_interval(ratios), strict=True)),
        "defend_share": dict(zip(("median", "low", "high"), median_interval(shares), strict=True)) if shares else None,
        "source": {"files": len(files)} if files else {"golden_image": list(pictures[0].shape)},
        "bundle": bundle_facts(bundle),
        "interpreter": interpreter_facts(classifier.interpreter),
        "conditions": watch.finish(*_too_few(scenario, queries, seconds, count)),
    }
