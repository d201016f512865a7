"""The report: what it shows, and that a result from outside cannot put anything into it but text."""

import json
import math
import random
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from bench import charts
from bench.report import write_report
from bench.sections import section_of
from edgedefend.errors import InputError

ALLOWED = {
    *(
        "html",
        "head",
        "meta",
        "title",
        "style",
        "body",
        "main",
        "h1",
        "h2",
        "div",
        "nav",
        "table",
        "thead",
        "tbody",
        "tr",
    ),
    *(
        "th",
        "td",
        "a",
        "b",
        "br",
        "span",
        "section",
        "ul",
        "li",
        "p",
        "figure",
        "figcaption",
        "details",
        "summary",
        "dl",
    ),
    *("dt", "dd", "svg", "text", "rect", "line", "polygon", "polyline"),
}
ATTRIBUTES = {
    *(
        "lang",
        "charset",
        "http-equiv",
        "content",
        "name",
        "id",
        "class",
        "href",
        "xmlns",
        "viewbox",
        "role",
        "aria-label",
    ),
    *("font-family", "x", "y", "text-anchor", "font-size", "fill", "width", "height", "rx", "x1", "x2", "y1", "y2"),
    *("stroke", "points", "fill-opacity", "stroke-width", "stroke-linejoin", "stroke-dasharray"),
}


