"""Putting settings on a system and taking them off: to the byte, twice, with strange files."""

import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgedefend import board_apply
from edgedefend.board import load_board, render_config_txt, render_files
from edgedefend.config_txt import insert_block, remove_block
from edgedefend.errors import DeviceError, InputError
from edgedefend.system_files import SystemFiles
from tests.board_settings.systems import config_txt, picture, tree
from tests.boards import BOARDS, PI_CONFIG, put

LINES = ["[all]", "[pi4]", "arm_64bit=1", "[all]"]
WILD = {
    "empty": b"",
    "as shipped": PI_CONFIG.encode(),
    "no final newline": b"arm_64bit=1\n[pi4]\narm_boost=1",
    "windows": b"# mine\r\n[pi4]\r\narm_boost=1\r\n[all]\r\n",
    "windows without end": b"# mine\r\n[pi4]\r\narm_boost=1",
    "mixed ends": b"a=1\r\nb=2\nc=3\r",
    "only a comment": b"#",
    "blank lines at the end": b"a=1\n\n\n",
    "ends in another section": b"[cm4]\notg_mode=1\n[HDMI:0]\nhdmi_mode=4\n[gpio4=1]\nkernel=x.img\n",
    "umlauts of another age": b"# \xe4\xf6\xfc \xff\xfe\n",
    "a byte order mark": b"\xef\xbb\xbfarm_64bit=1\n",
    "a NUL": b"a=1\n\0\0\0",
    "somebody's overclocking": b"over_voltage=6\narm_freq=2000\nforce_turbo=1\n",
    "include": b"include extra.txt\n",
}


@pytest.mark.parametrize("name", [name for name in BOARDS if name != "x86"])
def test_apply_twice_and_revert_on_every_board(name, tmp_path):
    device = tree(tmp_path / "board", name)
    config = load_board(name)
    before = picture(device.root)
    changes, _ = board_apply.apply(device, config)
    for path, text in render_files(config).items():
        assert (device.root / path[1:]).read_text() == text
    wants = device.root / "etc/systemd/system/multi-user.target.wants/edgedefend.service"
    assert str(wants.readlink()) == "/etc/systemd/system/edgedefend.service"
    if config.config_txt:
        assert config_txt(device).read_bytes().startswith(PI_CONFIG.encode())
        assert "\n".join(render_config_txt(config)) in config_txt(device).read_text()
    assert len(changes) >= 5
    times = {path: path.lstat().st_mtime_ns for path in device.root.rglob("*")}
    assert board_apply.apply(device, config)[0] == []
    assert board_apply.plan(device, config) == []
    assert {path: path.lstat().st_mtime_ns for path in device.root.rglob("*")} == times
    _, kept = board_apply.revert(device)
    assert kept == []
    assert picture(device.root) == before
    assert board_apply.revert(device) == ([], [])


@pytest.mark.parametrize("text", WILD.values(), ids=WILD)
def test_config_txt_of_all_sorts(text, system):
    config_txt(system).write_bytes(text)
    before = picture(system.root)
    board_apply.apply(system, load_board("pi-4"))
    once = config_txt(system).read_bytes()
    assert once.startswith(text)
    assert b"[pi4]" in once[len(text) :]
    line_end = b"\r\n" if b"\r\n" in text else b"\n"
    assert once.endswith(b"# <<< edgedefend <<<" + line_end)
    board_apply.apply(system, load_board("pi-4"))
    assert config_txt(system).read_bytes() == once
    board_apply.revert(system)
    assert picture(system.root) == before


wild_lines = st.sampled_from(
    [
        b"",
        b" ",
        b"#",
        b"[pi4]",
        b"[all]",
        b"[none]",
        b"dtoverlay=vc4-kms-v3d",
        b"arm_boost=1",
        b"\xff\0",
        b"# >>> edgedefend",
    ]
)
wild_texts = st.one_of(
    st.binary(max_size=200),
    st.builds(
        lambda pairs, last: b"".join(line + end for line, end in pairs) + last,
        st.lists(st.tuples(wild_lines, st.sampled_from([b"\n", b"\r\n", b"\r", b"\n\n"])), max_size=12),
        wild_lines,
    ),
).filter(lambda text: b"edgedefend >>>" not in text and b"edgedefend <<<" not in text)


