"""`edgedefend bench robustness`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from bench.commands.options import echo_verdict, progress, save

__all__ = ["robustness"]

_QUICK_IMAGES = 3
# The keys of `bench.robustness.protocols.PARTS`, which --help does without.
_PARTS = ["curve", "checks", "attacks", "detection", "standard", "rounds", "draws"]


def _time_left(seconds: float) -> str:
    if seconds == float("inf"):
        return "measuring the pace"
    minutes = round(seconds / 60)
    if minutes >= 90:
        return f"about {seconds / 3600:.1f} hours left"
    return f"about {minutes} minutes left" if minutes >= 2 else f"about {round(seconds)} seconds left"


def _progress() -> Callable[[float, float], Any]:
    """Return what shows how far it is: on a terminal in one line, elsewhere once a minute."""
    terminal = sys.stderr.isatty()
    last = -1e9

    def show(done: float, seconds: float) -> None:
        nonlocal last
        if time.monotonic() - last < (1 if terminal else 60) and done < 1:
            return
        last = time.monotonic()
        line = f"{100 * done:5.1f} % done, {_time_left(seconds)}"
        click.echo(f"\r{line:60}" if terminal else line, nl=not terminal or done >= 1, err=True)

    return show


@click.command()
@click.argument("model", metavar="BUNDLE_OR_MODEL")
@click.option("--data", default="sample", show_default=True, help="CSV, folder of class folders, or 'sample'.")
@click.option(
    "--protocol",
    type=click.Choice(["paper", "strong", "both"]),
    default="strong",
    show_default=True,
    help="The paper's attacks, the strongest setting of every attack, or both.",
)
@click.option("--table", "tables", type=click.IntRange(1, 3), multiple=True, help="Only this table of the paper.")
@click.option("--figure", "figures", type=click.IntRange(1, 4), multiple=True, help="Only this figure of the paper.")
@click.option("--part", "parts", type=click.Choice(_PARTS), multiple=True, help="Only this part of the protocol.")
@click.option("--images", type=click.IntRange(1), help="Photographs that the bare model gets right (default: 100).")
@click.option("--rounds", type=click.IntRange(1), help="Of the paper's descent (default: 50).")
@click.option("--steps", type=click.IntRange(1), help="Of the strong attacks (default: 50).")
@click.option("--eot-samples", type=click.IntRange(1), help="Draws a gradient of the strong attacks (default: 8).")
@click.option("--table-draws", type=click.IntRange(2), help="Draws a photograph of Table 1 (default: 100).")
@click.option(
    "--check-others",
    "checked_others",
    type=click.IntRange(0),
    help="Photographs for the sanity checks of other defences (default: 0).",
)
@click.option("--epsilon", "epsilons", type=float, multiple=True, help="l2_rms of the curve; may be given again.")
@click.option("--quick", is_flag=True, help="A small honest version of everything, in minutes.")
@click.option("--report-only", is_flag=True, help="Attack nothing: the report of what an unfinished run has.")
@click.option("--defense", "defenses", multiple=True, help="Only these defences (default: all there are).")
@click.option("--out", type=click.Path(path_type=Path), default=Path("robustness"), show_default=True, help="Folder.")
@click.option("--model", "keras_model", help="Your own Keras model that a bundle was converted from.")
@click.option("--weights", default="imagenet", show_default=True, help="Of inception-v3: imagenet, random, or a file.")
@click.option("--settings", type=click.Path(path_type=Path), help="TOML of your own model, as for convert.")
@click.option("--quant-table", help="A shipped table's name or a JSON file (default: the bundle's own).")
@click.option("--trained", type=click.Path(path_type=Path), help="Trained parts of other defences (train-baseline).")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--workers", type=click.IntRange(1, 256), default=1, show_default=True, help="Local processes.")
@click.option("--engine", "engine_name", type=click.Choice(["local", "dask"]), default="local", show_default=True)
@click.option("--scheduler", help="Address of the Dask scheduler.")
def robustness(
    model: str,
    data: str,
    protocol: str,
    tables: tuple[int, ...],
    parts: tuple[str, ...],
    figures: tuple[int, ...],
    epsilons: tuple[float, ...],
    quick: bool,
    report_only: bool,
    defenses: tuple[str, ...],
    out: Path,
    keras_model: str | None,
    weights: str,
    settings: Path | None,
    quant_table: str | None,
    trained: Path | None,
    seed: int,
    workers: int,
    engine_name: str,
    scheduler: str | None,
    **numbers: int | None,
) -> None:
    """Attack BUNDLE_OR_MODEL behind its defence as well as anyone can, and say what the defence buys.

    Every result is saved as it comes: the same command goes on after an interruption. More photographs, defences,
    tables and figures add to what is in the folder.
    """
    from bench.conditions import Watch
    from bench.robustness.engines import engine
    from bench.robustness.evaluation import Evaluation, Request
    from bench.robustness.output import write_outputs
    from bench.robustness.protocols import Sizes
    from bench.robustness.subject import subject_of

    if parts and (tables or figures):
        raise click.UsageError("--part is of a protocol: it does not go with --table and --figure")
    if any(not 0 < epsilon <= 1 for epsilon in epsilons):
        raise click.UsageError("--epsilon is an l2_rms of images in [0, 1]: above 0, at most 1")
    where = engine(engine_name, workers=workers, scheduler=scheduler)
    subject = subject_of(
        model, model=keras_model, weights=weights, settings=settings, table=quant_table, seed=seed, trained=trained
    )
    images = numbers.pop("images")
    sizes = Sizes.quick(images or _QUICK_IMAGES) if quick else Sizes(images or 100)
    given = {name: value for name, value in numbers.items() if value is not None}
    if epsilons:
        given["epsilons"] = tuple(sorted(set(epsilons)))  # type: ignore[assignment]
    request = Request(
        subject, data, out, "strong" if quick else protocol, tables, figures, defenses, sizes.given(**given), parts,
        quick, seed,
    )  # fmt: skip
    watch = Watch(timed=False)
    with progress("choosing photographs", sizes.images) as tick:
        evaluation = Evaluation(request, tick)
    for name, reason in evaluation.refused.items():
        click.echo(f"edgedefend: {name} is left out: {reason}", err=True)
    with evaluation.open_store() as store:
        try:
            if not report_only:
                evaluation.run(store, where, _progress())
        except KeyboardInterrupt:
            click.echo("\nedgedefend: stopped; the same command goes on from here", err=True)
            sys.exit(1)
        result = evaluation.result(store, watch)
    save(result, out / "robustness.json")
    for path in write_outputs(result, evaluation, out):
        click.echo(f"wrote {path}")
    _echo_summary(result)
    echo_verdict(result["conditions"])


def _echo_summary(result: dict[str, Any]) -> None:
    from bench.sections import section_of
    from edgedefend.commands.options import format_table

    section = section_of("robustness.json", result)
    for name, value in section.headlines:
        click.echo(f"{name}: {value}")
    for table in section.tables:
        click.echo(f"\n{table.caption}")
        click.echo(format_table(table.header, table.rows))
