"""Putting settings on a system and taking them off: to the byte, twice, cut anywhere, on FAT, with strange files."""

import errno
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgedefend import board_activate, board_apply, system_files
from edgedefend.board import load_board, render_config_txt, render_files
from edgedefend.config_txt import insert_block, remove_block
from edgedefend.device import Device
from edgedefend.errors import DeviceError, InputError
from edgedefend.system_files import Content, SystemFiles
from tests.boards import BOARDS, PI_CONFIG, Tools, board, put
from tests.conftest import ROOT, one_line

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


def tree(root: Path, name: str = "pi-4") -> Device:
    BOARDS[name](root)
    (root / "var/lib").mkdir(parents=True, exist_ok=True)
    return Device(root)


def picture(root: Path) -> dict[str, tuple]:
    """Everything of a tree: kinds, modes, bytes, targets."""
    found = {}
    for path in sorted(root.rglob("*")):
        facts = path.lstat()
        content = str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        found[str(path.relative_to(root))] = (facts.st_mode, content)
    return found


def config_txt(device: Device) -> Path:
    return device.root / "boot/firmware/config.txt"


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


# -- cut anywhere ------------------------------------------------------------------------------------------------------


def make_fat(root: Path) -> None:
    put(root, "/proc/mounts", "/dev/root / ext4 rw 0 0\n/dev/mmcblk0p1 /boot/firmware vfat rw,fmask=0022 0 0\n")


@pytest.mark.parametrize("action", ["apply", "revert"])
@pytest.mark.parametrize("fat", [False, True], ids=["ext4", "fat"])
def test_killed_at_every_step_leaves_old_or_new(action, fat, tmp_path):
    device = tree(tmp_path / "before")
    for name in ("proc", "sys"):
        shutil.rmtree(device.root / name)  # they only make the copies slower
    put(device.root, "/etc/sysctl.d/90-edgedefend.conf", b"vm.swappiness = 1\n")
    if fat:
        make_fat(device.root)
    shutil.copytree(tmp_path / "before", tmp_path / "after", symlinks=True)
    board_apply.apply(Device(tmp_path / "after"), load_board("pi-4"))
    result = subprocess.run(
        [sys.executable, str(ROOT / "tests/boards/kill_loop.py"), str(tmp_path), action],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) >= 30  # so many moments it was killed at


