"""Reports of results: one self-contained HTML page, Markdown with its plots as files, and one JSON of them all.

The page loads nothing from anywhere, runs no script and says so to the browser. All text is escaped on its way in.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from bench.sections import Section, Table, section_of
from edgedefend.errors import InputError
from edgedefend.files import write_file

__all__ = ["html_page", "markdown_page", "write_report"]

_STYLE = """
:root{--paper:#f6f7f9;--card:#fff;--ink:#1f2933;--soft:#64707d;--grid:#e3e7ec;--line:#d9dee4;--good:#1b7f4b;
--goodpaper:#e3f4ea;--bad:#9a4a00;--badpaper:#fdf0de;--c1:#0072b2;--c2:#d55e00;--c3:#009e73}
@media(prefers-color-scheme:dark){:root{--paper:#14181d;--card:#1c2229;--ink:#e6eaee;--soft:#98a4b0;--grid:#2c343d;
--line:#333c46;--good:#6fd39b;--goodpaper:#173324;--bad:#ffb870;--badpaper:#3a2710;--c1:#3ea0dc;--c2:#ff8a3d;--c3:#2fc79a}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
main{max-width:900px;margin:0 auto;padding:36px 20px 60px}
h1{font-size:27px;line-height:1.2;margin:0 0 6px}
h2{font-size:19px;line-height:1.3;margin:0}
p{margin:8px 0}
.soft,figcaption{color:var(--soft)}
nav{margin:18px 0 0}
nav td{text-align:left;font-size:13.5px;color:var(--soft)}
nav td b{color:var(--ink)}
nav td:first-child{font-size:15px}
nav td:last-child{text-align:right;padding-right:0}
nav a{color:var(--ink)}
section{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:22px 24px;margin-top:22px}
.head{display:flex;gap:12px;align-items:baseline;justify-content:space-between;flex-wrap:wrap}
.badge{font-size:12px;font-weight:600;letter-spacing:.04em;padding:2px 9px;border-radius:20px;white-space:nowrap}
.valid{color:var(--good);background:var(--goodpaper)}
.tainted{color:var(--bad);background:var(--badpaper)}
.none{color:var(--soft);background:var(--grid)}
.why{margin:10px 0 0;padding:8px 12px;border-left:3px solid var(--bad);background:var(--badpaper)}
.why ul{margin:2px 0;padding-left:18px}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(165px,1fr));gap:12px;margin:18px 0 6px}
.tile{border:1px solid var(--line);border-radius:8px;padding:10px 13px}
.tile b{display:block;font-size:20px;line-height:1.25;font-variant-numeric:tabular-nums}
.tile span{color:var(--soft);font-size:13px}
figure{margin:20px 0 4px}
figure svg{display:block;width:100%;height:auto}
figcaption{font-size:13px;margin-top:6px}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;margin:16px 0 4px;font-variant-numeric:tabular-nums}
th,td{text-align:right;padding:5px 10px;border-bottom:1px solid var(--line);vertical-align:top}
th:first-child,td:first-child{text-align:left;padding-left:0}
th{font-weight:600;color:var(--soft);font-size:13px}
details{margin-top:16px}
summary{cursor:pointer;color:var(--soft)}
dl{display:grid;grid-template-columns:max-content 1fr;gap:4px 18px;margin:12px 0 0;font-size:13.5px}
dt{color:var(--soft)}
dd{margin:0;overflow-wrap:anywhere}
@media print{body{background:#fff}section{break-inside:avoid}}
"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def _table_html(table: Table) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in table.header)
    rows = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in table.rows)
    caption = f'<p class="soft">{escape(table.caption)}</p>' if table.caption else ""
    return f'{caption}<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>'


def _badge(section: Section) -> str:
    kind = {"VALID": "valid", "TAINTED": "tainted"}.get(section.verdict, "none")
    return f'<span class="badge {kind}">{escape(section.verdict)}</span>'


def _section_html(section: Section, number: int) -> str:
    parts = [
        f'<section id="r{number}"><div class="head"><h2>{escape(section.title)}</h2>{_badge(section)}</div>',
        f'<div class="soft">{escape(section.file)}</div>',
    ]
    if section.reasons:
        items = "".join(f"<li>{escape(reason)}</li>" for reason in section.reasons)
        parts.append(f'<div class="why">What speaks against quoting it:<ul>{items}</ul></div>')
    if section.headlines:
        tiles = "".join(
            f'<div class="tile"><b>{escape(value)}</b><span>{escape(name)}</span></div>'
            for name, value in section.headlines
        )
        parts.append(f'<div class="tiles">{tiles}</div>')
    parts += [f'<p class="soft">{escape(note)}</p>' for note in section.notes]
    parts += [f"<figure>{plot.svg}<figcaption>{escape(plot.caption)}</figcaption></figure>" for plot in section.plots]
    parts += [_table_html(table) for table in section.tables]
    if section.unknown:
        parts.append(f'<p class="soft">Not known on this machine: {escape(", ".join(section.unknown))}.</p>')
    if section.facts:
        facts = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in section.facts)
        known = dict(section.facts)
        named = [known[name] for name in ("Board", "CPU", "Governor", "Runtime") if name in known]
        named += [f"{known['Threads']} thread{'' if known['Threads'] == '1' else 's'}"] if "Threads" in known else []
        parts.append(f"<details><summary>Conditions: {escape(' · '.join(named))}</summary><dl>{facts}</dl></details>")
    parts.append("</section>")
    return "".join(parts)


