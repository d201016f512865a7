"""Many boards at once, through pyinfra: its inventory, facts and operations, over our own connector.

Each board goes its own way: one that cannot be reached, or does not fit, is reported and left out; the others go on.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gevent
from pyinfra.api import Config, FactBase, QuoteString, State, StringCommand
from pyinfra.api.connect import connect_all, disconnect_all
from pyinfra.api.exceptions import PyinfraError
from pyinfra.api.facts import get_fact
from pyinfra.api.host import Host
from pyinfra.api.operation import add_op, operation
from pyinfra.api.operations import run_ops
from pyinfra.api.state import BaseStateCallback
from pyinfra.context import ctx_host, ctx_state

from edgedefend.deploying.facts import SCRIPT, BoardFacts, parse_facts
from edgedefend.deploying.openssh import Boards, TarOf
from edgedefend.deploying.release import Plan, Workshop
from edgedefend.deploying.targets import Target
from edgedefend.errors import DeviceError, EdgeDefendError

__all__ = ["Fleet", "Outcome"]

PARALLEL = 32


@dataclass
class Outcome:
    """How it went on one board: `error` is one line, "" when all is well; `tail` the end of the service's log."""

    host: str
    error: str = ""
    tail: list[str] = field(default_factory=list)
    result: dict[str, Any] = field(default_factory=dict)


class BoardState(FactBase[list[str]]):
    """The lines of `SCRIPT`."""

    def command(self, prefix: str) -> StringCommand:
        """Return the command."""
        return StringCommand("sh", "-c", QuoteString(SCRIPT), "edgedefend", QuoteString(prefix))

    def process(self, output: list[str]) -> list[str]:
        """Return the lines as they are."""
        return list(output)


# Makes the packed modules importable under their own names, in a Python that has never heard of them.
_LOADER = """
import json, sys, types
for name, source in json.loads({modules!r}):
    module = sys.modules[name] = types.ModuleType(name)
    module.__path__ = []
    exec(compile(source, name, "exec"), module.__dict__)
raise SystemExit(sys.modules[name].main(json.loads({request!r})))
"""
_MODULES = ("basics", "service", "environment", "releases", "health", "agent")


def agent_source(request: dict[str, Any]) -> str:
    """Return the program that does `request` on a board, for its Python's standard input."""
    package = "edgedefend.deploying.onboard"
    modules = [("edgedefend", ""), ("edgedefend.deploying", ""), (package, "")]
    folder = Path(__file__).parent / "onboard"
    modules += [(f"{package}.{name}", (folder / f"{name}.py").read_text(encoding="utf-8")) for name in _MODULES]
    return _LOADER.format(modules=json.dumps(modules), request=json.dumps(request))


@operation(idempotent_notice="a release that runs already is left alone")
def release(plan: Plan, blobs: Path) -> Iterator[StringCommand]:
    """Upload what a board lacks, then let its agent install, switch and prove."""
    if plan.missing:
        incoming = f"{plan.request['prefix']}/incoming/{plan.request['push']}"
        yield StringCommand(
            *("mkdir", "-p", QuoteString(incoming), "&&", "tar", "-xf", "-", "-C", QuoteString(incoming)),
            _stdin=TarOf(blobs, plan.missing),
        )
    yield StringCommand(QuoteString(plan.request["python"]), "-", _stdin=agent_source(plan.request))


@operation(is_idempotent=False)
def ask(python: str, request: dict[str, Any]) -> Iterator[StringCommand]:
    """Have the agent do one thing."""
    yield StringCommand(QuoteString(python), "-", _stdin=agent_source(request))


class _Listener(BaseStateCallback):
    """Keeps why a host could not be reached."""

    fleet: Fleet

    @staticmethod
    def host_connect_error(state: State, host: Host, error: Exception) -> None:
        """Note the reason."""
        host.data.fleet.fail(host.name, str(error.args[0]))


