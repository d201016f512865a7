"""A pyinfra connector that drives the real `ssh`: whatever `ssh HOST` does in a terminal, it does.

pyinfra's own connector speaks SSH through paramiko, which knows a part of ssh_config only, and by default accepts
host keys that it has never seen. This one inherits everything from OpenSSH: ~/.ssh/config with Match, Include and
ProxyJump, agents and hardware keys, known_hosts hashed or signed. Two things are fixed: it never asks (`BatchMode`),
and an unknown host key is refused (`StrictHostKeyChecking=yes`). One connection a host is shared by all commands.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from gevent.subprocess import DEVNULL, PIPE, Popen
from pyinfra.api import StringCommand
from pyinfra.api.exceptions import ConnectError
from pyinfra.api.host import Host
from pyinfra.api.inventory import Inventory
from pyinfra.connectors.base import BaseConnector
from pyinfra.connectors.util import CommandOutput, OutputLine, make_unix_command_for_host

__all__ = ["Boards", "OpenSSHConnector", "TarOf", "explain"]

CONNECT_SECONDS = 15


@dataclass(frozen=True)
class TarOf:
    """Standard input for a remote ``tar -x``: files of a local folder, symbolic links followed."""

    folder: Path
    names: tuple[str, ...]


def explain(said: str) -> str:
    """Return one line that says why ssh did not get through."""
    lines = [line.strip() for line in said.splitlines() if line.strip() and not line.startswith("Warning: ")]
    text = "\n".join(lines)
    if "HOST IDENTIFICATION HAS CHANGED" in text:
        return "its host key is not the one in known_hosts: find out why before you remove that (ssh-keygen -R HOST)"
    if "Host key verification failed" in text or "host key is known for" in text:
        return "its host key is not in known_hosts: run `ssh HOST` once and compare the fingerprint"
    for line in lines:
        if "No space left on device" in line:
            return "the disk is full (No space left on device)"
        if "Permission denied (" in line:
            return f"it refuses the login ({line.partition('Permission denied (')[2].strip(' ().') or 'no key fits'})"
        if "Could not resolve hostname" in line:
            return "there is no such host (its name cannot be resolved)"
    return lines[-1] if lines else "ssh ended without a word"


class OpenSSHConnector(BaseConnector):
    """Runs commands on a host through the ssh program."""

    handles_execution = True

    def __init__(self, state: Any, host: Host) -> None:
        super().__init__(state, host)
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    @staticmethod
    def make_names_data(name: str) -> Iterator[tuple[str, dict[str, Any], list[str]]]:
        """Yield the host itself: its name is an ssh destination."""
        yield name, {}, []

    def _ssh(self, *options: str) -> list[str]:
        if self._folder is None:
            # Short on purpose: the path of a socket has at most 107 bytes.
            self._folder = tempfile.TemporaryDirectory(prefix="edgedefend-", dir="/tmp", ignore_cleanup_errors=True)
        command = ["ssh", *self.host.data.get("ssh_options", ())]
        for option in (
            "BatchMode=yes",
            "StrictHostKeyChecking=yes",
            f"ConnectTimeout={CONNECT_SECONDS}",
            "ServerAliveInterval=15",
            "ServerAliveCountMax=4",
            "ControlMaster=auto",
            f"ControlPath={self._folder.name}/s",
            "ControlPersist=60",
            "ForwardX11=no",
            "RequestTTY=no",
        ):
            command += ["-o", option]
        # After "--" a host can be called anything: no name is taken for an option.
        return [*command, *options, "--", self.host.name]

    def connect(self) -> None:
        """Open the connection that all commands share; raises ConnectError with one line."""
        process = Popen([*self._ssh(), "true"], stdin=DEVNULL, stdout=PIPE, stderr=PIPE)
        _, said = process.communicate()
        if process.returncode:
            raise ConnectError(explain(said.decode(errors="replace")))

    def disconnect(self) -> None:
        """Close the connection."""
        if self._folder is not None:
            Popen(self._ssh("-O", "exit"), stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL).wait()
            self._folder.cleanup()
            self._folder = None

    def run_shell_command(
        self,
        command: StringCommand | str,
        print_output: bool = False,
        print_input: bool = False,
        **arguments: Any,
    ) -> tuple[bool, CommandOutput]:
        """Run a command; `_stdin` may be text, bytes, an open file or a `TarOf`.

        Every line of its output is handed to the host's `on_line`, as it comes.
        """
        stdin, timeout = arguments.pop("_stdin", None), arguments.pop("_timeout", None)
        codes = arguments.pop("_success_exit_codes", None) or [0]
        arguments.pop("_get_pty", None)
        text = StringCommand(command) if isinstance(command, str) else command
        remote = make_unix_command_for_host(self.state, self.host, text, **arguments).get_raw_value()
        code, output = self._run(remote, stdin, timeout)
        if code not in codes:
            # What went wrong on the way, for the case that the agent could not say it itself.
            self.host.connector_data["said"] = explain(output.stderr)
        return code in codes, output

    def _run(self, remote: str, stdin: Any, timeout: float | None) -> tuple[int, CommandOutput]:
        import gevent

        tar = None
        source: Any = PIPE if isinstance(stdin, (str, bytes)) else stdin if stdin is not None else DEVNULL
        if isinstance(stdin, TarOf):
            archive = ["tar", "--create", "--dereference", "--owner=0", "--group=0", "--directory", str(stdin.folder)]
            # The real subprocess: only ssh's end of the pipe is read, by ssh.
            tar = subprocess.Popen([*archive, "--", *stdin.names], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
            source = tar.stdout
        process = Popen([*self._ssh(), remote], stdin=source, stdout=PIPE, stderr=PIPE)
        if tar is not None and tar.stdout is not None:
            tar.stdout.close()
        lines: list[OutputLine] = []
        on_line = self.host.data.get("on_line")

        def read(name: str, stream: IO[bytes]) -> None:
            for raw in stream:
                line = raw.decode(errors="replace").rstrip("\r\n")
                lines.append(OutputLine(name, line))
                if on_line is not None and name == "stdout":
                    on_line(self.host, line)

        def write() -> None:
            data = stdin.encode() if isinstance(stdin, str) else stdin
            try:
                process.stdin.write(data)
                process.stdin.close()
            except OSError:
                pass  # it ended without reading all: its exit code tells

        workers = [gevent.spawn(read, "stdout", process.stdout), gevent.spawn(read, "stderr", process.stderr)]
        if source is PIPE:
            workers.append(gevent.spawn(write))
        try:
            if len(gevent.joinall(workers, timeout=timeout)) < len(workers):
                raise TimeoutError(f"no end after {timeout} s")
            process.wait()
        finally:
            gevent.killall(workers)
            if process.poll() is None:
                process.kill()
                process.wait()
            if tar is not None:
                tar.wait()
        return process.returncode, CommandOutput(lines)

    def put_file(
        self,
        filename_or_io: Any,
        remote_filename: str,
        remote_temp_filename: str | None = None,
        print_output: bool = False,
        print_input: bool = False,
        **arguments: Any,
    ) -> bool:
        """Write one file on the host."""
        from pyinfra.api import QuoteString

        data = Path(filename_or_io).read_bytes() if isinstance(filename_or_io, str) else filename_or_io.read()
        command = StringCommand("cat", ">", QuoteString(remote_filename))
        return self.run_shell_command(command, _stdin=data, **arguments)[0]

    def get_file(
        self,
        remote_filename: str,
        filename_or_io: Any,
        remote_temp_filename: str | None = None,
        print_output: bool = False,
        print_input: bool = False,
        **arguments: Any,
    ) -> bool:
        """Nothing is fetched from boards but what commands print."""
        raise NotImplementedError


class Boards(Inventory):
    """pyinfra's inventory, with every host behind `OpenSSHConnector`."""

    def make_hosts_and_groups(self, names: Any, groups: Any) -> None:
        """Make the hosts; pyinfra looks connectors up among installed packages, ours is at hand."""
        self.hosts = {}
        for name in names:
            self.host_data[name] = {}
            self.hosts[name] = Host(name, inventory=self, groups=[], connector_cls=OpenSSHConnector)
