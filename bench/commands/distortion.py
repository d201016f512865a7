"""`edgedefend bench distortion`."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from bench.commands.options import echo_verdict, json_option, progress, save

__all__ = ["distortion"]


@contextlib.contextmanager
def _progress(label: str, length: int) -> Iterator[Callable[[int], Any]]:
    """Show a bar on a terminal; elsewhere a line whenever some of it is done, for this takes an hour."""
    if sys.stderr.isatty():
        with progress(label, length) as tick:
            yield tick
        return
    done = 0

    def tell(count: int) -> None:
        nonlocal done
        done += count
        if count > 1 or done == length:
            click.echo(f"{label}: {done} of {length}", err=True)

    yield tell


@click.command()
@click.argument("bundle")
@click.option("--data", default="sample", show_default=True, help="CSV, folder of class folders, or 'sample'.")
@click.option(
    "--images",
    type=click.IntRange(1),
    default=12,
    show_default=True,
    help="To attack: the first that the bare model gets right.",
)
@click.option(
    "--steps", type=click.IntRange(1), default=600, show_default=True, help="Of the attack; noise wants many."
)
@click.option(
    "--largest",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.064,
    show_default=True,
    help="Change (l2_rms) beyond which no attack goes.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("distortion"),
    show_default=True,
    help="Folder that keeps every photograph's result.",
)
@click.option("--model", "keras_model", help="Your own Keras model that the bundle was converted from.")
@click.option("--weights", default="imagenet", show_default=True, help="Of inception-v3: imagenet, random, or a file.")
@click.option("--settings", type=click.Path(path_type=Path), help="TOML of your own model, as for convert.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@json_option
def distortion(
    bundle: str,
    data: str,
    images: int,
    steps: int,
    largest: float,
    out: Path,
    keras_model: str | None,
    weights: str,
    settings: Path | None,
    seed: int,
    json_path: Path | None,
) -> None:
    """How many times the undefended distortion an attacker needs who knows the defence of BUNDLE.

    As a tuning reports it, with as many steps as one likes. The same command goes on after an interruption.
    """
    from bench.distortion import measure_distortion
    from bench.robustness.subject import open_model, subject_of
    from bench.tuning.contest import Effort
    from convert.commands import echo_report
    from edgedefend.dataset import load_dataset

    subject = subject_of(bundle, model=keras_model, weights=weights, settings=settings, seed=seed)
    photographs = load_dataset(data, open_model(subject).labels)
    try:
        effort = Effort(steps, largest=largest)
        result = measure_distortion(subject, photographs, images=images, effort=effort, folder=out, progress=_progress)
    except KeyboardInterrupt:
        click.echo("\nedgedefend: stopped; the same command goes on from here", err=True)
        sys.exit(1)
    click.echo(f"{subject.model}, {result['name']}; mean of {result['draws']} draws; attacks of {steps} steps")
    echo_report({**result["report"], "draws": result["draws"]})
    echo_verdict(result["conditions"])
    save(result, json_path)
