"""Writes what `edgedefend.bundle` reads: beside its place first, then moved there whole."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgedefend.bundle import FORMAT_VERSION, MANIFEST, SUMS, Bundle, Golden, InputSpec, load_bundle
from edgedefend.errors import EdgeDefendError, InputError
from edgedefend.files import sync_folder, whole_file

__all__ = ["encode_png", "pack_bundle", "replace_folder", "write_bundle"]


def encode_png(image: NDArray[np.uint8]) -> bytes:
    """Return an RGB uint8 (H, W, 3) image as the content of a PNG file."""
    import cv2

    done, data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    if not done:
        raise EdgeDefendError("OpenCV cannot write PNG here")
    return data.tobytes()


def replace_folder(new: Path, target: Path, *, force: bool) -> None:
    """Move the finished folder `new` to `target`; with `force` in place of the one that is there.

    Raises
    ------
    InputError
        If `target` exists and `force` is not given.
    """
    if target.exists():
        if not force:
            raise InputError(f"{target}: exists already: give --force to replace it, or another --out")
        # A folder cannot be swapped for another in one step everywhere: the old one is put aside first, and put
        # back should the second move fail.
        aside = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.old."))
        target.rename(aside / "bundle")
        try:
            new.rename(target)
        except OSError:
            (aside / "bundle").rename(target)
            raise
        finally:
            shutil.rmtree(aside, ignore_errors=True)
    else:
        new.rename(target)
    sync_folder(target.parent)


def write_bundle(
    target: Path,
    *,
    model: bytes,
    model_facts: dict[str, Any],
    input_spec: InputSpec,
    defense_facts: dict[str, Any],
    labels: Sequence[str],
    table_file: dict[str, Any],
    golden: Golden,
    records: dict[str, Any],
    force: bool = False,
) -> Bundle:
    """Write a bundle folder and read it back.

    Parameters
    ----------
    target : Path
        The folder to make. Everything is written beside it, flushed, and moved there in the end.
    model : bytes
        The .tflite file.
    model_facts, defense_facts : dict
        The manifest's "model" (without its file) and "defense".
    table_file : dict
        The content of quant_table.json.
    golden : Golden
    records : dict
        What else the manifest says: "made_from", "made_with", "measured".
    force : bool
        Replace a folder that is there.

    Returns
    -------
    Bundle
        The bundle as the board will see it.

    Raises
    ------
    InputError
        If the folder exists and `force` is not given, or a label holds a line break.
    """
    if any("\n" in label or "\r" in label for label in labels):
        raise InputError("a label holds a line break: labels are one a line")
    manifest = {
        "format_version": FORMAT_VERSION,
        "model": {"file": "model.tflite", "classes": len(labels), **model_facts},
        "input": {
            "height": input_spec.height,
            "width": input_spec.width,
            "channel_order": input_spec.channel_order,
            "resize": input_spec.resize,
            "scale": list(input_spec.scale),
            "offset": list(input_spec.offset),
        },
        "defense": defense_facts,
        **records,
    }
    answer = {
        "rows": golden.grid.rows.tolist(),
        "cols": golden.grid.cols.tolist(),
        "output": [float(f"{value:.7g}") for value in golden.output.tolist()],
        "tolerance": golden.tolerance,
    }
    files = {
        "model.tflite": model,
        "labels.txt": "".join(f"{label}\n" for label in labels).encode(),
        "quant_table.json": (json.dumps(table_file, indent=1) + "\n").encode(),
        "golden.json": (json.dumps(answer) + "\n").encode(),
        "golden_image.png": encode_png(golden.image),
        "golden_defended.png": encode_png(golden.defended),
        MANIFEST: (json.dumps(manifest, indent=2, ensure_ascii=False) + "\n").encode(),
    }
    sums = "".join(f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in sorted(files.items()))
    files[SUMS] = sums.encode()
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}.new."))
    try:
        beside.chmod(0o755)
        for name, data in files.items():
            with (beside / name).open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        sync_folder(beside)
        replace_folder(beside, target, force=force)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    return load_bundle(target, check_trust=False)


def pack_bundle(folder: Path, packed: Path) -> None:
    """Write the bundle in `folder` as one zip file, whole or not at all; the same bundle gives the same bytes."""
    with whole_file(packed) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry in sorted(folder.iterdir()):
            info = zipfile.ZipInfo(entry.name)
            info.external_attr = 0o644 << 16
            archive.writestr(info, entry.read_bytes(), zipfile.ZIP_DEFLATED)
