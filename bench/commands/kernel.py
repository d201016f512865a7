"""`edgedefend bench kernel`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from bench.commands.options import echo_verdict, json_option, progress, save
from edgedefend.commands.options import format_table

__all__ = ["kernel"]


@click.command()
@click.option("--data", default="sample", show_default=True, help="Photographs, as in accuracy; the first is timed.")
@click.option(
    "--limit", type=click.IntRange(1), default=20, show_default=True, help="Use only the first N photographs."
)
@click.option("--table", default="feature-distillation", show_default=True, help="A shipped table, or a JSON file.")
@click.option("--rounds", type=click.IntRange(3), help="Pairs of bursts a peer (60, or 12 with --quick).")
@click.option("--quick", is_flag=True, help="A rough figure in under half a minute.")
@json_option
def kernel(data: str, limit: int, table: str, rounds: int | None, quick: bool, json_path: Path | None) -> None:
    """The fused kernel beside its peers, at four sizes, and beside the floor of this core: one process, one thread."""
    from bench.kernel import SIZES, measure_kernel
    from edgedefend.dataset import load_dataset
    from edgedefend.dct import load_quant_table
    from edgedefend.sources import read_image

    quant_table = load_quant_table(table)
    images = [read_image(item.path) for item in load_dataset(data, [""] * 1000).first(limit)]
    count = rounds or (12 if quick else 60)
    with progress("rounds", (len(SIZES) + 2) * count) as tick:
        result = measure_kernel(images, quant_table, rounds=count, table_name=table, tick=tick)
    _print(result)
    save(result, json_path)


def _judged(row: dict[str, Any]) -> list[str]:
    return [f"{row['target']:g}", "yes" if row["reached"] else "NO"] if "target" in row else ["", ""]


def _print(result: dict[str, Any]) -> None:
    columns = ["times the fused kernel's time", "median", "p10 to p90", "best over best", "must be", "reached"]
    for size, rows in result["peers"].items():
        first = next(iter(rows.values()))
        click.echo(f"{size}, table {result['table']}: the fused kernel takes {first['fused_us']:.0f} us")
        body = [
            [
                name,
                f"{row['ratio']:.3g}",
                f"{row['p10']:.3g} to {row['p90']:.3g}",
                f"{row['best_ratio']:.3g}",
                *_judged(row),
            ]
            for name, row in {**rows, **result["variants"][size]}.items()
        ]
        click.echo(format_table(columns, body))
    sizes = [
        [
            name,
            f"{row['fused_us']:.0f}",
            f"{row['ns_per_pixel']:.2f}",
            f"{100 * row['copy_fraction']:.1f} %",
            f"{100 * row['peak_fraction']:.0f} %",
        ]
        for name, row in result["sizes"].items()
    ]
    click.echo(
        format_table(
            ["size", "us", "ns a pixel", "its bytes, copied once", "its arithmetic, at this core's peak"], sizes
        )
    )
    flatness, ties = result["flatness"], result["ties"]
    click.echo(
        f"time a pixel: largest {flatness['value']:.2f} times the smallest, at most {flatness['target']} asked for: "
        f"{'reached' if flatness['reached'] else 'NOT reached'}"
    )
    click.echo(
        f"peak of this core {result['floor']['peak_gflops']:.0f} GFLOP/s (fused multiply-adds), copying "
        + ", ".join(f"{rate:.0f} GB/s at {name}" for name, rate in result["floor"]["copy_gb_per_s"].items())
    )
    click.echo(
        f"fused and plain kernels differ in {100 * ties['mean']:.4f} % of the values of {ties['photographs']:.0f} "
        f"photographs (the worst: {100 * ties['largest']:.4f} %), below {100 * ties['target']} % asked for: "
        f"{'reached' if ties['reached'] else 'NOT reached'}"
    )
    echo_verdict(result["conditions"])
