"""A bootable arm64 Debian with systemd and sshd for qemu-system-aarch64, made from packages without root.

`build` gives a disk image, a kernel and an initrd in build/arm/board. Nobody can log in but with the key beside them;
the host key is made here too, so that ssh can be strict about it.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.arm.debian import UnavailableError, download, sources_for, unpack
from tests.arm.userland import BUILD

__all__ = ["FOLDER", "Image", "build"]

FOLDER = BUILD / "board"
SUITE = "bookworm"
PACKAGES = (
    "base-files base-passwd bash busybox-static coreutils dash dbus e2fsprogs findutils grep gzip hostname iproute2 "
    "kmod libc-bin libgomp1 libpam-modules libpam-runtime libpam-systemd libstdc++6 linux-image-cloud-arm64 login "
    "mount openssh-server passwd procps python3 python3-venv sed sudo systemd systemd-sysv tar udev util-linux"
)
# What finds the disk, the network and randomness of QEMU's "virt" machine; what they need themselves is added.
MODULES = ("virtio_pci", "virtio_blk", "virtio_net", "virtio-rng", "ext4", "crc32c_generic")
DISK_MB = 3072
USERS = (
    "root:x:0:0:root:/root:/bin/bash",
    "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin",
    "systemd-network:x:998:998::/:/usr/sbin/nologin",
    "messagebus:x:100:101::/nonexistent:/usr/sbin/nologin",
    "sshd:x:101:65534::/run/sshd:/usr/sbin/nologin",
    "pi:x:1000:1000::/home/pi:/bin/bash",
)
# Debian's static group numbers.
GROUPS = (
    "root:0 daemon:1 adm:4 tty:5 disk:6 lp:7 kmem:15 dialout:20 cdrom:24 tape:26 sudo:27 audio:29 utmp:43 video:44 "
    "plugdev:46 staff:50 users:100 messagebus:101 input:104 kvm:105 render:106 sgx:107 crontab:108 systemd-journal:999 "
    "systemd-network:998 pi:1000 nogroup:65534"
)
INIT = """#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs dev /dev
{insmods}
until [ -b /dev/vda ]; do /bin/busybox sleep 0.1; done
/bin/busybox mount -t ext4 /dev/vda /root
/bin/busybox umount /proc
exec /bin/busybox switch_root /root /sbin/init
"""
FILES = {
    "etc/fstab": "/dev/vda / ext4 defaults 0 1\n",
    "etc/hostname": "board\n",
    "etc/hosts": "127.0.0.1 localhost board\n",
    "etc/machine-id": "3f0e8ab1c5d94f6fa2b7d1e09c4a6b58\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n",
    "etc/pam.d/other": "auth required pam_unix.so\naccount required pam_unix.so\nsession required pam_unix.so\n",
    "etc/pam.d/sshd": "account required pam_unix.so\nsession required pam_unix.so\nsession optional pam_systemd.so\n",
    "etc/pam.d/sudo": "auth required pam_unix.so\naccount required pam_unix.so\nsession required pam_unix.so\n",
    "etc/pam.d/systemd-user": "account required pam_unix.so\nsession required pam_unix.so\n"
    "session optional pam_systemd.so\n",
    "etc/ssh/sshd_config": "PasswordAuthentication no\nAuthorizedKeysFile /etc/ssh/keys-%u\nUsePAM yes\n"
    "HostKey /etc/ssh/ssh_host_ed25519_key\nSubsystem sftp internal-sftp\n",
    "etc/sudoers.d/pi": "pi ALL=(ALL) NOPASSWD: ALL\n",
    "etc/sysctl.d/90-quiet.conf": "kernel.printk = 3 4 1 3\n",
    "etc/systemd/network/10-all.network": "[Match]\nName=e*\n[Network]\nDHCP=yes\n",
    "etc/systemd/journald.conf.d/size.conf": "[Journal]\nStorage=persistent\nSystemMaxUse=32M\n",
    "etc/tmpfiles.d/pi.conf": "d /home/pi 0755 pi pi\n",
}
_UNITS, _WANTED = "/lib/systemd/system", "etc/systemd/system/multi-user.target.wants"
LINKS = {
    "etc/systemd/system/default.target": f"{_UNITS}/multi-user.target",
    f"{_WANTED}/systemd-networkd.service": f"{_UNITS}/systemd-networkd.service",
    f"{_WANTED}/ssh.service": f"{_UNITS}/ssh.service",
    "etc/systemd/system/getty.target": "/dev/null",
    "etc/systemd/system/serial-getty@ttyAMA0.service": "/dev/null",
    "etc/alternatives/awk": "/usr/bin/mawk",
}


@dataclass(frozen=True)
class Image:
    """What QEMU boots, and what ssh needs to get in."""

    disk: Path
    kernel: Path
    initrd: Path
    key: Path
    host_key: str


def _make_key(path: Path) -> str:
    """Make an ssh key pair; return the public half."""
    if shutil.which("ssh-keygen") is None:
        raise UnavailableError("ssh-keygen is not there: apt-get install openssh-client")
    path.unlink(missing_ok=True)
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "board", "-f", str(path)]
    subprocess.run(command, check=True)
    return path.with_name(f"{path.name}.pub").read_text()


def _configure(root: Path, folder: Path) -> str:
    """Write what the packages' scripts, which do not run, would have asked for; return the public host key."""
    for name in ("proc", "sys", "dev", "run", "tmp", "root", "home/pi", "var/log/journal", "var/lib/systemd", "boot"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    for name, target in LINKS.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).unlink(missing_ok=True)
        (root / name).symlink_to(target)
    (root / "tmp").chmod(0o1777)
    (root / "root").chmod(0o700)
    (root / "etc/sudoers.d/pi").chmod(0o440)
    (root / "etc/passwd").write_text("".join(f"{line}\n" for line in USERS))
    (root / "etc/shadow").write_text("".join(f"{line.split(':')[0]}:*:19000:0:99999:7:::\n" for line in USERS))
    (root / "etc/shadow").chmod(0o600)
    groups = [entry.split(":") for entry in GROUPS.split()]
    (root / "etc/group").write_text("".join(f"{name}:x:{number}:\n" for name, number in groups))
    keys = root / "etc/ssh"
    (keys / "keys-pi").write_text(_make_key(folder / "key"))
    return _make_key(keys / "ssh_host_ed25519_key")


