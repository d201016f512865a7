"""What a report says of an evaluation: the paper's tables with its values beside ours, the curve, the checks.

Read from the JSON alone, which may come from anywhere: no value is trusted, and what is missing is left away.
"""

from __future__ import annotations

from typing import Any

from bench import charts
from bench.baselines.reported import REPORTED, Reported
from bench.resultfile import at, number_at, text_at
from bench.robustness.paper import FIGURE_3, L2_BOUND, TABLE_3
from bench.sections.parts import Plot, Section, Table

__all__ = ["describe", "table_1", "table_2", "table_3"]

_MOST = 40  # defences, attacks or points that a report shows
_NOT_SEEN = "-"
# What an attack takes the derivative of a defence for (`bench.robustness.protocols.way_back`).
_WAYS_BACK = {
    "own": "its own",
    "known": "through the defence",
    "soft": "through a smooth quantiser",
    "learned": "through what was learned",
    "identity": "through the identity",
}
# The paper's rows that may stand in a table without having been measured.
_OTHERS = {"pixeldefend": "PixelDefend", "guided-denoiser": "Guided Denoiser", "quilting": "Quilting"}


def _names(result: Any, *keys: str | int) -> list[str]:
    value = at(result, *keys)
    return [str(name)[:60] for name in list(value)[:_MOST]] if isinstance(value, dict) else []


def _rate(result: Any, *keys: str | int) -> str:
    """Return a proportion as "0.58 [0.48, 0.67]", without its n."""
    value, low, high = (number_at(result, *keys, part) for part in ("value", "low", "high"))
    if value is None or low is None or high is None:
        return _NOT_SEEN
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"


def _count(result: Any, *keys: str | int) -> str:
    value = number_at(result, *keys, "n")
    return _NOT_SEEN if value is None else f"{value:.0f}"


def _figure(value: float | None, digits: int = 2) -> str:
    return _NOT_SEEN if value is None else f"{value:.{digits}f}"


def _title(result: Any, name: str) -> str:
    return text_at(result, "defenses", name, "title") or _OTHERS.get(name, name)


def _marked(result: Any, name: str) -> str:
    """Return a defence's title, with a mark where a check of its evaluation failed."""
    return _title(result, name) + (" (unreliable)" if at(result, "defenses", name, "unreliable") else "")


def table_1(result: dict[str, Any]) -> Table:
    """Return Table 1: how far two draws of one picture lie apart, and what is left of the accuracy."""
    rows = []
    for name in _names(result, "defenses"):
        spread = at(result, "defenses", name, "variance")
        paper = REPORTED.get(name, Reported()).table_1
        if spread is None and paper is None:
            continue
        cells = [_title(result, name)]
        for index, key in enumerate(("l2_rms", "ssim")):
            cells.append(_figure(paper[index]) if paper else _NOT_SEEN)
            mean, low, high = (number_at(spread, key, part) for part in ("mean", "low", "high"))
            interval = "" if low is None or high is None else f" [{low:.2f}, {high:.2f}]"
            cells.append(_figure(mean) + interval)
        cells += [_figure(paper[2]) if paper else _NOT_SEEN, _rate(result, "defenses", name, "clean_accuracy")]
        rows.append([*cells, _count(result, "defenses", name, "clean_accuracy")])
    header = ["defence", "l2_rms, paper", "here", "SSIM, paper", "here", "ACC, paper", "here [95 % Wilson]", "n"]
    caption = (
        "Table 1. Between two draws of one picture: l2_rms and SSIM, means with 95 % intervals; "
        "accuracy on clean pictures."
    )
    return Table(header, rows, caption)


