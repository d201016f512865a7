"""The page in a real browser: with a mouse, with a keyboard only, on a phone, with a camera, in the dark."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.boards import board, put
from tests.serving.browser import chromium, why_no_browser

pytestmark = [
    pytest.mark.skipif(why_no_browser() is not None, reason=str(why_no_browser())),
    # Playwright's own event loop, in a test that fails, says things at the end that would hide why.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture(scope="module")
def film(tmp_path_factory) -> Path:
    """A film for the fake camera: green noise, so that the colour model has a right answer."""
    rng, path = np.random.default_rng(3), tmp_path_factory.mktemp("film") / "green.y4m"
    with path.open("wb") as file:
        file.write(b"YUV4MPEG2 W160 H120 F10:1 Ip A1:1 C420jpeg\n")
        for _ in range(10):
            picture = rng.integers(0, 60, (120, 160, 3), np.uint8)
            picture[..., 1] += 160
            file.write(b"FRAME\n" + cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420).tobytes())
    return path


@pytest.fixture(scope="module")
def browser(film) -> Iterator[object]:
    with chromium(y4m=film) as running:
        yield running


@pytest.fixture
def visit(browser, service):
    """Open the page; at the end nothing may have gone wrong in it, and nothing been asked of anybody else."""
    wrong: list[str] = []
    contexts = []

    def open_page(running=service, **options):
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
        page.on("console", lambda line: wrong.append(line.text) if line.type in ("error", "warning") else None)
        page.on(
            "request",
            lambda request: (
                None
                if re.match(rf"(http://127\.0\.0\.1:{running.port}/|data:|blob:)", request.url)
                else wrong.append(f"asked {request.url}")
            ),
        )
        page.goto(f"http://127.0.0.1:{running.port}/")
        until(page, "document.getElementById('health').textContent === 'running'")
        return page

    open_page.wrong = wrong
    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []


def until(page, expression: str, argument: object = None) -> None:
    """Wait until JavaScript says yes. Playwright's own way evaluates strings in the page, which its policy forbids."""
    deadline = time.monotonic() + 60
    while not page.evaluate(expression, argument):
        assert time.monotonic() < deadline, expression
        page.wait_for_timeout(20)


def shown(page) -> str:
    page.wait_for_selector("#answer:not([hidden])")
    until(page, "document.getElementById('picture').ariaBusy === 'false'")
    return page.inner_text("#label")


def pixels(page, selector: str) -> np.ndarray:
    """What an <img> of the page really holds."""
    source = page.get_attribute(selector, "src")
    data = base64.b64decode(source.partition(",")[2])
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


def test_a_picture_is_chosen_and_answered(visit, color_photographs):
    page = visit()
    with page.expect_file_chooser() as chooser:
        page.click("text=Choose a picture")
    chooser.value.set_files(color_photographs.parent / "1.png")
    assert shown(page) == "green"
    assert dict(fact.split("\n") for fact in page.locator("#facts div").all_inner_texts()) == {
        "score": page.inner_text("#bars .number >> nth=0"),
        "draws that agree": "4 of 4",
        "suspicion": page.inner_text("#facts div:last-child dd"),
    }
    assert re.fullmatch(r"[\d.]+ %, (suspicious|not unusual)", page.inner_text("#facts div:last-child dd"))
    assert page.locator("#bars .bar").count() == 3
    assert page.locator("#draw-buttons input").count() == 4
    width = float(page.evaluate("parseFloat(document.querySelector('#bars .fill').style.width)"))
    assert page.inner_text("#bars .number >> nth=0") == f"{width:.0f} %"
    original, quantised, distorted = (pixels(page, f"#{name}") for name in ("original", "quantised", "distorted"))
    assert original.shape == quantised.shape == distorted.shape == (40, 48, 3)
    assert (original != quantised).any()
    assert (quantised != distorted).any()
    assert page.inner_text("#time-list").count("ms") == 6
    assert "green" in page.inner_text("#spoken")


