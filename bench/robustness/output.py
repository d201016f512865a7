"""The files of an evaluation: the report, and the figures that were asked for."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.baselines.variation import between_draws
from bench.report import write_report
from bench.robustness import attackers, figures
from bench.robustness.evaluation import Evaluation
from convert.models import imagenet_labels
from edgedefend.dataset import SAMPLE, load_dataset
from edgedefend.defense import Defense
from edgedefend.errors import EdgeDefendError
from edgedefend.files import write_file
from edgedefend.sources import fit_image, read_image

__all__ = ["write_outputs"]

_SHOWN = 3  # which of the sample photographs the figures show


def write_outputs(result: dict[str, Any], evaluation: Evaluation, folder: Path) -> list[Path]:
    """Write the report, the security curve and the figures asked for; return their paths."""
    request = evaluation.request
    wanted = set(request.figures) or ({1, 2, 3, 4} if not request.tables and not request.quick else set())
    titles = {name: str(facts["title"]) for name, facts in result["defenses"].items()}
    contents: dict[str, bytes | None] = {}
    curves = {name: facts["curve"] for name, facts in result["defenses"].items() if facts.get("curve")}
    if curves:
        contents["security-curve.png"] = figures.curves(curves, titles)
    detection = {label: (found["false"], found["true"], found["area"]) for label, found in result["detection"].items()}
    if detection:
        contents["detection.png"] = figures.receiver_operating(detection, 0.05)
    if 1 in wanted:
        contents["figure-1.png"] = _figure_1(evaluation)
    if 2 in wanted:
        contents["figure-2.png"] = _figure_2(evaluation)
    if 3 in wanted and result["rounds"]:
        contents["figure-3.png"] = figures.rounds(result["rounds"], titles)
    if 4 in wanted:
        contents["figure-4.png"] = _figure_4(evaluation)
    written = write_report([("robustness.json", result)], folder, title=f"Robustness of {request.subject.model}")
    for name, content in contents.items():
        if content is not None:
            write_file(folder / name, content)
            written.append(folder / name)
    return written


def _defense(evaluation: Evaluation) -> Defense:
    return evaluation.request.subject.defense(np.random.default_rng([evaluation.request.seed, 2]))


def _sample_picture(evaluation: Evaluation) -> tuple[NDArray[np.uint8], str]:
    """Return a sample photograph: those may be shown anywhere, whatever the evaluation's own data are."""
    photograph = load_dataset(SAMPLE, imagenet_labels()).photographs[_SHOWN]
    return fit_image(read_image(photograph.path), *evaluation.model.input_size), photograph.path.name


def _figure_1(evaluation: Evaluation) -> bytes | None:
    """Draw the table with the votes it was learned from, where the bundle or the package still has them."""
    from convert.plots import votes_and_table

    content = _table_file(evaluation.request.subject.table_name)
    if "votes" not in content:
        return None
    if not np.allclose(content["quant_table"], evaluation.request.subject.quant_table, atol=1e-3):
        raise EdgeDefendError("the table's votes belong to another table")
    return votes_and_table(content)


def _table_file(name: str) -> dict[str, Any]:
    shipped = resources.files("edgedefend") / "data" / "quant_tables" / f"{name}.json"
    path = Path(name) / "quant_table.json" if Path(name).is_dir() else Path(name)
    try:
        content = json.loads(shipped.read_text() if shipped.is_file() else path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _figure_2(evaluation: Evaluation) -> bytes:
    picture, name = _sample_picture(evaluation)
    defense = _defense(evaluation)
    return figures.stages(picture, defense, defense.sample_grid(*picture.shape[:2]), name)


def _figure_4(evaluation: Evaluation) -> bytes:
    """Draw what the attacker's auto-encoder makes of a picture beside what the defence makes of it."""
    attackers.train_approximation(evaluation.subject)
    picture, _ = _sample_picture(evaluation)
    defended = _defense(evaluation)(picture)
    approximated = attackers.approximate(evaluation.subject, picture[None])[0]
    return figures.approximation(picture, defended, approximated, between_draws(approximated, defended))
