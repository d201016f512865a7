"""The bundle: everything a board needs to answer as the desktop did, as a folder or as one zip file.

Files: ``manifest.json``, the model, ``labels.txt``, ``quant_table.json``, a golden input with its expected
answer, and ``SHA256SUMS``, which lists every other file and which ``sha256sum -c`` reads as well. The SHA-256 of
``SHA256SUMS`` is the bundle's own hash. A bundle is data only: loading one runs no code from it, and
everything in it is checked before it is used.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgedefend.combining import MOST_VOTE, Vote
from edgedefend.dct import as_quant_table
from edgedefend.defense import Defense
from edgedefend.errors import BundleError, InputError
from edgedefend.grid import Grid, check_grid_parameters
from edgedefend.noise import MOST_NOISE
from edgedefend.signing import SIGNATURE, Signature, accept_serial, check_signature
from edgedefend.sources import RESIZE_RULES, decode_image
from edgedefend.suspicion import SuspicionThreshold

__all__ = [
    "FORMAT_VERSION",
    "MANIFEST",
    "PRECISIONS",
    "SUMS",
    "Bundle",
    "Golden",
    "InputSpec",
    "load_bundle",
    "parse_sums",
]

FORMAT_VERSION = 1
MANIFEST, SUMS = "manifest.json", "SHA256SUMS"
PRECISIONS = ("fp32", "fp16", "dynamic", "int8")
# The most draws that a bundle may ask for, each of which is a run of the model; `serve` answers no more either.
_MAX_DRAWS = 32
# Generous for models, small enough that a hostile zip cannot fill a board's memory with anything else.
_MAX_MODEL, _MAX_OTHER, _MAX_SMALL = 1 << 30, 64 << 20, 1 << 20
_SUM_LINE = re.compile(r"([0-9a-f]{64})  ([A-Za-z0-9][A-Za-z0-9._-]{0,99})\Z")


@dataclass(frozen=True)
class InputSpec:
    """What the model wants to see: the model's input is ``pixel * scale + offset``, one of each a channel."""

    height: int
    width: int
    channel_order: str
    resize: str
    scale: tuple[float, float, float]
    offset: tuple[float, float, float]


@dataclass(frozen=True)
class Golden:
    """One input with the answer that the desktop gave.

    `image` and `defended` are uint8 (height, width, 3) RGB at the model's size, `defended` made from `image`
    with `grid`; `output` is the model's float32 (classes,) answer to `defended`; an answer within `tolerance`
    of it (absolute, the same unit) is the same answer.
    """

    image: NDArray[np.uint8]
    defended: NDArray[np.uint8]
    grid: Grid
    output: NDArray[np.float32]
    tolerance: float


class _Folder:
    """A bundle's files in a folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, name: str, limit: int) -> bytes:
        path = self.path / name
        if path.is_symlink() or not path.is_file():
            raise BundleError(f"{self.path}: {name} is missing: copy the bundle again")
        if path.stat().st_size > limit:
            raise BundleError(f"{self.path}: {name} is larger than {limit >> 20} MB")
        return path.read_bytes()

    def read_if_there(self, name: str) -> bytes | None:
        return self.read(name, _MAX_SMALL) if os.path.lexists(self.path / name) else None

    def digest(self, name: str) -> str:
        path = self.path / name
        if path.is_symlink() or not path.is_file():
            raise BundleError(f"{self.path}: {name} is missing: copy the bundle again")
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()


class _Packed:
    """A bundle's files in a zip file. Nothing is extracted, so no name in it can reach outside."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, ValueError) as error:
            raise BundleError(f"{path}: neither a bundle folder nor a packed bundle ({error})") from None

    def read(self, name: str, limit: int) -> bytes:
        try:
            with self._zip.open(name) as file:
                data = file.read(limit + 1)
        except KeyError:
            raise BundleError(f"{self.path}: {name} is missing: copy the bundle again") from None
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
            raise BundleError(f"{self.path}: {name} is damaged ({error}): copy the bundle again") from None
        if len(data) > limit:
            raise BundleError(f"{self.path}: {name} is larger than {limit >> 20} MB")
        return data

    def read_if_there(self, name: str) -> bytes | None:
        return self.read(name, _MAX_SMALL) if name in self._zip.namelist() else None

    def digest(self, name: str) -> str:
        return hashlib.sha256(self.read(name, _MAX_MODEL)).hexdigest()


