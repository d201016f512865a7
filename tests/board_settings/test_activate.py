"""What is put in force after settings are written, and what has to wait for a restart."""

from pathlib import Path

import pytest

from edgedefend import board_activate, board_apply
from edgedefend.board import load_board
from edgedefend.device import Device
from edgedefend.errors import DeviceError
from tests.boards import Tools, board, put


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
