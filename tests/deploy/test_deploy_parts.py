"""The parts of a deploy that need no board: facts, inventories, wheels, what ssh says."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from edgedefend.board import detect
from edgedefend.deploying.facts import SCRIPT, parse_facts
from edgedefend.deploying.onboard.environment import clone_venv
from edgedefend.deploying.release import Workshop
from edgedefend.deploying.targets import Target, read_inventory, unique_targets
from edgedefend.deploying.wheels import platforms, write_own_wheel
from edgedefend.device import Device
from edgedefend.errors import DeviceError, InputError

PI = [
    "machine aarch64",
    "bits 64",
    "glibc glibc 2.36",
    "uid 0",
    "python /usr/bin/python3 3.11.2 64 1",
    "free 1000000",
    "end 1",
]


def facts(*changes: str) -> list[str]:
    names = [change.split(" ")[0] for change in changes]
    return [*changes, *(line for line in PI if line.split(" ")[0] not in names)]


class TestFacts:
    def test_a_board(self):
        seen = parse_facts(
            facts("compatible raspberrypi,4-model-b brcm,bcm2711", "parts 0xd08 ", "blob abc", "systemd 1")
        )
        assert (seen.machine, seen.python, seen.python_version) == ("aarch64", "/usr/bin/python3", (3, 11))
        assert seen.compatible == ("raspberrypi,4-model-b", "brcm,bcm2711")
        assert (seen.cpu_parts, seen.blobs, seen.systemd) == ({"0xd08"}, {"abc"}, True)
        assert (seen.glibc, seen.free, seen.needs_sudo) == ((2, 36), 1_024_000_000, False)

    @pytest.mark.parametrize(
        ("l4t", "python", "says"),
        [
            ("# R35 (release), REVISION: 4.1, GCID: 1", "3.8.10", r"Python 3\.8 \(JetPack 5\).*JetPack 6 or later"),
            ("# R32 (release), REVISION: 7.1", "3.6.9", r"Python 3\.6 \(JetPack 4\).*JetPack 6 or later"),
            ("", "3.14.0", r"Python 3\.14, expected 3\.10 to 3\.13"),
        ],
    )
    def test_a_python_that_will_not_do(self, l4t, python, says):
        with pytest.raises(DeviceError, match=says):
            parse_facts(facts(f"l4t {l4t}", f"python /usr/bin/python3 {python} 64 1"))

    def test_a_newer_python_beside_the_old_one_will_do(self):
        lines = facts("python /usr/bin/python3 3.8.10 64 1")
        seen = parse_facts([*lines, "python /usr/bin/python3.10 3.10.12 64 1"])
        assert seen.python == "/usr/bin/python3.10"

    def test_who_may_not_write_needs_sudo_without_a_password(self):
        assert parse_facts(facts("uid 1000", "sudo 1")).needs_sudo
        assert not parse_facts(facts("uid 1000", "writable 1")).needs_sudo
        with pytest.raises(DeviceError, match="no right to write"):
            parse_facts(facts("uid 1000"))

    @pytest.mark.parametrize("shell", ["sh", "bash", "dash"])
    def test_the_script_runs_in_any_shell(self, shell, tmp_path):
        import shutil

        if not shutil.which(shell):
            pytest.skip(f"no {shell} here")
        done = subprocess.run(
            [shell, "-c", SCRIPT, "edgedefend", str(tmp_path / "a b")], capture_output=True, text=True, check=True
        )
        seen = parse_facts(done.stdout.splitlines())
        assert (seen.current, seen.releases, seen.blobs) == ("", (), frozenset())
        assert seen.free > 0
        assert done.stderr == ""


class TestInventory:
    def read(self, folder: Path, text: str) -> list[Target]:
        (folder / "boards").write_text(text)
        return read_inventory(folder / "boards", Target("default", port=9000))

    def test_lines(self, tmp_path):
        text = "# all boards\n\npi@192.0.2.7\n"
        text += "ssh://pi@[2001:db8::1]:22  prefix=/data/ed/ port=80 # attic\r\nlab-3 user=cam\n"
        assert self.read(tmp_path, text) == [
            Target("pi@192.0.2.7", port=9000),
            Target("ssh://pi@[2001:db8::1]:22", "/data/ed", 80),
            Target("lab-3", port=9000, user="cam"),
        ]

    @pytest.mark.parametrize(
        "line", ["a port=0", "a port=x", "a prefix=relative", "a prefix=/a/../b", "a colour=red", "-a", "a b"]
    )
    def test_a_bad_line_is_named(self, tmp_path, line):
        with pytest.raises(InputError, match=r"boards line 2: "):
            self.read(tmp_path, f"good\n{line}\n")

    def test_every_host_once(self):
        assert unique_targets([Target("a", port=1), Target("b"), Target("a", port=2)]) == [
            Target("a", port=1),
            Target("b"),
        ]


class TestWheels:
    def test_the_own_wheel_is_the_same_every_time_and_installs(self, tmp_path):
        (tmp_path / "one").mkdir()
        (tmp_path / "two").mkdir()
        one, two = write_own_wheel(tmp_path / "one"), write_own_wheel(tmp_path / "two")
        assert one.read_bytes() == two.read_bytes()
        names = zipfile.ZipFile(one).namelist()
        assert "edgedefend/deploying/onboard/agent.py" in names
        assert "firmware_configs/pi-4.toml" in names
        assert not [name for name in names if name.startswith("convert/") or "__pycache__" in name]
        command = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--no-deps",
            "--no-index",
            "--target",
            tmp_path / "site",
            one,
        ]
        subprocess.run(command, check=True, capture_output=True)
        assert (tmp_path / "site/edgedefend/data/quant_tables/feature-distillation.json").is_file()

    def test_platforms(self):
        tags = platforms("aarch64", (2, 36))
        assert tags[0] == "manylinux_2_36_aarch64"
        assert {"manylinux_2_17_aarch64", "manylinux2014_aarch64"} <= set(tags)
        assert "manylinux_2_37_aarch64" not in tags


class TestKernels:
    """For which CPU the desktop makes the kernels of a board."""

    @pytest.mark.parametrize(
        ("compatible", "parts", "target"),
        [
            ("raspberrypi,4-model-b", "0xd08", "cortex-a72"),
            ("raspberrypi,model-zero-2-w", "0xd03", "cortex-a53"),
            # Boards that no file in firmware_configs knows.
            ("khadas,vim3", "0xd08", "cortex-a72"),
            ("radxa,rock-5b", "0xd0b", "cortex-a76"),
            # Big and little cores together: code that both can run.
            ("friendlyarm,nanopc-t4", "0xd03 0xd08", "cortex-a53"),
            ("apple,j274", "0x022", "None"),
        ],
    )
    def test_the_narrowest_that_every_core_can_run(self, compatible, parts, target, color_bundles):
        here = f"python /usr/bin/python3 {'.'.join(map(str, sys.version_info[:3]))} 64 1"
        seen = parse_facts(facts(f"compatible {compatible}", f"parts {parts}", here))
        device = Device(Path("/nonexistent"))
        device.__dict__["compatible"] = seen.compatible
        with Workshop(color_bundles / "int8") as workshop:
            assert str(workshop._kernel_target(detect(device), seen)) == target

    def test_another_python_makes_its_own(self, color_bundles):
        other = "3.10.4" if sys.version_info[:2] != (3, 10) else "3.11.2"
        seen = parse_facts(facts("parts 0xd08", f"python /usr/bin/python3 {other} 64 1"))
        with Workshop(color_bundles / "int8") as workshop:
            assert workshop._kernel_target(detect(Device(Path("/nonexistent"))), seen) is None


class TestWhatSshSays:
    @pytest.mark.parametrize(
        ("said", "line"),
        [
            ("pi@a: Permission denied (publickey,password).", "it refuses the login (publickey,password)"),
            ("Warning: Permanently added 'a'.\nssh: connect to host a port 22: Connection timed out", "timed out"),
            ("", "without a word"),
            (
                "tar: x: Wrote only 512 of 10240 bytes\ntar: x: Cannot write: No space left on device",
                "the disk is full",
            ),
        ],
    )
    def test_one_line(self, said, line):
        explain = pytest.importorskip("edgedefend.deploying.openssh", reason="needs pyinfra").explain
        assert line in explain(said)


def test_a_copied_environment_shares_files_and_runs_on_its_own(tmp_path):
    donor, copy = tmp_path / "donor/venv", tmp_path / "copy/venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", donor], check=True)
    site = next(donor.glob("lib/python3*/site-packages"))
    (site / "thing.py").write_text("name = 'thing'\n")
    (donor / "bin/script").write_text(f"#!{donor}/bin/python\nimport sys, thing\nprint(sys.prefix, thing.__file__)\n")
    (donor / "bin/script").chmod(0o755)
    copy.parent.mkdir()
    clone_venv(donor, copy)
    import shutil

    assert (next(copy.glob("lib/python3*/site-packages")) / "thing.py").stat().st_nlink == 2
    shutil.rmtree(donor)
    printed = subprocess.run([copy / "bin/script"], capture_output=True, text=True, check=True).stdout
    assert printed.count(str(copy)) == 2
