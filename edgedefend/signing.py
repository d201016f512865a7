"""Signed bundles: who may give a board its bundles, and never an older one than it has had.

``signature.json`` beside ``SHA256SUMS`` holds an Ed25519 signature (RFC 8032, by the package `cryptography`) over the
SHA-256 of ``SHA256SUMS``, hence over every file, and over a serial number that only grows. A board asks for it as
soon as a public key is in its trusted-keys folder: then a bundle without a signature, with one of another key, or
with a lower serial than the highest this board has accepted is refused. Without a key nothing is asked for.

The highest serial is kept in the state folder. Whoever can write there or into the trusted-keys folder is root or the
service itself; a user who cannot write the state is still held to it, he only does not move it on.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import os
import stat
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgedefend.errors import BundleError, EdgeDefendError, InputError
from edgedefend.files import sync_folder, whole_file, write_file

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

__all__ = [
    "SIGNATURE",
    "Signature",
    "accept_serial",
    "check_signature",
    "highest_serial",
    "make_keys",
    "sign_bundle",
    "state_folder",
    "trusted_keys_folder",
]

log = logging.getLogger("edgedefend")

SIGNATURE = "signature.json"
MAX_SERIAL = 2**62
_SERIAL_FILE = "accepted-serial.json"
# What is signed starts with what it is, so that a signature can never be taken for one over something else.
_DOMAIN = "edgedefend bundle signature 1"


def trusted_keys_folder() -> Path:
    """Return ``$EDGEDEFEND_TRUSTED_KEYS``, or /etc/edgedefend/trusted-keys; every ``*.pub`` in it is trusted."""
    return Path(os.environ.get("EDGEDEFEND_TRUSTED_KEYS") or "/etc/edgedefend/trusted-keys")


def state_folder() -> Path:
    """Return ``$EDGEDEFEND_STATE``, systemd's ``$STATE_DIRECTORY``, or /var/lib/edgedefend."""
    systemd = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
    return Path(os.environ.get("EDGEDEFEND_STATE") or systemd or "/var/lib/edgedefend")


def _key_id(public: Ed25519PublicKey) -> str:
    """Return 16 hex digits that tell keys apart for people: the start of the SHA-256 of the raw key."""
    return hashlib.sha256(public.public_bytes_raw()).hexdigest()[:16]


def _library(otherwise: type[EdgeDefendError] = EdgeDefendError) -> tuple[Any, Any]:
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ModuleNotFoundError:
        raise otherwise("signatures need the package 'cryptography': pip install 'edgedefend[sign]'") from None
    return ed25519, serialization


