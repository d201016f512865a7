"""Learn the table from adversarial examples of the model itself (Algorithm 2), batch by batch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convert.adversary import IFGSM
from convert.models import LoadedModel
from convert.quant_table import count_votes, table_from_votes
from convert.settings import ConvertSettings, Progress
from convert.work_folder import WorkFolder
from edgedefend.dataset import Dataset
from edgedefend.files import write_file

__all__ = ["learn_table", "target_classes"]

_ATTACK_BATCH = 8


def target_classes(data: Dataset, classes: int, seed: int) -> NDArray[np.int32]:
    """Return each photograph's target class: the data's own, else a random one that is not its label."""
    rng = np.random.default_rng([seed, 1])
    drawn = rng.integers(1, classes, len(data))
    return np.array(
        [
            (photograph.label + int(step)) % classes if photograph.target is None else photograph.target
            for photograph, step in zip(data, drawn, strict=True)
        ],
        np.int32,
    )


def learn_table(
    settings: ConvertSettings,
    model: LoadedModel,
    data: Dataset,
    images: Sequence[NDArray[np.uint8]],
    work: WorkFolder,
    progress: Progress,
) -> dict[str, Any]:
    """Run Algorithm 2, saving the votes after each batch; return the content of quant_table.json."""
    attack = {"name": "targeted I-FGSM", "epsilon": settings.epsilon, "steps": settings.steps}
    attack["step_size"] = settings.step_size
    digest = hashlib.sha256()
    for image in images:
        digest.update(image.tobytes())
    key = {"attack": attack, "seed": settings.seed, "images": digest.hexdigest(), "model": model.provenance}
    saved = work.path("votes", key, ".json")
    state = work.load(saved) or {"done": 0, "hit": 0, "votes": np.zeros((8, 8), int).tolist()}
    votes, done, hit = np.array(state["votes"], np.int64), int(state["done"]), int(state["hit"])
    targets = target_classes(data, len(model.labels), settings.seed)
    with progress("learning the table", len(images)) as tick:
        tick(done)
        attacker = None
        while done < len(images):
            attacker = attacker or IFGSM(
                model, epsilon=settings.epsilon, steps=settings.steps, step_size=settings.step_size
            )
            clean = np.stack(images[done : done + _ATTACK_BATCH])
            aims = targets[done : done + _ATTACK_BATCH]
            adversarial = attacker(clean, aims)
            votes += count_votes(clean, adversarial)
            fooled = np.asarray(model.keras_model(adversarial.astype(np.float32), training=False)).argmax(axis=1)
            hit += int((fooled == aims).sum())
            done += len(clean)
            write_file(saved, json.dumps({"done": done, "hit": hit, "votes": votes.tolist()}).encode())
            tick(len(clean))
    return {
        "name": f"learned for {model.name}",
        "source": "Algorithm 2: votes of the largest DCT difference a block, votes / max * 80 + 20",
        "generator": settings.command or "convert.pipeline.convert_model",
        "seed": settings.seed,
        "attack": attack,
        "attack_success": {"hit": hit, "n": len(images)},
        "data": {"name": data.name, "n": len(images)},
        "model": model.provenance,
        "votes": votes.tolist(),
        "quant_table": [[round(float(value), 4) for value in row] for row in table_from_votes(votes)],
    }