def table_2(result: dict[str, Any]) -> Table:
    """Return Table 2: accuracy under a bounded attack, as reported and as measured in two ways."""
    rows = []
    for name in dict.fromkeys([*_names(result, "defenses"), *REPORTED]):
        if name == "none":
            continue
        reported = REPORTED.get(name, Reported()).table_2
        said = _NOT_SEEN
        if reported is not None and reported.l2_rms_0_05 is not None:
            said = f"{reported.attack}, l2_rms 0.05: {reported.l2_rms_0_05:.2f} (reported)"
        elif reported is not None and reported.linf_0_031 is not None:
            said = f"{reported.attack}, linf 0.031: {reported.linf_0_031:.2f} (reported)"
        lines = at(result, "rounds", "bpda+eot", name) or at(result, "rounds", "bpda", name)
        used = "BPDA+EOT" if at(result, "rounds", "bpda+eot", name) else "BPDA"
        measured = _rate(lines, "final", "robust_accuracy")
        curve = at(result, "defenses", name, "curve")
        last = curve[-1] if isinstance(curve, list) and curve else None
        where = number_at(last, "epsilon")
        rows.append(
            [
                _marked(result, name),
                said,
                _NOT_SEEN if measured == _NOT_SEEN else f"{used}: {measured}",
                _count(lines),
                _rate(last, "robust_accuracy"),
                _NOT_SEEN if where is None else f"{where:g}",
                _count(last, "robust_accuracy"),
            ]
        )
    header = ["defence", "ACC, paper", "measured, paper's protocol", "n", "measured, strongest attack", "l2_rms", "n"]
    caption = (
        'Table 2. Accuracy under a bounded attack. "Reported" is the paper\'s, for its model and bound; measured: '
        "the paper's descent after the rounds that were run, and the strongest attack at the l2_rms beside it."
    )
    return Table(header, rows, caption)


def _accuracy_place(attack: str, judge: str) -> tuple[str, ...]:
    return ("defenses", judge, "clean_accuracy") if attack == "none" else ("standard", attack, judge, "robust_accuracy")


def table_3(result: dict[str, Any]) -> Table:
    """Return Table 3: standard attacks made on the bare model and shown to both."""
    rows = []
    for name in ("none", *_names(result, "standard")):
        reported = TABLE_3.get(name)
        cells = ["no attack" if name == "none" else name.upper()]
        cells += [_figure(reported[0], 3) if reported else _NOT_SEEN]
        cells += ["0.000" if name == "none" else _figure(number_at(result, "standard", name, "none", "l2_rms"), 3)]
        for index, judge in ((1, "none"), (3, "ours")):
            attacked = ("standard", name, judge)
            accuracy = _accuracy_place(name, judge)
            cells += [_figure(reported[index]) if reported else _NOT_SEEN, _rate(result, *accuracy)]
            success = reported[index + 1] if reported else None
            cells += [_figure(success), _rate(result, *attacked, "attack_success_rate")]
        rows.append([*cells, _count(result, *_accuracy_place(name, "ours"))])
    header = ["attack", "l2_rms, paper", "here"]
    for who in ("bare", "defended"):
        header += [f"{who} ACC, paper", "here", f"{who} ASR, paper", "here"]
    caption = "Table 3. Standard attacks, made on the bare model and shown to both: they do not know of the defence."
    return Table([*header, "n"], rows, caption)


def _rounds_table(result: dict[str, Any]) -> Table | None:
    rows = []
    for attack in ("bpda", "bpda+eot"):
        for name in _names(result, "rounds", attack):
            line = at(result, "rounds", attack, name)
            said = FIGURE_3[attack].get(name)
            count = at(line, "rounds")
            rows.append(
                [
                    f"{attack.upper()} on {_title(result, name)}",
                    f"ACC {said[1]}, ASR {said[2]} after {said[0]}" if said else _NOT_SEEN,
                    f"{len(count) - 1}" if isinstance(count, list) and count else _NOT_SEEN,
                    _rate(line, "final", "robust_accuracy"),
                    _rate(line, "final", "attack_success_rate"),
                    _rate(line, "own_success"),
                    _figure(number_at(line, "final", "l2_rms"), 4),
                    _count(line),
                ]
            )
    header = ["attack", "paper's text", "rounds", "ACC", "ASR, fresh draws", "ASR, its own draws", "l2_rms", "n"]
    caption = "Figure 3, where its lines end. An attack ends when its own draws say that it succeeded, or at the bound."
    return Table(header, rows, caption) if rows else None


def _curve_tables(result: dict[str, Any], names: list[str]) -> list[Table]:
    """Return what is left, and what the attacker gets, at every distortion; a row is a defence."""
    points = {
        name: {number_at(point, "epsilon"): point for point in at(result, "defenses", name, "curve")[:_MOST]}
        for name in names
    }
    epsilons = sorted({epsilon for held in points.values() for epsilon in held if epsilon is not None})
    if not epsilons:
        return []
    header = ["defence", *(f"{epsilon:g}" for epsilon in epsilons), "n"]
    tables = []
    for key, caption in (
        (
            "robust_accuracy",
            "The security curve: accuracy left at each l2_rms, of the photographs that the strongest targeted attack "
            "and the strongest untargeted one have both been tried on.",
        ),
        ("attack_success_rate", "The security curve: how often the attacker gets the class he wants, at each l2_rms."),
    ):
        rows = []
        for name in names:
            some = next(iter(points[name].values()), None)
            cells = [_rate(points[name].get(epsilon), key) for epsilon in epsilons]
            rows.append([_marked(result, name), *cells, _count(some, key)])
        tables.append(Table(header, rows, caption))
    return tables


