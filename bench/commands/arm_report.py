"""`edgedefend bench arm-report`: the kernels as ARM code, on a machine that has no ARM core."""

from __future__ import annotations

from pathlib import Path

import click

from bench.commands.options import json_option, progress, save
from edgedefend.errors import EdgeDefendError

__all__ = ["arm_report"]


@click.command("arm-report")
@click.option("--image", type=click.Path(path_type=Path), help="Default: the first of the sample photographs.")
@click.option("--size", "sizes", type=click.IntRange(8, 2048), multiple=True, default=(224, 299), show_default=True)
@click.option(
    "--cpu",
    "cpus",
    type=click.Choice(["cortex-a72", "cortex-a76"]),
    multiple=True,
    default=("cortex-a72", "cortex-a76"),
    show_default=True,
)
@click.option("--table", default="feature-distillation", show_default=True, help="Name or file of the table.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the grid.")
@click.option(
    "--tools",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("build/arm"),
    show_default=True,
    help="Folder with the unpacked tools.",
)
@click.option("--fetch/--no-fetch", default=False, help="Unpack missing tools there from Debian's packages (90 MB).")
@click.option(
    "--listing",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write the hot loops' code to this folder, a file a core.",
)
@click.option("--markdown", type=click.Path(path_type=Path), help="Write the report to this file as well.")
@json_option
def arm_report(
    image: Path | None,
    sizes: tuple[int, ...],
    cpus: tuple[str, ...],
    table: str,
    seed: int,
    tools: Path,
    fetch: bool,
    listing: Path | None,
    markdown: Path | None,
    json_path: Path | None,
) -> None:
    """Loops, exact instruction counts and cycle brackets of the kernels on Cortex-A72 and A76, as ratios.

    Without a compiler for ARM or llvm-mca 19 it leaves their columns out and says so.
    """
    from bench.arm import markdown as pages
    from bench.arm import report, toolbox
    from edgedefend.dataset import load_dataset
    from edgedefend.dct import load_quant_table
    from edgedefend.files import write_file
    from edgedefend.sources import read_image

    quant_table = load_quant_table(table)
    photograph = read_image(image or next(iter(load_dataset("sample", ["?"] * 1000))).path)
    box = toolbox.find(tools)
    if fetch and box.missing():
        tools.mkdir(parents=True, exist_ok=True)
        click.echo("fetching the compiler, llvm-mca and libjpeg-turbo's source from Debian's packages", err=True)
        try:
            box = toolbox.fetch(tools)
        except EdgeDefendError as error:
            click.echo(f"warning: {error}", err=True)
    with progress("steps", len(cpus) * (1 + len(sizes))) as tick:
        result = report.measure(photograph, quant_table, sizes=sizes, cpus=cpus, tools=box, seed=seed, tick=tick)
    listings = result.pop("listings")
    text = pages.render(result)
    click.echo(text)
    if markdown is not None:
        write_file(markdown, text.encode())
        click.echo(f"wrote {markdown}")
    if listing is not None:
        listing.mkdir(parents=True, exist_ok=True)
        for cpu, code in listings.items():
            write_file(listing / f"{cpu}.s", code.encode())
        click.echo(f"wrote {listing}")
    save(result, json_path)
