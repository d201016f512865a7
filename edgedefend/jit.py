"""Compiling the kernels with Numba, and keeping the result on disk wherever this user may read or write.

Numba's own rule for its cache fails in ways that matter on a board: with a read-only install and no home folder it
raises "no locator available", a cache that cannot be written is not read either, and a cache in a folder that
others can write would be unpickled. So there are two places, chosen here before any kernel is made:

* *prebuilt* kernels, only read: ``EDGEDEFEND_KERNELS`` or ``<environment>/share/edgedefend/kernels``, as
  ``edgedefend warmup --out`` writes them on this machine or, for a board's CPU, on the desktop;
* *this user's own* cache, read and written: ``NUMBA_CACHE_DIR``, if set; else ``$CACHE_DIRECTORY/numba`` (systemd's
  ``CacheDirectory=``), ``$XDG_CACHE_HOME/edgedefend/numba`` or ``~/.cache/edgedefend/numba``, the first that works.

With neither, the kernels are compiled once a process. A kernel is found again as long as the sources of all
kernels, Python, Numba and the CPU it was made for are the same; otherwise it is compiled anew.

Numba's cache files are pickles. A folder that another user owns or may write is therefore passed over.
"""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import os
import platform
import stat
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba.core import caching
from numba.core.runtime import rtsys

__all__ = ["TARGETS", "cache_folder", "cpu_parts", "kernel", "prebuilt_folder", "sources_digest", "target_facts"]

log = logging.getLogger("edgedefend")

# LLVM's name of a CPU -> the part numbers in /proc/cpuinfo that can run its code, and the features it is compiled
# with. Both name and features must be given to Numba, in the same words here and there, or nothing is found again.
_BASE = "+fp-armv8,+neon,+crc"
TARGETS: dict[str, tuple[tuple[str, ...], str]] = {
    "cortex-a53": (("0xd03", "0xd08", "0xd0b", "0xd42"), _BASE),
    "cortex-a72": (("0xd08",), _BASE),
    "cortex-a76": (("0xd0b",), _BASE),
    "cortex-a78ae": (("0xd42",), _BASE),
}
_KERNEL_SOURCES = ("kernels.py", "fused.py", "transform.py", "simd.py", "jit.py")


@functools.lru_cache(maxsize=1)
def sources_digest() -> str:
    """Return a hash of all kernel sources: kernels are inlined into one another, so they age together."""
    digest = hashlib.sha256()
    for name in _KERNEL_SOURCES:
        digest.update((Path(__file__).parent / name).read_bytes())
    return digest.hexdigest()[:32]


def target_facts(cpu: str) -> dict[str, str]:
    """Return what must be the same where kernels are made and where they run; `cpu` is "host" or of `TARGETS`."""
    return {
        "machine": platform.machine() if cpu == "host" else "aarch64",
        "cpu": cpu,
        "features": "" if cpu == "host" else TARGETS[cpu][1],
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
        "numba": numba.__version__,
        "kernels": sources_digest(),
    }


def cpu_parts(cpuinfo: Path = Path("/proc/cpuinfo")) -> set[str]:
    """Return the part numbers of this machine's ARM cores, e.g. {"0xd08"}; empty where there are none."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return set()
    return {line.partition(":")[2].strip().lower() for line in lines if line.startswith("CPU part")}


def _is_private(folder: Path) -> bool:
    """Tell whether only this user (or root) can have written into `folder`."""
    facts = folder.stat()
    if facts.st_uid not in (os.getuid(), 0):
        return False
    return not facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _user_candidates() -> list[Path]:
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


def cache_folder() -> Path | None:
    """Return the folder that this user's compiled kernels are kept in, made if need be; None if there is none."""
    for folder in _user_candidates():
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not _is_private(folder):
                continue
            tempfile.TemporaryFile(dir=folder).close()
        except OSError:
            continue
        return folder
    return None


def _why_not(facts: dict[str, str]) -> str:
    """Return why kernels made under `facts` cannot be used here, "" if they can."""
    cpu = facts.get("cpu", "?")
    if cpu not in ("host", *TARGETS):
        return f"they are for the CPU {cpu!r}"
    here = target_facts(cpu)
    if facts.get("machine") != platform.machine():
        return f"they are for {facts.get('machine')}, this is {platform.machine()}"
    for key in ("python", "numba", "kernels", "features"):
        if facts.get(key) != here[key]:
            what = "another version of edgedefend" if key == "kernels" else f"{key} {facts.get(key)}"
            return f"they were made with {what}"
    parts = cpu_parts()
    if cpu != "host" and not (parts and parts <= set(TARGETS[cpu][0])):
        return f"they are for {cpu}, this CPU is {', '.join(sorted(parts)) or 'unknown'}"
    return ""