def _module_files(root: Path) -> list[Path]:
    """Return the files of `MODULES` and of what they need, in the order in which they can be loaded."""
    found = {file.stem.replace("-", "_"): file for file in (root / "lib/modules").rglob("*.ko")}
    ordered: list[Path] = []

    def add(name: str) -> None:
        file = found.get(name.replace("-", "_"))
        if file is None or file in ordered:
            return  # built into the kernel, or there already
        needs = re.search(rb"\x00depends=([^\x00]*)\x00", b"\0" + file.read_bytes())
        for need in needs[1].decode().split(",") if needs else []:
            if need:
                add(need)
        ordered.append(file)

    for name in MODULES:
        add(name)
    return ordered


def _cpio(entries: list[tuple[str, int, bytes]]) -> bytes:
    """Return an archive in the "newc" format that the kernel unpacks; an entry is (name, mode, content)."""
    out = bytearray()
    for number, (name, mode, content) in enumerate([*entries, ("TRAILER!!!", 0, b"")], 1):
        encoded = name.encode() + b"\0"
        fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(encoded), 0)
        out += b"070701" + b"".join(b"%08X" % field for field in fields) + encoded
        out += bytes(-len(out) % 4) + content
        out += bytes(-len(out) % 4)
    return bytes(out)


def _write_initrd(root: Path, path: Path) -> None:
    modules = _module_files(root)
    folders = [(name, stat.S_IFDIR | 0o755, b"") for name in ("bin", "proc", "dev", "root", "modules")]
    files = [(f"modules/{file.name}", stat.S_IFREG | 0o644, file.read_bytes()) for file in modules]
    insmods = "\n".join(f"/bin/busybox insmod /modules/{file.name}" for file in modules)
    files.append(("bin/busybox", stat.S_IFREG | 0o755, (root / "bin/busybox").read_bytes()))
    files.append(("init", stat.S_IFREG | 0o755, INIT.format(insmods=insmods).encode()))
    path.write_bytes(gzip.compress(_cpio([*folders, *files]), 1))


def build() -> Image:
    """Return the image, built where it is missing or made from something else; the disk is pristine.

    Raises
    ------
    UnavailableError
        If a tool or the packages cannot be had.
    """
    mke2fs = shutil.which("mke2fs", path="/usr/sbin:/sbin:/usr/bin")
    if mke2fs is None:
        raise UnavailableError("mke2fs is not there: apt-get install e2fsprogs")
    stamp = FOLDER / "made-from.json"
    recipe = hashlib.sha256((Path(__file__).read_text() + sources_for(SUITE)).encode()).hexdigest()
    disk, kernel, initrd = FOLDER / "disk.img", FOLDER / "vmlinuz", FOLDER / "initrd"
    if not (stamp.is_file() and json.loads(stamp.read_text())["recipe"] == recipe):
        root = FOLDER / "root"
        stamp.unlink(missing_ok=True)
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)
        unpack(download(PACKAGES.split(), SUITE, "arm64", BUILD / "apt/board"), root)
        host_key = _configure(root, FOLDER)
        _write_initrd(root, initrd)
        kernel.write_bytes(next((root / "boot").glob("vmlinuz-*")).read_bytes())
        disk.unlink(missing_ok=True)
        # Root of a user namespace owns what we own here, and so the image belongs to root.
        command = ["unshare", "--user", "--map-root-user", mke2fs, "-q", "-t", "ext4", "-O", "^metadata_csum_seed"]
        subprocess.run([*command, "-d", str(root), str(disk), f"{DISK_MB}M"], check=True)
        shutil.rmtree(root)
        stamp.write_text(json.dumps({"recipe": recipe, "host_key": host_key}))
    return Image(disk, kernel, initrd, FOLDER / "key", json.loads(stamp.read_text())["host_key"])