def _ways_back(result: dict[str, Any]) -> dict[str, str]:
    """Return how the curve's attack took its gradient through each defence."""
    cells = at(result, "cells")
    ways = {}
    for index in range(min(len(cells), 20 * _MOST) if isinstance(cells, list) else 0):
        if at(cells, index, "role") == "curve":
            name, attack = text_at(cells, index, "defense"), text_at(cells, index, "attack")
            ways[name] = _way_back(result, name, f"{attack} (targeted)")
    return ways


def _way_back(result: dict[str, Any], name: str, attack: str) -> str:
    return _WAYS_BACK.get(text_at(result, "defenses", name, "attacks", attack, "way_back"), _NOT_SEEN)


def _between(ratio: Any) -> str:
    """Return the interval of a ratio, "" where it has none."""
    low, high = number_at(ratio, "low"), number_at(ratio, "high")
    return "" if low is None else f" [{_figure(low)}, {'unbounded' if high is None else _figure(high)}]"


def _distortion_table(result: dict[str, Any], names: list[str]) -> Table:
    rows, ways = [], _ways_back(result)
    for name in names:
        held = at(result, "defenses", name, "distortion")
        queries = number_at(result, "defenses", name, "queries", "median")
        over = at(result, "defenses", name, "ours_over")
        rows.append(
            [
                _marked(result, name),
                ways.get(name, _NOT_SEEN),
                _figure(number_at(held, "median"), 4),
                _figure(number_at(held, "ratio")) + _between(held),
                _figure(number_at(over, "ratio")) + _between(over),
                _NOT_SEEN if queries is None else f"{queries:.0f}",
                _count(held),
            ]
        )
    header = [
        "defence",
        "gradient",
        "median smallest l2_rms that succeeds",
        "over undefended [95 %]",
        "ours over it [95 %]",
        "gradients to success",
        "n",
    ]
    caption = (
        "How much an attacker who wants one class has to change a picture, under the strongest attack here on each "
        "defence. Where the gradient goes through the identity a better one may need less: an upper bound. Ours "
        "over it: on the photographs that both were attacked on. Unreliable: a check of the attack failed (below); "
        "a better one will need less."
    )
    return Table(header, rows, caption)


def _curve_plot(result: dict[str, Any], names: list[str]) -> Plot:
    panels = []
    for key, label in (("robust_accuracy", "accuracy left"), ("attack_success_rate", "targeted success")):
        lines = []
        for number, name in enumerate(names[: len(charts.COLORS)]):
            points = at(result, "defenses", name, "curve")[:_MOST]
            pairs = [(number_at(point, "epsilon"), number_at(point, key, "value")) for point in points]
            known = [(1000 * x, y) for x, y in pairs if x is not None]
            lines.append(charts.Curve(_title(result, name), known, number))
        panels.append(charts.Panel(label, lines, from_zero=True))
    caption = "What is left of the accuracy, and how often an attacker gets the class he wants, against his distortion."
    return Plot("security-curve", charts.curves(panels, "l2_rms x 1000", "Security curve"), caption)


def _attack_table(result: dict[str, Any]) -> Table | None:
    rows = []
    for name in _names(result, "defenses"):
        for attack in _names(result, "defenses", name, "attacks"):
            held = at(result, "defenses", name, "attacks", attack)
            rows.append(
                [
                    f"{attack} on {_title(result, name)}",
                    _way_back(result, name, attack),
                    _figure(number_at(held, "l2_rms"), 4),
                    _rate(held, "robust_accuracy"),
                    _rate(held, "attack_success_rate"),
                    f"{number_at(held, 'nonfinite') or 0:.0f}",
                    _count(held),
                ]
            )
    header = ["attack", "gradient", "median l2_rms", "accuracy left", "targeted success", "NaN gradients", "n"]
    return Table(header, rows, "Every attack, each photograph at the distortion it was left with.") if rows else None


