"""The command line: `edgedefend COMMAND`. Parsing and printing live here and in `edgedefend.commands`.

Commands are named here and imported only when they are called, so that `edgedefend classify` on a board never
imports what `edgedefend convert` needs. `convert` and `bench` keep their commands in their own packages: this
module knows them by name only, which keeps the import direction (edgedefend <- convert <- bench) whole.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys
import traceback
from typing import Any

import click

import edgedefend
from edgedefend.errors import EdgeDefendError

__all__ = ["LazyGroup", "main"]

# name -> (module:attribute, one line for --help, the extra that brings what it imports)
COMMANDS = {
    "classify": ("edgedefend.commands.classify:classify", "Classify images behind the defence.", ""),
    "verify": ("edgedefend.commands.verify:verify", "Check a bundle: hashes, loading, golden answer.", ""),
    "show": ("edgedefend.commands.show:show", "Draw an image as the model sees it, stage by stage.", ""),
    "warmup": ("edgedefend.commands.warmup:warmup", "Compile every kernel beforehand, also for a board's CPU.", ""),
    "run": ("edgedefend.commands.run:run", "Classify what a camera, a stream or a video shows.", ""),
    "serve": ("edgedefend.commands.serve:serve", "Classify over HTTP, as a service with a page.", "serve"),
    "deploy": ("edgedefend.commands.deploy:deploy", "Put bundles on boards over SSH (desktop).", "deploy"),
    "keygen": ("edgedefend.commands.sign:keygen", "Make a key pair to sign bundles with.", "sign"),
    "sign": ("edgedefend.commands.sign:sign", "Sign a bundle.", "sign"),
    "board": ("edgedefend.commands.board:board", "See, apply and take back a board's settings.", ""),
    "doctor": ("edgedefend.commands.doctor:doctor", "What is wrong with this board, and what mends it.", ""),
    "convert": (
        "convert.commands:convert",
        "Learn a table, export a model, write bundles (desktop).",
        "convert",
    ),
    "bench": ("bench.commands:bench", "Measure; see bench --help.", "bench"),
}


class LazyGroup(click.Group):
    """A click group whose commands are imported when they are called, not when they are listed.

    `lazy` maps a command's name to its ``module:attribute``, its line of help, and the extra to install when
    a library it imports is missing ("" for none).
    """

    def __init__(self, *args: Any, lazy: dict[str, tuple[str, str, str]] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lazy = lazy or {}

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands, imported or not."""
        return [*self.lazy, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command; a missing library becomes the pip command that brings it."""
        if cmd_name not in self.lazy:
            return super().get_command(ctx, cmd_name)
        target, _, extra = self.lazy[cmd_name]
        module, attribute = target.split(":")
        try:
            command: click.Command = getattr(importlib.import_module(module), attribute)
        except ModuleNotFoundError as error:
            raise EdgeDefendError(
                f"{cmd_name} needs the Python package {error.name!r}: pip install 'edgedefend[{extra}]'"
                if extra
                else f"{cmd_name} needs the Python package {error.name!r}: pip install --force-reinstall edgedefend"
            ) from error
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing any of them."""
        rows = [(name, help_line) for name, (_, help_line, _) in self.lazy.items()]
        rows += [
            (name, command.get_short_help_str(100)) for name, command in self.commands.items() if not command.hidden
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


@click.group(cls=LazyGroup, lazy=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(edgedefend.__version__, prog_name="edgedefend")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def cli(debug: bool) -> None:
    """Put a tested preprocessing defence in front of a TFLite image classifier.

    Exit codes: 0 fine, 1 something failed, 2 usage, 3 bad input, 4 bad bundle, 5 no backend, 6 device.
    """


def _explain_os_error(error: OSError) -> str:
    """Turn an `OSError` that no command foresaw into one line that says what to do."""
    where = f"{error.filename}: " if error.filename else ""
    if error.errno == errno.ENOSPC:
        return f"{where}the disk is full: free some space and run the command again"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{where}no permission ({error.strerror}): choose another folder or another user"
    return f"{where}{error.strerror or error}"


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: the one place where an error becomes a line and an exit code."""
    words = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in words
    try:
        # --debug is taken at any place in the line: it is what one adds after a failure.
        code = cli.main([word for word in words if word != "--debug"], "edgedefend", standalone_mode=False) or 0
    except click.exceptions.Exit as request:
        code = request.exit_code
    except BrokenPipeError:
        # The reader of our output has gone (`edgedefend … | head`): nobody is left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except (EdgeDefendError, click.ClickException, click.Abort, KeyboardInterrupt, MemoryError, OSError) as error:
        if debug:
            traceback.print_exc()
        code = _report(error)
    sys.exit(code)


def _report(error: BaseException) -> int:
    """Print the one line for an error; return the exit code."""
    if isinstance(error, click.ClickException):
        error.show()
        return error.exit_code
    code = 1
    if isinstance(error, EdgeDefendError):
        message, code = str(error), error.exit_code
    elif isinstance(error, MemoryError):
        message = "not enough memory for this input on this machine"
    elif isinstance(error, OSError):
        message = _explain_os_error(error)
    else:
        message = "stopped"
    click.echo(f"edgedefend: {' '.join(message.split())}", err=True)
    return code


if __name__ == "__main__":
    main()