def parse_sums(text: str, where: str) -> dict[str, str]:
    """Parse the content of SHA256SUMS into ``{file name: digest}``.

    Raises
    ------
    BundleError
        If a line is not ``<64 hex digits><two spaces><plain file name>``, or a name comes twice.
    """
    sums: dict[str, str] = {}
    lines = text.split("\n")
    if lines[-1] != "":
        raise BundleError(f"{where}: {SUMS} is cut short: copy the bundle again")
    for number, line in enumerate(lines[:-1], 1):
        match = _SUM_LINE.match(line)
        if not match or match[2] in sums or match[2] == SUMS:
            raise BundleError(f"{where}: {SUMS} is damaged in line {number}: copy the bundle again")
        sums[match[2]] = match[1]
    return sums


class _Fields:
    """Typed reading of a manifest: every miss names the key."""

    def __init__(self, content: Any, where: str, prefix: str = "") -> None:
        if not isinstance(content, dict):
            raise BundleError(f"{where}: {MANIFEST}: {prefix or 'the whole'} must be an object")
        self.content, self.where, self.prefix = content, where, prefix

    def fail(self, key: str, expected: str) -> BundleError:
        return BundleError(
            f"{self.where}: {MANIFEST}: {self.prefix}{key} is {self.content.get(key)!r}, expected {expected}"
        )

    def section(self, key: str) -> _Fields:
        return _Fields(self.content.get(key), self.where, f"{self.prefix}{key}.")

    def text(self, key: str, choices: tuple[str, ...] = ()) -> str:
        value = self.content.get(key)
        if not isinstance(value, str) or (choices and value not in choices):
            raise self.fail(key, f"one of {', '.join(choices)}" if choices else "a text")
        return value

    def whole(self, key: str, low: int, high: int) -> int:
        value = self.content.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self.fail(key, f"a whole number from {low} to {high}")
        return value

    def number(self, key: str, low: float, high: float) -> float:
        value = self.content.get(key)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
            raise self.fail(key, f"a number from {low:g} to {high:g}")
        return float(value)

    def fraction(self, key: str) -> float:
        return self.number(key, 0, 1)

    def triple(self, key: str) -> tuple[float, float, float]:
        value = self.content.get(key)
        if (
            not isinstance(value, list)
            or len(value) != 3
            or not all(isinstance(item, (int, float)) and np.isfinite(item) for item in value)
        ):
            raise self.fail(key, "a list of 3 numbers")
        return float(value[0]), float(value[1]), float(value[2])


