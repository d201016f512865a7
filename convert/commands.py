"""`edgedefend convert`: parses the options, shows progress, prints the summary."""

from __future__ import annotations

import contextlib
import importlib
import shlex
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from edgedefend.bundle import PRECISIONS
from edgedefend.combining import MOST_VOTE, Vote
from edgedefend.commands.options import format_table, threads_option
from edgedefend.errors import EdgeDefendError
from edgedefend.interpreter import available_threads
from edgedefend.noise import MOST_NOISE
from edgedefend.sources import RESIZE_RULES
from edgedefend.statistics import format_proportion, proportion

__all__ = ["convert", "echo_report"]


@contextlib.contextmanager
def _progress(label: str, length: int) -> Iterator[Callable[[int], Any]]:
    """Show a bar on a terminal, and only the step's name elsewhere (a log file)."""
    if not sys.stderr.isatty():
        click.echo(f"{label} …", err=True)
        yield lambda count: None
        return
    with click.progressbar(length=length, label=f"{label:32}", file=sys.stderr, show_pos=True) as bar:
        yield bar.update


# Known by name only, as commands are: `bench` imports this package, never the other way round.
_PLAIN = {"passes": 1, "noise_std": 0.0, "draws": 1}
_TUNER = "bench.tuning.search:Tuner"


def _tuner(max_accuracy_drop: float, **limits: Any) -> Any:
    """Return what chooses the defence, or say what to install for it."""
    module, attribute = _TUNER.split(":")
    try:
        make = getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        raise EdgeDefendError(
            f"--max-accuracy-drop needs the Python package {error.name!r}: pip install 'edgedefend[convert,bench]'"
        ) from error
    return make(max_accuracy_drop, **limits)


@click.command()
@click.option(
    "--model",
    required=True,
    help="inception-v3, efficientnet-lite0|1|2, or a path to your own .keras, .h5 or SavedModel.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the bundles, one a precision.")