@settings(max_examples=1000, deadline=None)
@given(wild_texts)
def test_block_in_and_out_leaves_every_byte(text):
    once = insert_block(text, LINES)
    assert once.startswith(text)
    assert remove_block(once) == text
    assert insert_block(once, LINES) == once
    # New lines in the next release: still one block, still the same text without it.
    assert remove_block(insert_block(once, ["[all]"])) == text
    assert insert_block(once, []) == text


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=wild_texts, after=wild_texts)
def test_fuzz_apply_revert_and_edits_between(text, after, tmp_path):
    root = tmp_path / "fuzz"
    shutil.rmtree(root, ignore_errors=True)
    device = tree(root)
    config_txt(device).write_bytes(text)
    before = picture(root)
    board_apply.apply(device, load_board("pi-4"))
    once = picture(root)
    board_apply.apply(device, load_board("pi-4"))
    assert picture(root) == once
    # Somebody adds lines of their own after our block: revert takes out the block only.
    with config_txt(device).open("ab") as file:
        file.write(after)
    board_apply.revert(device)
    left = config_txt(device).read_bytes()
    assert left.startswith(text)
    assert left.endswith(after)
    assert len(left) - len(text) - len(after) in ((0, 1, 2) if after else (0,))
    config_txt(device).write_bytes(text)
    assert picture(root) == before


@pytest.mark.parametrize(
    "text",
    [
        b"a=1\n# >>> edgedefend >>>\nb=2\n",
        b"a=1\n# <<< edgedefend <<<\nb=2\n",
        b"# <<< edgedefend <<<\n# >>> edgedefend >>>\n",
        b"# >>> edgedefend >>>\n# >>> edgedefend >>>\n# <<< edgedefend <<<\n",
    ],
)
def test_damaged_marks_are_refused_before_anything_is_written(text, system):
    config_txt(system).write_bytes(text)
    before = picture(system.root)
    with pytest.raises(InputError, match=r"config.txt: line [12]: the marks of edgedefend are damaged"):
        board_apply.apply(system, load_board("pi-4"))
    assert picture(system.root) == before


def test_edits_of_config_txt_survive_apply_and_revert(system):
    board_apply.apply(system, load_board("pi-4"))
    text = config_txt(system).read_bytes()
    edited = b"# mine\n" + text.replace(b"dtparam=audio=on", b"dtparam=audio=off") + b"dtoverlay=imx708\n"
    config_txt(system).write_bytes(edited)
    board_apply.apply(system, load_board("pi-4"))
    moved = config_txt(system).read_bytes()
    assert moved.endswith(b"# <<< edgedefend <<<\n")
    assert moved.count(b"edgedefend >>>") == 1
    board_apply.revert(system)
    expected = (
        b"# mine\n" + PI_CONFIG.encode().replace(b"dtparam=audio=on", b"dtparam=audio=off") + b"dtoverlay=imx708\n"
    )
    assert config_txt(system).read_bytes() == expected


def test_a_file_that_was_there_comes_back_with_its_mode_and_ours_is_not_lost(system):
    path = system.root / "etc/sysctl.d/90-edgedefend.conf"
    put(system.root, "/etc/sysctl.d/90-edgedefend.conf", b"vm.swappiness = 1")
    path.chmod(0o640)
    board_apply.apply(system, load_board("pi-4"))
    assert b"kernel.panic" in path.read_bytes()
    board_apply.revert(system)
    assert path.read_bytes() == b"vm.swappiness = 1"
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_file_changed_since_is_left_alone_unless_forced(system):
    board_apply.apply(system, load_board("pi-4"))
    unit = system.root / "etc/systemd/system/edgedefend.service"
    unit.write_text("mine\n")
    _, kept = board_apply.revert(system)
    assert kept == ["/etc/systemd/system/edgedefend.service"]
    assert unit.read_text() == "mine\n"
    assert not (system.root / "etc/sysctl.d").exists()
    assert config_txt(system).read_bytes() == PI_CONFIG.encode()
    assert board_apply.revert(system, force=True)[1] == []
    assert not unit.exists()
    assert not (system.root / "var/lib/edgedefend-board").exists()


def test_a_file_changed_since_comes_back_when_applied_over(system):
    board_apply.apply(system, load_board("pi-4"))
    unit = system.root / "etc/systemd/system/edgedefend.service"
    unit.write_text("mine\n")
    board_apply.apply(system, load_board("pi-4"))
    assert "Type=notify" in unit.read_text()
    board_apply.revert(system)
    assert unit.read_text() == "mine\n"


