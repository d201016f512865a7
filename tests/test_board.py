"""The boards' settings and what they become: real systemd reads the units, real YAML the first boot."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from edgedefend import jit
from edgedefend.board import (
    BoardConfig,
    board_names,
    detect,
    load_board,
    parse_board,
    render_config_txt,
    render_files,
    render_run_unit,
    render_unit,
    render_user_data,
)
from edgedefend.board_schema import CONFIG_TXT_KEYS, NUMBA_TARGETS, SCHEMA, forbidden_setting
from edgedefend.errors import InputError
from tests.boards import BOARDS, board
from tests.conftest import ROOT

FOLDER = ROOT / "firmware_configs"
NAMES = [
    "jetson-agx-orin",
    "jetson-orin-nano",
    "jetson-orin-nx",
    "pi-4",
    "pi-5",
    "pi-zero-2w",
    "generic-arm64",
]


def rendered(config: BoardConfig) -> dict[str, str]:
    """Every text that is written for a board, anywhere."""
    user_data = render_user_data(config, hostname="board-1", admin="anna", ssh_key="ssh-ed25519 AAAA anna@desk")
    return {
        **render_files(config),
        "config.txt": "\n".join(render_config_txt(config)),
        "user-data": user_data,
        "edgedefend-run@.service": render_run_unit(config),
    }


def test_the_boards_there_are():
    assert board_names() == NAMES


@pytest.mark.parametrize("name", BOARDS)
def test_detect(name, tmp_path):
    expected = "generic-arm64" if name == "x86" else name
    found = detect(board(name, tmp_path))
    assert found.name == expected
    if name != "x86" and found.cpu_parts:
        # The file names the CPU that the tree has.
        assert board(name, tmp_path / "again").cpu_parts == found.cpu_parts
        assert board(name, tmp_path / "more").cpu_name == found.cpu


@pytest.mark.parametrize("name", NAMES)
def test_the_targets_of_numba_are_those_that_kernels_can_be_made_for(name):
    config = load_board(name)
    if config.numba_target != "host":
        parts, _ = jit.TARGETS[config.numba_target]
        assert set(config.cpu_parts) <= set(parts)
    assert set(NUMBA_TARGETS) == {*jit.TARGETS, "host"}


@pytest.mark.parametrize("name", NAMES)
def test_nothing_that_harms_a_board_is_ever_written(name):
    for where, text in rendered(load_board(name)).items():
        assert forbidden_setting(text) is None, where
        # Looked at a second time, without the code that is tested.
        assert not re.search(r"force_turbo|over_voltage|arm_freq|gpu_freq|core_freq|sdram_freq|temp_limit|otp", text)
    for key in ("arm_freq", "force_turbo", "over_voltage", "over_voltage_delta", "core_freq", "temp_limit"):
        assert key not in CONFIG_TXT_KEYS
    source = (FOLDER / f"{name}.toml").read_text()
    assert forbidden_setting(source) is None


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("force_turbo", "1"),
        ("over_voltage", "2"),
        ("over_voltage_delta", "50000"),
        ("over_voltage_sdram_c", "1"),
        ("arm_freq", "2000"),
        ("program_usb_boot_mode", "1"),
        ("temp_limit", "90"),
        ("initial_turbo", "60"),
        ("dtparam", '"over_voltage=2"'),
        ("dtparam", '["watchdog=on", "force_turbo=1"]'),
        ("dtparam", '"watchdog=on\\nover_voltage=2"'),
    ],
)
def test_settings_that_harm_are_refused_in_a_file(key, value):
    text = (FOLDER / "pi-4.toml").read_text()
    if key == "dtparam":
        changed = text.replace('dtparam = ["watchdog=on"]', f"dtparam = {value}")
    else:
        changed = text.replace("arm_boost = 1", f"arm_boost = 1\n{key} = {value}")
    assert changed != text
    with pytest.raises(InputError) as caught:
        parse_board(changed, "mine.toml")
    assert str(caught.value).startswith("mine.toml: config_txt.keys is ")
    assert key in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('governor = "performance"', "governor = 3", "cpu.governor is 3, expected one of performance, ondemand"),
        ('governor = "performance"', "", "cpu.governor is missing"),
        ("threads = 4", "threads = 4\ncolour = 1", "cpu.colour: no such key"),
        ("[model]", "[paint]\nred = 1\n[model]", "paint: no such key"),
        ("threads = 4", 'threads = "4"', "cpu.threads is '4', expected a whole number from 1 to 64"),
        ("threads = 4", "threads = true", "cpu.threads is True, expected a whole number from 1 to 64"),
        ("threads = 4", "threads = 5", "cpu.threads is 5, expected no more than cpu.cores (4)"),
        ('"1024 MiB"', '"1024 MB"', "memory.max is '1024 MB', expected a text with its unit from \"128 MiB\""),
        ('"1024 MiB"', "1024", "memory.max is 1024, expected a text with its unit"),
        ('"30 s"', '"30 min"', "watchdog.service is '30 min', expected a text with its unit"),
        ('"15 s"', '"16 s"', 'watchdog.hardware is \'16 s\', expected a text with its unit from "5 s" to "15 s"'),
        ('"80 C"', '"180 F"', "thermal.limit is '180 F', expected a text with its unit"),
        ('"80 C"', '"70 C"', "thermal.warn is 75, expected no more than thermal.limit (70)"),
        ("format_version = 1", "format_version = 2", "format_version is 2, expected a whole number from 1 to 1"),
        ('kind = "raspberry-pi"', 'kind = "jetson"', "config_txt.filter is for a raspberry-pi, this board is of the"),
        ('current = "3 A"', "", "the table supply is not complete"),
        ('filter = "pi4"', 'filter = "pi4]\\n[all"', "config_txt.filter is 'pi4]\\n[all', expected one of"),
        ('"vm.swappiness" = 10', '"vm.swappiness" = "10"', "sysctl is {"),
        ('"vm.swappiness" = 10', '"../../etc" = 10', "sysctl is {"),
        ("[model]", "[model", "not TOML: "),
    ],
)
def test_a_file_that_is_wrong_is_one_line_with_file_and_key(old, new, message):
    text = (FOLDER / "pi-4.toml").read_text()
    assert old in text
    with pytest.raises(InputError) as caught:
        parse_board(text.replace(old, new, 1), "mine.toml")
    assert str(caught.value).startswith("mine.toml: " + message)
    assert "\n" not in str(caught.value)


TOML_VALUES = st.recursive(
    st.one_of(st.integers(), st.booleans(), st.text(max_size=12), st.floats(allow_nan=False)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=6,
)


@given(st.sampled_from(sorted(SCHEMA)), TOML_VALUES)
def test_any_value_under_any_key_is_taken_or_is_one_line(key, value):
    from edgedefend.board_schema import check

    table = _table("pi-4")
    *parents, last = key.split(".")
    inner = table
    for parent in parents:
        inner = inner.setdefault(parent, {})
    inner[last] = value
    try:
        check(table, "mine.toml")
    except InputError as error:
        assert str(error).startswith("mine.toml: ")
        assert "\n" not in str(error)


@given(st.text(max_size=200))
def test_any_text_is_refused_in_one_line(text):
    with pytest.raises(InputError) as caught:
        parse_board(text, "mine.toml")
    assert str(caught.value).startswith("mine.toml: ")


def _table(name):
    from edgedefend.board import tomllib

    return tomllib.loads((FOLDER / f"{name}.toml").read_text())


def test_every_key_is_explained_to_people():
    text = (FOLDER / "README.md").read_text()
    for key in SCHEMA:
        assert f"`{key}`" in text, key


def test_unknown_board():
    with pytest.raises(InputError, match="unknown board '../pi-4': expected one of jetson-agx-orin, "):
        load_board("../pi-4")


@pytest.mark.parametrize("name", NAMES)
def test_systemd_takes_the_units(name, tmp_path):
    """systemd itself reads every unit that is written for a board."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed")
    program = tmp_path / "opt/current/venv/bin/edgedefend"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    files = render_files(load_board(name), prefix=str(tmp_path / "opt"))
    units = []
    for path, text in files.items():
        if path.endswith(".service"):
            units.append(tmp_path / Path(path).name)
            units[-1].write_text(text)
    units.append(tmp_path / "edgedefend-run@camera.service")
    units[-1].write_text(render_run_unit(load_board(name), prefix=str(tmp_path / "opt")))
    result = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *map(str, units)], capture_output=True, text=True, check=False
    )
    # Other units of this machine may be complained about: ours must not be.
    assert not [line for line in result.stderr.splitlines() if "edgedefend" in line], result.stderr


