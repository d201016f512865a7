"""Who may ask: loopback by default, a token for everybody else."""

from __future__ import annotations

import hmac
import ipaddress
import os
import re
import stat
from pathlib import Path

from edgedefend.errors import InputError, UsageError

__all__ = ["TOKEN_VARIABLE", "check_exposure", "is_loopback", "read_token", "token_matches"]

TOKEN_VARIABLE = "EDGEDEFEND_TOKEN"  # noqa: S105 - the name of a variable
# 16 characters of base64 are 96 bits. What may stand in a bearer token: RFC 6750, section 2.1.
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]{16,512}=*")
_MAKE_ONE = "make one with: python3 -c 'import secrets; print(secrets.token_urlsafe())'"


def is_loopback(host: str) -> bool:
    """Tell whether a name or address is this machine's own, as seen from itself only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def read_token(path: Path | None) -> str | None:
    """Return the token from a file, else from ``EDGEDEFEND_TOKEN``; None where neither is given.

    Raises
    ------
    InputError
        If the file cannot be read, others may read it, or what it holds is no token.
    """
    if path is None:
        text, where = os.environ.get(TOKEN_VARIABLE), TOKEN_VARIABLE
        if text is None:
            return None
    else:
        where = str(path)
        try:
            with path.open("rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                text = file.read(4096).decode(errors="replace")
        except OSError as error:
            raise InputError(f"{where}: {(error.strerror or str(error)).lower()}") from None
        if stat.S_ISREG(mode) and mode & (stat.S_IROTH | stat.S_IWOTH):
            raise InputError(f"{where}: every user of this machine can read this token: chmod 600 {where}")
    token = text.strip()
    if not _TOKEN.fullmatch(token):
        raise InputError(f"{where}: no token: expected at least 16 letters, digits or ._~+/-: {_MAKE_ONE}")
    return token


def check_exposure(host: str, token: str | None, *, insecure: bool) -> None:
    """Raise `UsageError` where others could reach the service and nothing would keep them out."""
    if token is None and not insecure and not is_loopback(host):
        raise UsageError(
            f"--host {host} can be reached by others: give --token-file FILE or {TOKEN_VARIABLE}, "
            f"or say --insecure ({_MAKE_ONE})"
        )


def token_matches(header: bytes, token: str) -> bool:
    """Tell whether an Authorization header carries the token; takes the same time for every wrong one."""
    scheme, _, given = header.partition(b" ")
    return hmac.compare_digest(given.strip(), token.encode()) and scheme.lower() == b"bearer"
