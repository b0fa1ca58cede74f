"""The statistics of a ledger as files: CSV for machines, one HTML page for people."""

from __future__ import annotations

import csv
import datetime
import html
import io
import json
from pathlib import Path
from typing import Any

from rich.table import Table

from quietdial.agents.ledger.reading import DAY_COLUMNS, WAIT_NAMES, CampaignReport, Report
from quietdial.envs.loading import write_text_atomic
from quietdial.experiments.rundir import writable_folder

_SHOWN = (
    ("dialed", "dialed"),
    ("connected", "connected"),
    ("cut", "cut"),
    ("late", "late"),
    ("left", "left"),
    ("amd", "taken for a machine"),
    ("machine", "machine"),
    ("machine_agent", "machine at an agent"),
    ("machine_dropped", "machine dropped"),
    ("busy", "busy"),
    ("no_answer", "no answer"),
    ("invalid", "invalid"),
    ("failure", "failure"),
    ("cancelled", "cancelled"),
    ("dialed_although_refused", "dialed in a pause"),
)
_STYLE = """
:root {
  color-scheme: light dark; --line: #c9ced6; --soft: #6b7280; --bar: #2b6cb0; --over: #b42318;
}
@media (prefers-color-scheme: dark) {
  :root { --line: #3b4252; --soft: #9aa4b2; --bar: #6aa9e9; --over: #ff8a75; }
}
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: .2rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; }
p.soft, caption { color: var(--soft); } caption { text-align: left; padding: .3rem 0; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: .8rem 0 1.4rem; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid var(--line); padding: .25rem .7rem; text-align: right; }
th { font-weight: 600; vertical-align: bottom; }
td:first-child, th:first-child, td.text, th.text { text-align: left; }
td.text { overflow-wrap: anywhere; }
.over { color: var(--over); font-weight: 600; }
svg text { font: 12px system-ui, sans-serif; fill: currentColor; }
code { overflow-wrap: anywhere; }
@media print { body { max-width: none; } h2 { break-before: auto; } table { break-inside: auto; } }
"""


def days_csv(found: Report) -> str:
    """One line for each campaign and day: rule, cap, counts, rate."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["campaign", "rule", "cap", "day", "answered", "silent", "rate", *DAY_COLUMNS])
    for campaign in found.campaigns:
        cap = campaign.terms.windows[0].cap
        for day in campaign.days:
            writer.writerow(
                [
                    _safe(campaign.name),
                    _safe(campaign.terms.rule),
                    cap,
                    day.day,
                    day.answered,
                    day.silent,
                    f"{day.rate:.6f}",
                    *(day.counts[name] for name in DAY_COLUMNS),
                ]
            )
    return text.getvalue()


def windows_csv(found: Report) -> str:
    """One line for each campaign and window of its rule."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    head = ["campaign", "window", "length", "number", "cap", "answered", "silent", "rate", "above"]
    writer.writerow(head)
    for campaign in found.campaigns:
        for window, number, answered, silent, rate, above in campaign.windows:
            row = [window.kind, window.length, number, window.cap, answered, silent]
            writer.writerow([_safe(campaign.name), *row, f"{rate:.6f}", int(above)])
    return text.getvalue()


def page(found: Report, made_at: str) -> str:
    """The statistics as one HTML page without anything from outside, fit to print.

    Args:
        found: the statistics.
        made_at: when they were made, as the page says it.
    """
    if not found.checked:
        state = "not checked: the key was not given"
    elif found.faults:
        state = "; ".join(found.faults)
    else:
        state = "checked: counts agree with the calls, no entry of the audit trail was changed"
    parts = [_campaign(campaign) for campaign in found.campaigns] or ["<p>No campaign.</p>"]
    bad = ' class="over"' if found.faults else ' class="soft"'
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Silent calls: statistics of campaigns</title>\n<style>{_STYLE}</style>\n</head>\n"
        "<body>\n<h1>Silent calls: statistics of campaigns</h1>\n"
        f'<p class="soft">Made on {html.escape(made_at)}. Silent rate = silent / answered; '
        "answered = picked up by a person, whatever happened next.</p>\n"
        f"<p{bad}>Ledger {html.escape(state)}.<br>Head of the audit trail, to be kept elsewhere: "
        f"<code>{found.head}</code></p>\n" + "\n".join(parts) + "\n</body>\n</html>\n"
    )


