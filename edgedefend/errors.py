"""The errors a user can meet, and the exit code each one ends the command line with.

The message of every one of them is a single line that says what was wrong, with which input, what was
expected and what to do. The command line prints that line and nothing else; ``--debug`` adds the traceback.
"""

from __future__ import annotations

__all__ = [
    "BackendError",
    "BundleError",
    "DeviceError",
    "EdgeDefendError",
    "InputError",
    "UsageError",
]


class EdgeDefendError(Exception):
    """Something failed. Base of every error this package raises on purpose (exit code 1)."""

    exit_code = 1


class UsageError(EdgeDefendError):
    """The options contradict one another or the situation (exit code 2, as click's own usage errors)."""

    exit_code = 2


class InputError(EdgeDefendError):
    """An image, a table, a data set or a model from outside is not what it should be (exit code 3)."""

    exit_code = 3


class BundleError(EdgeDefendError):
    """A bundle is damaged, too new, or does not answer as it did on the desktop (exit code 4)."""

    exit_code = 4


class BackendError(EdgeDefendError):
    """No TFLite interpreter can be used here, or it refuses the model (exit code 5)."""

    exit_code = 5


class DeviceError(EdgeDefendError):
    """The board, a camera or one of its sensors does not answer (exit code 6)."""

    exit_code = 6