def test_another_port_and_back(system):
    before = picture(system.root)
    board_apply.apply(system, load_board("pi-4"))
    changes, _ = board_apply.apply(system, load_board("pi-4"), port=9000)
    assert [change.path for change in changes] == ["/etc/systemd/system/edgedefend.service"]
    board_apply.apply(system, load_board("pi-4"), port=9001)
    board_apply.revert(system)
    assert picture(system.root) == before


def test_other_settings_take_the_files_of_the_first_away(system):
    """A card that goes from a Pi 4 into another board: nothing of the Pi 4 stays."""
    before = picture(system.root)
    board_apply.apply(system, load_board("pi-4"))
    changes, _ = board_apply.apply(system, load_board("generic-arm64"))
    assert {change.path: change.then is None for change in changes}["/etc/systemd/system.conf.d/90-edgedefend.conf"]
    assert config_txt(system).read_bytes() == PI_CONFIG.encode()
    assert board_apply.apply(system, load_board("generic-arm64"))[0] == []
    board_apply.apply(system, load_board("pi-4"))
    board_apply.revert(system)
    assert picture(system.root) == before


def test_links_are_followed_inside_the_root_only(system, tmp_path):
    outside = tmp_path / "outside"
    (outside / "etc/sysctl.d").mkdir(parents=True)
    put(system.root, "/etc/real/keep", "x")
    (system.root / "etc/sysctl.d").symlink_to("/etc/real")
    (system.root / "etc/tmpfiles.d").symlink_to(f"/../../..{outside}/etc/sysctl.d")
    (system.root / "etc/systemd/system").mkdir(parents=True)
    (system.root / "etc/systemd/system/edgedefend.service").symlink_to("/dev/null")  # systemctl mask
    before = picture(system.root)
    board_apply.apply(system, load_board("pi-4"))
    assert (system.root / "etc/real/90-edgedefend.conf").is_file()
    assert list((outside / "etc/sysctl.d").iterdir()) == []
    unit = system.root / "etc/systemd/system/edgedefend.service"
    assert not unit.is_symlink()
    board_apply.revert(system)
    assert str(unit.readlink()) == "/dev/null"
    assert picture(system.root) == before


def test_links_in_a_circle(system):
    (system.root / "etc/sysctl.d").symlink_to("tmpfiles.d")
    (system.root / "etc/tmpfiles.d").symlink_to("sysctl.d")
    with pytest.raises(InputError, match="its links lead in a circle"):
        board_apply.apply(system, load_board("pi-4"))


def test_a_linked_config_txt_is_edited_where_it_is(system):
    real = system.root / "boot/firmware/real.txt"
    config_txt(system).rename(real)
    config_txt(system).symlink_to("real.txt")
    board_apply.apply(system, load_board("pi-4"))
    assert config_txt(system).is_symlink()
    assert b"edgedefend" in real.read_bytes()
    board_apply.revert(system)
    assert real.read_bytes() == PI_CONFIG.encode()


def test_what_stands_in_the_way_is_one_line_and_nothing_is_written(system):
    (system.root / "etc/sysctl.d/90-edgedefend.conf").mkdir(parents=True)
    before = picture(system.root)
    with pytest.raises(InputError, match=r"90-edgedefend.conf: not a file"):
        board_apply.apply(system, load_board("pi-4"))
    assert picture(system.root) == before


def test_no_boot_partition(system):
    config_txt(system).unlink()
    with pytest.raises(InputError, match="mount the boot partition first"):
        board_apply.apply(system, load_board("pi-4"))


def test_a_state_that_is_not_ours(system):
    put(system.root, "/var/lib/edgedefend-board/state.json", "[]")
    with pytest.raises(InputError, match="not a state that"):
        board_apply.apply(system, load_board("pi-4"))


def test_a_damaged_copy_is_noticed_before_it_is_put_back(system):
    board_apply.apply(system, load_board("pi-4"))
    for copy in (system.root / "var/lib/edgedefend-board").iterdir():
        if copy.name != "state.json":
            copy.write_bytes(b"rotten")
    with pytest.raises(DeviceError, match="the copy of what was there is lost or damaged"):
        board_apply.revert(system)
    assert b"edgedefend" in config_txt(system).read_bytes()


def test_two_at_once(system):
    board_apply.apply(system, load_board("pi-4"))
    with board_apply._alone(SystemFiles(system.root)), pytest.raises(DeviceError, match="is at work on this system"):
        board_apply.apply(system, load_board("pi-4"), port=9)