def make_keys(private: Path) -> str:
    """Write a new private key to `private` (mode 0600) and its public key to ``<private>.pub``; return the key's id.

    Raises
    ------
    InputError
        If one of the files exists: a private key is never overwritten.
    """
    ed25519, serialization = _library()
    public = private.with_name(f"{private.name}.pub")
    for path in (private, public):
        if path.exists() or path.is_symlink():
            raise InputError(f"{path}: exists already, and a key is never overwritten: give another name")
    key = ed25519.Ed25519PrivateKey.generate()
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    # 0600 from the first moment on, and O_EXCL: not even a file that appeared just now is overwritten.
    try:
        handle = os.open(private, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise InputError(f"{private}: exists already, and a key is never overwritten: give another name") from None
    with os.fdopen(handle, "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(file.fileno())
    sync_folder(private.parent)
    write_file(
        public,
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
    )
    return _key_id(key.public_key())


def _private_key(path: Path) -> Ed25519PrivateKey:
    ed25519, serialization = _library()
    try:
        if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise InputError(f"{path}: other users may read this private key: chmod 600 {path}")
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise InputError(f"{path}: cannot read the private key: {error.strerror}") from None
    except (ValueError, TypeError) as error:
        raise InputError(f"{path}: not a private key that `edgedefend keygen` wrote ({error})") from None
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise InputError(f"{path}: not an Ed25519 key: make one with `edgedefend keygen`")
    return key


def _public_key(path: Path) -> Ed25519PublicKey:
    # Without the library nothing can be trusted: that refuses the bundle.
    ed25519, serialization = _library(BundleError)
    try:
        key = serialization.load_pem_public_key(path.read_bytes())
    except (OSError, ValueError) as error:
        raise BundleError(f"{path}: this trusted key cannot be read ({error}): put it back or remove it") from None
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise BundleError(f"{path}: this trusted key is not an Ed25519 key: remove it")
    return key


def _trusted_keys() -> list[Ed25519PublicKey]:
    """Return the keys that this machine trusts; raises BundleError where that cannot be told."""
    folder = trusted_keys_folder()
    try:
        files = sorted(entry for entry in folder.iterdir() if entry.name.endswith(".pub"))
        facts = folder.stat()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise BundleError(f"{folder}: cannot see which keys are trusted: {error.strerror}") from None
    if files and (facts.st_uid not in (0, os.getuid()) or facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH)):
        raise BundleError(f"{folder}: another user may change the trusted keys: chown root, chmod 755 {folder}")
    return [_public_key(file) for file in files]


def _message(sums: bytes, serial: int) -> bytes:
    return f"{_DOMAIN}\n{serial}\n{hashlib.sha256(sums).hexdigest()}\n".encode()


@dataclass(frozen=True)
class Signature:
    """Who signed a bundle, and its place in the order of bundles."""

    key: str
    serial: int


def sign_bundle(path: Path, key_file: Path, *, serial: int | None = None) -> Signature:
    """Sign the bundle at `path`, a folder or a packed one, in place; its own hash stays what it was.

    Parameters
    ----------
    serial : int, optional
        By default the seconds since 1970: whoever signs later has the higher one, without a counter to keep.

    Raises
    ------
    InputError
        If the key cannot be used or `serial` is out of range.
    BundleError
        If the bundle is damaged: only what loads is signed.
    """
    from edgedefend.bundle import SUMS, load_bundle

    number = int(time.time()) if serial is None else serial
    if not 1 <= number < MAX_SERIAL:
        raise InputError(f"serial is {number}, expected 1 to {MAX_SERIAL - 1}")
    key = _private_key(key_file)
    load_bundle(path, check_trust=False)
    if path.is_dir():
        sums = (path / SUMS).read_bytes()
    else:
        with zipfile.ZipFile(path) as packed:
            sums = packed.read(SUMS)
    content: dict[str, Any] = {
        "format_version": 1,
        "key": _key_id(key.public_key()),
        "serial": number,
        "signature": base64.b64encode(key.sign(_message(sums, number))).decode(),
    }
    data = (json.dumps(content, indent=1) + "\n").encode()
    if path.is_dir():
        write_file(path / SIGNATURE, data)
    else:
        with whole_file(path) as file, zipfile.ZipFile(file, "w") as new, zipfile.ZipFile(path) as old:
            for entry in old.infolist():
                if entry.filename != SIGNATURE:
                    new.writestr(entry, old.read(entry))
            new.writestr(SIGNATURE, data)
    return Signature(content["key"], number)


def _parse(data: bytes, where: str) -> tuple[int, bytes]:
    try:
        content = json.loads(data)
        serial, signature = content["serial"], base64.b64decode(content["signature"], validate=True)
        if content["format_version"] != 1 or isinstance(serial, bool) or not isinstance(serial, int):
            raise ValueError("unknown format")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BundleError(f"{where}: {SIGNATURE} is not as expected ({error}): sign the bundle again") from None
    return serial, signature


def check_signature(read: Callable[[], bytes | None], sums: bytes, where: str) -> Signature | None:
    """Refuse a bundle that this machine must not run; None where it trusts no key and so asks for nothing.

    Parameters
    ----------
    read : callable
        Returns the content of the bundle's signature.json, None if there is none.
    sums : bytes
        The content of SHA256SUMS.
    where : str
        The bundle's name in errors.

    Raises
    ------
    BundleError
        If the bundle is not signed, not by a trusted key, or is older than one accepted before.
    """
    keys = _trusted_keys()
    if not keys:
        return None
    data = read()
    if data is None:
        raise BundleError(
            f"{where}: the bundle is not signed, and this board takes signed ones only "
            f"({trusted_keys_folder()}): edgedefend sign {where} --key KEY"
        )
    from cryptography.exceptions import InvalidSignature

    serial, signature = _parse(data, where)
    signer = ""
    for key in keys:
        try:
            key.verify(signature, _message(sums, serial))
        except InvalidSignature:
            continue
        signer = _key_id(key)
        break
    if not signer:
        raise BundleError(
            f"{where}: the bundle's signature is not of a key that this board trusts "
            f"({', '.join(_key_id(key) for key in keys)}), or the bundle was changed after signing"
        )
    highest = highest_serial()
    if serial < highest:
        raise BundleError(
            f"{where}: the bundle is older than one that this board has accepted "
            f"(serial {serial}, accepted {highest}): sign it again if that is meant"
        )
    return Signature(signer, serial)


def highest_serial() -> int:
    """Return the highest serial that this machine has accepted, 0 before the first.

    Raises
    ------
    BundleError
        If the record is damaged: then nobody knows, and nothing is accepted.
    """
    path = state_folder() / _SERIAL_FILE
    try:
        serial = json.loads(path.read_bytes())["serial"]
        if isinstance(serial, bool) or not isinstance(serial, int):
            raise ValueError("not a whole number")
    except FileNotFoundError:
        return 0
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{path}: cannot tell which bundles are too old ({error}): remove it to start anew") from None
    return serial


def accept_serial(serial: int) -> bool:
    """Remember that a bundle with `serial` was accepted; tell whether that is now on record."""
    if serial <= highest_serial():
        return True
    folder = state_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_file(folder / _SERIAL_FILE, (json.dumps({"serial": serial}) + "\n").encode())
    except OSError as error:
        log.info("the accepted serial cannot be kept in %s: %s", folder, error)
        return False
    return True