def write(found: Report, folder: Path, made_at: str) -> list[Path]:
    """Write `days.csv`, `windows.csv` and `report.html` into a folder; their paths."""
    writable_folder(folder)
    files = {
        "days.csv": days_csv(found),
        "windows.csv": windows_csv(found),
        "report.html": page(found, made_at),
    }
    for name, text in files.items():
        write_text_atomic(folder / name, text)
    return [folder / name for name in files]


def _safe(text: str) -> str:
    """A name that no spreadsheet takes for a formula."""
    return "'" + text if text[:1] in "=+-@\t\r" else text


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"


def _campaign(campaign: CampaignReport) -> str:
    terms = campaign.terms
    silent = sum(day.silent for day in campaign.days)
    answered = sum(day.answered for day in campaign.days)
    worst = max(campaign.days, key=lambda day: day.rate, default=None)
    facts = [
        f"Rule {html.escape(terms.rule)}, days end at midnight in {html.escape(terms.time_zone)}.",
        f"{silent} silent of {answered} answered calls"
        + (f" ({_percent(silent / answered)})." if answered else "."),
    ]
    if worst is not None and worst.answered:
        facts.append(f"Worst day: {worst.day} with {_percent(worst.rate)}.")
    facts.append(
        f"People with more than one silent call, as far as still known: {campaign.repeats}."
    )
    n, fallbacks = campaign.decisions
    facts.append(f"Decisions kept: {n}, of these {fallbacks} not by the policy.")
    return "\n".join(
        [
            f"<h2>{html.escape(campaign.name)}</h2>",
            f"<p>{' '.join(facts)}</p>",
            _chart(campaign),
            _windows(campaign),
            _days(campaign),
            _waits(campaign),
            _changes(campaign),
        ]
    )


def _chart(campaign: CampaignReport) -> str:
    """The silent rate of each day as bars, the cap as a line."""
    days = [day for day in campaign.days if day.answered][-62:]
    if not days:
        return ""
    cap = campaign.terms.windows[0].cap
    top = max([cap, *(day.rate for day in days)]) * 1.15
    width, height, left, foot = 900, 200, 56, 24
    step = min((width - left) / len(days), 40.0)
    y_cap = height * (1 - cap / top)
    bars = "".join(
        f'<rect x="{left + i * step + step * 0.15:.1f}" y="{height * (1 - day.rate / top):.1f}" '
        f'width="{step * 0.7:.1f}" height="{height * day.rate / top:.1f}" '
        f'fill="var({"--over" if day.rate > cap else "--bar"})">'
        f"<title>{day.day}: {_percent(day.rate)} ({day.silent} of {day.answered})</title></rect>"
        for i, day in enumerate(days)
    )
    right = left + step * len(days)
    last = (
        f'<text x="{right:.0f}" y="{height + 18}" text-anchor="end">{days[-1].day}</text>'
        if len(days) > 5
        else ""
    )
    return (
        f'<svg viewBox="0 -8 {width} {height + foot + 8}" width="100%" role="img" '
        f'aria-label="silent rate of each day">{bars}'
        f'<line x1="{left}" x2="{width}" y1="{height}" y2="{height}" stroke="var(--line)"/>'
        f'<line x1="{left}" x2="{width}" y1="{y_cap:.1f}" y2="{y_cap:.1f}" stroke="var(--over)" '
        f'stroke-dasharray="5 4"/><text x="{left - 6}" y="{y_cap + 4:.1f}" text-anchor="end">'
        f'{100 * cap:g} %</text><text x="{left - 6}" y="{height + 4}" text-anchor="end">0</text>'
        f'<text x="{left}" y="{height + 18}">{days[0].day}</text>{last}</svg>'
        '<p class="soft">Silent rate of each day; dashed: the cap of the rule\'s first window.</p>'
    )


