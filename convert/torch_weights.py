"""Reads a PyTorch weight file without PyTorch, and without running anything that is written in it.

A ``.pth`` file of the format before PyTorch 1.6 is five pickles (magic number, protocol version, facts about the
writing system, the state dictionary, the list of storage keys), then per key an int64 count and the raw data.
A pickle is a program. Here only the opcodes that such a file needs are let through, the only names it can call
are those of a state dictionary, and every count is compared with the file's size before it is used.
"""

from __future__ import annotations

import functools
import io
import math
import os
import pickle
import pickletools
from collections import OrderedDict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgedefend.errors import InputError

__all__ = ["read_torch_weights"]

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
# Far above any classifier for a board, far below what would fill a desktop's memory.
_LARGEST_FILE = 1 << 30
_OPCODES = {
    *("PROTO", "STOP", "MARK", "GLOBAL", "REDUCE", "BUILD", "BINPERSID", "NONE", "NEWTRUE", "NEWFALSE"),
    *("BININT", "BININT1", "BININT2", "LONG1", "BINUNICODE", "SHORT_BINUNICODE"),
    *("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_LIST", "APPEND", "APPENDS"),
    *("EMPTY_DICT", "SETITEM", "SETITEMS", "BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET"),
}
_DTYPES = {
    "DoubleStorage": "<f8",
    "FloatStorage": "<f4",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "?",
}


class _DamagedError(Exception):
    """Why a file is refused; `read_torch_weights` adds which file."""


class _StorageType(NamedTuple):
    dtype: np.dtype[Any]


class _Storage(NamedTuple):
    key: str
    dtype: np.dtype[Any]
    elements: int


class _Tensor(NamedTuple):
    """A view into a storage whose data have not been read yet; offset and strides count elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < _LARGEST_FILE


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> _Tensor:
    """Stand in for `torch._utils._rebuild_tensor_v2`; what follows the strides concerns training only."""
    if not isinstance(storage, _Storage):
        raise _DamagedError("a tensor has no storage")
    if not (isinstance(shape, tuple) and isinstance(strides, tuple) and len(shape) == len(strides) <= 8):
        raise _DamagedError("a tensor's shape and strides do not match")
    if not all(_is_count(number) for number in (offset, *shape, *strides)):
        raise _DamagedError("a tensor's shape, strides or offset are not counts")
    last = offset + sum((side - 1) * stride for side, stride in zip(shape, strides, strict=True))
    if math.prod(shape) and (last >= storage.elements or math.prod(shape) > storage.elements):
        raise _DamagedError("a tensor reaches past the end of its storage")
    return _Tensor(storage, offset, shape, strides)


class _Unpickler(pickle.Unpickler):
    """Knows the three kinds of name that a state dictionary is made of, and no other."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            # A fresh object each time: BUILD could change the attributes of a shared one.
            return functools.partial(_rebuild_tensor)
        if module == "torch" and name in _DTYPES:
            return _StorageType(np.dtype(_DTYPES[name]))
        raise _DamagedError(f"it asks for {module}.{name}, which no weight file needs: it may be an attack")

    def persistent_load(self, pid: Any) -> _Storage:
        match pid:
            case ("storage", _StorageType(dtype=dtype), str(key), str(), count, None) if _is_count(count):
                return _Storage(key, dtype, count)
        raise _DamagedError("a storage is not described as expected")


def _load_pickle(stream: io.BytesIO) -> Any:
    """Load one pickle, after a look at its opcodes: some (a memo index of 4 billion) cost gigabytes to obey."""
    start = stream.tell()
    for opcode, argument, _ in pickletools.genops(stream):
        if opcode.name not in _OPCODES:
            raise _DamagedError(f"its pickle has the opcode {opcode.name}, which no weight file needs")
        if opcode.name.endswith("BINPUT") and (argument or 0) > stream.getbuffer().nbytes:
            raise _DamagedError("its pickle has a memo index larger than the file")
    stream.seek(start)
    return _Unpickler(stream).load()


def _read_storages(stream: io.BytesIO, keys: Any, wanted: dict[str, _Storage]) -> dict[str, NDArray[Any]]:
    """Read the raw data after the pickles, as read-only views of the file's content."""
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise _DamagedError("the list of storages is not a list of names")
    if len(set(keys)) != len(keys) or set(keys) != set(wanted):
        raise _DamagedError("the list of storages is not that of its tensors")
    content = stream.getbuffer().toreadonly()
    position, data = stream.tell(), {}
    for key in keys:
        count = int.from_bytes(content[position : position + 8], "little", signed=True)
        position += 8
        if count != wanted[key].elements:
            raise _DamagedError(f"storage {key} holds {count} elements, its tensors expect {wanted[key].elements}")
        size = count * wanted[key].dtype.itemsize
        if position + size > len(content):
            raise _DamagedError(f"it ends in the middle of storage {key}: download it again")
        data[key] = np.frombuffer(content[position : position + size], wanted[key].dtype)
        position += size
    if position != len(content):
        raise _DamagedError(f"{len(content) - position} bytes follow after its last storage")
    return data


def _read(content: bytes) -> dict[str, NDArray[Any]]:
    if content.startswith(b"PK"):
        raise _DamagedError("it is in the zip format of PyTorch 1.6 and newer, expected the one before it")
    stream = io.BytesIO(content)
    if _load_pickle(stream) != _MAGIC or _load_pickle(stream) != _PROTOCOL:
        raise _DamagedError("it does not begin with PyTorch's magic number and protocol version")
    system = _load_pickle(stream)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise _DamagedError("it was not written by a little-endian system")
    state, keys = _load_pickle(stream), _load_pickle(stream)
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(tensor, _Tensor) for name, tensor in state.items()
    ):
        raise _DamagedError("it does not hold a state dictionary (names and tensors)")
    wanted: dict[str, _Storage] = {}
    for tensor in state.values():
        if wanted.setdefault(tensor.storage.key, tensor.storage) != tensor.storage:
            raise _DamagedError(f"storage {tensor.storage.key} is described in two ways")
    data = _read_storages(stream, keys, wanted)
    return {
        name: np.lib.stride_tricks.as_strided(
            data[tensor.storage.key][tensor.offset :],
            tensor.shape,
            tuple(stride * tensor.storage.dtype.itemsize for stride in tensor.strides),
            writeable=False,
        )
        for name, tensor in state.items()
    }


def read_torch_weights(path: str | os.PathLike[str]) -> dict[str, NDArray[Any]]:
    """Read the state dictionary of a ``.pth`` file (PyTorch's format before 1.6).

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    dict of str to ndarray
        Read-only views of the file's content, in the file's order, with PyTorch's names and axes.

    Raises
    ------
    InputError
        If the file cannot be read, is damaged or cut short, or holds anything but weights.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST_FILE + 1)
    except OSError as error:
        raise InputError(f"{path}: {(error.strerror or str(error)).lower()}") from None
    if len(content) > _LARGEST_FILE:
        raise InputError(f"{path}: larger than 1 GiB, expected the weights of one image classifier")
    try:
        return _read(content)
    except _DamagedError as error:
        raise InputError(f"{path}: not a weight file that can be used: {error}") from None
    except Exception as error:  # a damaged pickle raises whatever the opcode it stumbles over does
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path}: not a PyTorch weight file, or a damaged one ({reason[:120]})") from None