class Page(HTMLParser):
    """Reads a page as a browser would; fails on anything that is not plain, ours and inside it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == [], self.open

    def handle_starttag(self, tag, attrs):
        assert tag in ALLOWED, tag
        self.tags.append(tag)
        if tag not in ("meta", "br"):
            self.open.append(tag)
        for name, value in attrs:
            assert name in ATTRIBUTES, name
            assert name != "href" or re.fullmatch(r"#r\d+", value)
            assert name == "xmlns" or "://" not in (value or "") or name == "aria-label"

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.texts)


SNAPSHOT = {
    "governor": "ondemand",
    "requested_mhz": 1800.0,
    "true_mhz": 1500.0,
    "temperature_c": 61.5,
    "throttled_now": ["throttled"],
    "throttled_since_boot": ["undervoltage"],
    "throttle_source": "vcgencmd get_throttled",
    "power_mode": None,
}
CONDITIONS = {
    "measured_at": "2026-11-24T05:00:00+00:00",
    "command": "edgedefend bench latency lite0",
    "edgedefend": "0.1.0",
    "python": "3.11.7",
    "packages": {"numpy": "2.4"},
    "machine": "aarch64",
    "cpu": "Cortex-A72",
    "cpus": 4,
    "device": {"board": "Raspberry Pi 4", "kind": "raspberry-pi", "cpu_features": ["asimd"], "os": "Debian"},
    "before": SNAPSHOT,
    "after": {**SNAPSHOT, "temperature_c": 79.5},
    "load": {"other": 0.5, "stolen": 0.01},
    "verdict": "TAINTED",
    "reasons": ["throttled during the run: throttled"],
    "unknown": ["supply"],
}
COMMON = {
    "bundle": {"model": "efficientnet-lite0", "precision": "int8", "sha256": "ab" * 32, "weights": "imagenet"},
    "interpreter": {"backend": "ai-edge-litert", "version": "2.3.0", "threads": 2},
    "conditions": CONDITIONS,
}


def side(factor):
    stages = {"capture_ms": 1, "decode_ms": 2, "resize_ms": 0.5, "defend_ms": 0.3, "invoke_ms": 6, "total_ms": 9.9}
    return {
        "stages": {name: {"p50": factor * value, "p90": 2 * factor * value} for name, value in stages.items()},
        "samples_per_s": 100.0,
        "histogram": {"start_ms": 8.0, "width_ms": 0.5, "counts": [1, 5, 9, 3, 0, 1], "above": 2, "largest_ms": 30.0},
    }


RESULTS = {
    "latency": {
        "kind": "latency",
        "scenario": "single-stream",
        "queries": 700,
        "seconds": 12.5,
        "figure": {"name": "p90", "value": 19.8},
        "missing": {"p99": 662},
        "defended": side(1.0),
        "undefended": side(0.9),
        "overhead": {"median": 1.031, "low": 1.02, "high": 1.04},
        "defend_share": {"median": 0.05, "low": 0.04, "high": 0.06},
    },
    "soak": {
        "kind": "soak",
        "every_s": 60,
        "drift": {"defended": 1.21, "undefended": 1.2},
        "points": [
            {
                "t_s": 60.0 * minute,
                "defended": {"p50": 5 + minute, "p90": 6 + minute},
                "undefended": {"p50": 4 + minute, "p90": 5 + minute},
                "temperature_c": 50.0 + minute if minute != 3 else None,
                "true_mhz": 1800.0,
                "requested_mhz": 1800.0,
                "throttled_now": ["throttled"] if minute == 5 else [],
            }
            for minute in range(1, 8)
        ],
    },
    "accuracy": {"kind": "accuracy", "rows": {"1 draw": {"top1": {"value": 0.8, "low": 0.7, "high": 0.9, "n": 100}}}},
    "startup": {
        "kind": "startup",
        "rows": {"classify": {"wall_s": 0.5, "peak_mb": 170}, "bare": {"wall_s": 0.2, "peak_mb": 70}},
        "extra_s": 0.3,
        "import_s": 0.12,
        "extra_mb": 100.0,
    },
    "memory-growth": {
        "kind": "memory-growth",
        "images": 1000,
        "slope_kb_per_1000": 0.01,
        "slope_error": 0.02,
        "end_mb": 190.0,
        "samples_mb": [189.0, 190.0, 190.0],
    },
    "throughput": {
        "kind": "throughput",
        "ratio": 0.97,
        "pipeline_fps": 97.0,
        "bare_fps": 100.0,
        "ratios": [0.96, 0.98],
    },
    "of-another-helper": {"kind": "kernel", "rows": {"299": {"ours_ms": 0.25, "scipy_ms": 99.0}}},
}


def report_of(tmp_path, *results):
    page, text, data = write_report([(f"{n}.json", result) for n, result in enumerate(results)], tmp_path / "report")
    return Page(page.read_text()), text.read_text(), json.loads(data.read_text())


def test_everything_in_one_report(tmp_path):
    page, text, data = report_of(tmp_path, *({**COMMON, **result} for result in RESULTS.values()))
    for shown in (
        "19.80 ms",
        "1.031 x",
        "0.300 s",
        "100 MB",
        "0.010 ± 0.020 kB",
        "0.970 x",
        "1.210 x",
        "0.25",
        "57.0 °C",
    ):
        assert shown in page.text, shown
    assert "0.800 [0.700, 0.900] n=100" in page.text
    assert page.text.count("TAINTED") == 2 * len(RESULTS)  # in the contents and at the section
    # The conditions: board, features, governor, both clocks, temperature and throttling, threads, versions, bundle.
    for shown in (
        *(
            "Raspberry Pi 4",
            "asimd",
            "ondemand",
            "1800.0 MHz → 1800.0 MHz",
            "1500.0 MHz",
            "61.5 °C → 79.5 °C",
            "throttled",
        ),
        *("undervoltage", "2 threads", "numpy 2.4", "ab" * 32, "ai-edge-litert 2.3.0", "other processes 50.0 %"),
    ):
        assert shown in page.text, shown
    assert page.tags.count("svg") == 5
    assert "polygon" in page.tags
    assert len([tag for tag in page.tags if tag == "polyline"]) > 5  # the gap in the temperature makes two of one
    assert [item["result"]["kind"] for item in data["results"]] == [result["kind"] for result in RESULTS.values()]
    for name in re.findall(r"\]\(([^)]*)\)", text):
        ElementTree.parse(tmp_path / "report" / name)  # each plot is a file of its own, and whole
    assert text.count("](report-") == 5


def test_one_result_needs_no_contents(tmp_path):
    page, _, _ = report_of(tmp_path, RESULTS["startup"])
    assert "nav" not in page.tags
    assert "NO VERDICT" in page.text


HOSTILE = (
    "</title></style></svg><script>alert(1)</script><img src=http://x.y/z onerror=alert(1)>\"'`|\n# h ![a](http://x)"
)


def poison(value):
    """Return `value` with every text and every key made hostile, but for those that say what kind it is."""
    if isinstance(value, dict):
        return {key: child if key == "kind" else poison(child) for key, child in value.items()} | {HOSTILE: 1.0}
    if isinstance(value, list):
        return [poison(child) for child in value]
    return HOSTILE if isinstance(value, str) else value


def test_hostile_texts_stay_texts(tmp_path):
    results = [{**poison({**COMMON, **result}), "conditions": poison(CONDITIONS)} for result in RESULTS.values()]
    for result in results:
        for rows in ("rows", "missing"):
            if rows in result:
                result[rows] = {HOSTILE: next(iter(result[rows].values()))}
    page, text, _ = report_of(tmp_path, *results, {"kind": HOSTILE, HOSTILE: {HOSTILE: 2.0}})
    assert "script" not in page.tags
    assert "alert(1)" in page.text
    # In Markdown nothing of it is markup: every < is escaped, and no line begins with what it brought.
    assert re.search(r"(?<!\\)<", text) is None
    assert re.search(r"(?<!\\)\]\(http", text) is None
    assert "\n# h" not in text
    for line in text.splitlines():
        if line.startswith("|"):
            assert len(re.findall(r"(?<!\\)\|", line)) == line.count("|") - line.count("\\|")


def mutate(value, rng):
    """Return a copy of a result in which some values are something else altogether."""
    odd = [
        None,
        True,
        -1,
        0,
        1e308,
        -1e308,
        1e-320,
        10**400,
        math.nan,
        math.inf,
        "x",
        "",
        [],
        {},
        [[]],
        [None] * 9,
        {"a": 1},
    ]
    if rng.random() < 0.08:
        return rng.choice(odd)
    if isinstance(value, dict):
        return {key: mutate(child, rng) for key, child in value.items() if rng.random() > 0.03}
    if isinstance(value, list):
        return [mutate(child, rng) for child in value]
    return value


@pytest.mark.parametrize("name", RESULTS)
def test_damaged_results_are_shown_as_far_as_they_go(tmp_path, name):
    rng = random.Random(name)
    for number in range(60):
        result = mutate({**COMMON, **RESULTS[name]}, rng)
        if not isinstance(result, dict):
            continue
        result["kind"] = RESULTS[name]["kind"]
        page, _, _ = write_report([("r.json", result)], tmp_path / str(number))
        text = page.read_text()
        Page(text)
        assert not re.search(r'="[^"]*\b(nan|inf)\b', text), text


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="no folder can be made"):
        write_report([("r.json", RESULTS["startup"])], tmp_path / "file" / "report")


def test_the_command_refuses_what_is_no_result(run_cli, tmp_path):
    (tmp_path / "good.json").write_text(json.dumps({**COMMON, **RESULTS["latency"]}))
    (tmp_path / "bad.json").write_text("[]")
    ran = run_cli("bench", "report", tmp_path / "good.json", tmp_path / "bad.json", "--out", tmp_path / "out")
    assert ran.returncode == 3
    assert "bad.json: no result" in ran.stderr
    assert not (tmp_path / "out").exists()
    ran = run_cli("bench", "report", tmp_path / "good.json", "--out", tmp_path / "out", "--title", "<b>")
    assert ran.returncode == 0, ran.stderr
    assert "&lt;b&gt;" in (tmp_path / "out/report.html").read_text()


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0, 10, [0, 2, 4, 6, 8, 10]),
        (0.13, 0.94, [0.2, 0.4, 0.6, 0.8]),
        (997, 1003, [997, 998, 999, 1000, 1001, 1002, 1003]),
        (5, 5, [5]),
    ],
)
def test_ticks_are_round(low, high, expected):
    assert charts.ticks(low, high) == pytest.approx(expected)


def test_bars_are_as_long_as_their_values():
    svg = ElementTree.fromstring(charts.stacked_bars([("a", [("x", 3), ("y", 1)]), ("b", [("x", 2)])], "ms", "t"))
    bars = [rect for rect in svg.iter("{http://www.w3.org/2000/svg}rect") if rect.get("height") == "34"]
    widths = [float(bar.get("width")) for bar in bars]
    assert widths[0] == pytest.approx(3 * widths[1], abs=0.05)
    assert widths[2] == pytest.approx(2 * widths[1], abs=0.05)
    assert float(bars[1].get("x")) == pytest.approx(float(bars[0].get("x")) + widths[0], abs=0.02)
    assert bars[0].get("fill") == bars[2].get("fill") != bars[1].get("fill")


def test_areas_of_a_histogram_are_equal_however_many_values_there_are():
    steps = [charts.Steps("a", 0, 1, [2, 2], 4), charts.Steps("b", 0, 0.5, [50, 50, 50, 50], 200)]
    svg = ElementTree.fromstring(charts.step_areas(steps, "ms", "t"))
    shapes = [shape.get("points") for shape in svg.iter("{http://www.w3.org/2000/svg}polygon")]
    tops = [{point.split(",")[1] for point in shape.split()} for shape in shapes]
    assert tops[0] == tops[1]


def test_a_latency_says_how_many_runs_an_answer_takes():
    several = section_of("f", {**COMMON, **RESULTS["latency"], "draws": 4, "undefended_vote": 0.2})
    assert any("4 draws of the defence" in note and "vote of 0.2: 5 runs" in note for note in several.notes)
    milder = {"share": 0.15, "noise_std": 8, "draws": 4}
    voted = section_of("f", {**COMMON, **RESULTS["latency"], "draws": 8, "undefended_vote": 0.0, "milder_vote": milder})
    assert any("a vote of 0.15 of 4 draws behind less noise: 12 runs" in note for note in voted.notes)
    single = section_of("f", {**COMMON, **RESULTS["latency"], "draws": 1, "undefended_vote": 0.0})
    assert not any("runs of the model" in note for note in single.notes)


def test_titles_name_the_model():
    assert section_of("f", {**COMMON, **RESULTS["latency"]}).title == "latency single-stream, efficientnet-lite0 int8"