@click.option(
    "--data",
    default="sample",
    show_default=True,
    help="A CSV file,label[,target], a folder of class folders, or 'sample' (photographs of an installed package).",
)
@click.option("--limit", type=click.IntRange(1), help="Use only the first N photographs.")
@click.option("--weights", default="imagenet", show_default=True, help="For inception-v3: imagenet, random, or a file.")
@click.option(
    "--settings", type=click.Path(path_type=Path), help="TOML with your own model's normalisation and labels."
)
@click.option("--scale", type=float, help="Your own model takes pixel * SCALE + OFFSET ...")
@click.option("--offset", type=float, help="... of pixel levels 0..255.")
@click.option(
    "--precision",
    "precisions",
    type=click.Choice(PRECISIONS),
    multiple=True,
    help="May be given more than once (default: all four).",
)
@click.option(
    "--table",
    default="learn",
    show_default=True,
    help="'learn' (Algorithm 2), a shipped table's name, or a JSON file.",
)
@click.option("--num-steps", type=click.IntRange(1, 1024), default=10, show_default=True, help="Grid cells an axis.")
@click.option("--distort-limit", type=float, default=0.25, show_default=True, help="Stretch of a cell, 0 to below 1.")
@click.option("--passes", type=click.IntRange(1, 8), default=1, show_default=True, help="Of the quantiser.")
@click.option(
    "--noise-std",
    type=click.FloatRange(0, MOST_NOISE),
    default=0.0,
    show_default=True,
    help="Of noise before it, pixel levels; not in the paper.",
)
@click.option("--draws", type=click.IntRange(1, 32), default=1, show_default=True, help="Of an answer.")
@click.option(
    "--vote",
    type=click.FloatRange(0, MOST_VOTE),
    default=0.0,
    show_default=True,
    help="Share of the undefended answer, or of --vote-noise, beside the draws.",
)
@click.option(
    "--vote-noise",
    type=click.FloatRange(0, MOST_NOISE, min_open=True),
    help="The vote is that of draws behind so much noise, less than --noise-std ...",
)
@click.option("--vote-draws", type=click.IntRange(1, 32), help="... of so many of them (default: as many as --draws).")
@click.option("--resize", type=click.Choice(RESIZE_RULES), default="stretch", show_default=True)
@click.option("--epsilon", type=float, default=4.0, show_default=True, help="Attack: largest change, pixel levels.")
@click.option("--steps", type=click.IntRange(1), default=10, show_default=True, help="Attack: gradient steps.")
@click.option("--step-size", type=float, default=1.0, show_default=True, help="Attack: change a step, pixel levels.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of targets and calibration.")
@click.option(
    "--min-agreement",
    type=click.FloatRange(0, 1),
    default=0.9,
    show_default=True,
    help="Refuse a model whose best class agrees with Keras on a smaller fraction of the data; 0 never refuses.",
)
@click.option(
    "--max-accuracy-drop",
    type=click.FloatRange(0, 1, min_open=True),
    help="Choose table, grid and draws that an attacker who knows them needs most distortion against, within this.",
)
@click.option(
    "--tuning-images",
    type=click.IntRange(1),
    default=24,
    show_default=True,
    help="... attacking so many photographs to choose, as many others to report.",
)
@click.option(
    "--tuning-draws",
    type=click.IntRange(1, 8),
    default=8,
    show_default=True,
    help="... with at most so many runs of the model an answer.",
)
@click.option(
    "--tuning-report-steps",
    type=click.IntRange(1),
    default=600,
    show_default=True,
    help="... with an attack of so many steps on those that are reported (200 choose); noise wants many.",
)
@click.option(
    "--tuning-confidence",
    type=click.FloatRange(0.5, 1, max_open=True),
    default=0.95,
    show_default=True,
    help="... of what is within the drop this surely (one-sided); 0.5 is as likely as not, for a stronger defence.",
)
@click.option(
    "--tuning-vote",
    "tuning_votes",
    type=click.FloatRange(0, MOST_VOTE, min_open=True),
    multiple=True,
    help="... also with this vote of the undefended answer beside the draws (again for others): more accuracy, but "
    "some photographs are left without protection.",
)
@click.option(
    "--tuning-vote-noise",
    "tuning_vote_noises",
    type=click.FloatRange(0, MOST_NOISE, min_open=True),
    multiple=True,
    help="... these votes being those of as many draws behind so much noise instead of the undefended answer's (again "
    "for others): twice the runs of the model, and nothing is left without protection.",
)
@click.option("--pack", is_flag=True, help="Write each bundle as one zip file as well.")
@click.option("--force", is_flag=True, help="Replace bundles that are there.")
@threads_option
def convert(
    scale: float | None,
    offset: float | None,
    settings: Path | None,
    threads: int | None,
    vote: float,
    vote_noise: float | None,
    vote_draws: int | None,
    max_accuracy_drop: float | None,
    tuning_images: int,
    tuning_draws: int,
    tuning_report_steps: int,
    tuning_confidence: float,
    tuning_votes: tuple[float, ...],
    tuning_vote_noises: tuple[float, ...],
    **options: Any,
) -> None:
    """Learn the quantisation table, export the model in every precision, check it, write bundles.

    An interrupted run goes on where it stopped when the same command is given again.
    """
    from convert.models import InputSettings, load_settings
    from convert.pipeline import ParityError, convert_model
    from convert.settings import ConvertSettings

    if settings is not None and (scale is not None or offset is not None):
        raise click.UsageError("--scale and --offset stand in the --settings file already")
    input_settings = None
    if settings is not None:
        input_settings = load_settings(settings)
    elif scale is not None or offset is not None:
        input_settings = InputSettings(scale=1.0 if scale is None else scale, offset=offset or 0.0)
    if vote_draws is not None and vote_noise is None:
        raise click.UsageError("--vote-draws says how many draws vote: give --vote-noise as well")
    if vote_noise is not None and not (vote and vote_noise < options["noise_std"]):
        raise click.UsageError("--vote-noise says whose the vote is: give --vote as well, and a larger --noise-std")
    if max_accuracy_drop is not None and (vote or any(options[name] != _PLAIN[name] for name in _PLAIN)):
        raise click.UsageError("--max-accuracy-drop chooses --passes, --noise-std, --draws and --vote itself")
    if tuning_vote_noises and not tuning_votes:
        raise click.UsageError("--tuning-vote-noise says whose the votes are: give --tuning-vote as well")
    noises = sorted(set(tuning_vote_noises)) or [0.0]
    tuning = {
        "images": tuning_images,
        "most_draws": tuning_draws,
        "report_steps": tuning_report_steps,
        "confidence": tuning_confidence,
        "votes": tuple((share, noise) for share in sorted(set(tuning_votes)) for noise in noises),
    }
    wanted = ConvertSettings(
        input_settings=input_settings,
        vote=Vote(vote, vote_noise or 0.0, (vote_draws or options["draws"]) if vote_noise else 1),
        threads=threads or available_threads(),
        command="edgedefend " + shlex.join(sys.argv[1:]),
        tuner=None if max_accuracy_drop is None else _tuner(max_accuracy_drop, **tuning),
        **{**options, "precisions": options["precisions"] or PRECISIONS},
    )
    try:
        done = convert_model(wanted, _progress)
    except KeyboardInterrupt:
        click.echo("edgedefend: stopped; the same command goes on from here", err=True)
        sys.exit(1)

    if "attack_success" in done.table_file:
        success = done.table_file["attack_success"]
        click.echo(
            f"table: learned from {success['n']} photographs; the attack on the bare model hit its target on "
            f"{success['hit']}; picture: {wanted.out / 'quant_table.png'}"
        )
    known = done.weights != "random"
    if done.defense.measured:
        _echo_tuning(done.defense.measured, wanted.out, max_accuracy_drop or 0.0)
    if known:
        click.echo(f"Keras: accuracy {format_proportion(proportion(done.keras_correct, done.n))}")
    else:
        click.echo("weights are random: no accuracy is reported, only time and agreement")
    rows = []
    for precision, parity in done.parities.items():
        accuracy = [f"{count / parity.n:.3f}" if known else "-" for count in (parity.correct, parity.defended_correct)]
        rows.append(
            [
                precision,
                f"{parity.size_bytes / 1e6:.1f} MB",
                f"{parity.agreement:.3f}",
                f"{parity.max_logit_error:.3g}",
                *accuracy,
                f"{parity.invoke_ms:.2f}",
                "refused" if precision in done.refused else str(wanted.out / precision),
            ]
        )
    header = ["precision", "size", "agreement", "max error", "accuracy", "defended", f"ms ({wanted.threads} thr)"]
    click.echo(format_table([*header, "bundle"], rows))
    for precision, parity in done.parities.items():
        click.echo(f"{precision:9}  {parity.partitions or 'the runtime does not tell how it divides the model'}")
    click.echo(
        f"agreement with Keras and accuracy on n = {done.n} photographs of {wanted.data}; defended: 1 draw alone"
    )
    if done.refused:
        reasons = "; ".join(f"{precision} {reason}" for precision, reason in done.refused.items())
        raise ParityError(f"no bundle was written for: {reasons}")