def _table(caption: str, head: list[str], rows: list[list[str]], texts: int = 1) -> str:
    """A table; the first `texts` columns are text. Cells are HTML already."""
    mark = [' class="text"' if i < texts else "" for i in range(len(head))]
    top = "".join(f"<th{m}>{cell}</th>" for m, cell in zip(mark, head, strict=True))
    body = "\n".join(
        "<tr>" + "".join(f"<td{m}>{c}</td>" for m, c in zip(mark, row, strict=True)) + "</tr>"
        for row in rows
    )
    return (
        f'<div class="wide"><table><caption>{caption}</caption><thead><tr>{top}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _windows(campaign: CampaignReport) -> str:
    rows = [
        [
            w.window.kind if w.window.length == 1 else f"{w.window.length} {w.window.kind}",
            str(w.number),
            _percent(w.window.cap),
            str(w.answered),
            str(w.silent),
            f'<span class="over">{_percent(w.rate)}</span>' if w.above else _percent(w.rate),
        ]
        for w in campaign.windows
    ]
    head = ["Window", "Number", "Cap", "Answered", "Silent", "Rate"]
    return _table("Windows of the rule; above the cap in red", head, rows) if rows else ""


def _days(campaign: CampaignReport) -> str:
    shown = [
        (name, title)
        for name, title in _SHOWN
        if any(day.counts[name] for day in campaign.days) or name in ("dialed", "connected", "cut")
    ]
    rows = [
        [
            day.day,
            *(str(day.counts[name]) for name, _ in shown),
            str(day.answered),
            str(day.silent),
            _percent(day.rate),
        ]
        for day in campaign.days
    ]
    head = ["Day", *(title for _, title in shown), "answered", "silent", "rate"]
    return _table("Calls of each day by outcome", head, rows) if rows else ""


def _waits(campaign: CampaignReport) -> str:
    totals = {name: sum(day.counts[name] for day in campaign.days) for name in WAIT_NAMES}
    if not any(totals.values()):
        return ""
    titles = ["longer" if name == "wait_longer" else f"up to {name[5:-1]} s" for name in WAIT_NAMES]
    row = ["answered calls", *(str(totals[name]) for name in WAIT_NAMES)]
    return _table("How long callees waited for an agent", ["", *titles], [row])


def _changes(campaign: CampaignReport) -> str:
    rows = []
    for entry in campaign.changes:
        content: dict[str, Any] = json.loads(entry.content)
        new = json.loads(content["new"])
        caps = ", ".join(f"{w['kind']} {100 * w['cap']:g} %" for w in new["windows"])
        rows.append(
            [
                _moment(entry.at_ms),
                html.escape(entry.who),
                html.escape(f"{new['rule']}: {caps}"),
                html.escape(content["why"]),
            ]
        )
    head = ["Moment (UTC)", "Who", "Caps", "Why"]
    return _table("Caps that were agreed on, all changes", head, rows, texts=4)


def _moment(at_ms: int) -> str:
    return datetime.datetime.fromtimestamp(at_ms / 1000, datetime.UTC).strftime("%Y-%m-%d %H:%M:%S")


def table(found: Report) -> Table:
    """The windows of every campaign, for the terminal."""
    shown = Table("campaign", "rule", "window", box=None)
    for title in ("cap", "answered", "silent", "rate"):
        shown.add_column(title, justify="right")
    for campaign in found.campaigns:
        for w in campaign.windows:
            name = w.window.kind if w.window.kind == "campaign" else f"{w.window.kind} {w.number}"
            cells = [_percent(w.window.cap), str(w.answered), str(w.silent), _percent(w.rate)]
            style = "bold red" if w.above else None
            shown.add_row(campaign.name, campaign.terms.rule, name, *cells, style=style)
    return shown
