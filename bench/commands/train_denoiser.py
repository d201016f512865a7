"""`edgedefend bench train-denoiser`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from bench.commands.options import progress

__all__ = ["train_denoiser"]


@click.command("train-denoiser")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder; denoiser.npz is written there.")
@click.option(
    "--data",
    default="sample",
    show_default=True,
    help="A CSV file,label[,target], a folder of class folders, or 'sample'; labels are not used.",
)
@click.option("--skip", type=click.IntRange(0), default=0, help="Leave out the first N photographs of the data.")
@click.option("--limit", type=click.IntRange(1), help="Use no more than N photographs.")
@click.option(
    "--model", default="efficientnet-lite0", show_default=True, help="The classifier behind it, as for convert."
)
@click.option("--weights", default="imagenet", show_default=True, help="Of a zoo model: imagenet, random, or a file.")
@click.option("--settings", type=click.Path(path_type=Path), help="TOML of your own model, as for convert.")
@click.option(
    "--quant-table", default="feature-distillation", show_default=True, help="A table's name, or a JSON file."
)
@click.option("--table-scale", type=click.FloatRange(0, 16, min_open=True), default=0.25, show_default=True)
@click.option("--num-steps", type=click.IntRange(1, 1024), default=10, show_default=True, help="Grid cells an axis.")
@click.option("--distort-limit", type=float, default=0.25, show_default=True, help="Stretch of a cell, 0 to below 1.")
@click.option("--passes", type=click.IntRange(1, 16), default=1, show_default=True, help="Of the quantiser.")
@click.option("--noise", type=float, default=14.0, show_default=True, help="Noise before it, in pixel levels.")
@click.option(
    "--epsilon", type=click.FloatRange(0, 1), default=0.0, show_default=True, help="Attacks while training, l2_rms."
)
@click.option("--channels", type=click.IntRange(1, 256), default=24, show_default=True, help="Width of the network.")
@click.option("--steps", type=click.IntRange(1), default=1500, show_default=True)
@click.option("--batch", type=click.IntRange(1), default=16, show_default=True, help="Photographs a step.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
def train_denoiser(
    out: Path, data: str, skip: int, limit: int | None, model: str, weights: str, settings: Path | None,
    quant_table: str, table_scale: float, num_steps: int, distort_limit: float, passes: int, noise: float,
    epsilon: float, channels: int, steps: int, batch: int, seed: int,
) -> None:  # fmt: skip
    """Train a network that undoes, in front of the classifier, what the defence does to an honest picture.

    `convert --denoiser` makes it a part of the exported model. An interrupted training goes on where it stopped when
    the same command is given again.
    """
    import numpy as np

    from bench.baselines.training.loop import Request
    from bench.denoising.training import DenoiserTraining, photographs_for
    from bench.denoising.training import train_denoiser as train
    from convert.denoiser import file_digest
    from convert.models import load_model, load_settings
    from convert.parts import load_part
    from edgedefend.dataset import load_dataset
    from edgedefend.dct import load_quant_table
    from edgedefend.defense import Defense
    from edgedefend.errors import InputError

    defense = Defense(
        np.clip(load_quant_table(quant_table) * np.float32(table_scale), 1, 2048),
        num_steps, distort_limit, passes=passes, noise_std=noise,
    )  # fmt: skip
    loaded = load_model(model, weights=weights, settings=None if settings is None else load_settings(settings))
    chosen = list(load_dataset(data, loaded.labels))[skip:][:limit]
    if not chosen:
        raise InputError(f"{data}: --skip {skip} leaves no photograph")
    about = {
        "channels": channels,
        "epsilon": epsilon,
        "defense": {
            "quant_table": defense.quant_table.round(4).tolist(),
            "num_steps": num_steps,
            "distort_limit": distort_limit,
            "passes": passes,
            "noise_std": noise,
        },
        "photographs_sha256": [file_digest(one.path) for one in chosen],
    }
    with progress("reading photographs", len(chosen)) as tick:
        photographs = photographs_for(loaded, chosen, tick)
    request = Request(
        "denoiser", out, photographs, [one.label for one in chosen], loaded, steps, batch, seed,
        data if data == "sample" else Path(data).name, about,
    )  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    with progress("training the denoiser", steps) as tick:
        path = train(request, defense, DenoiserTraining(channels, epsilon), tick)
    facts = load_part(path).facts
    click.echo(
        f"wrote {path}, from {len(photographs)} photographs of {json.dumps(request.data)}: divergence from the answers "
        f"to clean pictures {facts['first_loss']:.3f} -> {facts['last_loss']:.3f}"
    )
