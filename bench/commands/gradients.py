"""`edgedefend bench gradients`."""

from __future__ import annotations

from pathlib import Path

import click

from bench.commands.options import echo_verdict, json_option, progress, save

__all__ = ["gradients"]


@click.command()
@click.argument("model")
@click.option("--weights", default="imagenet", show_default=True, help="Of inception-v3: imagenet, random, or a file.")
@click.option("--data", default="sample", show_default=True, help="CSV, folder of class folders, or 'sample'.")
@click.option("--images", type=click.IntRange(1), default=8, show_default=True)
@click.option("--steps", type=click.IntRange(1), default=5, show_default=True)
@click.option("--draws", type=click.IntRange(1), default=4, show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
@json_option
def gradients(
    model: str, weights: str, data: str, images: int, steps: int, draws: int, rounds: int, json_path: Path | None
) -> None:
    """Images x rounds x draws a second of our attack on MODEL, beside foolbox's."""
    import numpy as np

    from bench.gradients import measure_gradients
    from convert.learning import target_classes
    from convert.models import load_model
    from edgedefend.dataset import load_dataset
    from edgedefend.sources import fit_image, read_image

    loaded = load_model(model, weights=weights)
    photographs = load_dataset(data, loaded.labels).first(images)
    pictures = np.stack([fit_image(read_image(item.path), *loaded.input_size) for item in photographs])
    labels = np.array([item.label for item in photographs], np.int32)
    targets = target_classes(photographs, len(loaded.labels), 0)
    with progress("rounds", rounds) as tick:
        result = measure_gradients(
            loaded, pictures, labels, targets, steps=steps, draws=draws, rounds=rounds, tick=tick
        )
    click.echo(
        f"{loaded.name}: {result['ours_per_s']:.1f} images x rounds x draws a second, foolbox "
        f"{result['foolbox_per_s']:.1f}: {result['ratio']:.2f} times as many "
        f"[{result['least']:.2f}, {result['largest']:.2f}] ({'reached' if result['reached'] else 'NOT reached'})"
    )
    echo_verdict(result["conditions"])
    save(result, json_path)