class Fleet:
    """Connections to boards; a context manager.

    Parameters
    ----------
    targets : sequence of Target
        Each host once.
    ssh_options : sequence of str
        Put before everything else on ssh's command line, e.g. ("-F", "config").
    progress : callable
        Called with (host, text) for every step.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        *,
        ssh_options: Sequence[str] = (),
        progress: Callable[[str, str], None] = lambda host, text: None,
    ) -> None:
        # What pyinfra would print, we print: one line a host.
        logging.getLogger("pyinfra").addHandler(logging.NullHandler())
        logging.getLogger("pyinfra").propagate = False
        self.progress = progress
        self.targets = {target.host: target for target in targets}
        self.outcomes = {host: Outcome(host) for host in self.targets}
        data = {"ssh_options": tuple(ssh_options), "on_line": self._on_line, "fleet": self}
        self.inventory = Boards((list(self.outcomes), data))
        self.state = State(self.inventory, Config(PARALLEL=min(PARALLEL, len(self.outcomes))), check_for_changes=False)
        self.state.add_callback_handler(_Listener())
        self.facts: dict[str, BoardFacts] = {}

    def __enter__(self) -> Fleet:
        with _quietly():
            connect_all(self.state)
        for host in self._alive():
            self.progress(host.name, "connected")
        return self

    def __exit__(self, *_: object) -> None:
        self.state.pool.join(timeout=1)
        disconnect_all(self.state)

    def __copy__(self) -> Fleet:
        return self  # pyinfra copies host data when it is read

    def _alive(self) -> list[Host]:
        active = self.state.active_hosts
        return [host for host in self.inventory if host in active and not self.outcomes[host.name].error]

    def fail(self, name: str, error: str, tail: Sequence[str] = ()) -> None:
        """Note what went wrong on a host; the first reason stays."""
        outcome = self.outcomes[name]
        if not outcome.error:
            outcome.error, outcome.tail = error, list(tail)

    def _on_line(self, host: Host, line: str) -> None:
        kind, _, text = line.partition(" ")
        if kind == "step":
            self.progress(host.name, text)
        elif kind == "result":
            result = json.loads(text)
            if "error" in result:
                self.fail(host.name, result["error"], result.get("tail", ()))
            self.outcomes[host.name].result = result

    def look(self) -> None:
        """Fetch the facts of every board; one that cannot take a release is failed with the reason."""
        hosts = self._alive()

        def fetch(host: Host) -> list[str]:
            with ctx_state.use(self.state), ctx_host.use(host):
                where = {"prefix": self.targets[host.name].prefix}
                return list(get_fact(self.state, host, BoardState, kwargs=where) or [])

        jobs = {host.name: self.state.pool.spawn(fetch, host) for host in hosts}
        gevent.joinall(list(jobs.values()))
        for name, job in jobs.items():
            try:
                self.facts[name] = parse_facts(job.get())
            except DeviceError as error:
                self.fail(name, str(error))
            except PyinfraError as error:
                self.fail(name, f"its facts cannot be read ({error})")

    def plan(self, workshop: Workshop) -> dict[str, Plan]:
        """Return what is to happen on each board that still takes part."""
        plans = {}
        for host in self._alive():
            try:
                plans[host.name] = workshop.plan(self.facts[host.name], self.targets[host.name])
            except EdgeDefendError as error:
                self.fail(host.name, str(error))
        return plans

    def push(self, plans: dict[str, Plan], blobs: Path) -> None:
        """Release on all boards in `plans` at once."""
        for host in self._alive():
            if host.name in plans:
                plan = plans[host.name]
                if plan.missing:
                    self.progress(host.name, f"uploading {len(plan.missing)} files, {plan.upload_bytes / 1e6:.1f} MB")
                sudo = self.facts[host.name].needs_sudo
                add_op(self.state, release, plan, blobs, host=host, name="edgedefend release", _sudo=sudo)
        self._run()

    def ask(self, request: dict[str, Any], *, among: Sequence[str] | None = None, root: bool = True) -> None:
        """Have all boards, or those in `among`, do one thing; the answers are in `outcomes`."""
        for host in self._alive():
            if among is None or host.name in among:
                facts = self.facts[host.name]
                sudo = root and facts.needs_sudo
                whole = {**request, "prefix": self.targets[host.name].prefix}
                add_op(
                    self.state, ask, facts.python, whole, host=host, name=f"edgedefend {request['action']}", _sudo=sudo
                )
        self._run()

    def _run(self) -> None:
        asked = {host for host, operations in self.state.ops.items() if operations}
        for host in asked:
            self.outcomes[host.name].result = {}
        self.state.is_executing = False
        with _quietly():
            run_ops(self.state)
        for host in asked:
            outcome = self.outcomes[host.name]
            if not outcome.error and not outcome.result:
                self.fail(host.name, host.connector_data.get("said") or "the connection was lost")
            # Done: a later run must not do it again.
            self.state.ops[host].clear()
            host.op_hash_order.clear()
        self.state.is_executing = False


class _quietly:  # noqa: N801 - reads as a word in a with statement
    """Swallow pyinfra's exception for "no host is left": every host has its own reason on record."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        return kind is not None and issubclass(kind, PyinfraError)
