"""`edgedefend bench delegation`."""

from __future__ import annotations

from pathlib import Path

import click

from bench.commands.options import echo_verdict, json_option, progress, save
from edgedefend.bundle import PRECISIONS
from edgedefend.commands.options import format_table

__all__ = ["delegation"]


@click.command()
@click.option("--model", default="inception-v3", show_default=True, help="As in convert.")
@click.option("--weights", default="imagenet", show_default=True, help="As in convert: imagenet, random, or a file.")
@click.option("--precision", type=click.Choice(PRECISIONS), default="int8", show_default=True)
@click.option("--data", default="sample", show_default=True, help="Photographs to calibrate with and to compare on.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="Use only the first N of them.")
@click.option("--rounds", type=click.IntRange(1), default=50, show_default=True)
@click.option("--threads", type=click.IntRange(1, 64), default=1, show_default=True, help="Of the interpreter.")
@json_option
def delegation(
    model: str, weights: str, precision: str, data: str, limit: int, rounds: int, threads: int, json_path: Path | None
) -> None:
    """Time of a model as TensorFlow converts it, and in the form that the runtime's delegate takes whole."""
    import numpy as np

    from bench.delegation import measure_delegation
    from convert.models import load_model
    from edgedefend.dataset import load_dataset
    from edgedefend.dct import load_quant_table
    from edgedefend.defense import Defense
    from edgedefend.sources import fit_image, read_image

    loaded = load_model(model, weights=weights)
    photographs = load_dataset(data, loaded.labels).first(limit)
    images = [fit_image(read_image(item.path), *loaded.input_size) for item in photographs]
    defense = Defense(load_quant_table("feature-distillation"), rng=np.random.default_rng(0))
    with progress("rounds", rounds + 1) as tick:
        result = measure_delegation(
            loaded, precision, images, defense=defense, rounds=rounds, threads=threads, tick=tick
        )
    rows = []
    for name, row in result["rows"].items():
        left = ", ".join(f"{count} {kind}" for kind, count in (row["undelegated"] or {}).items()) or "none"
        errors = [f"{row[key]:.3f}" for key in ("agreement", "max_error", "rms_error")]
        rows.append([name, row["partitions"], left, f"{row['ms']:.2f}", f"{row['ratio']:.3f}", *errors])
    click.echo(f"{loaded.name} {precision}, weights {loaded.weights}, {threads} threads, {rounds} rounds in turn")
    header = ["form", "partitions", "not delegated", "ms", "ratio", "agreement", "max error", "rms error"]
    click.echo(format_table(header, rows))
    click.echo(
        f"agreement and errors against Keras on n = {len(images)} photographs; its outputs span "
        f"{result['output_spread']:.3g}"
    )
    echo_verdict(result["conditions"])
    save(result, json_path)