def _detection_table(result: dict[str, Any]) -> Table | None:
    rows = [
        [
            label,
            _figure(number_at(result, "detection", label, "area")),
            _rate(result, "detection", label, "false_alarms"),
            _rate(result, "detection", label, "detected"),
            _figure(number_at(result, "detection", label, "clean"), 0),
            _figure(number_at(result, "detection", label, "attacked"), 0),
        ]
        for label in _names(result, "detection")
    ]
    header = ["attacked pictures", "area under ROC", "false alarms at 95 % detected", "detected at 5 % false alarms"]
    caption = "Attacked or clean? By how far draws and the undefended answer disagree (classify --suspicion)."
    return Table([*header, "clean", "attacked"], rows, caption) if rows else None


def _check_table(result: dict[str, Any]) -> Table | None:
    rows = []
    for name in _names(result, "defenses"):
        checks = at(result, "defenses", name, "checks")
        for index in range(min(len(checks), _MOST) if isinstance(checks, list) else 0):
            passed = at(checks, index, "passed")
            word = {True: "passed", False: "FAILED: unreliable"}.get(passed, "not made")
            rows.append(
                [f"{_title(result, name)}: {text_at(checks, index, 'name')}", word, text_at(checks, index, "detail")]
            )
    return Table(["check", "", "what was seen"], rows, "Is the evaluation itself to be believed?") if rows else None


def describe(result: dict[str, Any], section: Section) -> None:
    """Fill the section of one evaluation: the number to quote first, then the curve, the paper's tables, the checks."""
    names = [n for n in _names(result, "defenses") if isinstance(at(result, "defenses", n, "curve"), list)]
    ratio = at(result, "defenses", "ours", "distortion")
    if number_at(ratio, "ratio") is not None:
        label = "times the distortion, adaptive attacker, over undefended"
        if at(result, "quick") is True:
            label += " (quick: not to be quoted)"
        section.headlines.append((label, f"{_figure(number_at(ratio, 'ratio'))} x"))
    curve = at(result, "defenses", "ours", "curve")
    if isinstance(curve, list) and curve:
        section.headlines.append(
            (f"targeted success at l2_rms {number_at(curve[-1], 'epsilon') or 0:g}, adaptive attacker",
             _figure(number_at(curve[-1], "attack_success_rate", "value")))
        )  # fmt: skip
    clean = number_at(result, "defenses", "ours", "clean_accuracy", "value")
    if clean is not None:
        section.headlines.append(("accuracy kept on clean pictures", _figure(clean)))
    missing = number_at(result, "missing")
    if missing:
        section.notes.append(f"Not finished: {missing:.0f} results are missing; the same command goes on from there.")
    if at(result, "quick") is True:
        section.notes.append("A quick run on a few photographs: for a look, not to be quoted.")
    section.notes.append(
        "Every attacked picture was rounded to 8 bits within its distortion and judged on random draws that no attack "
        f"had seen. Photographs: those the bare model gets right. The paper's bound is l2_rms {L2_BOUND}."
    )
    if draws := number_at(result, "bundle", "draws"):
        section.notes.append(
            f"{_title(result, 'ours')}: an answer is the mean of {draws:.0f} draws, as the bundle asks for."
        )
    if vote := number_at(result, "bundle", "undefended_vote"):
        section.notes.append(
            f"{_title(result, 'ours')}: the undefended answer has a vote of {vote:g} beside the draws, as the bundle "
            "asks for; attacks know of it and bring both to their class."
        )
    if vote := number_at(result, "bundle", "milder_vote", "share"):
        noise = number_at(result, "bundle", "milder_vote", "noise_std") or 0
        section.notes.append(
            f"{_title(result, 'ours')}: draws behind noise of {noise:g} levels have a vote of {vote:g} "
            "beside the others, as the bundle asks for; attacks know of it and bring both to their class, and "
            "one search for the smallest change the others alone."
        )
    for name in _names(result, "defenses"):
        if remark := text_at(result, "defenses", name, "remark"):
            section.notes.append(f"{_title(result, name)}: {remark}")
    for name in _names(result, "refused"):
        section.notes.append(f"{_title(result, name)} is left out: {text_at(result, 'refused', name)}")
    if names:
        section.plots.append(_curve_plot(result, names))
        section.tables.append(_distortion_table(result, names))
        section.tables.extend(_curve_tables(result, names))
    optional = [_attack_table(result), _rounds_table(result), _detection_table(result), _check_table(result)]
    if any(at(result, "defenses", name, "variance") for name in _names(result, "defenses")):
        section.tables.append(table_1(result))
    if names or at(result, "rounds"):
        section.tables.append(table_2(result))
    if _names(result, "standard"):
        section.tables.append(table_3(result))
    section.tables.extend(table for table in optional if table)