def prebuilt_folder() -> Path | None:
    """Return the folder with kernels made beforehand for this machine, None where there is none that fits.

    Kernels that do not fit are named in a warning, and compiled here instead.
    """
    named = os.environ.get("EDGEDEFEND_KERNELS")
    folder = Path(named) if named else Path(sys.prefix) / "share" / "edgedefend" / "kernels"
    try:
        if not (folder / "target.json").is_file():
            if named:
                log.warning("EDGEDEFEND_KERNELS=%s holds no kernels: compiling them here", folder)
            return None
        if not _is_private(folder):
            log.warning("the kernels in %s could have been written by another user: compiling them here", folder)
            return None
        facts = json.loads((folder / "target.json").read_text(encoding="utf-8"))
        reason = _why_not(facts)
    except (OSError, ValueError, AttributeError, TypeError) as error:
        reason = f"target.json is damaged: {error}"
    if reason:
        log.warning("the kernels in %s do not fit this machine (%s): compiling them here", folder, reason)
        return None
    return folder


_prebuilt = prebuilt_folder()
_own = cache_folder()
if _prebuilt is not None and not os.environ.get("NUMBA_CPU_NAME"):
    _made_for = json.loads((_prebuilt / "target.json").read_text(encoding="utf-8"))
    if _made_for["cpu"] != "host":
        numba.config.CPU_NAME, numba.config.CPU_FEATURES = _made_for["cpu"], _made_for["features"]


class _Locator(caching._CacheLocator):
    """Tells Numba where the cache of a kernel is, without its own search for a folder."""

    def __init__(self, function: Callable[..., Any], file: str) -> None:
        self._py_file = file  # Numba names it in its warnings
        self._line = function.__code__.co_firstlineno

    def get_cache_path(self) -> str:
        return str(_own or "")

    def get_source_stamp(self) -> str:
        return sources_digest()

    def get_disambiguator(self) -> str:
        return str(self._line)

    @classmethod
    def from_function(cls, py_func: Callable[..., Any], py_file: str) -> _Locator:
        return cls(py_func, py_file)


class _Implementation(caching.CompileResultCacheImpl):
    _locator_classes = (_Locator,)


class _KernelCache(caching.FunctionCache):
    """Looks among the prebuilt kernels first, then in this user's cache; writes to the latter only."""

    _impl_class = _Implementation

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        places = [place for place in (_prebuilt, _own) if place is not None]
        base, stamp = self._impl.filename_base, sources_digest()
        self._files = [caching.IndexDataCacheFile(str(place), base, stamp) for place in places]

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Load a kernel without what Numba does first: make ready to compile, which takes longer than all the rest.

        Compiled code needs no typing rules and no implementations of operators, only the runtime's symbols to be
        linked with. Where nothing is found and it is compiled after all, the compiler makes itself ready.
        """
        rtsys.initialize(target_context)
        with self._guard_against_spurious_io_errors():
            return self._load_overload(sig, target_context)

    def _load_overload(self, sig: Any, target_context: Any) -> Any:
        key = self._index_key(sig, target_context.codegen())
        for file in self._files:
            try:
                data = file.load(key)
                if data is not None:
                    return self._impl.rebuild(target_context, data)
            except Exception as error:  # unpickling a file that a power cut left half written can raise anything
                log.warning("a compiled kernel in %s is damaged (%s): compiling it anew", file._cache_path, error)
        return None

    def _save_overload(self, sig: Any, data: Any) -> None:
        if _own is not None:
            super()._save_overload(sig, data)


def kernel(function: Callable[..., Any] | None = None, *, forceinline: bool = False) -> Callable[..., Any]:
    """Compile `function` on its first call: no Python objects, no GIL, no fastmath, cached on disk.

    ``@kernel(forceinline=True)`` is for the small functions that kernels are made of: LLVM puts their body into
    each caller, so vectors stay in registers. They are part of their callers' cache entries, not entries themselves.
    """
    if function is None:
        return lambda body: kernel(body, forceinline=forceinline)
    compiled = numba.njit(nogil=True, error_model="numpy", forceinline=forceinline)(function)
    if not forceinline and not numba.config.DISABLE_JIT:
        compiled._cache = _KernelCache(function)
    return compiled
