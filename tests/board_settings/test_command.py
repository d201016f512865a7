"""`edgedefend board` as a user meets it."""

from edgedefend import board_apply
from edgedefend.board import load_board, render_files
from tests.board_settings.systems import config_txt, picture
from tests.conftest import one_line


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
