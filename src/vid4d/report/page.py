"""The HTML of report.html: `page_html` of a `ReportPage`. Everything that comes from outside is escaped."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from html import escape
from typing import Any

from vid4d.report.advice import Advice
from vid4d.report.line_chart import line_chart
from vid4d.report.overlay import STYLE as OVERLAY_STYLE
from vid4d.report.ring_chart import ring_chart
from vid4d.report.sides import KnownSides
from vid4d.settings import as_options

CURVE_TITLES = {"loss": "loss", "psnr": "likeness to the clip (PSNR, dB)", "splats": "splats"}
COLORS = ("#c2571a", "#2f6f9f", "#4c8a3a", "#8a4f9e")
STAGES = {
    "frames": "reading and cutting out the clip",
    "matrix": "imagining the other sides",
    "fit": "fitting splats",
    "refine": "refining them under the prior's score",
    "contact": "contact sheet",
    "turntable": "turntable video",
    "player": "player page",
    "report": "this report",
}
SURE_FROM = 0.4
"""Overlap and confidence that get the palest color of the ring."""
OPEN_PLAYER = """<script>{
  const button = document.querySelector(".turn"), frame = document.querySelector(".player");
  button.hidden = false;
  button.onclick = () => { frame.srcdoc = frame.dataset.page; frame.hidden = false; button.hidden = true; };
}</script>"""
"""The player starts when it is asked for; without scripts there is no button for it."""


@dataclass(frozen=True)
class Picture:
    """A picture or a video: what it shows, its address, and whether the words stand under it."""

    words: str
    address: str
    captioned: bool = True

    def html(self) -> str:
        if self.address.startswith("data:video"):
            named = f'aria-label="{escape(self.words)}"'
            shown = f'<video src="{self.address}" {named} controls autoplay loop muted playsinline></video>'
        else:
            shown = f'<img src="{self.address}" alt="{escape(self.words)}">'
        caption = f"<figcaption>{escape(self.words)}</figcaption>" if self.captioned else ""
        return f"<figure>{shown}{caption}</figure>"


@dataclass(frozen=True)
class ReportPage:
    """Content of the report, top to bottom.

    overlay: HTML of `vid4d.report.overlay`, or "". player: player.html of the run, None where there is none.
    numbers: value, name, explanation.
    curves: stage -> name -> (step, value). timings: of timings.json. settings, defaults: by name.
    """

    title: str
    created: str
    hero: list[Picture]
    overlay: str
    player: str | None
    numbers: list[tuple[str, str, str]]
    advice: list[Advice]
    sides: KnownSides | None
    warnings: list[str]
    strip: Picture | None
    matrix: Picture
    matrix_source: str
    matrix_about: str
    confidence: Picture | None
    contact: Picture | None
    enhanced: Picture | None
    enhanced_about: str
    curves: dict[str, dict[str, list[tuple[float, float]]]]
    timings: dict[str, Any]
    settings: dict[str, Any]
    defaults: dict[str, Any]
    machine: dict[str, Any]
    versions: dict[str, Any]
    log: str


STYLE = """
:root { color-scheme: light; --ink: #22272e; --pale: #6e7680; --line: #e4e7eb; --brand: #c2571a; }
* { box-sizing: border-box; }
body { margin: 0; background: #f4f5f7; color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 28px 20px 60px; }
header { display: flex; flex-wrap: wrap; align-items: baseline; gap: 4px 16px; margin-bottom: 14px; }
h1 { font-size: 26px; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 17px; margin: 0 0 4px; }
header span, .about, figcaption, .tile small, footer { color: var(--pale); }
.about { margin: 0 0 12px; max-width: 72ch; }
section { background: #fff; border: 1px solid var(--line); border-radius: 10px; padding: 18px 20px;
  margin-bottom: 16px; }
figure { margin: 0; } figcaption { font-size: 13px; text-align: center; padding-top: 4px; }
img, video { display: block; max-width: 100%; height: auto; }
.wide { overflow-x: auto; } .wide img { width: 100%; min-width: 700px; }
.hero { display: grid; grid-template-columns: repeat(auto-fit, minmax(260px, 1fr)); gap: 12px; }
.hero img, .hero video { width: 100%; max-width: 440px; margin: 0 auto; aspect-ratio: 1;
  object-fit: contain; }
.turn { display: block; margin: 12px auto 0; font: inherit; border: 0; border-radius: 99px; padding: 8px 20px;
  background: var(--brand); color: #fff; cursor: pointer; } .turn:hover { filter: brightness(0.94); }
.player { display: block; width: 100%; height: min(620px, 80vh); margin-top: 12px;
  border: 1px solid var(--line); border-radius: 6px; }
.player:fullscreen { border: 0; border-radius: 0; }
[hidden] { display: none; } :focus-visible { outline: 2px solid var(--brand); outline-offset: 2px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(98px, 1fr)); gap: 6px;
  padding: 14px; }
.tile { padding: 4px 8px; } .tile b { display: block; font-size: 20px; font-variant-numeric: tabular-nums;
  white-space: nowrap; } .tile small { font-size: 12.5px; line-height: 1.3; display: block; }
.advice { list-style: none; margin: 0; padding: 0; }
.advice li { border-left: 4px solid #c9ced6; padding: 2px 0 2px 12px; margin: 10px 0; }
.advice li.serious { border-color: #d5452c; } .advice b { font-weight: 600; }
.advice span { display: block; color: #454c55; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(290px, 1fr)); gap: 14px; }
.sides { display: flex; flex-wrap: wrap; gap: 8px 28px; align-items: center; }
.sides div { flex: 1 1 300px; } .ring { width: 250px; font: 12px system-ui, sans-serif; }
.chart { width: 100%; font: 11.5px system-ui, sans-serif; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
td, th { text-align: left; padding: 3px 14px 3px 0; vertical-align: top; font-weight: normal;
  border-bottom: 1px solid #f0f2f4; overflow-wrap: anywhere; }
th { color: var(--pale); white-space: nowrap; } td.number { text-align: right; white-space: nowrap; }
.timings th { width: 18%; } .timings td.number { width: 12%; }
td.bar { width: 58%; padding: 3px 0; }
td.bar i { display: block; height: 12px; margin-top: 5px;
  border-radius: 3px; background: var(--brand); min-width: 2px; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(280px, 1fr)); gap: 12px 36px; }
.columns h2 { margin-bottom: 8px; }
code, pre { font: 13px/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
pre { overflow-x: auto; margin: 8px 0 0; white-space: pre-wrap; } td.default { color: var(--pale); }
code.again { display: block; background: #f4f5f7; border-radius: 6px; padding: 8px 12px; margin-top: 12px;
  overflow-wrap: anywhere; }
@media (max-width: 600px) { main { padding: 20px 10px 40px; } section { padding: 14px 12px; } }
summary { cursor: pointer; } footer { font-size: 13px; text-align: center; }
"""


def page_html(page: ReportPage) -> str:
    """The whole document."""
    parts = [
        _hero(page),
        page.overlay,
        _tiles(page),
        _advice(page),
        _sides(page.sides),
        _sheet("The clip", "Its frames, as they were cut out (at most 24 of them).", page.strip),
        _sheet(
            "Image matrix",
            f"{page.matrix_source}: columns are sides (0° is the clip's), rows are moments; "
            f"{page.matrix_about}. The splats were fitted to these and can only be as good.",
            page.matrix,
        ),
        _sheet(
            "Confidence",
            "Red: neighbours in time contradict this picture, and the fit believes it less.",
            page.confidence,
        ),
        _sheet("The asset", "Rows are sides, columns are moments, the clip on top.", page.contact),
        _sheet("Enhanced", page.enhanced_about, page.enhanced),
        _curves(page),
        _timings(page),
        _tables(page),
        _log(page),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<link rel="icon" href="data:,"><title>{escape(page.title)} - vid4d report</title>'
        f"<style>{STYLE}{OVERLAY_STYLE}</style></head><body><main>"
        f"<header><h1>{escape(page.title)}</h1><span>{escape(page.created)}</span></header>"
        f"{''.join(parts)}<footer>vid4d {escape(str(page.versions.get('vid4d', '')))}</footer>"
        "</main></body></html>\n"
    )


def _hero(page: ReportPage) -> str:
    figures = "".join(p.html() for p in page.hero)
    player = ""
    if page.player is not None:
        # In a frame of its own, which can reach nothing of this page.
        player = (
            '<button class="turn" hidden>turn it yourself</button><iframe class="player" hidden '
            f'title="{escape(page.title)}, to be turned" sandbox="allow-scripts" allowfullscreen '
            f'data-page="{escape(page.player)}"></iframe>{OPEN_PLAYER}'
        )
    return f'<section><div class="hero">{figures}</div>{player}</section>'


def _tiles(page: ReportPage) -> str:
    tiles = "".join(
        f'<div class="tile" title="{escape(about)}"><b>{escape(value)}</b><small>{escape(name)}</small></div>'
        for value, name, about in page.numbers
    )
    return f'<section class="tiles">{tiles}</section>'


def _advice(page: ReportPage) -> str:
    if not page.advice:
        return "<section><h2>What to try next</h2><p class='about'>Nothing looks off.</p></section>"
    items = "".join(
        f'<li class="{"serious" if a.serious else "hint"}"><b>{escape(a.looks)}</b>'
        f"<span>{_with_flags(a.try_next)}</span></li>"
        for a in page.advice
    )
    warnings = "".join(f"<li>{escape(w)}</li>" for w in page.warnings)
    details = (
        f"<details><summary>Warnings of the clip</summary><ul>{warnings}</ul></details>" if warnings else ""
    )
    return f'<section><h2>What to try next</h2><ul class="advice">{items}</ul>{details}</section>'


def _sides(sides: KnownSides | None) -> str:
    if sides is None:
        return ""
    rings = [("overlap to expect", sides.expected)]
    legend = "Outer ring: what to expect of each side, the darker the better"
    if sides.confidence is not None:
        rings.append(("confidence of this run's pictures", sides.confidence))
        legend += "; inner ring: how far this run's pictures agree over time"
    words = "".join(f"<p>{escape(s)}</p>" for s in sides.sentences())
    chart = ring_chart(sides.azimuths, rings, "how sure each side is", low=SURE_FROM)
    return (
        f'<section><h2>How sure each side is</h2><div class="sides">{chart}<div>{words}'
        f'<p class="about">{legend}.</p></div></div></section>'
    )


def _with_flags(text: str) -> str:
    """Options of the command line set as code."""
    return re.sub(r"(?<![\w-])(--[a-z]+)", r"<code>\1</code>", escape(text))


def _sheet(title: str, about: str, picture: Picture | None) -> str:
    if picture is None:
        return ""
    return (
        f'<section><h2>{escape(title)}</h2><p class="about">{escape(about)}</p>'
        f'<div class="wide" tabindex="0" role="group" aria-label="{escape(title)}">{picture.html()}</div>'
        "</section>"
    )


def _curves(page: ReportPage) -> str:
    charts: list[str] = []
    for stage, numbers in page.curves.items():
        for name, points in numbers.items():
            if len(points) > 1:
                title = CURVE_TITLES.get(name, name)
                title = title if len(page.curves) == 1 else f"{stage}: {title}"
                charts.append(line_chart(points, title, color=COLORS[len(charts) % len(COLORS)]))
    if not charts:
        return ""
    return (
        '<section><h2>How the fit went</h2><p class="about">Over its steps.</p>'
        f'<div class="charts">{"".join(charts)}</div></section>'
    )


def _timings(page: ReportPage) -> str:
    stages = page.timings.get("stages", {})
    if not stages:
        return ""
    longest = max(s["seconds"] for s in stages.values()) or 1.0
    rows = []
    for name, timing in stages.items():
        memory = ", ".join(
            f"{mib:,.0f} MiB{' on the GPU' if kind == 'gpu' else ''}"
            for kind, mib in timing.get("peak_memory_mib", {}).items()
        )
        rows.append(
            f'<tr><th title="{escape(STAGES.get(name, ""))}">{escape(name)}</th>'
            f'<td class="number">{timing["seconds"]:.1f} s</td><td class="number">{memory}</td>'
            f'<td class="bar"><i style="width:{100 * timing["seconds"] / longest:.1f}%"></i></td></tr>'
        )
    return (
        '<section><h2>Time and memory</h2><p class="about">Memory is the most that the process held up to '
        f'the end of the stage.</p><table class="timings">{"".join(rows)}</table></section>'
    )


def again(settings: dict[str, Any], defaults: dict[str, Any]) -> str:
    """The command that makes the same asset once more."""
    words = ["vid4d", "reconstruct" if settings.get("source") == "matrix" else "generate"]
    words += [str(settings["clip"])] if settings.get("clip") else []
    words += as_options(settings, defaults)
    if "--seed" not in words:
        words += ["--seed", str(settings.get("seed", 0))]
    return shlex.join(words)


def _tables(page: ReportPage) -> str:
    def table(values: dict[str, Any], defaults: dict[str, Any]) -> str:
        rows = []
        for name, value in values.items():
            shown = "by the preset" if value is None and name == "frames" else value
            shown = "-" if shown is None else shown
            kind = ' class="default"' if name in defaults and value == defaults[name] else ""
            rows.append(f"<tr><th>{escape(str(name))}</th><td{kind}>{escape(str(shown))}</td></tr>")
        return f"<table>{''.join(rows)}</table>"

    command = escape(again(page.settings, page.defaults))
    return (
        f'<section><div class="columns"><div><h2>Settings</h2>{table(page.settings, page.defaults)}</div>'
        f"<div><h2>Machine</h2>{table(page.machine, {})}</div>"
        f"<div><h2>Versions</h2>{table(page.versions, {})}</div></div>"
        f'<code class="again">{command}</code></section>'
    )


def _log(page: ReportPage) -> str:
    if not page.log:
        return ""
    return f"<section><details><summary>Log</summary><pre>{escape(page.log)}</pre></details></section>"
