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

# The doctor's checks whose outcome a release decides.
_CHECKS_OF_A_RELEASE = ("python", "architecture", "c library", "wheels", "interpreter", "imports", "kernels", "bundle")


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
    release: Path,
    facts: dict[str, Any],
    service: Process | Systemd,
    step: Callable[[str], None],
    *,
    window: float,
    doctor: bool,
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
    if doctor:
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
    """Run the release's own `edgedefend doctor`.

    What is bad about its packages, kernels or bundle counts against the release. A hot board or a weak power supply is
    told, but going back would not mend it.
    """
    step("doctor")
    command = [str(release / "venv" / "bin" / "edgedefend"), "doctor", "--json", str(release / "bundle")]
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
        env={**os.environ, **environment},
    )
    try:
        findings = [finding for finding in json.loads(done.stdout)["findings"] if finding["level"] == "bad"]
    except (ValueError, KeyError, TypeError):
        raise FailedError(f"doctor: {last_line(done.stderr or done.stdout)}") from None
    for finding in findings:
        text = f"{finding['check']}: {finding['what']}"
        if finding["check"] in _CHECKS_OF_A_RELEASE:
            raise FailedError(f"doctor: {text}")
        step(f"doctor finds something bad about the board: {text}")


def read_sensors(release: Path) -> dict[str, Any]:
    """Ask the release's own `edgedefend.device` for temperature and throttling."""
    code = "import json; from edgedefend.device import Device; print(json.dumps(Device().snapshot()))"
    try:
        text = run([release / "venv" / "bin" / "python", "-I", "-c", code], "sensors", seconds=60)
        return {"sensors": json.loads(text)}
    except (FailedError, ValueError):
        return {"sensors": {}}
