"""Labelled photographs: a CSV, a folder of class folders, or the samples that an installed package carries."""

from __future__ import annotations

import csv
import importlib.util
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgedefend.errors import InputError

__all__ = ["Dataset", "Photograph", "load_dataset"]

SAMPLE = "sample"
_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}


@dataclass(frozen=True)
class Photograph:
    """One labelled picture; `target` is the class a targeted attack aims at, None where the data names none."""

    path: Path
    label: int
    target: int | None = None


@dataclass(frozen=True)
class Dataset:
    """Labelled photographs and where they came from."""

    name: str
    photographs: tuple[Photograph, ...]

    def __len__(self) -> int:
        return len(self.photographs)

    def __iter__(self) -> Iterator[Photograph]:
        return iter(self.photographs)

    def first(self, count: int | None) -> Dataset:
        """Return the first `count` photographs, all of them for None."""
        return self if count is None else Dataset(self.name, self.photographs[:count])


def load_dataset(spec: str | os.PathLike[str], labels: Sequence[str]) -> Dataset:
    """Load a data set.

    Parameters
    ----------
    spec : str or path-like
        A CSV with the columns ``file,label[,target]`` (paths relative to it, classes 0-based), a folder with
        one folder a class (named by the class's number or label, or as many as there are classes, in sorted
        order), or ``"sample"`` for the 20 ImageNet photographs that the package foolbox carries.
    labels : sequence of str
        The model's labels: a class outside of them is refused.

    Raises
    ------
    InputError
        If there is nothing there, a line is wrong or a label is not one of the model's.
    """
    text = os.fspath(spec)
    path = Path(text)
    if text == SAMPLE:
        photographs = _sample(len(labels))
    elif path.is_dir():
        photographs = _class_folders(path, labels)
    elif path.is_file():
        photographs = _csv(path, len(labels))
    else:
        raise InputError(f"{text}: no such data: expected a CSV, a folder of class folders, or 'sample'")
    if not photographs:
        raise InputError(f"{text}: holds no photographs")
    return Dataset(text if text == SAMPLE else path.name, tuple(photographs))


def _csv(path: Path, classes: int) -> list[Photograph]:
    photographs = []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if not reader.fieldnames or not {"file", "label"} <= set(reader.fieldnames):
                raise InputError(f"{path}: line 1: expected a header with the columns file,label[,target]")
            for row in reader:
                where = f"{path}: line {reader.line_num}"
                label = _class_number(row["label"], classes, f"{where}: label")
                text = row.get("target")
                target = _class_number(text, classes, f"{where}: target") if text else None
                if target == label:
                    raise InputError(f"{where}: target {target} is the label itself")
                file_path = path.parent / (row["file"] or "")
                if not file_path.is_file():
                    raise InputError(f"{where}: no such file: {row['file']}")
                photographs.append(Photograph(file_path, label, target))
    except OSError as error:
        raise InputError(f"{path}: {(error.strerror or str(error)).lower()}") from None
    except (csv.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not a CSV text file ({error})") from None
    return photographs


def _class_number(text: str | None, classes: int, what: str) -> int:
    try:
        number = int(text or "")
    except ValueError:
        number = -1
    if not 0 <= number < classes:
        raise InputError(f"{what} is {text!r}, expected a class from 0 to {classes - 1}")
    return number


def _class_folders(path: Path, labels: Sequence[str]) -> list[Photograph]:
    folders = sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    if not folders:
        raise InputError(f"{path}: expected one folder a class with photographs in it")
    by_label = {label.lower(): index for index, label in reversed(list(enumerate(labels)))}
    photographs = []
    for position, folder in enumerate(folders):
        name = folder.name
        if name.isdecimal():
            label = _class_number(name, len(labels), f"{folder}: the folder's name")
        elif name.lower() in by_label:
            label = by_label[name.lower()]
        elif len(folders) == len(labels):
            label = position
        else:
            raise InputError(
                f"{folder}: the folder is named neither by a class number (0 to {len(labels) - 1}) nor by a label "
                f"of the model, and there are {len(folders)} folders for {len(labels)} classes"
            )
        photographs += [
            Photograph(file, label) for file in sorted(folder.iterdir()) if file.suffix.lower() in _SUFFIXES
        ]
    return photographs


def _sample(classes: int) -> list[Photograph]:
    found = importlib.util.find_spec("foolbox")
    if found is None or not found.submodule_search_locations:
        raise InputError("the sample photographs come with the package foolbox: pip install 'edgedefend[convert]'")
    if classes != 1000:
        raise InputError(f"the sample photographs have ImageNet's 1000 classes, the model has {classes}: give --data")
    folder = Path(found.submodule_search_locations[0]) / "data"
    photographs = []
    for file in sorted(folder.glob("imagenet_*_*.jpg")):
        match = re.fullmatch(r"imagenet_\d+_(\d+)\.jpg", file.name)
        if match:
            photographs.append(Photograph(file, int(match[1])))
    return photographs
