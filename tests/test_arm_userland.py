"""What `make arm` takes for granted about this checkout and about a machine's apt sources."""

import pytest

from tests.arm.debian import UnavailableError, sources_for
from tests.arm.prove import CPU_TESTS, PYTHON_TESTS, QUICK_TESTS, WHOLE
from tests.arm.userland import DESKTOPS, PYTHONS, python_of, wheel_options
from tests.conftest import ROOT

ONE_LINE = """
# deb http://old.example/debian bookworm main
deb [signed-by=/usr/share/keyrings/debian.gpg] http://mirror.example/debian bookworm main contrib
deb-src http://mirror.example/debian bookworm main
deb http://mirror.example/debian-security bookworm-security main # kept
deb http://other.example/tools stable main
"""
STANZAS = """
Types: deb deb-src
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian.gpg

Enabled: no
Types: deb
URIs: http://mirror.example/debian
Suites: bookworm-backports bookworm
Components: main
"""


@pytest.fixture
def machine(tmp_path):
    (tmp_path / "etc/apt/sources.list.d").mkdir(parents=True)
    (tmp_path / "etc/os-release").write_text('ID=debian\nVERSION_CODENAME="bookworm"\n')
    return tmp_path


@pytest.mark.parametrize("name", [*CPU_TESTS, *PYTHON_TESTS])
def test_every_file_of_the_device_part_is_there(name):
    """A file that is renamed must not drop out of `make arm` unseen."""
    assert (ROOT / f"tests/{name}.py").is_file()


def test_every_part_is_tested_with_every_python():
    assert {suite for suite, _ in WHOLE} == set(PYTHONS)
    assert set(QUICK_TESTS) < set(CPU_TESTS)
    assert not set(CPU_TESTS) & set(PYTHON_TESTS)


def test_one_line_sources_get_another_suite(machine):
    (machine / "etc/apt/sources.list").write_text(ONE_LINE)
    assert sources_for("trixie", machine) == (
        "deb [signed-by=/usr/share/keyrings/debian.gpg] http://mirror.example/debian trixie main\n"
        "deb http://mirror.example/debian-security trixie-security main\n"
    )


def test_stanzas_get_another_suite(machine):
    (machine / "etc/apt/sources.list.d/debian.sources").write_text(STANZAS)
    signed = "deb [signed-by=/usr/share/keyrings/debian.gpg] http://mirror.example/debian"
    assert sources_for("trixie", machine) == f"{signed} trixie main\n{signed} trixie-updates main\n"


def test_a_machine_that_has_no_packages_says_so(machine):
    with pytest.raises(UnavailableError, match="names no source of Debian bookworm"):
        sources_for("trixie", machine)
    (machine / "etc/os-release").write_text("ID=fedora\n")
    with pytest.raises(UnavailableError, match="this is fedora"):
        sources_for("trixie", machine)


def test_a_desktop_s_userland_has_the_python_of_its_suite():
    assert {name: python_of(name) for name in DESKTOPS} == {f"{name}-amd64": PYTHONS[name] for name in PYTHONS}


def test_wheels_are_for_the_machine_and_no_newer_glibc_than_a_board_s():
    words = wheel_options("3.13")
    assert "--python-version=3.13" in words
    assert "--platform=manylinux_2_28_aarch64" in words
    assert not [word for word in words if "manylinux_2_36" in word or "x86_64" in word]
    assert "--platform=manylinux2014_x86_64" in wheel_options("3.13", "x86_64")