def test_a_camera_is_watched_by_the_same_kind_of_service():
    """But for what it starts and for its files it is the unit that `board apply` installs."""
    config = load_board("pi-4")
    ours, theirs = (render(config).splitlines() for render in (render_run_unit, render_unit))
    assert [line for line in ours if line not in theirs] == [
        "Description=Image classification of the camera %i",
        "ConditionPathExists=/etc/edgedefend/run/%i.source",
        "ExecStart=/opt/edgedefend/current/venv/bin/edgedefend run /opt/edgedefend/current/bundle "
        "@/etc/edgedefend/run/%i.source --name %i --quiet $OPTIONS",
        "EnvironmentFile=-/etc/edgedefend/run/%i.env",
    ]
    assert len(theirs) == len(ours) - 2


def test_the_unit_is_what_was_asked_for():
    unit = render_unit(load_board("pi-zero-2w"), prefix="/srv/ed", user="camera", port=9000)
    lines = unit.splitlines()
    for line in (
        "Type=notify",
        "ExecStart=/srv/ed/current/venv/bin/edgedefend serve /srv/ed/current/bundle --port 9000",
        "Environment=EDGEDEFEND_KERNELS=/srv/ed/current/kernels",
        "User=camera",
        "SupplementaryGroups=video",
        "WatchdogSec=30",
        "MemoryMax=280M",
        "Restart=on-failure",
        "ProtectSystem=strict",
        "NoNewPrivileges=yes",
        "PrivateTmp=yes",
        "CacheDirectory=edgedefend",
        "StateDirectory=edgedefend",
    ):
        assert line in lines
    assert "$" not in unit
    assert "CPUAffinity=0-3" in render_unit(load_board("jetson-agx-orin")).splitlines()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prefix": "/opt/x\nExecStart=/bin/sh"}, "is not a folder for releases"),
        ({"prefix": "relative"}, "is not a folder for releases"),
        ({"prefix": "/opt/../etc"}, "is not a folder for releases"),
        ({"prefix": "/opt/%h"}, "is not a folder for releases"),
        ({"user": "ro ot"}, "is not the name of a user"),
        ({"port": 0}, "expected 1 to 65535"),
    ],
)
def test_a_unit_cannot_be_talked_into_something_else(options, message):
    with pytest.raises(InputError, match=message):
        render_unit(load_board("pi-4"), **options)


