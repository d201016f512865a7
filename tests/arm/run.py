"""Run a command in an arm64 userland under QEMU, as on a board with a given CPU; root is not needed.

    python -m tests.arm.run --userland bookworm --cpu cortex-a72 -- edgedefend --version

The command and all its children run in a user and mount namespace of their own: the userland is their file system,
the checkout is there at its own path, read-only, /tmp is empty, and the kernel hands every arm64 program to QEMU
through a private instance of binfmt_misc (Linux 6.7). /proc/cpuinfo and the device tree are those of the board that
has the CPU. Nothing of it is visible outside, and nothing stays. A desktop's userland ("trixie-amd64") is entered in
the same way, and has this machine's CPU.
"""

from __future__ import annotations

import argparse
import ctypes
import errno
import os
import signal
import sys
from pathlib import Path

from tests.arm.debian import UnavailableError
from tests.arm.userland import DESKTOPS, PYTHONS, ROOT, build, in_use, qemu, root_of

__all__ = ["BOARDS", "command_line", "why_not"]

# CPU -> part number, device-tree model, compatible strings
BOARDS = {
    "cortex-a72": ("0xd08", "Raspberry Pi 4 Model B Rev 1.4", ("raspberrypi,4-model-b", "brcm,bcm2711")),
    "cortex-a76": ("0xd0b", "Raspberry Pi 5 Model B Rev 1.0", ("raspberrypi,5-model-b", "brcm,bcm2712")),
}
# The "Features" line of these boards' kernels.
FEATURES = {
    "cortex-a72": "fp asimd evtstrm crc32 cpuid",
    "cortex-a76": "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp",
}
_NEWNS, _NEWUSER = 0x00020000, 0x10000000
_RDONLY, _REMOUNT, _BIND, _REC, _PRIVATE = 1, 32, 4096, 16384, 1 << 18
_MAGIC = r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
_MASK = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff"


def cpuinfo(cpu: str) -> str:
    """Return /proc/cpuinfo of the board with `cpu`, for as many cores as this machine lets us use."""
    part, model, _ = BOARDS[cpu]
    core = (
        f"BogoMIPS\t: 108.00\nFeatures\t: {FEATURES[cpu]}\nCPU implementer\t: 0x41\nCPU architecture: 8\n"
        f"CPU variant\t: 0x0\nCPU part\t: {part}\nCPU revision\t: 3\n\n"
    )
    cores = range(os.cpu_count() or 1)
    return "".join(f"processor\t: {number}\n{core}" for number in cores) + f"Model\t\t: {model}\n"


def _call(name: str, *arguments: object) -> None:
    """Call a function of the C library; raise what it complains about."""
    libc = ctypes.CDLL(None, use_errno=True)
    words = [
        word.encode() if isinstance(word, str) else ctypes.c_ulong(word) if isinstance(word, int) else word
        for word in arguments
    ]
    if getattr(libc, name)(*words) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}", str(arguments[1] if len(arguments) > 1 else ""))


def _mount(source: str, target: Path, kind: str, flags: int = 0) -> None:
    _call("mount", source, str(target), kind, flags, None)


def _bind(source: Path, target: Path, *, read_only: bool = False) -> None:
    if source.is_dir():
        target.mkdir(parents=True, exist_ok=True)
    _mount(str(source), target, "none", _BIND | (_REC if str(source) in ("/proc", "/sys", "/dev") else 0))
    if read_only:
        _mount("none", target, "none", _BIND | _REMOUNT | _RDONLY)


def _emulate(root: Path, cpu: str, program: Path) -> None:
    """Have arm64 programs below `root` run by QEMU, and see the board that has the CPU."""
    _, model, compatible = BOARDS[cpu]
    _mount("binfmt_misc", root / "proc/sys/fs/binfmt_misc", "binfmt_misc")
    # F: the kernel opens QEMU now, here, so that it need not be inside the userland.
    rule = f":edgedefend-arm64:M::{_MAGIC}:{_MASK}:{program}:F"
    (root / "proc/sys/fs/binfmt_misc/register").write_text(rule)
    (root / "tmp/cpuinfo").write_text(cpuinfo(cpu))
    _bind(root / "tmp/cpuinfo", root / "proc/cpuinfo")
    (root / "tmp/cpuinfo").unlink()
    _mount("tmpfs", root / "sys/firmware", "tmpfs")
    tree = root / "sys/firmware/devicetree/base"
    tree.mkdir(parents=True)
    (tree / "model").write_bytes(model.encode() + b"\0")
    (tree / "compatible").write_bytes(b"".join(word.encode() + b"\0" for word in compatible))


