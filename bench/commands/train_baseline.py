"""`edgedefend bench train-baseline`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from bench.commands.options import progress

__all__ = ["train_baseline"]

# name -> (steps by default, whether it is made for one classifier)
_TRAINED = {
    "quilting": (100, False),
    "pixeldefend": (20_000, False),
    "guided-denoiser": (500, True),
    "me-net": (200, True),
}


@click.command("train-baseline")
@click.argument("name", type=click.Choice(list(_TRAINED)))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of trained parts.")
@click.option(
    "--data",
    default="sample",
    show_default=True,
    help="A CSV file,label[,target], a folder of class folders, or 'sample'. Not what is evaluated later.",
)
@click.option("--model", default="efficientnet-lite0", show_default=True, help="The classifier behind the defence.")
@click.option("--weights", default="imagenet", show_default=True, help="Of a zoo model: imagenet, random, or a file.")
@click.option("--skip", type=click.IntRange(0), default=0, help="Leave out the first N photographs of the data.")
@click.option("--limit", type=click.IntRange(1), help="Use no more than N photographs.")
@click.option("--steps", type=click.IntRange(1), help="Steps of training; for quilting, thousands of patches.")
@click.option("--batch", type=click.IntRange(1), default=8, show_default=True, help="Photographs a step.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
def train_baseline(
    name: str, out: Path, data: str, model: str, weights: str, skip: int, limit: int | None, steps: int | None,
    batch: int, seed: int,
) -> None:  # fmt: skip
    """Make the part that a defence of the comparison needs.

    An interrupted training goes on where it stopped when the same command is given again.
    """
    from bench.baselines.parts import load_part
    from bench.baselines.training.loop import Request
    from convert.models import imagenet_labels, load_model
    from edgedefend.dataset import load_dataset
    from edgedefend.errors import InputError
    from edgedefend.sources import fit_image, read_image

    default_steps, for_a_model = _TRAINED[name]
    loaded = load_model(model, weights=weights) if for_a_model else None
    chosen = list(load_dataset(data, loaded.labels if loaded else imagenet_labels()))[skip:][:limit]
    if not chosen:
        raise InputError(f"{data}: --skip {skip} leaves no photograph")
    photographs = [read_image(item.path) for item in chosen]
    if loaded:
        height, width = loaded.input_size
        photographs = [fit_image(picture, height, width) for picture in photographs]
    request = Request(
        name, out, photographs, [item.label for item in chosen], loaded, steps or default_steps, batch, seed,
        data if data == "sample" else Path(data).name,
    )  # fmt: skip
    if name in ("quilting", "pixeldefend"):
        from bench.baselines.training.generative import collect_patches, train_pixel_cnn

        train = collect_patches if name == "quilting" else train_pixel_cnn
    else:
        from bench.baselines.training.classifying import retrain_me_net, train_guided_denoiser

        train = train_guided_denoiser if name == "guided-denoiser" else retrain_me_net
    out.mkdir(parents=True, exist_ok=True)
    with progress(f"training {name}", request.steps) as tick:
        path = train(request, tick)
    facts = load_part(path).facts
    change = f": loss {facts['first_loss']:.4g} -> {facts['last_loss']:.4g}" if "first_loss" in facts else ""
    click.echo(f"wrote {path}, from {len(photographs)} photographs of {json.dumps(request.data)}{change}")