@pytest.mark.parametrize("name", NAMES)
def test_user_data_is_yaml_with_our_files(name):
    config = load_board(name)
    text = render_user_data(config, hostname="cam-1", admin="anna", ssh_key="ssh-ed25519 AAAAC3 anna: #1 @desk\n")
    assert text.startswith("#cloud-config\n")
    data = yaml.safe_load(text)
    assert data["hostname"] == "cam-1"
    assert data["users"][0]["ssh_authorized_keys"] == ["ssh-ed25519 AAAAC3 anna: #1 @desk"]
    assert data["ssh_pwauth"] is False
    assert data["packages"] == list(config.packages)
    assert {file["path"]: file["content"] for file in data["write_files"]} == render_files(config)
    assert all(isinstance(word, str) for command in data["runcmd"] for word in command)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hostname": "a\nb"}, "is not a host name"),
        ({"admin": "root"}, "cannot be the administrator"),
        ({"ssh_key": "-----BEGIN OPENSSH PRIVATE KEY-----"}, "not a public key"),
        ({"ssh_key": "ssh-ed25519 AAAA a\nssh-ed25519 BBBB b"}, "not a public key"),
    ],
)
def test_user_data_refuses(options, message):
    good = {"hostname": "cam", "admin": "anna", "ssh_key": "ssh-ed25519 AAAA"}
    with pytest.raises(InputError, match=message):
        render_user_data(load_board("pi-5"), **{**good, **options})


def test_config_txt_lines():
    assert render_config_txt(load_board("pi-4"))[1:] == [
        "[all]",
        "[pi4]",
        "arm_64bit=1",
        "arm_boost=1",
        "camera_auto_detect=1",
        "dtparam=watchdog=on",
        "[all]",
    ]
    assert render_config_txt(load_board("generic-arm64")) == []
    # The firmware reads at most 98 characters a line.
    assert all(len(line) <= 98 for name in NAMES for line in render_config_txt(load_board(name)))
