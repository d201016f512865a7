"""Kill apply or revert with SIGKILL before every single thing it does to the disk, and look at what is left.

Run as a program of its own (it forks): ``python kill_loop.py FOLDER ACTION``. FOLDER holds the trees ``before`` and
``after``; each round copies the one that ACTION starts from, kills ACTION in a child at its n-th step, checks that
every file of the tree is the old or the new one, and that the same action, run again, ends as if nothing had happened.
Prints how many rounds there were.
"""

import os
import shutil
import signal
import sys
from pathlib import Path

from edgedefend import board_apply
from edgedefend.board import load_board
from edgedefend.device import Device

STEPS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.symlink", "os.chown", "os.chmod"}
OURS = "/var/lib/edgedefend-board"


def act(action: str, root: Path) -> None:
    if action == "apply":
        board_apply.apply(Device(root), load_board("pi-4"))
    else:
        board_apply.revert(Device(root))


def die_at(step: int, root: Path) -> None:
    """Let this process kill itself at its step-th action on the disk below `root`.

    Python tells of opening, renaming and so on by audit events, of writing to an open file by its profiler: a kill
    before `write` leaves a file that has just been opened, and so emptied if it was not a new one.
    """
    count = 0

    def tick() -> None:
        nonlocal count
        count += 1
        if count == step:
            os.kill(os.getpid(), signal.SIGKILL)

    def hook(event: str, arguments: tuple) -> None:
        if event not in STEPS or not str(arguments[0]).startswith(str(root)):
            return
        if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return
        tick()

    def profile(frame: object, event: str, function: object) -> None:
        if event == "c_call" and getattr(function, "__name__", "") in ("write", "flush", "fsync"):
            tick()

    sys.addaudithook(hook)
    sys.setprofile(profile)


def contents(root: Path) -> dict[str, bytes | str]:
    """Every file and link of a tree but our own state, and what a killed run began beside them."""
    found: dict[str, bytes | str] = {}
    for path in root.rglob("*"):
        name = "/" + str(path.relative_to(root))
        if name.startswith(OURS) or name.endswith((".edgedefend-new", ".edgedefend-old")):
            continue
        if path.is_symlink():
            found[name] = str(path.readlink())
        elif path.is_file():
            found[name] = path.read_bytes()
    return found


def everything(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*")}


def main(folder: Path, action: str) -> int:
    before, after = folder / "before", folder / "after"
    start, end = (before, after) if action == "apply" else (after, before)
    old, new = contents(start), contents(end)
    for step in range(1, 1000):
        root = folder / "round"
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(start, root, symlinks=True)
        child = os.fork()
        if child == 0:
            die_at(step, root)
            act(action, root)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status)
        assert killed or os.waitstatus_to_exitcode(status) == 0, f"step {step}: the action failed by itself"
        left = contents(root)
        for name in {*old, *new, *left}:
            allowed = [tree.get(name) for tree in (old, new)]
            assert left.get(name) in allowed, f"step {step}: {name} is neither the old nor the new one"
        if killed and step % 2:
            # Going back from a half-done action must work as well as going on.
            act("revert" if action == "apply" else "apply", root)
            assert contents(root) == old, f"step {step}: it cannot go back"
            if action == "apply":
                assert everything(root) == everything(before), (
                    f"step {step}: {set(everything(root)) ^ set(everything(before))}"
                )
        else:
            act(action, root)
            assert contents(root) == new, f"step {step}: it cannot go on"
            if action == "revert":
                assert everything(root) == everything(before), (
                    f"step {step}: {set(everything(root)) ^ set(everything(before))}"
                )
        if not killed:
            return step - 1
    raise AssertionError("the action never ended")


if __name__ == "__main__":
    print(main(Path(sys.argv[1]), sys.argv[2]))
