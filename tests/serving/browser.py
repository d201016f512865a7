"""A real Chromium for tests, driven by Playwright. Where there is none, the reason is told."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["CHROMIUM", "chromium", "why_no_browser"]

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM = os.environ.get("EDGEDEFEND_TEST_CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)


def why_no_browser() -> str | None:
    """Return why there is no browser to test with, None where there is one."""
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError as error:
        return f"no browser: {error}: pip install playwright"
    if CHROMIUM is None:
        return "no browser: apt-get install chromium, or name one in EDGEDEFEND_TEST_CHROMIUM"
    return None


@contextmanager
def chromium(*, y4m: Path | None = None) -> Iterator[Any]:
    """Start a headless Chromium whose camera shows a moving test picture, or a film."""
    from playwright.sync_api import sync_playwright

    arguments = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    if y4m is not None:
        arguments.append(f"--use-file-for-fake-video-capture={y4m}")
    if os.getuid() == 0:  # its sandbox wants another user, and what it shows is our own
        arguments.append("--no-sandbox")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=arguments)
        try:
            yield browser
        finally:
            browser.close()
