"""Python and what is installed in it: versions, wheels, imports tried in children, kernels, the bundle."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from edgedefend.doctor import Finding, bad, ok, warn
from edgedefend.doctor.environment import PREFIX
from edgedefend.doctor.probe import Outcome, try_code

if TYPE_CHECKING:
    from edgedefend.doctor import Patient

__all__ = ["CHECKS"]

OLDEST, NEWEST = (3, 10), (3, 13)
# Wheels of ai-edge-litert are tagged manylinux_2_27.
OLDEST_GLIBC = (2, 27)
_INTERPRETERS = ("ai-edge-litert", "tflite-runtime", "tensorflow", "tensorflow-cpu")


def python(patient: Patient) -> list[Finding]:
    """Look at the version of Python."""
    environment, jetpack = patient.environment, patient.facts["jetpack"]
    if environment.python is None:
        if environment.executable:
            return [ok(f"{environment.executable}, its version cannot be read from the file")]
        return [bad("there is none", "edgedefend runs on it", "sudo apt-get install python3-venv")]
    what = f"{environment.version} at {environment.executable}"
    if OLDEST <= environment.python <= NEWEST:
        return [ok(what)]
    if environment.python > NEWEST:
        mend = "make the environment with an older one: python3.13 -m venv …"
        return [bad(f"{what} is too new", "Numba has no release that edgedefend is tested with for it", mend)]
    why = "ai-edge-litert, NumPy 2 and Numba have wheels for Python 3.10 and newer only"
    mend = "install Python 3.10 to 3.13 beside it, e.g. uv python install 3.12, and make the environment with that"
    if jetpack in ("4", "5"):
        why += f"; JetPack {jetpack} comes with Python {'3.6' if jetpack == '4' else '3.8'}"
        mend = "flash JetPack 6 (Python 3.10); where the system must stay: " + mend
    return [bad(f"{what} is too old", why, mend)]


def architecture(patient: Patient) -> list[Finding]:
    """Look at the width of the userland, which on a Pi can be 32 bits under a 64-bit kernel."""
    environment = patient.environment
    if environment.bits == 32:
        kernel = "64-bit" if environment.machine == "aarch64" and environment.live else "32-bit"
        return [
            bad(
                f"a 32-bit Python ({environment.machine}, {kernel} kernel): edgedefend cannot work here",
                "neither ai-edge-litert nor llvmlite, which Numba needs, publishes wheels for 32-bit ARM or x86, and "
                "no option of pip changes that",
                "write the 64-bit system to the card (Raspberry Pi Imager: Raspberry Pi OS (64-bit)) and start from it",
            )
        ]
    if environment.machine not in ("aarch64", "x86_64", "arm64", ""):
        why = "ai-edge-litert publishes wheels for aarch64 and x86_64 only"
        return [bad(f"{environment.machine}: edgedefend cannot work here", why, "use a 64-bit ARM board")]
    return [ok(f"{environment.bits or 'unknown'}-bit userland on {environment.machine or 'an unknown CPU'}")]


def c_library(patient: Patient) -> list[Finding]:
    """Look at the C library, which decides which wheels can be loaded."""
    environment = patient.environment
    version = ".".join(map(str, environment.libc_version))
    if environment.libc == "musl":
        why = "the wheels of ai-edge-litert, Numba and OpenCV are built for glibc"
        return [bad("musl, not glibc", why, "use Debian, Ubuntu or Raspberry Pi OS, not Alpine")]
    if not environment.libc_version:
        return [ok("its version is unknown")]
    if environment.libc_version < OLDEST_GLIBC:
        why = "the wheels of ai-edge-litert need glibc 2.27"
        return [bad(f"glibc {version} is too old", why, "use Debian 11, Ubuntu 20.04 or newer")]
    return [ok(f"glibc {version}")]


def _hopeless(patient: Patient) -> list[str]:
    """Return the checks by which nothing can be installed here: then what is missing is not the thing to mend."""
    return [check.__name__.replace("_", " ") for check in (python, architecture, c_library) if _is_bad(check(patient))]


def _is_bad(findings: list[Finding]) -> bool:
    return any(finding.level == "bad" for finding in findings)


def wheels(patient: Patient) -> list[Finding]:
    """Say whether pip finds what is needed, for this Python on this machine."""
    environment = patient.environment
    target = f"Python {environment.version or '(none)'} on {environment.machine or 'an unknown CPU'}"
    reasons = _hopeless(patient)
    if reasons:
        why = "pip would try to compile them, for hours, and fail"
        return [bad(f"none for {target}", why, f"first what is said of {' and '.join(reasons)} above")]
    return [ok(f"NumPy, Numba, OpenCV and ai-edge-litert have some for {target}")]


def interpreter(patient: Patient) -> list[Finding]:
    """Look at which TFLite interpreter is installed, and whether it was built for the NumPy that is."""
    environment = patient.environment
    here = {name: environment.packages[name] for name in _INTERPRETERS if name in environment.packages}
    numpy = environment.packages.get("numpy", "")
    if not here:
        if not environment.live and not environment.packages:
            return [ok("nothing is deployed in this tree yet")]
        if _hopeless(patient):
            return []
        mend = f"{environment.executable} -m pip install ai-edge-litert"
        return [bad("none is installed", "it runs the model", mend)]
    what = ", ".join(f"{name} {version}" for name, version in here.items()) + f", NumPy {numpy or 'missing'}"
    if "tflite-runtime" in here and numpy and int(numpy.split(".")[0]) >= 2:
        why = "tflite-runtime 2.14 was built for NumPy 1 and fails, or crashes, with NumPy 2"
        mend = f"{environment.executable} -m pip install ai-edge-litert; then pip uninstall tflite-runtime"
        return [(bad if len(here) == 1 else warn)(what, why, mend)]
    return [ok(what)]


# what is tried -> (code, pip's name)
_IMPORTS = {
    "NumPy": ("import numpy as n\nn.dot(n.ones((64, 64)), n.ones((64, 64)))\nreport(n.__version__)", "numpy"),
    "OpenCV": (
        "import cv2 as c, numpy as n\nc.resize(n.ones((9, 9, 3), n.uint8), (5, 5))\nreport(c.__version__)",
        "opencv-python-headless",
    ),
    "Numba": ("import numba as n\nn.njit(lambda x: x * 1.5)(2.0)\nreport(n.__version__)", "numba"),
    "the interpreter": (
        "from edgedefend.interpreter import choose_backend\nreport(choose_backend()[0])",
        "ai-edge-litert",
    ),
}


def imports(patient: Patient) -> list[Finding]:
    """Load and use each library in a child of its own."""
    if not patient.environment.live:
        return [ok("not tried: this is not the running system")]
    if _hopeless(patient):
        return []
    outcomes = {name: try_code(code) for name, (code, _) in _IMPORTS.items()}
    missing = [name for name, outcome in outcomes.items() if outcome.missing]
    findings = [
        _import_finding(patient, name, _IMPORTS[name][1], outcome)
        for name, outcome in outcomes.items()
        if outcome.signal or outcome.error
    ]
    if missing:
        packages = " ".join(_IMPORTS[name][1] for name in missing)
        mend = f"{patient.environment.executable} -m pip install {packages}"
        findings.insert(0, bad(f"not installed: {', '.join(missing)}", "edgedefend needs them", mend))
    return findings or [ok(f"{', '.join(_IMPORTS)} can be loaded and used")]


def _import_finding(patient: Patient, name: str, package: str, outcome: Outcome) -> Finding:
    """Return the finding on a library that is there and cannot be used."""
    pip = f"{patient.environment.executable} -m pip install"
    if not outcome.signal:
        why = "what is installed does not fit together"
        return bad(f"{name}: {outcome.error}", why, f"{pip} --force-reinstall {package}")
    what = f"{name}: loading and using it dies of {outcome.died_of}"
    if outcome.signal == signal.SIGILL:
        cpu = patient.facts["cpu"]
        why = f"this wheel was built for instructions that this CPU ({cpu}) does not have"
        mend = f"{pip} --force-reinstall '{package}<{_next(patient, package)}' (an older release, until one loads)"
        if name == "NumPy":
            why += "; or OpenBLAS guessed the CPU wrong: export OPENBLAS_CORETYPE=ARMV8 shows that"
        return bad(what, why, mend)
    why = "the file may be damaged, or built for another system"
    return bad(what, why, f"{pip} --force-reinstall --no-cache-dir {package}")


def _next(patient: Patient, package: str) -> str:
    """Return the version that pip must stay below to take another release than the one that is installed."""
    return patient.environment.packages.get(package, "0").split("+")[0]


# The cache is looked at, not filled: what would be compiled is compiled into nothing.
_KERNELS = """
import logging, time
said = []
class Listener(logging.Handler):
    def emit(self, record):
        said.append(record.getMessage())
