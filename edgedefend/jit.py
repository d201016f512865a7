"""Compiling the kernels with Numba, and keeping the result on disk wherever this user may write.

Numba's own rule for its cache fails in two ways that matter on a board: with a read-only install and no home
folder it raises "no locator available", and a cache in a folder that others can write would be unpickled.
So the folder is chosen here, before any kernel is made:

1. ``NUMBA_CACHE_DIR``, if set;
2. ``$CACHE_DIRECTORY/numba`` (systemd's ``CacheDirectory=``), then ``$XDG_CACHE_HOME/edgedefend/numba``, then
   ``~/.cache/edgedefend/numba``: the first that this user can write and nobody else can;
3. otherwise nothing is cached: the kernels still work and are compiled once a process.

Numba's cache files are pickles. A folder that another user owns or may write is therefore passed over.
"""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba

__all__ = ["cache_folder", "kernel"]


def _candidates() -> list[Path]:
    """Return the folders to try, best first."""
    folders = []
    if os.environ.get("NUMBA_CACHE_DIR"):
        folders.append(Path(os.environ["NUMBA_CACHE_DIR"]))
    if os.environ.get("CACHE_DIRECTORY"):
        # systemd gives a colon-separated list, ours is the first.
        folders.append(Path(os.environ["CACHE_DIRECTORY"].split(":")[0]) / "numba")
    if os.environ.get("XDG_CACHE_HOME"):
        folders.append(Path(os.environ["XDG_CACHE_HOME"]) / "edgedefend" / "numba")
    home = os.path.expanduser("~")  # noqa: PTH111 - Path.home() raises where a service user has no home
    if home not in ("~", "/"):
        folders.append(Path(home) / ".cache" / "edgedefend" / "numba")
    return folders


def _is_private(folder: Path) -> bool:
    """Tell whether only this user (or root) can have written into `folder`."""
    facts = folder.stat()
    if facts.st_uid not in (os.getuid(), 0):
        return False
    return not facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def cache_folder() -> Path | None:
    """Return the folder that compiled kernels are kept in, made if need be; None where there is none."""
    for folder in _candidates():
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not _is_private(folder):
                continue
            tempfile.TemporaryFile(dir=folder).close()
        except OSError:
            continue
        return folder
    return None


_folder = cache_folder()
if _folder is not None:
    numba.config.CACHE_DIR = str(_folder)


def kernel(function: Callable[..., Any] | None = None, *, forceinline: bool = False) -> Callable[..., Any]:
    """Compile `function` on its first call: no Python objects, no GIL, no fastmath, cached on disk.

    ``@kernel(forceinline=True)`` is for the small functions that kernels are made of: LLVM puts their body into
    each caller, so vectors stay in registers.
    """
    if function is None:
        return lambda body: kernel(body, forceinline=forceinline)
    return numba.njit(nogil=True, cache=_folder is not None, error_model="numpy", forceinline=forceinline)(function)
