"""Two boards that have a first release each, put there by one command: the tests below go on from there."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.deploy.boards import TestBoard, Yard, make_wheelhouse

Deploy = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def yard(tmp_path_factory) -> Iterator[Yard]:
    yard = Yard(tmp_path_factory.mktemp("yard"))
    yield yard
    yard.stop()


@pytest.fixture(scope="session")
def wheelhouse(tmp_path_factory) -> Path:
    return make_wheelhouse(tmp_path_factory.mktemp("wheels") / "house")


@pytest.fixture(scope="session")
def signing_key(tmp_path_factory) -> Path:
    pytest.importorskip("cryptography", reason="signs with cryptography (extra 'deploy')")
    from edgedefend.signing import make_keys

    key = tmp_path_factory.mktemp("key") / "key"
    make_keys(key)
    return key


@pytest.fixture(scope="session")
def bundles(tmp_path_factory, color_bundles, signing_key) -> Path:
    """Signed copies of two colour bundles: boards that trust the key are among the tests."""
    from edgedefend.signing import sign_bundle

    folder = tmp_path_factory.mktemp("signed")
    for name, serial in (("int8", 100), ("fp32", 101)):
        shutil.copytree(color_bundles / name, folder / name)
        sign_bundle(folder / name, signing_key, serial=serial)
    return folder


@pytest.fixture(scope="session")
def deploy(yard, run_cli) -> Deploy:
    """Run ``edgedefend deploy COMMAND`` with the yard's ssh configuration, and without the doctor unless told so."""
    pytest.importorskip("pyinfra", reason="deploys with pyinfra (extra 'deploy')")

    def run(command: str, *arguments: object, doctor: bool = False, **options):
        fixed = ["--ssh-config", yard.config, *(["--no-doctor"] if command == "push" and not doctor else [])]
        return run_cli("deploy", command, *fixed, *arguments, **options)

    return run


@dataclass
class Pair:
    """Two boards with a release each; `first` is what the push printed, `inventory` knows both."""

    a: TestBoard
    b: TestBoard
    inventory: Path
    first: subprocess.CompletedProcess[str]


@pytest.fixture(scope="session")
def pair(yard, deploy, bundles, wheelhouse) -> Pair:
    a, b = yard.start("pi-a"), yard.start("pi-b")
    inventory = yard.inventory(a, b)
    first = deploy("push", bundles / "int8", "--inventory", inventory, "--wheelhouse", wheelhouse, doctor=True)
    assert first.returncode == 0, first.stdout + first.stderr
    return Pair(a, b, inventory, first)
