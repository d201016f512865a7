"""`edgedefend classify BUNDLE IMAGE...`."""

from __future__ import annotations

import json
import sys

import click

from edgedefend.commands.options import backend_option, threads_option

__all__ = ["classify"]


@click.command()
@click.argument("bundle")
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON an image.")
@click.option("--no-defense", is_flag=True, help="Classify the image as it is.")
@click.option("--draws", type=click.IntRange(1, 256), default=1, show_default=True, help="Random draws to average.")
@click.option("--top", type=click.IntRange(1), default=5, show_default=True, help="How many classes to print.")
@click.option("--seed", type=int, help="Predictable randomness: for tests only, it defends nothing.")
@threads_option
@backend_option
def classify(
    bundle: str,
    images: tuple[str, ...],
    as_json: bool,
    no_defense: bool,
    draws: int,
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
    from edgedefend.classifier import Classifier, prediction_record
    from edgedefend.errors import InputError
    from edgedefend.sources import read_image

    if no_defense and draws > 1:
        raise click.UsageError("--draws averages over draws of the defence: it does not go with --no-defense")
    loaded = load_bundle(bundle)
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
            prediction = classifier.classify(read_image(name), draws=draws, top=top)
        except InputError as error:
            click.echo(f"edgedefend: {error}", err=True)
            failed += 1
            continue
        if as_json:
            line = prediction_record(prediction, name, loaded)
            click.echo(json.dumps(line, ensure_ascii=False))
            continue
        how = "no defence" if no_defense else f"{draws} draw{'s' if draws > 1 else ''}"
        if draws > 1:
            how += f", {round(prediction.agreement * draws)} agree"
        click.echo(f"{name}  ({how}, {prediction.stage_ms['total_ms']:.1f} ms)")
        for answer in prediction.top:
            click.echo(f"  {100 * answer.score:5.1f} %  {answer.label}")
    if failed:
        sys.exit(InputError.exit_code)
