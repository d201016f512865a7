"""What a release consists of, decided on the desktop for each board; files that are alike are made once."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import platform
import secrets
import shutil
import tempfile
import time
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import edgedefend
from edgedefend.board import BoardConfig, detect, render_unit
from edgedefend.bundle import SUMS, load_bundle, parse_sums
from edgedefend.deploying.facts import BoardFacts
from edgedefend.deploying.targets import Target
from edgedefend.deploying.wheels import choose_wheels, write_own_wheel
from edgedefend.device import Device
from edgedefend.errors import DeviceError, InputError
from edgedefend.signing import SIGNATURE

__all__ = ["Plan", "Workshop"]

# A wheel unpacked and compiled takes about this many times its own size.
_UNPACKED = 4
# What the packages take where the board fetches them itself.
_FROM_INDEX = 900 << 20
_SPARE = 32 << 20


@dataclass(frozen=True)
class Plan:
    """What is to happen on one board. `request` is for the agent; `missing` are the blobs to upload."""

    board: BoardConfig
    request: dict[str, Any] = field(repr=False)
    missing: tuple[str, ...]
    upload_bytes: int
    needed_bytes: int
    same: bool
    differences: tuple[str, ...]

    @property
    def release(self) -> dict[str, Any]:
        """Return what release.json will say."""
        return dict(self.request["release"])


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _file_sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


class Workshop:
    """Makes the parts of releases of one bundle; a context manager that owns a temporary folder.

    Parameters
    ----------
    bundle : path
        Folder or packed bundle; loaded and checked.
    wheelhouse : path, optional
        Folder with wheels for the boards; without it they ask their own index.
    window : float
        Seconds that the service must stay up.
    doctor : bool
        Whether the board's `edgedefend doctor` has a say.
    """

    def __init__(
        self, bundle: Path, *, wheelhouse: Path | None = None, window: float = 5.0, doctor: bool = True
    ) -> None:
        self.wheelhouse = wheelhouse.resolve() if wheelhouse is not None else None
        self.window, self.doctor = window, doctor
        self.bundle = load_bundle(bundle, check_trust=False)
        self._temporary = tempfile.TemporaryDirectory(prefix="edgedefend-deploy-")
        self.folder = Path(self._temporary.name)
        self.blobs = self.folder / "blobs"
        self.blobs.mkdir()
        (self.folder / "own").mkdir()
        self.own_wheel = write_own_wheel(self.folder / "own")
        self._sizes: dict[str, int] = {}
        self._bundle_files = self._take_bundle(bundle)
        self.signed = SIGNATURE in self._bundle_files
        self._wheel_digests = functools.lru_cache(maxsize=None)(_file_sha256)
        self._wheels = functools.lru_cache(maxsize=None)(self._choose)
        self._kernels = functools.lru_cache(maxsize=None)(self._make_kernels)
        self.stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        self.push = secrets.token_hex(8)

    def __enter__(self) -> Workshop:
        return self

    def __exit__(self, *_: object) -> None:
        self._temporary.cleanup()

    def _add(self, path: Path, digest: str | None = None) -> str:
        """Make a file available for upload under its digest."""
        name = digest or _file_sha256(path)
        if name not in self._sizes:
            (self.blobs / name).symlink_to(path.resolve())
            self._sizes[name] = path.stat().st_size
        return name

    def _add_text(self, text: str) -> str:
        digest = _sha256(text.encode())
        path = self.folder / f"text-{digest}"
        path.write_text(text, encoding="utf-8")
        return self._add(path, digest)

    def _take_bundle(self, path: Path) -> dict[str, str]:
        """Return name -> digest of the bundle's listed files: what else lies in the folder is not sent."""
        if path.is_dir():
            folder = path
        else:
            folder = self.folder / "bundle"
            folder.mkdir()
            with zipfile.ZipFile(path) as packed:
                # Plain names only: load_bundle has checked every one of them, and none has a separator.
                names = [SUMS, *parse_sums(packed.read(SUMS).decode(), str(path))]
                for name in [*names, *({SIGNATURE} & set(packed.namelist()))]:
                    (folder / name).write_bytes(packed.read(name))
        sums = parse_sums((folder / SUMS).read_text(encoding="utf-8"), str(path))
        files = {name: self._add(folder / name, digest) for name, digest in sums.items()}
        files[SUMS] = self._add(folder / SUMS)
        if (folder / SIGNATURE).is_file():
            files[SIGNATURE] = self._add(folder / SIGNATURE)
        return files

    def _choose(self, pins: tuple[str, ...], python: str, machine: str, glibc: tuple[int, int]) -> tuple[Path, ...]:
        if self.wheelhouse is None:
            return ()
        board: dict[str, Any] = {"python": python, "machine": machine, "glibc": glibc}
        return tuple(choose_wheels(self.own_wheel, list(pins), self.wheelhouse, **board))

    def _make_kernels(self, target: str) -> dict[str, str]:
        """Return name -> digest of the kernels for a CPU, from this user's cache of them where it has them."""
        from edgedefend import jit
        from edgedefend.warmup import warm_up_for

        facts = json.dumps(jit.target_facts(target), sort_keys=True)
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgedefend" / "kernels"
        folder = base / _sha256(facts.encode())[:24]
        if not (folder / "target.json").is_file():
            base.mkdir(parents=True, exist_ok=True)
            fresh = Path(tempfile.mkdtemp(dir=base, prefix=".new-"))
            try:
                warm_up_for(target, fresh)
                if folder.exists():
                    shutil.rmtree(folder)
                fresh.rename(folder)
            finally:
                shutil.rmtree(fresh, ignore_errors=True)
        return {entry.name: self._add(entry) for entry in sorted(folder.iterdir())}

    def _kernel_target(self, board: BoardConfig, facts: BoardFacts) -> str | None:
        """Return the CPU that the kernels are made for here, None where the board makes them itself.

        Kernels are found again only by the same Python, so a board with another minor version compiles its own.
        """
        from edgedefend import jit

        if facts.python_version != tuple(map(int, platform.python_version_tuple()[:2])):
            return None
        if facts.machine == "aarch64":
            # An unknown board gets the code for its very core where there is one, not the one that all can run.
            narrowest = sorted(jit.TARGETS, key=lambda target: len(jit.TARGETS[target][0]))
            for target in (board.numba_target, *narrowest):
                if target in jit.TARGETS and facts.cpu_parts and facts.cpu_parts <= set(jit.TARGETS[target][0]):
                    return target
        return "host" if facts.machine == platform.machine() else None

    def plan(self, facts: BoardFacts, target: Target) -> Plan:
        """Decide what one board gets.

        Raises
        ------
        DeviceError
            If it does not fit on the board.
        InputError
            If the wheelhouse lacks something, or an option cannot stand in a unit.
        """
        device = Device(Path("/nonexistent"))
        device.__dict__["compatible"] = facts.compatible  # a cached property: this is its value
        board = detect(device)
        unit = render_unit(board, prefix=target.prefix, user=target.user, port=target.port)
        python = ".".join(map(str, facts.python_version))
        cpu = self._kernel_target(board, facts)
        numba = _installed("numba")
        # What checks signatures, and the version of Numba that finds the kernels made here.
        signing = ("cryptography>=42",) if self.signed or facts.trusts_keys else ()
        pins = (f"numba=={numba}", *signing) if cpu is not None and self.wheelhouse is None else signing
        wheels = self._wheels(pins, python, facts.machine, facts.glibc)
        brought = next((wheel.name.split("-")[1] for wheel in wheels if wheel.name.startswith("numba-")), numba)
        kernels = self._kernels(cpu) if cpu is not None and brought == numba else {}
        wheel_digests = {wheel.name: self._add(wheel, self._wheel_digests(wheel)) for wheel in wheels}
        app = self._add(self.own_wheel)
        packages = {
            "python": f"{facts.python} {python}",
            "wheels": wheel_digests,
            "index": [*_requirements(), *pins] if self.wheelhouse is None else None,
        }
        files = {f"bundle/{name}": digest for name, digest in self._bundle_files.items()}
        files |= {f"kernels/{name}": digest for name, digest in kernels.items()}
        files |= {f"wheels/{name}": digest for name, digest in wheel_digests.items()}
        files |= {f"wheels/{self.own_wheel.name}": app, "edgedefend.service": self._add_text(unit)}
        content = {
            "bundle": self.bundle.sha256,
            "signature": self._bundle_files.get(SIGNATURE, ""),
            "app": app,
            "packages": _sha256(json.dumps(packages, sort_keys=True).encode()),
            "kernels": cpu if kernels else "made on the board",
            "unit": files["edgedefend.service"],
            "port": target.port,
        }
        identity = _sha256(json.dumps(content, sort_keys=True).encode())[:12]
        release = {
            **content,
            "hash": identity,
            "name": f"{self.stamp}-{identity}",
            "model": self.bundle.model_name,
            "precision": self.bundle.precision,
            "user": target.user,
            "version": edgedefend.__version__,
            "board": board.name,
        }
        current = next((each for each in facts.releases if each.get("name") == facts.current), {})
        missing = tuple(sorted({digest for digest in files.values() if digest not in facts.blobs}))
        upload = sum(self._sizes[digest] for digest in missing)
        reused = any(each.get("packages") == content["packages"] for each in facts.releases)
        unpacked = 0 if reused else _UNPACKED * sum(self._sizes[each] for each in wheel_digests.values())
        if not reused and self.wheelhouse is None:
            unpacked = _FROM_INDEX
        same = current.get("hash") == identity
        plan = Plan(
            board=board,
            request={
                "action": "push",
                "prefix": target.prefix,
                "push": self.push,
                "window": self.window,
                "doctor": self.doctor,
                "python": facts.python,
                "index": self.wheelhouse is None,
                "pins": list(pins),
                "wheels": [*wheel_digests, self.own_wheel.name],
                "blobs": {digest: name for name, digest in files.items()},
                "files": files,
                "release": release,
            },
            missing=missing,
            upload_bytes=upload,
            needed_bytes=upload + unpacked + _SPARE,
            same=same,
            differences=tuple(_differences(current, release)),
        )
        if not same and plan.needed_bytes > facts.free:
            raise DeviceError(
                f"the disk is full: the release needs {plan.needed_bytes >> 20} MB at {target.prefix}, "
                f"{facts.free >> 20} MB are free"
            )
        return plan


def _differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """Return one line for everything that a push would change."""
    if not old:
        return [f"first release: {new['model']} {new['precision']} (bundle {new['bundle'][:12]}), port {new['port']}"]
    words = {
        "bundle": "bundle",
        "signature": "signature",
        "app": "edgedefend",
        "packages": "packages",
        "kernels": "kernels",
        "unit": "service unit",
        "port": "port",
    }
    lines = []
    for key, word in words.items():
        if old.get(key) != new[key]:
            lines.append(f"{word}: {str(old.get(key))[:20]} -> {str(new[key])[:20]}")
    return lines


def _installed(name: str) -> str:
    from importlib.metadata import version

    return version(name)


def _requirements() -> list[str]:
    """Return what pip is asked for besides edgedefend itself, where the board fetches it."""
    from importlib.metadata import requires

    wanted = [line for line in requires("edgedefend") or [] if "extra ==" not in line]
    if not wanted:
        raise InputError("edgedefend's own metadata is missing here: pip install --force-reinstall edgedefend")
    return sorted(wanted)
