"""A push without a wheelhouse: the board's own pip fetches the packages from the index that the board is set to."""

from __future__ import annotations

import functools
import json
import os
import re
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from edgedefend.bundle import load_bundle
from tests.deploy.boards import stop_service
from tests.deploy.test_push import answers_with

pytestmark = pytest.mark.slow


class Index(ThreadingHTTPServer):
    """A package index (PEP 503) on loopback; `asked` are the paths that pip has asked for."""

    def __init__(self, wheelhouse: Path, folder: Path) -> None:
        for wheel in wheelhouse.iterdir():
            project = folder / "simple" / re.sub(r"[-_.]+", "-", wheel.name.split("-")[0]).lower()
            project.mkdir(parents=True, exist_ok=True)
            os.link(wheel, project / wheel.name)
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder)))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/simple"


class Handler(SimpleHTTPRequestHandler):
    """Lists folders as pages of links, which is all that a package index is."""

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        super().do_GET()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def index(wheelhouse, tmp_path) -> Iterator[Index]:
    with Index(wheelhouse, tmp_path) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_the_board_asks_its_index_and_uses_the_kernels_made_here(index, yard, deploy, bundles):
    board = yard.start("pi-index", PIP_INDEX_URL=index.url, PIP_CONFIG_FILE=os.devnull)
    command = [bundles / "int8", board.name, "--prefix", board.prefix, "--port", board.service_port, "--window", "0.5"]
    first = deploy("push", *command)
    assert first.returncode == 0, first.stdout + first.stderr
    assert f"{board.name}: released" in first.stdout
    assert answers_with(board) == load_bundle(bundles / "int8").sha256
    fetched = {path.split("/")[2] for path in index.asked if path.endswith(".whl")}
    assert {"numpy", "numba", "llvmlite", "ai-edge-litert", "click"} <= fetched
    # The index has the Numba of this desktop, and the push has asked for that one: nothing is compiled on the board.
    assert json.loads((board.current / "release.json").read_text())["kernels"] == "host"
    assert "compiling the kernels" not in first.stdout
    asked = len(index.asked)
    again = deploy("push", *command)
    assert again.returncode == 0
    assert "nothing to do" in again.stdout
    assert len(index.asked) == asked
    stop_service(board.prefix)


def test_an_index_without_the_packages_is_one_line_and_leaves_nothing(index, yard, deploy, bundles):
    board = yard.start("pi-no-index", PIP_INDEX_URL=f"{index.url}/nowhere", PIP_CONFIG_FILE=os.devnull, PIP_RETRIES="0")
    done = deploy("push", bundles / "int8", board.name, "--prefix", board.prefix, "--port", board.service_port)
    assert done.returncode == 1, done.stdout + done.stderr
    said = [line for line in done.stderr.splitlines() if board.name in line]
    assert len(said) == 1
    assert "installing the packages" in said[0]
    assert board.current is None
