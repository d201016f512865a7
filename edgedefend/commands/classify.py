"""`edgedefend classify BUNDLE IMAGE...`."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from edgedefend.commands.options import backend_option, threads_option

if TYPE_CHECKING:
    from edgedefend.suspicion import SuspicionThreshold

__all__ = ["classify"]


def _against(threshold: SuspicionThreshold | None, suspicious: bool | None) -> str:
    if threshold is None:
        return " (this bundle knows no threshold)"
    return f" (threshold {threshold.value:.3f}){': SUSPICIOUS' if suspicious else ''}"


@click.command()
@click.argument("bundle")
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON an image.")
@click.option("--no-defense", is_flag=True, help="Classify the image as it is.")
@click.option("--draws", type=click.IntRange(1, 256), help="Random draws to average (default: as the bundle says).")
@click.option(
    "--suspicion", is_flag=True, help="Say how far draws and undefended answer disagree (one more run of the model)."
)
@click.option("--top", type=click.IntRange(1), default=5, show_default=True, help="How many classes to print.")
@click.option("--seed", type=int, help="Predictable randomness: for tests only, it defends nothing.")
@threads_option
@backend_option
def classify(
    bundle: str,
    images: tuple[str, ...],
    as_json: bool,
    no_defense: bool,
    draws: int | None,
    suspicion: bool,
    top: int,
    seed: int | None,
    threads: int | None,
    backend: str | None,
) -> None:
    """Classify images with BUNDLE's model behind its defence.

    An image that cannot be read is named on stderr, the others are classified, and the exit code is 3.
    """
    import numpy as np

    from edgedefend.bundle import load_bundle
    from edgedefend.classifier import Classifier
    from edgedefend.errors import InputError
    from edgedefend.prediction import prediction_record
    from edgedefend.sources import read_image
    from edgedefend.suspicion import DRAWS

    if no_defense and (draws or 1) > 1:
        raise click.UsageError("--draws averages over draws of the defence: it does not go with --no-defense")
    loaded = load_bundle(bundle)
    draws = loaded.draws if draws is None else draws
    if suspicion and (draws < 2 or no_defense):
        raise click.UsageError(f"--suspicion compares draws of the defence: give --draws {DRAWS}")
    rng = None
    if seed is not None:
        rng = np.random.default_rng(seed)
        click.echo("edgedefend: --seed makes the defence predictable: for tests only", err=True)
    classifier = Classifier(loaded, threads=threads, backend=backend, defended=not no_defense, rng=rng)
    if loaded.weights == "random":
        click.echo("edgedefend: this bundle's weights are random: its answers mean nothing", err=True)
    failed = 0
    for name in images:
        try:
            prediction = classifier.classify(read_image(name), draws=draws, top=top, suspicion=suspicion)
        except InputError as error:
            click.echo(f"edgedefend: {error}", err=True)
            failed += 1
            continue
        if as_json:
            line = prediction_record(prediction, name, loaded)
            click.echo(json.dumps(line, ensure_ascii=False))
            continue
        how = "no defence" if no_defense else f"{draws} draw{'s' if draws > 1 else ''}"
        if prediction.draws > 1:
            how += f", {round(prediction.agreement * draws)} agree"
        if classifier.vote.share:
            how += f", {'' if classifier.vote.milder else 'undefended '}{classifier.vote}"
        click.echo(f"{name}  ({how}, {prediction.stage_ms['total_ms']:.1f} ms)")
        if prediction.suspicion is not None:
            click.echo(f"  suspicion {prediction.suspicion:.3f}{_against(loaded.suspicion, prediction.suspicious)}")
        for answer in prediction.top:
            click.echo(f"  {100 * answer.score:5.1f} %  {answer.label}")
    if failed:
        sys.exit(InputError.exit_code)
