"""What may be imported on a board, looked at in a fresh interpreter."""

import subprocess
import sys

import pytest

HEAVY = (
    *("tensorflow", "keras", "matplotlib", "scipy", "skimage", "foolbox", "pyinfra", "convert", "bench.attacks"),
    "pywt",
    *("bench.arm", "capstone", "elftools", "unicorn"),
    *("bench.baselines", "bench.robustness", "bench.tuning", "distributed", "dask", "jsonschema"),
    "cryptography",
)


def loaded_after(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint('\\n'.join(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(result.stdout.split())


def test_the_package_alone_is_light():
    heavy = {*HEAVY, "numba", "llvmlite", "cv2", "click", "ai_edge_litert"}
    assert not loaded_after("import edgedefend") & {*heavy, "numpy"}
    modules = loaded_after("from edgedefend import *\nfrom edgedefend import Defense, remap, quantize, Grid")
    assert not modules & heavy
    assert "numpy" in modules


def test_the_public_names_are_there():
    import edgedefend
    from edgedefend import defense

    assert edgedefend.Defense is defense.Defense
    assert set(edgedefend._HOME) <= set(dir(edgedefend))
    assert all(hasattr(edgedefend, name) for name in edgedefend._HOME)
    assert not hasattr(edgedefend, "nothing")


@pytest.mark.parametrize(
    "module",
    [
        "edgedefend.cli",
        "edgedefend.device",
        "edgedefend.board",
        "edgedefend.board_apply",
        "edgedefend.board_activate",
        "edgedefend.commands.board",
        "edgedefend.commands.doctor",
        "edgedefend.doctor.hardware",
        "edgedefend.doctor.software",
    ],
)
def test_what_looks_at_a_board_needs_no_numpy(module):
    """The doctor runs where NumPy, Numba or the interpreter is broken."""
    assert not loaded_after(f"import {module}") & {*HEAVY, "numpy", "numba", "llvmlite", "cv2", "ai_edge_litert"}


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
        "edgedefend.live",
        "edgedefend.mqtt",
        "edgedefend.commands.run",
        "edgedefend.serving.server",
        "edgedefend.commands.serve",
        "edgedefend.commands.deploy",
        "bench.commands",
        "bench.accuracy",
        "bench.compare",
        "bench.latency",
        "bench.memory",
        "bench.report",
        "bench.serve",
        "bench.soak",
        "bench.live_soak",
        "bench.startup",
        "bench.throughput",
    ],
)
def test_a_board_needs_nothing_of_the_desktop(module):
    assert not loaded_after(f"import {module}") & set(HEAVY)


def test_what_a_deploy_runs_on_a_board_is_the_standard_library_alone():
    """It is sent there before the board has anything else."""
    before = loaded_after("pass")
    modules = loaded_after("import edgedefend.deploying.onboard.agent") - before
    foreign = {name for name in modules if name.partition(".")[0] not in {*sys.stdlib_module_names, "edgedefend"}}
    assert not foreign
    assert {name for name in modules if name.startswith("edgedefend.")} <= {
        "edgedefend.deploying",
        "edgedefend.deploying.onboard",
        *(f"edgedefend.deploying.onboard.{part}" for part in ("agent", "basics", "environment")),
        *(f"edgedefend.deploying.onboard.{part}" for part in ("health", "releases", "service")),
    }


def test_planning_a_deploy_needs_no_pyinfra():
    modules = loaded_after("import edgedefend.deploying.release, edgedefend.deploying.targets")
    assert not modules & {"pyinfra", "gevent", "paramiko", "numba", "tensorflow"}


def test_the_report_of_an_evaluation_needs_nothing_that_attacks():
    modules = loaded_after("import bench.report, bench.robustness.section")
    assert not modules & ({*HEAVY, "numba", "cv2", "edgedefend.classifier"} - {"bench.robustness", "bench.baselines"})


def test_reading_results_needs_nothing_that_measures():
    """A report is drawn where the results are: no interpreter, no kernels, no OpenCV."""
    modules = loaded_after("import bench.commands.report, bench.commands.compare, bench.report, bench.compare")
    assert not modules & {*HEAVY, "numba", "llvmlite", "cv2", "ai_edge_litert", "edgedefend.classifier"}


@pytest.mark.parametrize(
    "module", ["edgedefend.classifier", "edgedefend.stream", "edgedefend.commands.serve", "bench.load"]
)
def test_only_the_service_needs_what_the_service_needs(module):
    assert not loaded_after(f"import {module}") & {"starlette", "uvicorn", "prometheus_client", "python_multipart"}


def test_a_defence_of_the_comparison_brings_only_its_own_libraries():
    """Each is imported when it is asked for; none but those with a network needs TensorFlow."""
    make = "from bench.baselines.base import Ingredients\nfrom bench.baselines.registry import *\n"
    modules = loaded_after(make + "make_baseline('jpeg', Ingredients(((16.0,) * 8,) * 8))")
    assert not modules & {"tensorflow", "skimage", "scipy", "bench.baselines.pixel_deflection"}
    assert "tensorflow" not in loaded_after(make + "all_baselines(Ingredients(((16.0,) * 8,) * 8))")


def test_help_imports_no_command():
    modules = loaded_after(
        "from click.testing import CliRunner\nfrom edgedefend.cli import cli\n"
        "assert 'classify' in CliRunner().invoke(cli, ['--help']).output"
    )
    assert not modules & {*HEAVY, "numba", "cv2", "edgedefend.commands.classify"}


def test_a_run_without_a_broker_needs_no_paho():
    """It is an extra."""
    modules = loaded_after("import edgedefend.live, edgedefend.publish, edgedefend.commands.run")
    assert "paho" not in modules
    light = loaded_after("import edgedefend.spool, edgedefend.pace, edgedefend.home_assistant")
    assert not light & {"numpy", "numba", "cv2", "ai_edge_litert"}


def test_convert_brings_the_tuning_only_where_it_is_asked_for():
    modules = loaded_after("import convert.commands, convert.pipeline")
    assert not {name for name in modules if name == "bench" or name.startswith("bench.")}
