"""`make arm-board`: deploys to a whole emulated board over ssh, cuts its power in the middle, and looks at it again.

The board is an arm64 Debian with systemd and sshd under qemu-system-aarch64. A bundle is pushed to it as to any board;
the service answers; then pushes are interrupted by killing QEMU at given moments, the board is started again and must
run a whole release, old or new. Prints what it saw, and writes it to docs/arm-board-output.txt with --record.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.arm.debian import UnavailableError
from tests.arm.desktop import make_bundles
from tests.arm.image import SUITE, build
from tests.arm.machine import Machine, WrongError
from tests.arm.settings import apply_and_revert, kernel_settings
from tests.arm.userland import BUILD, ROOT, pins, python_of, runtime_dependencies, versions_here, wheel_options

PORT = 8765
# The line of the push that a cut waits for, and the seconds it then waits: before the switch, in it, after it.
CUTS = [
    ("upload", 0.5),
    ("environment taken over", 0.3),
    ("switching to", 0.0),
    ("switching to", 1.0),
    ("waiting for the service", 2.0),
    ("watching", 0.5),
]


class Report:
    """Lines for people, each with the seconds since the beginning; also kept for the record."""

    def __init__(self) -> None:
        self.begin = time.monotonic()
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        """Print a line and keep it."""
        self.lines.append(f"{time.monotonic() - self.begin:7.1f} s  {text}")
        print(self.lines[-1], flush=True)


def fill_wheelhouse() -> Path:
    """Return a folder with the aarch64 wheels of everything a board installs."""
    folder = BUILD / "wheelhouse"
    folder.mkdir(parents=True, exist_ok=True)
    constraints = BUILD / "wheelhouse.txt"
    constraints.write_text("".join(f"{pin}\n" for pin in pins(versions_here())))
    words = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--dest", str(folder)]
    words += ["--constraint", str(constraints), *wheel_options(python_of(SUITE)), *runtime_dependencies()]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UnavailableError(f"pip cannot get the wheels: {(done.stderr.strip().splitlines() or ['?'])[-1]}")
    return folder


class Push:
    """`edgedefend deploy push`, started as a user would, and its lines as they come."""

    def __init__(self, machine: Machine, bundle: Path, wheelhouse: Path) -> None:
        words = [sys.executable, "-m", "edgedefend.cli", "deploy", "push", str(bundle), "board"]
        words += ["--ssh-config", str(machine.ssh_config), "--wheelhouse", str(wheelhouse), "--port", str(PORT)]
        self.process = subprocess.Popen(
            words,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stdout or ():
            self._lines.put(line.rstrip())
        self._lines.put(None)

    def until(self, seen: Callable[[str], bool], seconds: float = 3000) -> tuple[list[str], bool]:
        """Read lines until `seen` says so or the push ends; return the lines, and whether `seen` did."""
        found: list[str] = []
        end = time.monotonic() + seconds
        while True:
            try:
                line = self._lines.get(timeout=max(0.1, end - time.monotonic()))
            except queue.Empty:
                self.process.kill()
                raise WrongError(f"the push has not ended after {seconds:.0f} s: {found[-3:]}") from None
            if line is None:
                self.process.wait()
                return found, False
            found.append(line)
            if seen(line):
                return found, True


def push(machine: Machine, bundle: Path, wheelhouse: Path, report: Report) -> list[str]:
    """Push to the end; return what was printed."""
    begin = time.monotonic()
    going = Push(machine, bundle, wheelhouse)
    lines, _ = going.until(lambda line: bool(report.say(f"    {line}")))
    if going.process.returncode:
        raise WrongError(f"the push ended with {going.process.returncode}: {lines[-1:]}")
    report.say(f"pushed {bundle.parent.name} {bundle.name} in {time.monotonic() - begin:.0f} s")
    return lines


def ask(machine: Machine, method: str, path: str, body: bytes | None = None) -> dict[str, object]:
    """Ask the service on the board, through an ssh tunnel: it listens on the board's loopback only."""
    tunnel, port = machine.forward(PORT)
    try:
        for _ in range(60):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=180)
            try:
                connection.request(method, path, body)
                answer = connection.getresponse()
                content = json.loads(answer.read())
            except OSError:
                time.sleep(0.5)  # the tunnel is not open yet
                continue
            finally:
                connection.close()
            if answer.status != 200:
                raise WrongError(f"{method} {path}: {answer.status} {content}")
            return dict(content)
    finally:
        tunnel.terminate()
        tunnel.wait()
    raise WrongError(f"{method} {path}: no answer through the tunnel")


