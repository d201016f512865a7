import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgedefend import jit
from tests.conftest import ROOT

DEFEND = (
    "import numpy as np; from edgedefend import Defense, load_quant_table; from edgedefend import fused\n"
    "Defense(load_quant_table('feature-distillation'))(np.zeros((16, 16, 3), np.uint8))\n"
    "print(sum(fused.defend_into.stats.cache_hits.values()))"
)


def run(env: dict[str, str], user: int | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", DEFEND],
        capture_output=True,
        text=True,
        check=False,
        user=user,
        cwd="/",
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1", **env},
    )


def test_second_process_takes_the_kernel_from_the_cache(tmp_path):
    env = {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    first, second = run(env), run(env)
    assert first.stdout.strip() == "0", first.stderr
    assert second.stdout.strip() == "1", second.stderr


@pytest.mark.parametrize("variable", ["CACHE_DIRECTORY", "XDG_CACHE_HOME", "HOME"])
def test_each_place_for_the_cache(tmp_path, variable):
    assert run({variable: str(tmp_path)}).returncode == 0
    assert list(tmp_path.rglob("*.nbi"))


def test_a_service_user_with_nowhere_to_write_still_works():
    # Nobody can make a folder in /proc, not even root: the read-only install and the user without a home in one.
    result = run({"HOME": "/proc/none", "NUMBA_CACHE_DIR": "/proc/none/cache", "CACHE_DIRECTORY": "/proc/none"})
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "0"


def test_a_folder_that_others_can_write_is_passed_over(tmp_path, monkeypatch):
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    for variable in ("CACHE_DIRECTORY", "XDG_CACHE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(shared))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert jit.cache_folder() == tmp_path / "home" / ".cache" / "edgedefend" / "numba"
    shared.chmod(0o700)
    assert jit.cache_folder() == shared
    assert Path(shared).stat().st_mode & 0o777 == 0o700
