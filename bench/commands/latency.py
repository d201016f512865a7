"""`edgedefend bench latency`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bench.commands.options import echo_verdict, json_option, progress, save
from edgedefend.commands.options import backend_option, format_table, threads_option

__all__ = ["latency"]

# --quick: enough for a p90 and a look, never enough to be quoted.
QUICK = {"single-stream": (2.0, 64), "multi-stream": (2.0, 64), "offline": (2.0, 4)}


@click.command()
@click.argument("bundle")
@click.option(
    "--scenario",
    type=click.Choice(["single-stream", "multi-stream", "offline"]),
    default="single-stream",
    show_default=True,
    help="As in MLPerf: one image at a time (p90), N at a time (p99), all at once (images/s).",
)
@click.option("--samples", type=click.IntRange(1, 4096), help="Images a query (default: 1, 8 and 64).")
@click.option("--draws", type=click.IntRange(1, 256), help="Random draws to average (default: as the bundle says).")
@click.option("--min-duration", type=click.FloatRange(0), help="Seconds of defended queries, at least (default: 30).")
@click.option("--min-queries", type=click.IntRange(1), help="Defended queries, at least (default: 1024, 662 and 16).")
@click.option(
    "--iterations", type=click.IntRange(1), help="Exactly this many queries, however short: to see that it runs."
)
@click.option("--quick", is_flag=True, help="Two seconds and 64 queries: a look, not a figure to quote.")
@click.option(
    "--image",
    "images",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Read, decode and resize this file in every query; may be repeated.",
)
@click.option("--warmup", type=click.IntRange(1), default=10, show_default=True)
@json_option
@threads_option
@backend_option
def latency(
    bundle: str,
    scenario: str,
    samples: int | None,
    draws: int | None,
    min_duration: float | None,
    min_queries: int | None,
    iterations: int | None,
    quick: bool,
    images: tuple[Path, ...],
    warmup: int,
    json_path: Path | None,
    **options: Any,
) -> None:
    """Latency by stage in MLPerf's scenarios, defended and undefended in turn.

    A defended answer is made as classify makes it: of as many draws as the bundle (or --draws) asks for, with the
    undefended answer's vote where the bundle gives it one. The undefended side runs the model once.

    Both --min-duration and --min-queries are reached before it ends. Every query is timed from the moment it was
    scheduled to the reply, the defence inside. Without --image the bundle's golden image is classified, ready at
    the model's size. A result says VALID or TAINTED, and why.
    """
    from bench.latency import measure_latency
    from edgedefend.bundle import load_bundle

    if (quick or iterations is not None) and (min_duration is not None or min_queries is not None):
        raise click.UsageError("--quick and --iterations set duration and number of queries: leave the others away")
    if quick and iterations is not None:
        raise click.UsageError("--quick and --iterations do not go together")
    if quick:
        min_duration, min_queries = QUICK[scenario]
    if iterations is not None:
        min_duration, min_queries = 0.0, iterations
    with progress("measuring", 100) as tick:
        result = measure_latency(
            load_bundle(bundle),
            images,
            scenario=scenario,
            samples=samples,
            draws=draws,
            min_duration=30.0 if min_duration is None else min_duration,
            min_queries=min_queries,
            warmup=warmup,
            tick=tick,
            **options,
        )
    _print(result)
    save(result, json_path)


def _runs(result: dict[str, Any]) -> str:
    """Return what an answer is made of, nothing where it is one run of the model."""
    draws, vote, milder = result["draws"], result["undefended_vote"], result["milder_vote"]
    drawn = f"the mean of {draws} draws" if draws > 1 else "one draw"
    voting = f" with the undefended answer's vote of {vote:g}" if vote else ""
    if milder:
        voting = f" with a vote of {milder['share']:g} of {milder['draws']} draws behind less noise"
    runs = draws + (milder["draws"] if milder else vote > 0)
    return f"{drawn}{voting}: {runs} runs of the model" if runs > 1 else ""


def _print(result: dict[str, Any]) -> None:
    facts, runtime = result["bundle"], result["interpreter"]
    images = "" if result["samples"] == 1 else f" of {result['samples']} images"
    click.echo(
        f"{facts['model']} {facts['precision']}, {runtime['backend']} {runtime['version']}, "
        f"{runtime['threads']} threads: "
        f"{result['scenario']}, {result['queries']} queries{images} in {result['seconds']:.1f} s, and as many "
        f"undefended in turn (the first query took {result['first_ms']:.1f} ms)"
    )
    if runs := _runs(result):
        click.echo(f"an answer is {runs}")
    columns = list(result["defended"]["stages"]["total_ms"])
    rows = [
        [name if side == "defended" else f"undefended {name}", *(f"{row[column]:.3f}" for column in columns)]
        for side in ("defended", "undefended")
        for name, row in result[side]["stages"].items()
        if side == "defended" or name in ("invoke_ms", "total_ms")
    ]
    click.echo(format_table(["stage", *columns], rows))
    if result["scenario"] == "offline":
        click.echo(
            f"defended {result['defended']['samples_per_s']:.1f} images/s, "
            f"undefended {result['undefended']['samples_per_s']:.1f} (the stages overlap)"
        )
    for name, needed in result["missing"].items():
        click.echo(f"no {name}: it takes {needed} queries, there were {result['queries']}")
    overhead, share = result["overhead"], result["defend_share"]
    click.echo(
        f"defended takes {overhead['median']:.3f} times as long as undefended "
        f"[{overhead['low']:.3f}, {overhead['high']:.3f}] (median of the queries in turn, 95 % interval)"
    )
    if share:
        click.echo(f"the defence takes {100 * share['median']:.1f} % of the model's own time")
    echo_verdict(result["conditions"])
