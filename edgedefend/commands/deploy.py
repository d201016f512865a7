"""`edgedefend deploy push|status|rollback|logs|remove`: releases on boards over SSH."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgedefend.errors import EdgeDefendError

if TYPE_CHECKING:
    from edgedefend.deploying.fleet import Fleet, Outcome
    from edgedefend.deploying.release import Plan, Workshop
    from edgedefend.deploying.targets import Target

__all__ = ["deploy"]


def _targets(hosts: Sequence[str], inventory: Path | None, **settings: Any) -> list[Target]:
    """Return the boards that the user named; `settings` are what every one of them has that does not say otherwise."""
    from edgedefend.deploying.targets import Target, read_inventory, unique_targets

    settings["prefix"] = settings["prefix"].rstrip("/")
    named = [Target(host, **settings) for host in hosts]
    if inventory is not None:
        named += read_inventory(inventory, Target("default", **settings))
    if not named:
        raise click.UsageError("no host: name ssh destinations, or --inventory with one a line")
    return unique_targets(named)


def _shared(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add what every command takes: hosts, inventory, prefix, ssh's configuration."""
    for decorate in (
        click.argument("hosts", nargs=-1, metavar="[HOST]..."),
        click.option("--inventory", type=click.Path(path_type=Path), help="File: HOST [prefix=…] [port=…] a line."),
        click.option("--prefix", default="/opt/edgedefend", show_default=True, help="Folder on the board."),
        click.option("--ssh-config", type=click.Path(exists=True), help="As ssh -F: instead of ~/.ssh/config."),
    ):
        command = decorate(command)
    return command


def _fleet(targets: Sequence[Target], ssh_config: str | None, quiet: bool = False) -> Fleet:
    try:
        from edgedefend.deploying.fleet import Fleet
    except ModuleNotFoundError as error:
        raise EdgeDefendError(
            f"deploy needs the Python package {error.name!r}: pip install 'edgedefend[deploy]'"
        ) from error

    def progress(host: str, text: str) -> None:
        if not quiet:
            click.echo(f"{host}: {text}")

    options = ("-F", ssh_config) if ssh_config else ()
    return Fleet(targets, ssh_options=options, progress=progress)


def _report_failures(outcomes: Sequence[Outcome]) -> int:
    """Print one line a failed host, and the end of its log; return how many there are."""
    failed = [outcome for outcome in outcomes if outcome.error]
    for outcome in failed:
        click.echo(f"edgedefend: {outcome.host}: {' '.join(outcome.error.split())}", err=True)
        for line in outcome.tail:
            click.echo(f"    {line}", err=True)
    return len(failed)


@click.group()
def deploy() -> None:
    """Put runtime, bundle and service on boards over SSH, all at once; go back where it does not work.

    A HOST is whatever `ssh HOST` understands. Host keys must be known, and nothing asks for a password.
    """


@deploy.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@_shared
@click.option("--port", type=click.IntRange(1, 65535), default=8765, show_default=True, help="Of the service.")
@click.option("--user", default="edgedefend", show_default=True, help="That the service runs as, under systemd.")
@click.option("--wheelhouse", type=click.Path(path_type=Path), help="Folder with wheels, for boards without a network.")
@click.option("--window", type=click.FloatRange(0, 3600), default=5, show_default=True, help="Seconds it must stay up.")
@click.option("--doctor/--no-doctor", default=True, help="Ask the board's doctor about the release as well (default).")
@click.option("--canary", type=click.IntRange(1), help="So many hosts first; the rest only if those stay healthy.")
@click.option("--dry-run", is_flag=True, help="Say what would change, and change nothing.")
def push(
    bundle: Path,
    hosts: tuple[str, ...],
    inventory: Path | None,
    prefix: str,
    ssh_config: str | None,
    port: int,
    user: str,
    wheelhouse: Path | None,
    window: float,
    doctor: bool,
    canary: int | None,
    dry_run: bool,
) -> None:
    """Release BUNDLE on every HOST.

    A release is switched to in one step, must then answer as the desktop did, and is taken back where it does not.
    """
    from edgedefend.deploying.release import Workshop

    targets = _targets(hosts, inventory, prefix=prefix, port=port, user=user)
    batches = [targets[:canary], targets[canary:]] if canary else [targets, []]
    failed = 0
    with Workshop(bundle, wheelhouse=wheelhouse, window=window, doctor=doctor) as workshop:
        for number, batch in enumerate(batches):
            if failed and batch:
                raise EdgeDefendError(f"{failed} of {len(batches[0])} canaries failed: {len(batch)} hosts left alone")
            if batch:
                failed += _push_batch(_fleet(batch, ssh_config), workshop, dry_run)
            if number == 0 and batches[1] and not failed and not dry_run:
                click.echo(f"{len(batch)} canaries are healthy: going on with {len(batches[1])} more")
    if failed:
        raise EdgeDefendError(f"{failed} of {len(targets)} hosts failed")


