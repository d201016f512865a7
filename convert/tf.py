"""TensorFlow, imported late and kept quiet."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["import_tensorflow", "quiet_native"]


@functools.lru_cache(maxsize=1)
def import_tensorflow() -> Any:
    """Import and return TensorFlow with its log at errors only (a variable the user has set is kept).

    Its devices are looked for here as well: on a machine without a GPU that alone prints four lines.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # A user's ~/.keras/keras.json may name another backend; the models here are TensorFlow's.
    os.environ["KERAS_BACKEND"] = "tensorflow"
    with quiet_native():
        import tensorflow as tf

        tf.config.list_logical_devices()
    return tf


@contextlib.contextmanager
def quiet_native() -> Iterator[None]:
    """Drop what the converter writes to standard output and error: pass timings, temporary paths, placer logs.

    Its real errors come as exceptions. The file descriptors are redirected because most of it comes from C++.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for target, copy in zip((1, 2), saved, strict=True):
                os.dup2(copy, target)
                os.close(copy)