def _build_world(root: Path, emulated: tuple[str, Path] | None, writable: list[Path]) -> None:
    """Mount everything below `root`; only this process and its children see it. `emulated` are a CPU and QEMU."""
    _mount("none", Path("/"), "none", _REC | _PRIVATE)
    for name in ("proc", "sys", "dev"):
        _bind(Path("/") / name, root / name)
    _mount("tmpfs", root / "tmp", "tmpfs")
    if emulated:
        _emulate(root, *emulated)
    inside = Path(f"{root}{ROOT}")
    _bind(ROOT, inside, read_only=True)
    for folder in writable:
        _bind(folder, Path(f"{root}{folder}"))


def _environment(cpu: str | None, extra: list[str]) -> dict[str, str]:
    """Return the environment inside: nothing of this machine's, whose tuning variables would be wrong there."""
    given = dict(word.split("=", 1) for word in extra)
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": "/root",
        "LANG": "C.UTF-8",
        **({"QEMU_CPU": cpu} if cpu else {}),
        "PYTHONPATH": str(ROOT),
        "HYPOTHESIS_STORAGE_DIRECTORY": "/tmp/hypothesis",
        **given,
    }


def _map_users(child: int) -> None:
    """Give a process in a new user namespace its users: all of them if we may, else only root, who is us."""
    where = Path(f"/proc/{child}")
    try:
        (where / "uid_map").write_text("0 0 4294967295")
        (where / "gid_map").write_text("0 0 4294967295")
    except OSError:
        (where / "setgroups").write_text("deny")
        (where / "uid_map").write_text(f"0 {os.geteuid()} 1")
        (where / "gid_map").write_text(f"0 {os.getegid()} 1")


def _run(root: Path, cpu: str | None, command: list[str], writable: list[Path], extra: list[str]) -> int:
    """Fork, enter the userland, run `command` there; return its exit code, 125 if the userland cannot be entered."""
    emulated = (cpu, qemu()) if cpu else None
    (ready, tell_ready), (go, tell_go) = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        try:
            _call("prctl", 1, signal.SIGKILL)  # PR_SET_PDEATHSIG: not to outlive us
            _call("unshare", _NEWUSER | _NEWNS)
            os.write(tell_ready, b"r")
            os.read(go, 1)
            _build_world(root, emulated, writable)
            os.chroot(root)
            os.chdir(ROOT)
            os.execvpe(command[0], command, _environment(cpu, extra))
        except OSError as error:
            hint = ""
            if error.errno in (errno.EPERM, errno.EACCES, errno.ENODEV, errno.ENOSPC, errno.EINVAL):
                hint = (
                    " (user namespaces and a private binfmt_misc are needed: Linux 6.7, not forbidden by a container)"
                )
            print(f"cannot enter the userland: {error}{hint}", file=sys.stderr, flush=True)
        finally:
            os._exit(125)
    os.close(tell_ready)
    if os.read(ready, 1):
        _map_users(child)
        os.write(tell_go, b"g")
    try:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    except KeyboardInterrupt:
        os.kill(child, signal.SIGKILL)
        return 130


def command_line(
    userland: str,
    cpu: str | None,
    command: list[str],
    *,
    writable: tuple[Path, ...] = (),
    env: dict[str, str] | None = None,
) -> list[str]:
    """Return the words that run `command` in a userland, for `subprocess`; run them with the checkout as folder.

    The userland must have been built, and is taken as it is: whatever changes here while the steps of one proof run
    must not make one of them build it anew below the others.
    """
    words = [sys.executable, "-m", "tests.arm.run", "--as-built", "--userland", userland]
    words += ["--cpu", cpu] if cpu else []
    words += [f"--write={folder}" for folder in writable]
    words += [f"--env={name}={value}" for name, value in (env or {}).items()]
    return [*words, "--", *command]


def why_not(suite: str) -> str:
    """Return why programs of a (built) userland cannot be run on this machine, "" if they can."""
    import subprocess

    words = command_line(suite, "cortex-a72", ["/bin/true"])
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]


def main() -> int:
    """Parse the command line and run."""
    parser = argparse.ArgumentParser(description="Run a command in a board's (or a desktop's) userland.")
    parser.add_argument("--userland", choices=[*PYTHONS, *DESKTOPS], default="bookworm")
    parser.add_argument("--cpu", choices=BOARDS, default="cortex-a72", help="Of a board; a desktop has this machine's.")
    parser.add_argument("--write", type=Path, action="append", default=[], help="A folder that may be written there.")
    parser.add_argument("--env", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--as-built", action="store_true", help="Do not look whether the userland is up to date.")
    parser.add_argument("command", nargs="+")
    words = parser.parse_args()
    try:
        root = root_of(words.userland) if words.as_built else build(words.userland)
        cpu = None if words.userland in DESKTOPS else words.cpu
        with in_use(words.userland):
            return _run(root, cpu, words.command, words.write, words.env)
    except UnavailableError as error:
        print(f"cannot enter the userland: {error}", file=sys.stderr)
        return 125


if __name__ == "__main__":
    sys.exit(main())