def test_another_draw_is_another_picture(visit, color_photographs):
    page = visit()
    page.set_input_files("#file", color_photographs.parent / "2.png")
    assert shown(page) == "blue"
    first, grid = pixels(page, "#distorted"), page.get_attribute("#source-grid path", "d")
    page.check("#draw-buttons input >> nth=2", force=True)
    assert "draw 3 of 4" in page.inner_text("#which-draw")
    assert (pixels(page, "#distorted") != first).any()
    assert page.get_attribute("#source-grid path", "d") != grid
    page.uncheck("#show-grid")
    assert page.locator(".grid path").count() == 0
    page.select_option("#draws", "7")
    until(page, "document.querySelectorAll('#draw-buttons input').length === 7")


def test_a_single_draw_has_no_suspicion(visit, color_photographs):
    page = visit()
    page.select_option("#draws", "1")
    page.set_input_files("#file", color_photographs.parent / "2.png")
    assert shown(page) == "blue"
    assert page.inner_text("#facts").split("\n")[-2:] == ["draws that agree", "1 of 1"]


def test_with_the_keyboard_alone(visit, color_photographs):
    page = visit()
    reached = []
    for _ in range(12):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.className"))
    assert reached[:4] == ["skip", "choose", "use-camera", "draws"]
    page.focus("#choose")
    chosen = []
    # playwright sets a mark on its handlers, which a built-in method does not take
    page.on("filechooser", lambda chooser: chosen.append(chooser))  # noqa: PLW0108
    for _ in range(5):  # a headless browser that is slow to hand its dialogues over drops the first one
        page.keyboard.press("Enter")
        page.wait_for_timeout(2000)
        if chosen:
            break
    chosen[0].set_files(color_photographs.parent / "0.png")
    assert shown(page) == "red"
    page.focus("#draw-buttons input")
    page.keyboard.press("ArrowRight")
    assert "draw 2 of 4" in page.inner_text("#which-draw")
    assert page.evaluate("getComputedStyle(document.activeElement.parentElement).outlineStyle") == "solid"
    page.focus("#show-grid")
    page.keyboard.press("Space")
    assert page.locator(".grid path").count() == 0


def test_a_picture_is_dropped(visit, pictures):
    page = visit()
    encoded = base64.b64encode(pictures[1]).decode()
    transfer = page.evaluate_handle(
        """(encoded) => {
            const transfer = new DataTransfer();
            const bytes = Uint8Array.from(atob(encoded), (letter) => letter.charCodeAt(0));
            transfer.items.add(new File([bytes], "x.png", { type: "image/png" }));
            return transfer;
        }""",
        encoded,
    )
    page.dispatch_event("#drop", "drop", {"dataTransfer": transfer})
    assert shown(page) == "green"


def test_what_is_no_picture_is_said(visit, tmp_path):
    (tmp_path / "x.png").write_bytes(b"<script>alert(1)</script>")
    page = visit()
    page.set_input_files("#file", tmp_path / "x.png")
    until(page, "document.getElementById('message').textContent !== ''")
    assert "not a JPEG, PNG, WebP or BMP image" in page.inner_text("#message")
    # The browser itself notes the 400 in its console; nothing else may be there.
    assert all("400 (Bad Request)" in line for line in visit.wrong)
    visit.wrong.clear()


def test_the_camera(visit):
    page = visit(permissions=["camera"])
    page.click("#use-camera")
    assert shown(page) == "green"
    assert page.is_visible("#camera")
    first = pixels(page, "#original")
    until(
        page, "(before) => document.getElementById('original').src !== before", page.get_attribute("#original", "src")
    )
    assert (pixels(page, "#original") != first).any(), "it follows the camera"
    page.click("#use-camera")
    assert not page.is_visible("#camera")
    assert page.evaluate("document.getElementById('camera').srcObject") is None