@pytest.mark.parametrize("fat", [False, True], ids=["ext4", "fat"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_every_write_that_fails_leaves_old_or_new(fat, code, tmp_path, monkeypatch):
    """A full disk and a worn-out card: the error comes out, the files are whole, and a second try succeeds."""
    reference = tree(tmp_path / "reference")
    board_apply.apply(reference, load_board("pi-4"))
    after = picture(reference.root)
    rounds = 0
    for failing in range(1, 200):
        device = tree(tmp_path / str(failing))
        if fat:
            make_fat(device.root)
        before = picture(device.root)
        calls = 0
        real = system_files._write_new

        def write_new(path, data, mode, real=real, failing=failing):
            nonlocal calls
            calls += 1
            if calls == failing:
                path.write_bytes(data[: len(data) // 2])  # as far as there was room
                raise OSError(code, os.strerror(code), str(path))
            real(path, data, mode)

        with monkeypatch.context() as patch:
            patch.setattr(system_files, "_write_new", write_new)
            try:
                board_apply.apply(device, load_board("pi-4"))
                break
            except OSError as error:
                assert error.errno == code
        rounds += 1
        for name, entry in picture(device.root).items():
            if "edgedefend-board" in name or name.endswith((".edgedefend-new", ".edgedefend-old")):
                continue
            assert entry in (before.get(name), after.get(name)), name
        board_apply.revert(device)
        assert picture(device.root) == before
        shutil.rmtree(device.root)
    assert rounds >= 8


def test_each_rename_stands_between_its_two_flushes(system, monkeypatch):
    """The new content must be on the disk before the rename is, and the rename before anything that follows from it."""
    events: list[tuple[str, str]] = []
    fsync, replace = os.fsync, os.replace

    def noted_fsync(handle):
        events.append(("fsync", str(Path(f"/proc/self/fd/{handle}").readlink())))
        fsync(handle)

    def noted_replace(source, target):
        events.append(("rename", str(source)))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_replace)
    board_apply.apply(system, load_board("pi-4"))
    renames = [index for index, (kind, _) in enumerate(events) if kind == "rename"]
    files = [index for index in renames if not Path(events[index][1]).name.startswith(".edgedefend.service")]
    assert len(renames) >= 8
    for index in renames:
        source = events[index][1]
        assert events[index + 1] == ("fsync", str(Path(source).parent))
        if index in files:
            assert events[index - 1] == ("fsync", source)


def test_on_fat_the_old_content_stays_beside_until_revert(system):
    make_fat(system.root)
    assert SystemFiles(system.root).is_fat(config_txt(system).parent)
    assert not SystemFiles(system.root).is_fat(system.root / "etc")
    board_apply.apply(system, load_board("pi-4"))
    copy = config_txt(system).with_name("config.txt.edgedefend-old")
    assert copy.read_bytes() == PI_CONFIG.encode()
    board_apply.revert(system)
    assert sorted(path.name for path in config_txt(system).parent.iterdir()) == ["config.txt"]


@pytest.mark.parametrize("action", ["apply", "revert"])
def test_a_file_that_a_power_cut_lost_on_fat_is_put_back(action, system):
    """FAT may lose both names of a rename: then the copy is what there is."""
    make_fat(system.root)
    board_apply.apply(system, load_board("pi-4"))
    applied = config_txt(system).read_bytes()
    config_txt(system).unlink()
    if action == "apply":
        board_apply.apply(system, load_board("pi-4"))
        assert config_txt(system).read_bytes() == applied
    board_apply.revert(system)
    assert config_txt(system).read_bytes() == PI_CONFIG.encode()


def test_a_card_that_does_not_keep_what_is_written_is_noticed(system, monkeypatch):
    make_fat(system.root)
    real = system_files._write_new

    def forgetful(path, data, mode):
        real(path, data[:-1] if path.name == "config.txt.edgedefend-new" else data, mode)

    monkeypatch.setattr(system_files, "_write_new", forgetful)
    with pytest.raises(OSError, match="the card may be worn out"):
        board_apply.apply(system, load_board("pi-4"))
    assert config_txt(system).read_bytes() == PI_CONFIG.encode()


def test_mount_points_with_blanks_and_mounts_on_one_another(tmp_path):
    files = SystemFiles(tmp_path)
    put(
        tmp_path,
        "/proc/mounts",
        "a /my\\040card ext4 rw 0 0\nb /my\\040card vfat rw 0 0\nc /my\\040card/x ext4 rw 0 0\n",
    )
    assert files.is_fat(tmp_path / "my card")
    assert not files.is_fat(tmp_path / "my card/x")
    assert not files.is_fat(tmp_path / "my cards")


def test_a_replaced_file_keeps_no_descriptor_and_its_new_content(tmp_path):
    files = SystemFiles(tmp_path)
    files.write("/a", Content(b"one", mode=0o600))
    held = (tmp_path / "a").open("rb")
    files.write("/a", Content(b"two", mode=0o640))
    assert held.read() == b"one"  # a reader of the old one is not torn
    held.close()
    assert (tmp_path / "a").read_bytes() == b"two"
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640


# -- in force ----------------------------------------------------------------------------------------------------------


class Commands:
    """Notes what would be run; what is in `fails` fails."""

    def __init__(self, fails: tuple[str, ...] = ()) -> None:
        self.ran: list[str] = []
        self.fails = fails

    def __call__(self, command) -> str:
        self.ran.append(" ".join(command))
        return "it is broken" if any(word in self.ran[-1] for word in self.fails) else ""


def test_what_is_run_after_apply(system):
    _, pending = board_apply.apply(system, load_board("pi-4"))
    commands = Commands()
    done, failed = board_activate.activate(system, load_board("pi-4"), pending, commands)
    assert commands.ran == [
        "systemd-sysusers /etc/sysusers.d/edgedefend.conf",
        "sysctl --quiet --load /etc/sysctl.d/90-edgedefend.conf",
        "systemd-tmpfiles --create /etc/tmpfiles.d/edgedefend.conf",
        "systemctl daemon-reexec",
    ]
    assert (done, failed) == (commands.ran, [])


def test_what_was_not_put_in_force_is_pending_until_it_is(system):
    _, pending = board_apply.apply(system, load_board("pi-4"))
    again = board_apply.apply(system, load_board("pi-4"))
    assert again == ([], pending)
    _, failed = board_activate.activate(system, load_board("pi-4"), pending, Commands(("sysctl",)))
    assert failed == ["sysctl --quiet --load /etc/sysctl.d/90-edgedefend.conf: it is broken"]
    board_apply.settled(system)
    assert board_apply.apply(system, load_board("pi-4")) == ([], [])


def jetson(tmp_path: Path, takes: bool = True) -> tuple[Device, Commands]:
    device = board("jetson-orin-nano", tmp_path)
    tools: Tools = device.run
    commands = Commands()
    plain = commands.__call__

    def run(command):
        if takes and list(command[:2]) == ["nvpmodel", "-m"]:
            names = {str(number): name for name, number in device.power_modes().items()}
            tools.answers["nvpmodel -q"] = f"NV Power Mode: {names[command[2]]}\n{command[2]}\n"
        return plain(command)

    run.ran = commands.ran
    return device, run


def test_the_power_mode_goes_by_its_name(tmp_path):
    device, commands = jetson(tmp_path)
    config = load_board("jetson-orin-nano")
    assert board_activate.set_power(device, config, commands) == ["nvpmodel -m 1 (25W)", "jetson_clocks"]
    # Again: the mode is not set twice, the clocks are (they do not survive a restart).
    assert board_activate.set_power(device, config, commands) == ["power mode 25W is set", "jetson_clocks"]
    assert commands.ran == ["nvpmodel -m 1", "jetson_clocks", "jetson_clocks"]
    # An older release, other numbers, no 25W.
    device.run.answers["nvpmodel -p --verbose"] = "POWER_MODEL: ID=0 NAME=7W\nPOWER_MODEL: ID=5 NAME=15W\n"
    assert board_activate.set_power(device, config, commands)[0] == "nvpmodel -m 5 (15W)"


def test_a_power_mode_that_needs_a_restart_is_named_not_done(tmp_path):
    device, commands = jetson(tmp_path, takes=False)
    with pytest.raises(DeviceError, match="power mode 25W was not taken .* run `sudo nvpmodel -m 1`, answer YES"):
        board_activate.set_power(device, load_board("jetson-orin-nano"), commands)
    device.run.answers["nvpmodel -p --verbose"] = "POWER_MODEL: ID=0 NAME=MAXN\n"
    with pytest.raises(DeviceError, match="this Jetson has MAXN, expected one of 25W, 15W"):
        board_activate.set_power(device, load_board("jetson-orin-nano"), commands)
    assert commands.ran == ["nvpmodel -m 1"]


def test_before_revert_the_service_is_stopped(system):
    board_apply.apply(system, load_board("pi-4"))
    commands = Commands()
    assert board_activate.deactivate(board_apply.applied(system), commands) == []
    assert commands.ran == ["systemctl stop edgedefend.service"]
    assert board_activate.deactivate([], commands) == []


def test_run_command():
    assert board_activate.run_command(["true"]) == ""
    assert board_activate.run_command(["sh", "-c", "echo one; echo two >&2; exit 3"]) == "two"
    assert board_activate.run_command(["false"]) == "it ended with 1"
    assert board_activate.run_command(["/nonexistent/tool"]) == "/nonexistent/tool is not installed"


def test_what_differs_on_the_running_system(tmp_path):
    device = board("jetson-orin-nano", tmp_path)
    put(tmp_path, "/proc/sys/vm/swappiness", "60\n")
    put(tmp_path, "/proc/sys/kernel/panic", "10\n")
    put(tmp_path, "/var/lib/dpkg/status", "Package: v4l-utils\nStatus: install ok installed\n\nPackage: python3-venv\n")
    config = load_board("jetson-orin-nano")
    assert board_activate.differences(device, config) == [("vm.swappiness", "60", "10"), ("power mode", "15W", "25W")]
    assert board_activate.missing_packages(device, config) == ["python3-venv"]


# -- the command line --------------------------------------------------------------------------------------------------


def test_commands(run_cli, system):
    root = system.root
    before = picture(root)
    shown = run_cli("board", "diff", "--root", root)
    assert shown.returncode == 0, shown.stderr
    assert "+++ then/etc/systemd/system/edgedefend.service" in shown.stdout
    assert "+dtparam=watchdog=on" in shown.stdout
    assert "running: governor is ondemand, pi-4 has performance" in shown.stdout
    assert picture(root) == before
    applied = run_cli("board", "apply", "--root", root)
    assert applied.returncode == 0, applied.stderr
    assert "changed   /boot/firmware/config.txt" in applied.stdout
    assert "no command was run" in applied.stdout
    again = run_cli("board", "apply", "--root", root)
    assert again.stdout.splitlines() == [
        "nothing to change: this system is as pi-4 says",
        "not installed: sudo apt-get install python3-venv rpicam-apps-lite v4l-utils",
    ]
    reverted = run_cli("board", "revert", "--root", root)
    assert "restored  /boot/firmware/config.txt" in reverted.stdout
    assert reverted.returncode == 0
    assert picture(root) == before
    assert "nothing to take back" in run_cli("board", "revert", "--root", root).stdout


def test_commands_that_are_refused(run_cli, system, tmp_path):
    root = system.root
    line = one_line(run_cli("board", "apply", "pi-5", "--root", root), 3)
    assert "this is Raspberry Pi 4 Model B Rev 1.5, not a Raspberry Pi 5" in line
    assert "not a Jetson" in one_line(run_cli("board", "apply", "jetson-orin-nx", "--root", root), 3)
    assert "unknown board 'pi-9'" in one_line(run_cli("board", "show", "pi-9"), 3)
    (tmp_path / "empty").mkdir()
    assert "name one of jetson-agx-orin" in one_line(run_cli("board", "diff", "--root", tmp_path / "empty"), 3)
    board_apply.apply(system, load_board("pi-4"))
    (root / "etc/systemd/system/edgedefend.service").write_text("mine")
    line = one_line(run_cli("board", "revert", "--root", root), 1)
    assert "left alone: /etc/systemd/system/edgedefend.service (--force puts them back)" in line


def test_a_diff_shows_control_characters_instead_of_sending_them(run_cli, system):
    config_txt(system).write_bytes(b"a=1\n# \x1b[31mred\x07\n")
    shown = run_cli("board", "diff", "--root", system.root)
    assert "\x1b" not in shown.stdout
    assert "\x07" not in shown.stdout
    assert "\N{REPLACEMENT CHARACTER}[31mred" in shown.stdout


def test_show(run_cli, tmp_path):
    listed = run_cli("board", "list").stdout
    assert [line.split()[0] for line in listed.splitlines()][3:6] == ["pi-4", "pi-5", "pi-zero-2w"]
    shown = run_cli("board", "show", "jetson-agx-orin").stdout
    assert "power_modes            50W, 40W, 30W" in shown
    assert "--- /etc/systemd/system/edgedefend-jetson.service" in shown
    one = run_cli("board", "show", "pi-5", "--file", "/etc/sysctl.d/90-edgedefend.conf").stdout
    assert one == render_files(load_board("pi-5"))["/etc/sysctl.d/90-edgedefend.conf"]
    assert '"numba_target": "cortex-a76"' in run_cli("board", "show", "pi-5", "--json").stdout
    key = tmp_path / "key.pub"
    key.write_text("ssh-ed25519 AAAA anna@desk\n")
    first = run_cli("board", "show", "pi-5", "--file", "user-data", "--ssh-key", key, "--hostname", "cam")
    assert first.stdout.startswith("#cloud-config\n")
    assert run_cli("board", "show", "pi-5", "--file", "user-data").returncode == 2
    assert "no such file" in one_line(
        run_cli("board", "show", "pi-5", "--file", "user-data", "--ssh-key", tmp_path / "none"), 3
    )
    assert "expected one of" in one_line(run_cli("board", "show", "pi-5", "--file", "/etc/passwd"), 3)