logging.getLogger("edgedefend").addHandler(Listener())
from edgedefend import jit, fused, kernels, warmup
folder, prebuilt = jit.cache_folder(), jit.prebuilt_folder()
jit._own = None
began = time.monotonic()
warmup.run_every_variant()
found, compiled = warmup.cache_statistics()
seconds = round(time.monotonic() - began, 1)
report([str(folder or ""), str(prebuilt or ""), found, compiled, seconds, said[:1]])
"""


def kernels(patient: Patient) -> list[Finding]:
    """Look at whether this user's compiled kernels can be kept, and whether they are there already."""
    if not patient.environment.live:
        return _kernels_in_tree(patient)
    beside = Path(sys.prefix).parent / "kernels"
    environment = {}
    if not os.environ.get("EDGEDEFEND_KERNELS") and (beside / "target.json").is_file():
        environment["EDGEDEFEND_KERNELS"] = str(beside)  # as the unit of a release has it
    if _hopeless(patient):
        return []
    outcome = try_code(_KERNELS, environment=environment)
    if outcome.value is None:
        why = "the defence is made of them"
        died = f"running them dies of {outcome.died_of}" if outcome.signal else ""
        reason = died or outcome.error or f"the package {outcome.missing!r} is not installed"
        return [bad(reason, why, "mend the imports above first, then: edgedefend warmup")]
    folder, prebuilt, found, compiled, seconds, said = outcome.value
    if not folder and not (prebuilt and not compiled):
        why = "without a folder that only this user can write they are compiled again in every process"
        mend = "export NUMBA_CACHE_DIR=/var/tmp/edgedefend-kernels, or CacheDirectory= in the unit"
        return [warn(f"cannot be kept, compiling them took {seconds} s", why, mend)]
    place = prebuilt if prebuilt and not compiled else folder
    if compiled:
        what = f"cold: {compiled} of {found + compiled} had to be compiled ({seconds} s), {place} can be written"
        why = "; ".join(["the first start takes that much longer", *said])
        return [warn(what, why, "edgedefend warmup")]
    return [ok(f"warm: all {found} found in {place}")]


