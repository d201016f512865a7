import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgedefend import jit
from tests.conftest import EMULATED, ROOT
from tests.test_bundle import edit_manifest

DEFEND = (
    "from edgedefend.warmup import cache_statistics, run_every_variant\nrun_every_variant(); print(*cache_statistics())"
)


KERNELS = 5  # that Python code calls


def run(env: dict[str, str], code: str = DEFEND) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        env={**EMULATED, "PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **env},
    )


def statistics(result: subprocess.CompletedProcess[str]) -> tuple[int, int]:
    assert result.returncode == 0, result.stderr
    hits, misses = map(int, result.stdout.split())
    return hits, misses


@pytest.fixture(scope="module")
def warm(tmp_path_factory) -> Path:
    """A cache with every kernel for this machine, as `edgedefend warmup --out` writes it."""
    folder = tmp_path_factory.mktemp("kernels") / "warm"
    from edgedefend.warmup import warm_up_for

    assert warm_up_for("host", folder) == KERNELS
    return folder


def test_after_warming_up_nothing_is_compiled(warm):
    assert statistics(run({"NUMBA_CACHE_DIR": str(warm)})) == (KERNELS, 0)


@pytest.mark.parametrize("variable", ["CACHE_DIRECTORY", "XDG_CACHE_HOME", "HOME"])
def test_each_place_for_the_cache(warm, tmp_path, variable):
    place = {
        "CACHE_DIRECTORY": tmp_path / "numba",
        "XDG_CACHE_HOME": tmp_path / "edgedefend/numba",
        "HOME": tmp_path / ".cache/edgedefend/numba",
    }[variable]
    shutil.copytree(warm, place)
    assert statistics(run({variable: str(tmp_path)})) == (KERNELS, 0)


def test_a_service_user_with_a_read_only_install_uses_prebuilt_kernels(warm):
    # Nobody can make a folder in /proc, not even root: the user without a home in one.
    nowhere = {"HOME": "/proc/none", "NUMBA_CACHE_DIR": "/proc/none/cache", "CACHE_DIRECTORY": "/proc/none"}
    before = sorted((entry.name, entry.stat().st_mtime_ns) for entry in warm.iterdir())
    assert statistics(run({**nowhere, "EDGEDEFEND_KERNELS": str(warm)})) == (KERNELS, 0)
    assert sorted((entry.name, entry.stat().st_mtime_ns) for entry in warm.iterdir()) == before


def test_with_nowhere_to_read_or_write_it_still_works():
    nowhere = {"HOME": "/proc/none", "NUMBA_CACHE_DIR": "/proc/none/cache"}
    code = (
        "import numpy as np; from edgedefend import remap, sample_grid\n"
        "remap(np.zeros((4, 4, 3), np.uint8), sample_grid(4, 4))\n"
        "from edgedefend.warmup import cache_statistics; print(*cache_statistics())"
    )
    assert statistics(run(nowhere, code)) == (0, 2)


CLASSIFY = """
import sys
from edgedefend.cli import main
try:
    main(sys.argv[1:])
finally:
    from edgedefend.warmup import cache_statistics
    print(*cache_statistics())
    print("ready to compile" if "numba.np.linalg" in sys.modules else "not ready to compile")
"""


def test_a_real_classify_after_warming_up_compiles_nothing(warm, tmp_path, color_bundles, color_photographs):
    """In a fresh process of a user without a home, from an install that cannot be written, with other draws."""
    install = tmp_path / "install"
    shutil.copytree(ROOT / "edgedefend", install / "edgedefend", ignore=shutil.ignore_patterns("__pycache__"))
    for entry in [install, *install.rglob("*")]:
        entry.chmod(0o555 if entry.is_dir() else 0o444)
    before = sorted(str(entry) for entry in install.rglob("*"))
    picture = color_photographs.parent / "4.png"
    noisy = tmp_path / "noisy"
    shutil.copytree(color_bundles / "int8", noisy)
    edit_manifest(noisy, "defense", "noise_std", value=5)
    # Grid and defence, and the noise where there is some.
    for bundle, loaded in ((color_bundles / "fp32", 2), (color_bundles / "int8", 2), (noisy, 3)):
        for draws in ("1", "3"):
            result = subprocess.run(
                [sys.executable, "-c", CLASSIFY, "classify", "--draws", draws, bundle, picture],
                capture_output=True,
                text=True,
                check=False,
                cwd="/",
                env={
                    "PATH": os.environ["PATH"],
                    "PYTHONPATH": str(install),
                    "HOME": "/proc/none",
                    "NUMBA_CACHE_DIR": "/proc/none/cache",
                    "EDGEDEFEND_KERNELS": str(warm),
                    "PYTHONDONTWRITEBYTECODE": "1",  # root may write anywhere
                },
            )
            assert result.returncode == 0, result.stderr
            assert result.stderr == ""
            assert "green" in result.stdout
            # All from the cache; nothing was compiled, and Numba never made itself ready for it.
            assert result.stdout.splitlines()[-2:] == [f"{loaded} 0", "not ready to compile"]
    assert sorted(str(entry) for entry in install.rglob("*")) == before
    for entry in [install, *install.rglob("*")]:
        entry.chmod(0o755)