def running_release(machine: Machine) -> tuple[str, dict[str, object]]:
    """Return the name of the release that the board runs, and what it says of itself; it must be whole.

    Raises
    ------
    WrongError
        If the release is not complete, its service does not run, does not answer, or its bundle is not verified.
    """
    shown = machine.ssh(
        "for i in $(seq 90); do systemctl is-active -q edgedefend && break; sleep 1; done; "
        "systemctl is-active edgedefend; readlink /opt/edgedefend/current",
        seconds=300,
    )
    words = shown.stdout.split()
    if len(words) != 2 or words[0] != "active":
        journal = machine.ssh("sudo journalctl -u edgedefend -n 15 --no-pager -o cat").stdout
        raise WrongError(f"the service does not run: {shown.stdout} {shown.stderr} {journal}")
    release = words[1].rpartition("/")[2]
    checks = f"cd /opt/edgedefend/releases/{release} && ls complete >/dev/null && cat release.json && "
    checks += "sudo -u edgedefend EDGEDEFEND_KERNELS=$PWD/kernels venv/bin/edgedefend verify bundle >&2"
    done = machine.ssh(checks, seconds=300)
    if done.returncode or not done.stderr.endswith("verified\n"):
        raise WrongError(f"release {release} is not whole: {done.stdout[-200:]} {done.stderr[-500:]}")
    facts = json.loads(done.stdout)
    health = ask(machine, "GET", "/healthz")
    if not health["ok"]:
        raise WrongError(f"the service says it is not well: {health}")
    return release, facts


def kernels_in_use(machine: Machine, release: str) -> str:
    """Return what Numba says of the desktop's kernels on the board; they must all be found, as the service's user."""
    code = "from edgedefend.warmup import *; run_every_variant(); print(*cache_statistics())"
    folder = f"/opt/edgedefend/releases/{release}"
    command = f"sudo -u edgedefend EDGEDEFEND_KERNELS={folder}/kernels {folder}/venv/bin/python -I -c '{code}'"
    done = machine.ssh(command, seconds=600)
    found, compiled = (int(word) for word in done.stdout.split()) if done.returncode == 0 else (0, -1)
    journal = machine.ssh("sudo journalctl -u edgedefend -o cat --no-pager").stdout
    if compiled or not found or "compiling them here" in journal + done.stderr:
        raise WrongError(f"the desktop's kernels are not used: {done.stdout} {done.stderr[-300:]} {journal[-300:]}")
    return f"every variant of the kernels: {found} found, {compiled} compiled on the board"


def desktop_answer(bundle: Path, photograph: Path) -> str:
    """Return the label that this machine gives a photograph, with many draws."""
    words = [sys.executable, "-m", "edgedefend.cli", "classify", "--json", "--draws", "16"]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*words, str(bundle), str(photograph)], cwd=ROOT, env=env, capture_output=True, text=True, check=True
    )
    return str(json.loads(done.stdout)["label"])


def cut(machine: Machine, bundle: Path, wheelhouse: Path, moment: tuple[str, float], report: Report) -> None:
    """Start a push, cut the power at a moment of it, start the board again and look at it."""
    before, _ = running_release(machine)
    text, seconds = moment
    going = Push(machine, bundle, wheelhouse)
    lines, reached = going.until(lambda line: text in line)
    if not reached:
        raise WrongError(f"the push never came to {text!r}: {lines[-5:]}")
    time.sleep(seconds)
    machine.kill()
    rest, _ = going.until(lambda line: False)
    begin = time.monotonic()
    machine.start()
    machine.wait_for_ssh()
    after, _ = running_release(machine)
    which = "the release before" if after == before else "the new release"
    complaint = next((line for line in reversed(rest) if line.startswith("edgedefend: board")), "it did not complain")
    report.say(f"power cut {seconds} s after {text!r}; the desktop: {complaint}")
    report.say(f"    {time.monotonic() - begin:.0f} s after power on: {which}, {after}, whole, verified, answering")
    if going.process.returncode == 0 and after == before:
        raise WrongError("the desktop was told that the new release runs, and it does not")


