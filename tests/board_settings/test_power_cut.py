"""Settings that are cut anywhere: every step killed, every write failing, on FAT too, leaves old or new."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgedefend import board_apply, system_files
from edgedefend.board import load_board
from edgedefend.device import Device
from edgedefend.system_files import Content, SystemFiles
from tests.board_settings.systems import config_txt, picture, tree
from tests.boards import PI_CONFIG, put
from tests.conftest import ROOT


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