@dataclass(frozen=True)
class Bundle:
    """A bundle whose every file has the hash that it was written with.

    Attributes
    ----------
    path : Path
        The folder or the packed file.
    manifest : dict
        The content of manifest.json, its used parts checked.
    model_name, precision, weights, output : str
        `precision` is one of `PRECISIONS`; `output` is "logits" or "probabilities"; `weights` "random" means
        that no accuracy of this model means anything.
    input : InputSpec
    labels : tuple of str
        One a class.
    quant_table : float32 (8, 8)
    num_steps, distort_limit : int, float
        Of the grid, see `edgedefend.defense.Defense`.
    draws : int
        How many draws of the defence an answer is the mean of, unless the caller says otherwise; 1 in older bundles.
    vote : Vote
        Whose answer counts beside the draws; nobody's in older bundles.
    passes : int
        Of the quantiser, see `edgedefend.defense.Defense`; 1 in older bundles.
    noise_std : float
        See `edgedefend.defense.Defense`; 0 in older bundles.
    sha256 : str
        The bundle's own hash: that of SHA256SUMS.
    signature : Signature, optional
        Who signed it, checked; None where this machine trusts no key and so did not look.
    suspicion : SuspicionThreshold, optional
        What `convert` learned about how far answers to clean pictures disagree; older bundles have none.
    """

    path: Path
    manifest: dict[str, Any]
    model_name: str
    precision: str
    weights: str
    output: str
    input: InputSpec
    labels: tuple[str, ...]
    quant_table: NDArray[np.float32]
    num_steps: int
    distort_limit: float
    draws: int
    vote: Vote
    passes: int
    noise_std: float
    sha256: str
    signature: Signature | None
    suspicion: SuspicionThreshold | None
    _store: _Folder | _Packed

    def defense(self, *, rng: np.random.Generator | None = None) -> Defense:
        """Return the bundle's defence; `rng` makes it predictable, for tests and evaluation only."""
        return Defense.of(self, rng=rng)

    def model(self) -> Path | bytes:
        """Return the .tflite model: its path in a folder (it can be mapped), its content in a packed bundle."""
        name = self.manifest["model"]["file"]
        if isinstance(self._store, _Folder):
            return self.path / name
        return self._store.read(name, _MAX_MODEL)

    def golden(self) -> Golden:
        """Load the golden input and its expected answer.

        Raises
        ------
        BundleError
            If a part of it is not what it should be.
        """
        where = str(self.path)
        try:
            content = json.loads(self._store.read("golden.json", _MAX_OTHER))
            size = (self.input.height, self.input.width, 3)
            image = decode_image(self._store.read("golden_image.png", _MAX_OTHER), f"{where}: golden_image.png")
            defended = decode_image(
                self._store.read("golden_defended.png", _MAX_OTHER), f"{where}: golden_defended.png"
            )
            grid = Grid(np.asarray(content["rows"], np.int32), np.asarray(content["cols"], np.int32))
            output = np.asarray(content["output"], np.float32)
            tolerance = float(content["tolerance"])
        except InputError as error:
            raise BundleError(str(error)) from None
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            raise BundleError(f"{where}: golden.json is not as expected ({error})") from None
        if (
            image.shape != size
            or defended.shape != size
            or grid.rows.shape != size[:1]
            or grid.cols.shape != size[1:2]
            or output.shape != (len(self.labels),)
        ):
            raise BundleError(f"{where}: the golden input does not have the model's size")
        return Golden(image, defended, grid, output, tolerance)


def _parse_manifest(data: bytes, where: str) -> dict[str, Any]:
    try:
        manifest = json.loads(data)
    except ValueError:
        raise BundleError(f"{where}: {MANIFEST} is not JSON: copy the bundle again") from None
    fields = _Fields(manifest, where)
    version = fields.whole("format_version", 1, 10**6)
    if version > FORMAT_VERSION:
        raise BundleError(
            f"{where}: the bundle has format_version {version}, this edgedefend reads up to {FORMAT_VERSION}: "
            "pip install --upgrade edgedefend"
        )
    return dict(manifest)


def load_bundle(path: str | os.PathLike[str], *, check_trust: bool = True) -> Bundle:
    """Load a bundle: check its signature if this machine trusts keys, every file's hash, every field that is used.

    Parameters
    ----------
    path : path-like
        The bundle's folder, or the zip file that ``convert --pack`` wrote.
    check_trust : bool
        False where a bundle is made or sent, not run: signatures are then not looked at.

    Raises
    ------
    BundleError
        If there is no bundle, a file is missing or has changed, the format is newer than this program, a
        field is not what it should be, or this machine must not run it (see `edgedefend.signing`).
    """
    root = Path(path)
    where = str(root)
    if not root.exists():
        raise BundleError(f"{where}: no such bundle: expected a folder or a packed bundle that `convert` wrote")
    try:
        store = _Folder(root) if root.is_dir() else _Packed(root)
        if isinstance(store, _Folder) and not (root / MANIFEST).exists():
            inside = sorted(entry.parent.name for entry in root.glob(f"*/{MANIFEST}"))
            hint = f"; it holds the bundles {', '.join(inside)}: name one of them" if inside else ""
            raise BundleError(f"{where}: not a bundle (no {MANIFEST}){hint}")
        # The version first: a newer format may name its sums differently, and "too new" helps more than "damaged".
        manifest_bytes = store.read(MANIFEST, _MAX_OTHER)
        manifest = _parse_manifest(manifest_bytes, where)
        sums_bytes = store.read(SUMS, _MAX_OTHER)
        sums = parse_sums(sums_bytes.decode("utf-8", errors="replace"), where)
        signature = check_signature(lambda: store.read_if_there(SIGNATURE), sums_bytes, where) if check_trust else None
        for name, expected in sums.items():
            actual = hashlib.sha256(manifest_bytes).hexdigest() if name == MANIFEST else store.digest(name)
            if actual != expected:
                raise BundleError(f"{where}: {name} has changed since the bundle was written: copy the bundle again")
        bundle = _build(root, store, manifest, sums, hashlib.sha256(sums_bytes).hexdigest(), signature)
        if signature is not None:
            accept_serial(signature.serial)
        return bundle
    except OSError as error:
        raise BundleError(f"{where}: {(error.strerror or str(error)).lower()}") from None