def _push_batch(fleet: Fleet, workshop: Workshop, dry_run: bool) -> int:
    begun = time.monotonic()
    with fleet:
        fleet.look()
        plans = fleet.plan(workshop)
        unchanged = _running_already(fleet, plans)
        for name in unchanged:
            click.echo(f"{name}: nothing to do, {fleet.facts[name].current} runs and is healthy")
        todo = {name: plan for name, plan in plans.items() if name not in unchanged}
        if dry_run:
            for name, plan in todo.items():
                _print_plan(fleet, name, plan)
        else:
            fleet.push(todo, workshop.blobs)
            for name in todo:
                outcome = fleet.outcomes[name]
                if not outcome.error:
                    result = outcome.result
                    click.echo(
                        f"{name}: {result['changed']}: {result['release']}, first answer {result['label']!r} in "
                        f"{result['first_ms']:.1f} ms ({time.monotonic() - begun:.0f} s)"
                    )
    return _report_failures(list(fleet.outcomes.values()))


def _running_already(fleet: Fleet, plans: dict[str, Plan]) -> list[str]:
    """Return the hosts on which this very release runs, proven and healthy."""
    same = [name for name, plan in plans.items() if plan.same and not fleet.facts[name].on_trial]
    if not same:
        return []
    fleet.ask({"action": "status", "sensors": False}, among=same, root=False)
    return [name for name in same if fleet.outcomes[name].result.get("healthy")]


def _print_plan(fleet: Fleet, name: str, plan: Plan) -> None:
    facts = fleet.facts[name]
    what = facts.model or (plan.board.title if facts.machine == "aarch64" else "no board, a computer")
    python = ".".join(map(str, facts.python_version))
    manager = "systemd" if facts.systemd else "no systemd: the service is a plain process, not started at boot"
    click.echo(f"{name}: {what}, {facts.machine}, Python {python}, {manager}")
    if plan.same:
        click.echo(f"{name}: would start {facts.current} again: it is not healthy or has not proven itself")
        return
    for line in plan.differences:
        click.echo(f"{name}: would change {line}")
    kernels = plan.release["kernels"]
    click.echo(
        f"{name}: would upload {len(plan.missing)} files, {plan.upload_bytes / 1e6:.1f} MB; kernels: {kernels}; "
        f"{plan.needed_bytes >> 20} of {facts.free >> 20} MB free needed"
    )


def _ask_all(
    request: dict[str, Any], targets: Sequence[Target], ssh_config: str | None, *, quiet: bool = False
) -> list[Outcome]:
    fleet = _fleet(targets, ssh_config, quiet)
    with fleet:
        fleet.look()
        fleet.ask(request)
    return list(fleet.outcomes.values())


