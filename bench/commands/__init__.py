"""`edgedefend bench ...`: one file a measurement; each parses its options, prints the table, writes the JSON."""

from __future__ import annotations

import click

from edgedefend.cli import LazyGroup

__all__ = ["bench"]

# name -> (module:attribute, one line for --help, the extra that brings what it imports)
COMMANDS = {
    "accuracy": ("bench.commands.accuracy:accuracy", "Accuracy undefended and behind one or several draws.", ""),
    "agreement": ("bench.commands.accuracy:agreement", "Whether two accuracy results give the same answers.", ""),
    "latency": (
        "bench.commands.latency:latency",
        "Latency in MLPerf's scenarios, defended and undefended in turn.",
        "",
    ),
    "soak": ("bench.commands.soak:soak", "Latency and temperature over a long time.", ""),
    "live-soak": (
        "bench.commands.live_soak:live_soak",
        "`edgedefend run` with a camera, a broker and requests, while one after the other fails.",
        "mqtt",
    ),
    "kernel": ("bench.commands.kernel:kernel", "The fused kernel beside what others would run.", "bench"),
    "draws": ("bench.commands.draws:draws", "Several draws in one batch beside as many single calls.", ""),
    "throughput": ("bench.commands.throughput:throughput", "Frames a second beside the bare model's.", ""),
    "serve": ("bench.commands.serve:serve", "The HTTP service beside the pipeline, and overloaded.", "serve"),
    "startup": ("bench.commands.startup:startup", "Time and memory of one start, beside the bare interpreter.", ""),
    "memory": ("bench.commands.memory:memory", "Resident memory over many images.", ""),
    "robustness": (
        "bench.commands.robustness:robustness",
        "What the defence buys against every attack there is.",
        "bench,convert",
    ),
    "distortion": (
        "bench.commands.distortion:distortion",
        "How much distortion an attacker needs for a bundle, and its accuracy.",
        "bench,convert",
    ),
    "gradients": (
        "bench.commands.gradients:gradients",
        "Gradients a second beside foolbox's.",
        "bench,convert",
    ),
    "compare": ("bench.commands.compare:compare", "Ratios of two or more results.", ""),
    "report": ("bench.commands.report:report", "HTML, Markdown and plots of results.", ""),
    "arm-report": ("bench.commands.arm_report:arm_report", "The kernels as ARM code, without a board.", "arm"),
    "train-baseline": (
        "bench.commands.train_baseline:train_baseline",
        "Make the part that a defence of the comparison needs.",
        "convert",
    ),
    "delegation": (
        "bench.commands.delegation:delegation",
        "A model as TensorFlow converts it, and as the runtime's delegate takes it.",
        "convert",
    ),
}


@click.group(cls=LazyGroup, lazy=COMMANDS)
def bench() -> None:
    """Measure, each figure with the conditions it was measured under."""