@pytest.mark.parametrize(("width", "scheme"), [(320, "dark"), (390, "light"), (1280, "dark")])
def test_nothing_is_cut_off_and_everything_can_be_read(visit, color_photographs, scheme, width):
    page = visit(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page.set_input_files("#file", color_photographs.parent / "1.png")
    shown(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    small = page.evaluate(
        """[...document.querySelectorAll("button, select, #draw-buttons label, .check")]
            .filter((one) => one.offsetParent && one.getBoundingClientRect().height < 44).map((one) => one.outerHTML)"""
    )
    assert small == [], "too small for a finger"
    # WCAG 2.2, contrast (minimum): 4.5 to 1, of every piece of text against what lies behind it.
    pale = page.evaluate(
        """() => {
            const linear = (v) => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
            const light = (rgb) => rgb.reduce((sum, v, i) => sum + linear(v / 255) * [.2126, .7152, .0722][i], 0);
            const numbers = (text) => text.match(/[\\d.]+/g).map(Number);
            const behind = (one) => {
                for (; one; one = one.parentElement) {
                    const color = numbers(getComputedStyle(one).backgroundColor);
                    if (color.length < 4 || color[3] === 1) return color.slice(0, 3);
                }
            };
            return [...document.querySelectorAll("body *")]
                .filter((one) => one.offsetParent && !one.disabled
                    && [...one.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim()))
                .map((one) => {
                    const [a, b] = [light(numbers(getComputedStyle(one).color).slice(0, 3)), light(behind(one))];
                    return [one.textContent.trim().slice(0, 30), (Math.max(a, b) + .05) / (Math.min(a, b) + .05)];
                }).filter(([, ratio]) => ratio < 4.5);
        }"""
    )
    assert pale == []


def test_what_a_screen_reader_is_told(visit, color_photographs):
    page = visit()
    page.set_input_files("#file", color_photographs.parent / "1.png")
    shown(page)
    tree = page.locator("body").aria_snapshot()
    for wanted in (
        '- heading "edgedefend" [level=1]',
        '- heading "What the model sees" [level=2]',
        '- button "Choose a picture"',
        '- button "Use the camera"',
        '- combobox "Random draws"',
        '- checkbox "Show the grid" [checked]',
        '- group "Draws"',
        '- img "The picture after quantisation"',
    ):
        assert wanted in tree, tree
    assert re.search(r'radio "Draw 1: green, \d+ %" \[checked\]', tree), tree
    unnamed = page.evaluate(
        """[...document.querySelectorAll("img, button, input:not([hidden]), select")].filter((one) =>
            !(one.alt !== undefined && one.hasAttribute("alt")) && !one.ariaLabel && !one.labels?.length
            && !one.textContent.trim()).map((one) => one.outerHTML)"""
    )
    assert unnamed == []


def test_a_service_with_a_token_asks_for_it(visit, inside, color_photographs):
    token = "correct-horse-battery-staple"
    running = inside(token=token)
    page = visit(running)
    page.wait_for_selector("#token-form:not([hidden])")
    page.fill("#token", token)
    page.keyboard.press("Enter")
    page.wait_for_selector("#token-form", state="hidden")
    page.set_input_files("#file", color_photographs.parent / "1.png")
    assert shown(page) == "green"
    assert all("401 (Unauthorized)" in line for line in visit.wrong)
    visit.wrong.clear()


def test_the_temperature_line_and_the_counts(visit, inside, tmp_path, color_photographs):
    device = board("pi-5", tmp_path)
    device.run.answers["vcgencmd get_throttled"] = "throttled=0x50005\n"
    running = inside(device=device)
    for degrees in (48.0, 55.5, 79.2):
        put(tmp_path, "/sys/class/thermal/thermal_zone0/temp", f"{degrees * 1000:.0f}\n")
        running.service.sensors._look()
    page = visit(running)
    page.wait_for_selector("#temperature-line:not([hidden])")
    assert page.inner_text("#temperature") == "79.2 °C"
    assert page.get_attribute("#temperature-line path", "d").count("L") >= 3
    assert "48 to 79.2 °C" in page.get_attribute("#temperature-line", "aria-label")
    assert "undervoltage, throttled" in page.inner_text("#status")
    assert running.metric("edgedefend_temperature_celsius") == 79.2
    assert running.metric("edgedefend_throttled") == 1
    page.set_input_files("#file", color_photographs.parent / "1.png")
    shown(page)
    until(page, "document.querySelector('#status dd').textContent === '1'")


def test_a_service_that_has_gone_is_said(visit, inside):
    running = inside()
    page = visit(running)
    running.stop()
    until(page, "document.getElementById('health').textContent === 'not reachable'")
    assert all("ERR_CONNECTION_REFUSED" in line for line in visit.wrong)
    visit.wrong.clear()