def _build(
    root: Path,
    store: _Folder | _Packed,
    manifest: dict[str, Any],
    sums: dict[str, str],
    sha256: str,
    signature: Signature | None,
) -> Bundle:
    """Check the manifest's fields and the small files; the hashes have been checked."""
    where = str(root)
    fields = _Fields(manifest, where)
    model, inputs, defense = fields.section("model"), fields.section("input"), fields.section("defense")
    needed = {MANIFEST, model.text("file"), "labels.txt", "quant_table.json"}
    needed |= {"golden.json", "golden_image.png", "golden_defended.png"}
    if missing := sorted(needed - sums.keys()):
        raise BundleError(f"{where}: {SUMS} does not list {missing[0]}: copy the bundle again")
    spec = InputSpec(
        inputs.whole("height", 1, 4096),
        inputs.whole("width", 1, 4096),
        inputs.text("channel_order", ("RGB", "BGR")),
        inputs.text("resize", RESIZE_RULES),
        inputs.triple("scale"),
        inputs.triple("offset"),
    )
    distort_limit = defense.content.get("distort_limit")
    num_steps = defense.whole("num_steps", 1, 1024)
    try:
        check_grid_parameters(num_steps, distort_limit)  # type: ignore[arg-type]
        table = as_quant_table(json.loads(store.read("quant_table.json", _MAX_OTHER))["quant_table"])
        labels = tuple(store.read("labels.txt", _MAX_OTHER).decode("utf-8").split("\n")[:-1])
    except InputError as error:
        raise BundleError(f"{where}: {error}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{where}: quant_table.json or labels.txt is not as expected ({error})") from None
    if len(labels) != model.whole("classes", 2, 1_000_000):
        raise BundleError(
            f"{where}: labels.txt has {len(labels)} lines, {MANIFEST} says {model.content['classes']} classes"
        )
    return Bundle(
        root,
        manifest,
        model.text("name"),
        model.text("precision", PRECISIONS),
        model.text("weights"),
        model.text("output", ("logits", "probabilities")),
        spec,
        labels,
        table,
        num_steps,
        float(distort_limit),  # type: ignore[arg-type]
        # Optional: a reader that does not know them takes one draw, one pass, no noise, no vote: the format stays 1.
        defense.whole("draws", 1, _MAX_DRAWS) if "draws" in defense.content else 1,
        _vote(defense),
        defense.whole("passes", 1, 8) if "passes" in defense.content else 1,
        defense.number("noise_std", 0, MOST_NOISE) if "noise_std" in defense.content else 0.0,
        sha256,
        signature,
        _suspicion(defense),
        store,
    )


def _vote(defense: _Fields) -> Vote:
    """Read the optional ``defense.undefended_vote`` or ``defense.milder_vote``."""
    if "milder_vote" not in defense.content:
        share = defense.number("undefended_vote", 0, MOST_VOTE) if "undefended_vote" in defense.content else 0.0
        return Vote(share)
    if "undefended_vote" in defense.content:
        raise defense.fail("milder_vote", "the only vote: there is an undefended_vote as well")
    fields = defense.section("milder_vote")
    vote = Vote(
        fields.number("share", 0, MOST_VOTE),
        fields.number("noise_std", 0, MOST_NOISE),
        fields.whole("draws", 1, _MAX_DRAWS),
    )
    if not vote.milder:
        raise fields.fail("noise_std" if vote.share else "share", "a number above 0")
    return vote


def _suspicion(defense: _Fields) -> SuspicionThreshold | None:
    """Read the optional ``defense.suspicion``: a reader that does not know it passes over it, so the format stays 1."""
    if "suspicion" not in defense.content:
        return None
    fields = defense.section("suspicion")
    return SuspicionThreshold(
        fields.fraction("threshold"),
        fields.whole("draws", 2, 256),
        fields.fraction("false_alarms"),
        fields.whole("n", 1, 10**9),
    )