def html_page(sections: Sequence[Section], title: str) -> str:
    """Return the whole page: one document, no script, no resource from outside."""
    rows = "".join(
        f'<tr><td><a href="#r{number}">{escape(section.title)}</a></td>'
        f"<td>{'<br>'.join(f'<b>{escape(value)}</b> {escape(name)}' for name, value in section.headlines[:2])}</td>"
        f"<td>{_badge(section)}</td></tr>"
        for number, section in enumerate(sections)
    )
    contents = f'<nav class="scroll"><table><tbody>{rows}</tbody></table></nav>' if len(sections) > 1 else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body><main><h1>{escape(title)}</h1>"
        '<div class="soft">A ratio measured in turn in one run holds on any machine; a time holds for the conditions '
        f"written beside it.</div>{contents}"
        + "".join(_section_html(section, number) for number, section in enumerate(sections))
        + "</main></body></html>\n"
    )


def _plain(text: str) -> str:
    """Escape a text for Markdown, where HTML, links, images and tables are markup as well."""
    return re.sub(r"([\\`*_{}\[\]<>#|!~&$@])", r"\\\1", text)


def _table_markdown(table: Table) -> str:
    lines = [_plain(table.caption), ""] if table.caption else []
    lines += ["| " + " | ".join(map(_plain, table.header)) + " |", "| --- |" + " ---: |" * (len(table.header) - 1)]
    lines += ["| " + " | ".join(map(_plain, row)) + " |" for row in table.rows]
    return "\n".join(lines)


def _plot_file(number: int, name: str) -> str:
    return f"report-{number + 1}-{name}.svg"


def markdown_page(sections: Sequence[Section], title: str) -> str:
    """Return the report as Markdown; its plots are the files that `write_report` writes beside it."""
    parts = [f"# {_plain(title)}"]
    for number, section in enumerate(sections):
        parts.append(f"## {_plain(section.title)}")
        parts.append(f"**{section.verdict}**, {_plain(section.file)}")
        if section.reasons:
            parts.append("\n".join(f"* {_plain(reason)}" for reason in section.reasons))
        if section.headlines:
            parts.append("\n".join(f"* {_plain(name)}: **{_plain(value)}**" for name, value in section.headlines))
        parts += [_plain(note) for note in section.notes]
        parts += [f"![{_plain(plot.caption)}]({_plot_file(number, plot.name)})" for plot in section.plots]
        parts += [_table_markdown(table) for table in section.tables]
        if section.unknown:
            parts.append(f"Not known on this machine: {_plain(', '.join(section.unknown))}.")
        if section.facts:
            parts.append(_table_markdown(Table(["condition", ""], [[name, text] for name, text in section.facts])))
    return "\n\n".join(parts) + "\n"


def write_report(
    results: Sequence[tuple[str, dict[str, Any]]], folder: Path, *, title: str = "edgedefend measurements"
) -> list[Path]:
    """Write report.html, report.md with its plots, and report.json into `folder`, made if need be.

    Parameters
    ----------
    results : sequence of (name, result)
        The name of each result's file, and its content, which may be hostile.

    Returns
    -------
    list of Path
        Of the three files, the page first.

    Raises
    ------
    InputError
        If the folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: no folder can be made there ({(error.strerror or str(error)).lower()})") from None
    sections = [section_of(file, result) for file, result in results]
    for number, section in enumerate(sections):
        for plot in section.plots:
            write_file(folder / _plot_file(number, plot.name), plot.svg.encode())
    page, text, data = (folder / f"report.{ending}" for ending in ("html", "md", "json"))
    write_file(page, html_page(sections, title).encode("utf-8", "replace"))
    write_file(text, markdown_page(sections, title).encode("utf-8", "replace"))
    everything = [{"file": file, "result": result} for file, result in results]
    write_file(data, (json.dumps({"kind": "report", "title": title, "results": everything}, indent=1) + "\n").encode())
    return [page, text, data]