def _kernels_in_tree(patient: Patient) -> list[Finding]:
    text = patient.device.read(f"{PREFIX}/kernels/target.json")
    if text is None:
        return [ok("none made beforehand: the board compiles them at its first start")]
    cpu = json.loads(text).get("cpu")
    wanted = patient.settings.numba_target if patient.settings else None
    if wanted and cpu != wanted:
        why = "kernels for another CPU are not used, the board compiles its own at the first start"
        return [warn(f"made for {cpu}, this board is {wanted}", why, f"edgedefend warmup --target {wanted}")]
    return [ok(f"made beforehand for {cpu}")]


_BUNDLE = """
from edgedefend.bundle import load_bundle
from edgedefend.verification import verify_bundle
from edgedefend.errors import EdgeDefendError
try:
    bundle = load_bundle({path!r})
    seen = verify_bundle(bundle)
    report([bundle.model_name, bundle.precision, bundle.sha256[:16], seen.backend, seen.backend_version])
except EdgeDefendError as error:
    report({{"refused": str(error)}})
"""


def bundle(patient: Patient) -> list[Finding]:
    """Verify the bundle: every hash, and the golden answer on this machine."""
    path = patient.bundle
    deployed = patient.device.path(f"{PREFIX}/bundle")
    if path is None and patient.environment.live and deployed.exists():
        path = deployed
    if path is None:
        return [ok("none given, none deployed: edgedefend doctor BUNDLE checks one")]
    outcome = try_code(_BUNDLE.format(path=str(path)))
    mend = f"copy it again, then: edgedefend verify {path}"
    if outcome.signal:
        why = "the runtime cannot run this model on this CPU"
        return [bad(f"{path}: verifying it dies of {outcome.died_of}", why, "try another precision of it")]
    if isinstance(outcome.value, dict):
        why = "what this board would answer is not what the desktop has tested"
        return [bad(outcome.value["refused"], why, mend)]
    if outcome.value is None:
        reason = outcome.error or f"the package {outcome.missing!r} is not installed"
        return [bad(f"{path}: cannot be verified: {reason}", "", "mend what stands above first")]
    model, precision, sha256, backend, version = outcome.value
    here = "" if patient.device.live else ", on this machine"
    what = f"{path}: {model} {precision} ({sha256}) answers as on the desktop with {backend} {version}{here}"
    return [ok(what)]


CHECKS = (python, architecture, c_library, wheels, interpreter, imports, kernels, bundle)