SMALL = (
    "import numpy as np; from edgedefend import remap, sample_grid\n"
    "remap(np.zeros((4, 4, 3), np.uint8), sample_grid(4, 4)); print('answered')"
)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("python", "3.1", "made with python 3.1"),
        ("numba", "0.1", "made with numba 0.1"),
        ("kernels", "0" * 32, "made with another version of edgedefend"),
        ("machine", "riscv64", "they are for riscv64"),
        ("cpu", "z80", "they are for the CPU 'z80'"),
        (None, None, "target.json is damaged"),
    ],
)
def test_kernels_that_do_not_fit_are_named_and_not_used(warm, tmp_path, key, value, message):
    shutil.copytree(warm, tmp_path / "k")
    facts = json.loads((warm / "target.json").read_text())
    (tmp_path / "k/target.json").write_text(json.dumps({**facts, key: value}) if key else "{")
    result = run({"EDGEDEFEND_KERNELS": str(tmp_path / "k"), "HOME": str(tmp_path)}, SMALL)
    assert result.stdout == "answered\n", result.stderr
    assert message in result.stderr
    assert result.stderr.strip().endswith("compiling them here")
    assert len(result.stderr.splitlines()) == 1


def test_a_damaged_cache_file_is_compiled_anew(warm, tmp_path):
    """A power cut leaves a file of zeros."""
    shutil.copytree(warm, tmp_path / "k")
    for entry in (tmp_path / "k").glob("*.nbc"):
        entry.write_bytes(bytes(entry.stat().st_size))
    result = run({"NUMBA_CACHE_DIR": str(tmp_path / "k")}, SMALL)
    assert result.stdout == "answered\n", result.stderr
    assert "is damaged" in result.stderr
    assert run({"NUMBA_CACHE_DIR": str(tmp_path / "k")}, SMALL).stderr == ""


def test_a_folder_that_others_can_write_is_passed_over(warm, tmp_path, monkeypatch):
    shared = tmp_path / "shared"
    shutil.copytree(warm, shared)
    shared.chmod(0o777)
    for variable in ("CACHE_DIRECTORY", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(shared))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert jit.cache_folder() == tmp_path / "home" / ".cache" / "edgedefend" / "numba"
    monkeypatch.setenv("EDGEDEFEND_KERNELS", str(shared))
    assert jit.prebuilt_folder() is None
    shared.chmod(0o700)
    assert jit.cache_folder() == shared
    assert jit.prebuilt_folder() == shared


def test_parts_of_a_raspberry_pi_4(tmp_path):
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nCPU implementer\t: 0x41\nCPU part\t: 0xd08\n" * 4)
    assert jit.cpu_parts(tmp_path / "cpuinfo") == {"0xd08"}
    assert jit.cpu_parts(tmp_path / "none") == set()


def test_kernels_for_a_board_are_arm_code_and_not_used_here(tmp_path):
    from edgedefend.errors import InputError
    from edgedefend.warmup import warm_up_for

    with pytest.raises(InputError, match="unknown target 'pentium'"):
        warm_up_for("pentium", tmp_path / "k")
    assert warm_up_for("cortex-a72", tmp_path / "k") == KERNELS
    assert json.loads((tmp_path / "k/target.json").read_text())["machine"] == "aarch64"
    data = next((tmp_path / "k").glob("fused.defend_into*.nbc")).read_bytes()
    at = data.index(b"\x7fELF")
    assert int.from_bytes(data[at + 18 : at + 20], "little") == 183  # EM_AARCH64
    result = run({"EDGEDEFEND_KERNELS": str(tmp_path / "k"), "HOME": str(tmp_path)}, SMALL)
    assert result.stdout == "answered\n"
    if os.uname().machine != "aarch64":
        assert "they are for aarch64, this is" in result.stderr
