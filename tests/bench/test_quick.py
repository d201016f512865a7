"""`make bench`: the script's own commands, as far as they can be checked without running them for minutes."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from edgedefend.cli import cli

SCRIPT = Path(__file__).parents[2] / "bench/quick.sh"
MEASUREMENTS = re.findall(r"^measure (\S+) (.+)$", SCRIPT.read_text(), re.M)


def test_there_are_measurements_and_each_has_a_name_of_its_own():
    assert len(MEASUREMENTS) >= 10
    assert len({name for name, _ in MEASUREMENTS}) == len(MEASUREMENTS)


@pytest.mark.parametrize(("name", "line"), MEASUREMENTS, ids=[name for name, _ in MEASUREMENTS])
def test_the_command_takes_these_options(name, line):
    command = ["bench", *shlex.split(line), "--json", f"{name}.json"]
    # Options are read before --help is heeded: an unknown one is refused, and nothing is measured.
    result = CliRunner().invoke(cli, [*command, "--help"])
    assert result.exit_code == 0, result.output
    assert CliRunner().invoke(cli, [*command, "--no-such-option", "--help"]).exit_code == 2
