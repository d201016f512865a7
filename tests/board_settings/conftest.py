"""A folder where writing is quick, and a Pi 4 of files in it."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgedefend.device import Device
from tests.board_settings.systems import tree


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder in memory where there is one: every write here is flushed, and a disk takes its time for that."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder).resolve()


@pytest.fixture
def system(tmp_path) -> Device:
    """A Pi 4 of files, without any tools."""
    return tree(tmp_path / "pi")
