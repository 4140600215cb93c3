"""What the page says, as HTML: stages with their bars, hints, faults. All from outside is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from vid4d.app.job import Job, State
from vid4d.report.page import STAGES
from vid4d.runs.progress import Report, duration

WORDS = STAGES | {"dynerf": "optimising a volume under the prior", "report": "report"}
STATES: dict[State, str] = {
    "waiting": "waiting in line",
    "running": "working",
    "done": "finished",
    "stopped": "stopped; what is finished is kept, resume goes on from there",
    "failed": "not finished",
}
STYLE = """
.v4d-stages { width: 100%; border-collapse: collapse; }
.v4d-stages, .v4d-stages tr, .v4d-stages td { border: 0 !important; }
.v4d-stages td { padding: 3px 10px 3px 0; vertical-align: middle; }
.v4d-stages td:nth-child(1) { width: 45%; }
.v4d-stages td:nth-child(3) { width: 22%; white-space: nowrap; font-size: 0.85em; opacity: 0.75;
  text-align: right; padding-right: 0; }
.v4d-bar { height: 8px; border-radius: 4px; background: rgba(128, 128, 128, 0.22); overflow: hidden; }
.v4d-bar i { display: block; height: 100%; background: #c2571a; border-radius: 4px; }
.v4d-bar i.v4d-busy { width: 30%; animation: v4d-busy 1.6s ease-in-out infinite alternate; }
@keyframes v4d-busy { from { margin-left: 0; } to { margin-left: 70%; } }
.v4d-state { font-weight: 600; margin: 0 0 6px; }
.v4d-numbers, .v4d-facts { font-size: 0.85em; opacity: 0.75; margin: 4px 0 0; overflow-wrap: anywhere; }
.v4d-hints { margin: 6px 0 0; padding: 0; list-style: none; }
.v4d-hints li { border-left: 4px solid #e0a33a; padding: 1px 0 1px 10px; margin: 6px 0;
  overflow-wrap: anywhere; }
.v4d-error { border-left: 4px solid #d5452c; padding: 4px 0 4px 12px; margin: 6px 0;
  overflow-wrap: anywhere; }
.v4d-player { display: block; width: 100%; height: min(620px, 78vh); border: 0; border-radius: 6px; }
"""


def error_html(sentence: str) -> str:
    """What went wrong."""
    return f'<p class="v4d-error" role="alert">{escape(sentence)}</p>'


def hints_html(facts: str, hints: Sequence[str]) -> str:
    """What was found in a clip, and the hints about it."""
    items = "".join(f"<li>{escape(hint)}</li>" for hint in hints)
    told = f'<ul class="v4d-hints">{items}</ul>' if items else '<p class="v4d-facts">Nothing looks off.</p>'
    return f'<p class="v4d-facts">{escape(facts)}</p>{told}'


def state_html(name: str, state: str) -> str:
    """The name of a run, and where it is."""
    return f'<p class="v4d-state">{escape(name)}: {escape(state)}</p>'


def job_html(job: Job) -> str:
    """How far a run is: its state, a bar a stage, the numbers of the one that goes on, and hints.

    Of a finished one the report tells all that.
    """
    parts = [state_html(job.root.name, STATES[job.state])]
    if job.sentence:
        parts.append(error_html(job.sentence))
    if job.state == "done":
        return parts[0]
    if job.stages:
        rows = "".join(_row(report, job.alive) for report in job.stages.values())
        parts.append(f'<table class="v4d-stages">{rows}</table>')
        latest = list(job.stages.values())[-1]
        if latest.text:
            parts.append(f'<p class="v4d-numbers">{escape(latest.text)}</p>')
    warned = [text.removeprefix("warning: ") for text in job.said if text.startswith("warning: ")]
    other = [text for text in job.said if not text.startswith("warning: ")]
    if warned:
        items = "".join(f"<li>{escape(text)}</li>" for text in warned)
        parts.append(f'<ul class="v4d-hints">{items}</ul>')
    parts += [f'<p class="v4d-numbers">{escape(text)}</p>' for text in other]
    return "".join(parts)


def _row(report: Report, alive: bool) -> str:
    name = escape(WORDS.get(report.stage, report.stage))
    share = 1.0 if report.ended else min(report.done / report.total, 1.0) if report.total else None
    if share is None:
        inner = '<i class="v4d-busy"></i>' if alive else ""
    else:
        inner = f'<i style="width: {100 * share:.1f}%"></i>'
    said = "done" if report.ended else "" if report.left is None else f"{duration(report.left)} left"
    label = "" if share is None else f' aria-valuenow="{100 * share:.0f}"'
    bar = f'<div class="v4d-bar" role="progressbar" aria-label="{name}"{label}>{inner}</div>'
    return f"<tr><td>{name}</td><td>{bar}</td><td>{said if alive or report.ended else ''}</td></tr>"
