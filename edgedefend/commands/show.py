"""`edgedefend show BUNDLE IMAGE...`: a picture of the stages, for people who would rather look than read."""

from __future__ import annotations

from pathlib import Path

import click

from edgedefend.commands.options import backend_option, threads_option

__all__ = ["show"]


@click.command()
@click.argument("bundle")
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True)
@click.option("-o", "--output", default="stages.png", show_default=True, help="The PNG file to write.")
@threads_option
@backend_option
def show(bundle: str, images: tuple[str, ...], output: str, threads: int | None, backend: str | None) -> None:
    """Draw each IMAGE as the model sees it: original, quantised, quantised and distorted, with the answers."""
    import cv2

    from edgedefend.bundle import load_bundle
    from edgedefend.classifier import Classifier
    from edgedefend.errors import InputError
    from edgedefend.files import write_file
    from edgedefend.picture import stage_sheet
    from edgedefend.sources import read_image

    if not output.lower().endswith(".png"):
        raise InputError(f"{output}: the picture is written as PNG: give a name that ends in .png")
    classifier = Classifier(load_bundle(bundle), threads=threads, backend=backend)
    sheet = stage_sheet(classifier, [(name, read_image(name)) for name in images])
    _, encoded = cv2.imencode(".png", cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))
    write_file(Path(output), encoded.tobytes())
    click.echo(f"wrote {output} ({sheet.shape[1]}x{sheet.shape[0]})")
