"""The OpenAPI document against the service: schemathesis makes requests from it, and checks every answer."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys

import pytest

from edgedefend.serving.openapi import describe
from tests.conftest import ROOT
from tests.serving.conftest import start

TOKEN = "correct-horse-battery-staple"


def test_every_route_is_described(inside):
    running = inside()
    described = set(describe(3, secured=False)["paths"])
    assert described == {path for path in running.service.metrics._paths if not path.startswith("/page/")}
    document = running.ask("GET", "/openapi.json")[1]
    draws = {
        path: item["post"]["parameters"][0]["schema"]["maximum"]
        for path, item in document["paths"].items()
        if "post" in item
    }
    assert draws == {"/v1/classify": 32, "/v1/stages": 8}


@pytest.mark.skipif(importlib.util.find_spec("schemathesis") is None, reason="needs schemathesis (extra 'dev')")
@pytest.mark.slow
def test_the_service_does_what_the_document_says(color_bundles, tmp_path):
    running = start(color_bundles / "int8", EDGEDEFEND_TOKEN=TOKEN)
    words = ["run", f"http://127.0.0.1:{running.port}/openapi.json", "--checks", "all", "--continue-on-failure"]
    words += ["--max-examples", os.environ.get("EDGEDEFEND_TEST_EXAMPLES", "5"), "--no-color"]
    words += ["--header", f"Authorization: Bearer {TOKEN}"]
    done = subprocess.run(
        [sys.executable, "-c", "from schemathesis.cli import schemathesis; schemathesis()", *words],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
            "SCHEMATHESIS_HOOKS": "tests.serving.image_bytes",
        },
    )
    out, said = running.stop()
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert int(re.search(r"(\d+) generated", done.stdout)[1]) > 100
    answered = int(re.search(r"stopped after (\d+) answers", out)[1])
    assert answered > 10, "pictures were among what was sent"
    assert said == ""
