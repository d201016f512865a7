"""Systems of files that settings are put on, and how two states of one are compared."""

from pathlib import Path

from edgedefend.device import Device
from tests.boards import BOARDS


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
