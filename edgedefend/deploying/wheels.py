"""What a board installs: a wheel of this very edgedefend, and the wheels of what it needs that fit the board."""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from urllib.parse import unquote, urlsplit

from edgedefend.errors import EdgeDefendError, InputError

__all__ = ["choose_wheels", "write_own_wheel"]

# What runs on a board; `convert` stays on the desktop.
PACKAGES = ("edgedefend", "bench", "firmware_configs")
_OLDEST_GLIBC = {"aarch64": 17, "x86_64": 12}


def write_own_wheel(folder: Path) -> Path:
    """Write a wheel of the edgedefend that runs here into `folder`, byte for byte the same every time.

    It is made from the imported files, whether they come from a checkout or from an installed wheel: no build
    system, no network.
    """
    import edgedefend

    root = Path(edgedefend.__file__).parent.parent
    distribution = importlib.metadata.distribution("edgedefend")
    version = edgedefend.__version__
    name, info = f"edgedefend-{version}-py3-none-any.whl", f"edgedefend-{version}.dist-info"
    files: dict[str, bytes] = {}
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                files[path.relative_to(root).as_posix()] = path.read_bytes()
    metadata = distribution.read_text("METADATA") or ""
    files[f"{info}/METADATA"] = metadata.encode()
    files[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: edgedefend\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files[f"{info}/entry_points.txt"] = b"[console_scripts]\nedgedefend = edgedefend.cli:main\n"
    lines = [f"{path},sha256={_record_hash(data)},{len(data)}" for path, data in files.items()]
    files[f"{info}/RECORD"] = "\n".join([*lines, f"{info}/RECORD,,", ""]).encode()
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for path_name, data in files.items():
            entry = zipfile.ZipInfo(path_name, (1980, 1, 1, 0, 0, 0))
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, data)
    wheel = folder / name
    wheel.write_bytes(content.getvalue())
    return wheel


def _record_hash(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def platforms(machine: str, glibc: tuple[int, int]) -> list[str]:
    """Return the platform tags whose wheels run on a board, newest first."""
    tags = [f"manylinux_2_{minor}_{machine}" for minor in range(glibc[1], _OLDEST_GLIBC[machine] - 1, -1)]
    return [*tags, f"manylinux2014_{machine}", f"linux_{machine}"]


def choose_wheels(
    own: Path, pins: list[str], wheelhouse: Path, *, python: str, machine: str, glibc: tuple[int, int]
) -> list[Path]:
    """Return the files of `wheelhouse` that a board needs besides `own`, as pip resolves them.

    Parameters
    ----------
    own : Path
        The wheel of edgedefend.
    pins : list of str
        Further requirements, e.g. "numba==0.61.0".
    python, machine, glibc
        Of the board: "3.11", "aarch64", (2, 36).

    Raises
    ------
    InputError
        If something is missing in the wheelhouse.
    """
    if not wheelhouse.is_dir():
        raise InputError(f"{wheelhouse}: no such folder: expected one with the wheels for the boards")
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--ignore-installed", "--no-index"]
    command += ["--disable-pip-version-check", "--find-links", str(wheelhouse), "--only-binary=:all:", "--report", "-"]
    command += ["--target", str(own.parent / "nowhere"), "--python-version", python, "--implementation", "cp"]
    for tag in platforms(machine, glibc):
        command += ["--platform", tag]
    # pip evaluates "python_version < …" for the Python it runs in, not for the board's.
    more = ["tomli>=2", "exceptiongroup>=1"] if python == "3.10" else []
    if python in ("3.10", "3.11", "3.12"):
        more.append("typing-extensions>=4")
    done = subprocess.run(
        [*command, str(own), *pins, *more],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.startswith("ERROR: ")] or [
            done.stderr or "pip failed"
        ]
        raise InputError(
            f"{wheelhouse}: not all wheels for Python {python} on {machine} (glibc {glibc[0]}.{glibc[1]}) are there: "
            f"{said[-1].removeprefix('ERROR: ').strip()}"
        )
    try:
        urls = [item["download_info"]["url"] for item in json.loads(done.stdout)["install"]]
    except (ValueError, KeyError, TypeError) as error:
        raise EdgeDefendError(f"pip's report cannot be read ({error}): pip install --upgrade pip") from None
    files = [Path(unquote(urlsplit(url).path)) for url in urls]
    return sorted(file for file in files if file.name != own.name)
