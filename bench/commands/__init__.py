"""`edgedefend bench ...`: one file a measurement; each parses its options, prints the table, writes the JSON."""

from __future__ import annotations

import click

from edgedefend.cli import LazyGroup

__all__ = ["bench"]

# name -> (module:attribute, one line for --help, the extra that brings what it imports)
COMMANDS = {
    "accuracy": ("bench.commands.accuracy:accuracy", "Accuracy undefended and behind one or several draws.", ""),
    "latency": ("bench.commands.latency:latency", "Latency by stage, defended and undefended in turn.", ""),
    "throughput": ("bench.commands.throughput:throughput", "Frames a second beside the bare model's.", ""),
    "startup": ("bench.commands.footprint:startup", "Time and memory of one start, beside the bare interpreter.", ""),
    "arm-report": ("bench.commands.arm_report:arm_report", "The kernels as ARM code, without a board.", "arm"),
    "memory": ("bench.commands.footprint:memory", "Resident memory over many images.", ""),
}


@click.group(cls=LazyGroup, lazy=COMMANDS)
def bench() -> None:
    """Measure, each figure with the conditions it was measured under."""
