"""Whether a release works: the service stays up and answers with this bundle, and the golden input is verified."""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgedefend.deploying.onboard.basics import FailedError, last_line, run
from edgedefend.deploying.onboard.service import START_SECONDS, Process, Systemd


def ask_service(port: int, path: str, body: bytes | None = None) -> dict[str, Any]:
    """Send one request to the service on this board; raises OSError or ValueError."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(f"http://127.0.0.1:{port}{path}", data=body, timeout=60) as answer:
        return dict(json.loads(answer.read()))


def health_of(facts: dict[str, Any]) -> dict[str, Any] | None:
    """Return what the service of this release says of itself, None if it does not answer."""
    try:
        answer = ask_service(int(facts["port"]), "/healthz")
    except (OSError, ValueError, KeyError):
        return None
    return answer if answer.get("ok") and answer.get("bundle") == facts["bundle"] else None


def prove(
    release: Path, facts: dict[str, Any], service: Process | Systemd, window: float, step: Callable[[str], None]
) -> dict[str, Any]:
    """Return the measurements of a release that has shown that it works.

    Raises
    ------
    FailedError
        With the first thing that does not.
    """
    until = time.monotonic() + START_SECONDS
    step("waiting for the service")
    while health_of(facts) is None:
        if not service.active():
            said = [line for line in service.tail(20) if line.startswith("edgedefend: ")]
            raise FailedError(f"the service ends at once: {said[-1] if said else last_line('')}")
        if time.monotonic() > until:
            raise FailedError(f"the service does not answer on port {facts['port']} with this bundle")
        time.sleep(0.1)
    restarts, begun = service.restarts(), time.monotonic()
    step("first prediction")
    try:
        image = (release / "bundle" / "golden_image.png").read_bytes()
        first = ask_service(int(facts["port"]), "/v1/classify", image)
    except (OSError, ValueError) as error:
        raise FailedError(f"the service does not classify: {error}") from None
    if first.get("bundle") != facts["bundle"]:
        raise FailedError("the service answers with another bundle")
    step("verify")
    edgedefend = release / "venv" / "bin" / "edgedefend"
    environment = {**service.environment, "EDGEDEFEND_KERNELS": str(release / "kernels")}
    run([edgedefend, "verify", release / "bundle"], "verify", seconds=600, env=environment)
    _ask_doctor(release, environment, step)
    step("watching")
    while time.monotonic() < begun + window:
        time.sleep(0.1)
        if not service.active() or service.restarts() != restarts:
            raise FailedError(f"the service has not stayed up for {window:g} s")
    if health_of(facts) is None:
        raise FailedError("the service no longer answers")
    return {"label": first.get("label"), "first_ms": first.get("stage_ms", {}).get("total_ms")}


def _ask_doctor(release: Path, environment: dict[str, str], step: Callable[[str], None]) -> None:
    """Ask the board's doctor, where this version has one; only what it calls an error counts against a release."""
    edgedefend = release / "venv" / "bin" / "edgedefend"
    if not list(release.glob("venv/lib/python3*/site-packages/edgedefend/commands/doctor.py")):
        return
    step("doctor")
    command = [edgedefend, "doctor", "--json", "--bundle", release / "bundle"]
    done = subprocess.run(
        list(map(str, command)),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env={**os.environ, **environment},
    )
    if done.returncode:
        raise FailedError(f"doctor: {_worst_finding(done.stdout) or last_line(done.stderr)}")


def _worst_finding(text: str) -> str:
    try:
        findings = json.loads(text)["findings"]
        bad = [finding for finding in findings if finding.get("level") in ("error", "fail")]
        return str(bad[0].get("what") or bad[0].get("message") or bad[0])
    except (ValueError, KeyError, TypeError, IndexError, AttributeError):
        return ""


def read_sensors(release: Path) -> dict[str, Any]:
    """Ask the release's own `edgedefend.device` for temperature and throttling."""
    code = "import json; from edgedefend.device import Device; print(json.dumps(Device().snapshot()))"
    try:
        text = run([release / "venv" / "bin" / "python", "-I", "-c", code], "sensors", seconds=60)
        return {"sensors": json.loads(text)}
    except (FailedError, ValueError):
        return {"sensors": {}}
