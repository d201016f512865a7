"""What the defence and the model answer to given photographs with given grids: run on both sides, then compared.

``python -m tests.arm.answers write FILE`` makes the input on the desktop; ``answer INPUT OUTPUT BUNDLE...`` runs
there and on the (emulated) board. Both write .npz files. The grids come from a seeded generator and travel in the
input, and so do the decoded, fitted photographs: decoding and resizing are compared as results of their own.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

__all__ = ["compare", "main"]

_ASKED = 6  # images that each model is asked about: a float model takes seconds for one on an emulator
_SHAPES = {"tiny": (1, 1), "odd": (17, 33), "sd": (480, 640), "inception": (299, 299)}


def _write(path: Path) -> None:
    from edgedefend.dataset import load_dataset
    from edgedefend.grid import sample_grid
    from edgedefend.sources import fit_image, read_image

    rng = np.random.default_rng(11)
    images = {}
    for number, item in enumerate(load_dataset("sample", ["?"] * 1000).photographs):
        images[f"photo{number:02}"] = fit_image(read_image(item.path), 224, 224)
    for name, (height, width) in _SHAPES.items():
        images[name] = rng.integers(0, 256, (height, width, 3), np.uint8)
    for number in range(6):
        # Of the size of the tests' colour model, with a strongest colour.
        images[f"color{number}"] = rng.integers(0, 120, (40, 48, 3), np.uint8)
        images[f"color{number}"][..., number % 3] += 100
    arrays = {}
    for name, image in images.items():
        grid = sample_grid(*image.shape[:2], rng=rng)
        arrays |= {f"{name}.image": image, f"{name}.rows": grid[0], f"{name}.cols": grid[1]}
    np.savez(path, **arrays)


def _answer(source: Path, out: Path, bundles: list[str]) -> None:
    from edgedefend import Defense, load_quant_table, quantize, sample_grid
    from edgedefend.bundle import load_bundle
    from edgedefend.classifier import Classifier
    from edgedefend.dataset import load_dataset
    from edgedefend.encoding import Encoding
    from edgedefend.grid import Grid
    from edgedefend.sources import fit_image, read_image

    given = np.load(source)
    names = [key[: -len(".image")] for key in given.files if key.endswith(".image")]
    defend = Defense(load_quant_table("feature-distillation"))
    encodings = {
        "uint8": Encoding(),
        "int8": Encoding(np.int8, 1.0, -128.0),
        "float32": Encoding(np.float32, 1 / 127.5, -1.0, "BGR"),
    }
    found = {}
    for name in names:
        image, grid = given[f"{name}.image"], Grid(given[f"{name}.rows"], given[f"{name}.cols"])
        for kind, encoding in encodings.items():
            tensor = np.empty(image.shape, encoding.dtype)
            defend.into(image, tensor, encoding, grid=grid)
            found[f"defended.{kind}.{name}"] = tensor
        found[f"plain.{name}"] = quantize(image, defend.quant_table)
    for seed in range(20):
        grid = sample_grid(480, 640, rng=np.random.default_rng(seed))
        found[f"grid.{seed}"] = np.concatenate(grid)
    photographs = load_dataset("sample", ["?"] * 1000).photographs
    for number, item in enumerate(photographs):
        decoded = read_image(item.path)
        found[f"decoded.{number:02}"] = decoded
        found[f"fitted.{number:02}"] = fit_image(decoded, 224, 224)
    for path in bundles:
        bundle = load_bundle(path)
        classifier = Classifier(bundle, threads=1)
        shape = (bundle.input.height, bundle.input.width)
        for name in [name for name in names if given[f"{name}.image"].shape[:2] == shape][:_ASKED]:
            image = given[f"{name}.image"]
            view = classifier.interpreter.input_view()
            classifier.prepare_into(image, view[0], grid=Grid(given[f"{name}.rows"], given[f"{name}.cols"]))
            del view
            found[f"output {bundle.model_name} {bundle.precision}.{name}"] = classifier.interpreter.invoke()[0].copy()
            found[f"undefended {bundle.model_name} {bundle.precision}.{name}"] = classifier.run(image, defended=False)
    found["labels"] = np.array([item.label for item in photographs])
    np.savez(out, **found)


def compare(ours: Path, theirs: Path) -> dict[str, dict[str, float | int]]:
    """Compare two files of answers.

    Returns
    -------
    dict
        A kind of answer -> ``n`` (how many there were), ``equal`` (bit for bit), ``differing`` (largest share of
        differing values in one of them), ``largest`` (largest difference), ``same_top1`` (for model outputs).

    Raises
    ------
    ValueError
        If one file has an answer that the other lacks, or of another shape or type.
    """
    here, there = np.load(ours), np.load(theirs)
    if set(here.files) != set(there.files):
        raise ValueError(f"not the same questions: {sorted(set(here.files) ^ set(there.files))[:3]}")
    result: dict[str, dict[str, float | int]] = {}
    for key in here.files:
        a, b = here[key], there[key]
        if a.shape != b.shape or a.dtype != b.dtype:
            raise ValueError(f"{key}: {a.dtype} {a.shape} here, {b.dtype} {b.shape} there")
        kind = key.rpartition(".")[0].replace(".", " ") or key
        row = result.setdefault(kind, {"n": 0, "equal": 0, "differing": 0.0, "largest": 0.0})
        row["n"] += 1
        row["equal"] += int(a.tobytes() == b.tobytes())
        row["differing"] = max(row["differing"], float(np.mean(a != b)))
        row["largest"] = max(row["largest"], float(np.abs(a.astype(np.float64) - b).max()))
        if kind.startswith(("output ", "undefended ")):
            row["same_top1"] = row.get("same_top1", 0) + int(a.argmax() == b.argmax())
    return result


def main(words: list[str]) -> None:
    """Do what the first word says."""
    if words[0] == "write":
        _write(Path(words[1]))
    else:
        _answer(Path(words[1]), Path(words[2]), words[3:])


if __name__ == "__main__":
    main(sys.argv[1:])