def prove(report: Report, cuts: int) -> None:
    """The whole scenario."""
    bundles = make_bundles(quick=False)
    wheelhouse = fill_wheelhouse()
    image = build()
    size = sum(wheel.stat().st_size for wheel in wheelhouse.iterdir()) / 1e6
    report.say(f"disk, kernel and initrd are there; wheelhouse of {size:.0f} MB")
    with Machine(image, BUILD / "board" / "run") as machine:
        machine.start()
        seconds = machine.wait_for_ssh()
        report.say(f"ssh after {seconds:.0f} s; systemd says {machine.wait_until_settled()}")
        said = machine.ssh("uname -srm; python3 --version; grep -m1 part /proc/cpuinfo").stdout
        report.say("; ".join(said.split("\n")).rstrip("; "))
        real = bundles.real
        push(machine, real, wheelhouse, report)
        release, facts = running_release(machine)
        report.say(f"{release} runs, verified; kernels: {facts['kernels']}")
        report.say(f"    {kernels_in_use(machine, release)}")
        from edgedefend.dataset import load_dataset

        photograph = load_dataset("sample", ["?"] * 1000).photographs[0].path
        answer = ask(machine, "POST", "/v1/classify", photograph.read_bytes())
        expected = desktop_answer(real, photograph)
        report.say(f"POST /v1/classify {photograph.name}: {answer['label']!r}; this machine says {expected!r}")
        if answer["label"] != expected:
            raise WrongError("another answer than on this machine")
        settings = apply_and_revert(machine, report.say)
        small = bundles.colors
        push(machine, small[-1], wheelhouse, report)
        for number, moment in enumerate(CUTS[:cuts]):
            cut(machine, small[number % 2], wheelhouse, moment, report)
        if kernel_settings(machine) != settings:
            raise WrongError(f"started without the settings, the kernel has {kernel_settings(machine)}, not {settings}")
        report.say(f"the kernel's settings are those before board apply: {settings}")
        push(machine, real, wheelhouse, report)
        machine.ssh("sudo systemctl poweroff", seconds=60)
        if machine.process is not None:
            machine.process.wait(180)
        machine.start()
        machine.wait_for_ssh()
        report.say(f"shut down and started again: {running_release(machine)[0]} runs")
        status = [sys.executable, "-m", "edgedefend.cli", "deploy", "status", "board", "--ssh-config"]
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [*status, str(machine.ssh_config)], cwd=ROOT, env=env, capture_output=True, text=True, check=False
        )
        for line in (done.stdout + done.stderr).splitlines():
            report.say(f"    {line}")


def main() -> int:
    """Prove it; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cuts", type=int, default=len(CUTS), help="How many of the power cuts.")
    parser.add_argument("--record", action="store_true", help="Keep the output in docs/arm-board-output.txt.")
    words = parser.parse_args()
    # So that the board does not outlive whoever is told to stop: it is a session of its own.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    report = Report()
    try:
        prove(report, words.cuts)
    except UnavailableError as error:
        print(f"arm-board: SKIPPED, nothing was proven: {error}")
        return 0
    except (WrongError, TimeoutError, subprocess.SubprocessError, OSError) as error:
        report.say(f"FAILED: {error}")
        return 1
    report.say(f"arm-board: passed, {words.cuts} power cuts, {time.monotonic() - report.begin:.0f} s in all")
    if words.record:
        text = "\n".join(report.lines) + "\n"
        (ROOT / "docs/arm-board-output.txt").write_text(text.replace(str(ROOT), "."))
    return 0


if __name__ == "__main__":
    sys.exit(main())
