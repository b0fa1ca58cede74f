"""Result files: one shape for every published set of figures, with where they were made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from quietdial.envs.errors import ConfigError
from quietdial.envs.loading import write_text_atomic
from quietdial.experiments.rundir import RESULT_SCHEMA, provenance
from quietdial.experiments.stats import Interval

__all__ = [
    "BEGIN",
    "END",
    "MUST_BE_ZERO",
    "broken",
    "by_subject",
    "figure",
    "figures_table",
    "made_by",
    "points",
    "put_figures",
    "result_file",
    "share_figure",
    "show_figures",
]

BEGIN, END = "<!-- figures: begin -->\n", "<!-- figures: end -->\n"
"""What stands around the generated part of a page."""


def result_file(
    name: str,
    command: str,
    seeds: str,
    figures: Sequence[dict[str, Any]],
    origin: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The content of a result file: plain values, ready for JSON.

    Args:
        name: name of the file, without its ending.
        command: command that makes the file.
        seeds: which seeds stand behind the figures.
        figures: rows made by `figure`.
        origin: `provenance` of the command at its start, for one that writes more than once; none:
            as it is now.
    """
    origin = provenance(command) if origin is None else origin
    return {
        "schema": RESULT_SCHEMA,
        "name": name,
        **origin,
        "machine": {**origin["machine"], "threads": 1},
        "seeds": seeds,
        "figures": [*figures],
    }


def made_by(result: Mapping[str, Any]) -> str:
    """The sentence of a page on where its figures come from; `result` as of `result_file`."""
    state = result["commit"]
    commit = f", commit {state['commit'][:12]}" if state else ""
    changed = " with changes" if state and state["dirty"] else ""
    return f"Made by `{result['command']}`{commit}{changed}."


def figure(
    name: str, value: float, unit: str, lo: float, hi: float, n: int, note: str
) -> dict[str, Any]:
    """One published number: `value` in `unit` with its interval `lo` to `hi` from `n` samples."""
    return {"name": name, "value": value, "unit": unit, "lo": lo, "hi": hi, "n": n, "note": note}


def share_figure(name: str, share: Interval, note: str) -> dict[str, Any]:
    """The row of a share or of a difference of shares, unit 1, with its interval."""
    return figure(name, share.value, "1", share.lo, share.hi, share.n, note)


def by_subject(figures: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Mapping[str, Any]]]:
    """Rows that are named `SUBJECT: WHAT`, by subject and then by what, for a table."""
    rows: dict[str, dict[str, Mapping[str, Any]]] = {}
    for one in figures:
        subject, what = one["name"].rsplit(": ", 1)
        rows.setdefault(subject, {})[what] = one
    return rows


def points(row: Mapping[str, Any]) -> str:
    """A difference of shares in points with its interval, for the table of a page."""
    return f"{100 * row['value']:+.2f} ({100 * row['lo']:+.2f} to {100 * row['hi']:+.2f})"


MUST_BE_ZERO: Final = "must be 0"
"""How the note of a figure begins that a proof fails by, if it is not zero."""


def broken(figures: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The figures that must be zero and are not."""
    return [row for row in figures if row["note"].startswith(MUST_BE_ZERO) and row["value"] != 0]


def show_figures(figures: Sequence[Mapping[str, Any]], console: Console, *, notes: bool) -> None:
    """Every figure with its interval in a line, with its note or without."""
    for row in figures:
        note = f" {row['note']}" if notes else ""
        console.print(
            f"{row['name']}: {row['value']:.6g} {row['unit']} "
            f"({row['lo']:.3g} to {row['hi']:.3g}, n {row['n']:,}){note}",
            highlight=False,
        )


def figures_table(figures: Sequence[Mapping[str, Any]]) -> str:
    """Figures as a Markdown table; shares and counts have no unit there."""
    lines = ["| Figure | Value | 95 % interval | n | What |", "|---|---|---|---|---|"]
    for row in figures:
        unit = "" if row["unit"] in ("1", "figures") else f" {row['unit']}"
        value, lo, hi = (f"{row[key]:.3g}" for key in ("value", "lo", "hi"))
        lines.append(
            f"| `{row['name']}` | {value}{unit} | {lo} to {hi} | {row['n']:,} | {row['note']} |"
        )
    return "\n".join(lines) + "\n"


def put_figures(page: Path, text: str, of: str = "") -> None:
    """Put generated text between the marks of a page; `ConfigError` if the page has none.

    Args:
        page: Markdown file.
        text: what goes between the marks.
        of: which figures, on a page with several marked places (`<!-- figures of NAME: begin -->`).
    """
    first, last = (
        mark.replace("figures", f"figures of {of}") if of else mark for mark in (BEGIN, END)
    )
    head, begin, rest = page.read_text(encoding="utf-8").partition(first)
    _, end, tail = rest.partition(last)
    if not (begin and end):
        raise ConfigError(f"{page} has no place for the figures; it needs {first!r} and {last!r}")
    write_text_atomic(page, f"{head}{first}\n{text}\n{last}{tail}")
