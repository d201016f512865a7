"""What may be imported on a board, looked at in a fresh interpreter."""

import subprocess
import sys

import pytest

HEAVY = (
    "cryptography",
    "tensorflow",
    "keras",
    "matplotlib",
    "scipy",
    "skimage",
    "foolbox",
    "pyinfra",
    "convert",
    "bench.attacks",
)


def loaded_after(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint('\\n'.join(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(result.stdout.split())


def test_the_package_alone_is_light():
    modules = loaded_after("import edgedefend")
    assert not modules & {*HEAVY, "numba", "llvmlite", "cv2", "click", "ai_edge_litert"}
    assert "numpy" in modules


@pytest.mark.parametrize(
    "module",
    [
        "edgedefend.cli",
        "edgedefend.classifier",
        "edgedefend.commands.classify",
        "edgedefend.commands.verify",
        "edgedefend.commands.show",
        "edgedefend.dataset",
        "edgedefend.stream",
        "edgedefend.server",
        "edgedefend.commands.serve",
        "bench.commands",
        "bench.accuracy",
        "bench.latency",
        "bench.throughput",
    ],
)
def test_a_board_needs_nothing_of_the_desktop(module):
    assert not loaded_after(f"import {module}") & set(HEAVY)


def test_help_imports_no_command():
    modules = loaded_after(
        "from click.testing import CliRunner\nfrom edgedefend.cli import cli\n"
        "assert 'classify' in CliRunner().invoke(cli, ['--help']).output"
    )
    assert not modules & {*HEAVY, "numba", "cv2", "edgedefend.commands.classify"}