@deploy.command()
@_shared
@click.option("--json", "as_json", is_flag=True, help="One line of JSON a host.")
def status(hosts: tuple[str, ...], inventory: Path | None, prefix: str, ssh_config: str | None, as_json: bool) -> None:
    """Show what runs on every HOST, and how it is doing."""
    from edgedefend.commands.options import format_table

    outcomes = _ask_all({"action": "status"}, _targets(hosts, inventory, prefix=prefix), ssh_config, quiet=True)
    well = [outcome for outcome in outcomes if not outcome.error]
    if as_json:
        for outcome in well:
            click.echo(json.dumps({"host": outcome.host, **outcome.result}))
    elif well:
        header = ("host", "release", "bundle", "healthy", "temperature", "throttled", "latency")
        click.echo(format_table(header, [_status_row(outcome) for outcome in well]))
    bad = [outcome for outcome in well if not outcome.result.get("healthy")]
    if _report_failures(outcomes) or bad:
        sys.exit(EdgeDefendError.exit_code)


def _status_row(outcome: Outcome) -> tuple[str, ...]:
    said = outcome.result
    if not said.get("release"):
        return (outcome.host, "none", "", "no", "", "", "")
    sensors = said.get("sensors") or {}
    temperature, latency = sensors.get("temperature_c"), said.get("latency_ms")
    throttled = ", ".join(sensors.get("throttled_now") or ()) or "no"
    healthy = "yes" if said["healthy"] else "no"
    return (
        outcome.host,
        said["release"],
        said["bundle"][:12],
        healthy if said["proven"] else f"{healthy}, not proven",
        "unknown" if temperature is None else f"{temperature:.0f} C",
        throttled if sensors.get("throttle_source") else "unknown",
        "unknown" if latency is None else f"{latency:.1f} ms",
    )


@deploy.command()
@_shared
@click.option("--window", type=click.FloatRange(0, 3600), default=5, show_default=True, help="Seconds it must stay up.")
def rollback(
    hosts: tuple[str, ...], inventory: Path | None, prefix: str, ssh_config: str | None, window: float
) -> None:
    """Go back to the release before, on every HOST."""
    outcomes = _ask_all(
        {"action": "rollback", "window": window, "doctor": False}, _targets(hosts, inventory, prefix=prefix), ssh_config
    )
    for outcome in outcomes:
        if not outcome.error:
            click.echo(f"{outcome.host}: {outcome.result['changed']} to {outcome.result['release']}")
    if _report_failures(outcomes):
        sys.exit(EdgeDefendError.exit_code)


@deploy.command()
@_shared
@click.option("--lines", type=click.IntRange(1, 10000), default=20, show_default=True, help="Of each log.")
def logs(hosts: tuple[str, ...], inventory: Path | None, prefix: str, ssh_config: str | None, lines: int) -> None:
    """Print the end of the service's log and of the deploys' log of every HOST."""
    outcomes = _ask_all(
        {"action": "logs", "lines": lines}, _targets(hosts, inventory, prefix=prefix), ssh_config, quiet=True
    )
    for outcome in outcomes:
        for kind in ("deploys", "service"):
            for line in outcome.result.get(kind, ()):
                click.echo(f"{outcome.host} {kind}: {line}")
    if _report_failures(outcomes):
        sys.exit(EdgeDefendError.exit_code)


@deploy.command()
@_shared
@click.option("--yes", is_flag=True, help="Do not ask.")
def remove(hosts: tuple[str, ...], inventory: Path | None, prefix: str, ssh_config: str | None, yes: bool) -> None:
    """Stop the service on every HOST and remove all its releases."""
    targets = _targets(hosts, inventory, prefix=prefix)
    if not yes:
        click.confirm(f"Remove edgedefend from {', '.join(target.host for target in targets)}?", abort=True)
    outcomes = _ask_all({"action": "remove"}, targets, ssh_config)
    for outcome in outcomes:
        if not outcome.error:
            click.echo(f"{outcome.host}: {outcome.result['changed'] or 'nothing was there'}")
    if _report_failures(outcomes):
        sys.exit(EdgeDefendError.exit_code)
