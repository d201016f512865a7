"""A release's Python environment: made new, or taken over from a release with the same packages by hard links."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgedefend.deploying.onboard.basics import run

INSTALL_SECONDS = 3600


def make_venv(venv: Path, python: str) -> None:
    """Make an environment with nothing but pip in it."""
    run([python, "-m", "venv", venv], "making the environment", seconds=INSTALL_SECONDS)


def install_packages(venv: Path, request: dict[str, Any], wheels: Path) -> None:
    """Install edgedefend and all that it needs: the uploaded wheels, or from the index that the board uses."""
    files = [wheels / name for name in request["wheels"]]
    if request["index"]:
        pip(venv, [own_wheel(wheels), *request["pins"]])
    else:
        pip(venv, [*files, "--no-deps", "--no-index"])


def own_wheel(wheels: Path) -> Path:
    """Return edgedefend's own wheel."""
    return next(wheels.glob("edgedefend-*.whl"))


def pip(venv: Path, arguments: Sequence[str | Path]) -> None:
    """Run ``pip install``."""
    command: list[str | Path] = [venv / "bin" / "python", "-m", "pip", "install", "--quiet"]
    command += ["--disable-pip-version-check", "--no-cache-dir", "--no-warn-script-location", "--no-input"]
    run([*command, *arguments], "installing the packages", seconds=INSTALL_SECONDS, env={"PYTHONPATH": ""})


def clone_venv(donor: Path, venv: Path) -> None:
    """Copy an environment by hard links; what names its place in its text is written anew."""
    old, new = os.fsencode(donor), os.fsencode(venv)
    venv.mkdir()
    for entry in os.scandir(donor):
        source, target = Path(entry.path), venv / entry.name
        if entry.is_symlink():
            target.symlink_to(source.readlink())
        elif entry.is_dir():
            _clone_tree(source, target, old, new, texts=entry.name == "bin")
        else:
            _clone_file(source, target, old, new)


def _clone_tree(donor: Path, folder: Path, old: bytes, new: bytes, *, texts: bool) -> None:
    folder.mkdir()
    for entry in os.scandir(donor):
        source, target = Path(entry.path), folder / entry.name
        if entry.is_symlink():
            target.symlink_to(source.readlink())
        elif entry.is_dir():
            _clone_tree(source, target, old, new, texts=False)
        elif texts:
            _clone_file(source, target, old, new)
        else:
            os.link(source, target)


def _clone_file(source: Path, target: Path, old: bytes, new: bytes) -> None:
    content = source.read_bytes()
    if old in content:
        target.write_bytes(content.replace(old, new))
        shutil.copymode(source, target)
    else:
        os.link(source, target)