def _echo_tuning(found: dict[str, Any], out: Path, budget: float) -> None:
    """Say what was chosen and what it showed on photographs that had no part in the choice."""
    draws = str(found["draws"])
    click.echo(f"tuned: {found['name']}; mean of {draws} draws, each a run of the model; {out / 'tuning.png'}")
    echo_report(found)
    if found["accuracy_drop"]["value"] > budget:
        click.echo(
            f"edgedefend: that is more than the {budget:g} of --max-accuracy-drop: the best of many settings on few "
            "photographs is partly the luckiest; give more --data",
            err=True,
        )


def echo_report(found: dict[str, Any]) -> None:
    """Say what a setting costs and buys (`bench.tuning.report`) on photographs that did not choose it."""
    draws = str(found["draws"])
    click.echo(
        f"  accuracy on others: undefended {format_proportion(found['undefended_accuracy'])}, "
        f"defended {format_proportion(found['accuracy'][draws])}"
    )
    drop = found["accuracy_drop"]
    click.echo(f"  it drops by {drop['value']:.3f} [{drop['low']:.3f}, {drop['high']:.3f}]")
    for count, value in found["distortion"].items():
        ratio, low, high = (_times(value[name]) for name in ("ratio", "low", "high"))
        click.echo(
            f"  {count} draws: an attacker needs {ratio} times the distortion [{low}, {high}] n={value['n']}, "
            f"{_one_by_one(value)}"
        )
    if len(found["attacks"]) > 1:
        each = ", ".join(f"{way} {_times(value['ratio'])}" for way, value in found["attacks"].items())
        click.echo(f"  that is the better of two attacks on each photograph; of one by itself: {each} times")


def _times(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.1f}"


def _one_by_one(distortion: dict[str, Any]) -> str:
    """Say what the median hides: the least ratio of a photograph, the mean, and where no attack worked."""
    mean, ratios = distortion["geometric_mean_ratio"], distortion["ratios"]
    if mean is None:
        return "no attack worked"
    unbroken = ratios.count(None)
    return f"at least {ratios[0]:.1f}, on average {mean:.1f}" + (f", {unbroken} never" if unbroken else "")
