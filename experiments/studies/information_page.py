"""Table, page and picture of the study of information, made from its result file alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.table import Table

from quietdial.experiments import plots
from quietdial.experiments.bench.results import made_by

PAGE: Final = Path("docs/information.md")
"""Page whose tables are made from the result, if it is there."""

PICTURE: Final = Path("docs/figures/information.png")

_RULE, _LEARNER = "#0072B2", "#009E73"

Row = Mapping[str, Any]


class Line(NamedTuple):
    """One step on one floor.

    Attributes:
        label: what the policies are shown.
        rule: worth to the rule.
        learner: worth to the learner; None without one.
        against: learner minus the rule with the same knowledge.
        acts: shares of what the learner does other than the base rule, by what.
        beyond: worth of two things together beyond the sum of both, for the rule.
        origin: the origin's figure in points, and whether it was reproduced.
    """

    label: str
    rule: Row
    learner: Row | None
    against: Row | None
    acts: dict[str, Row]
    beyond: Row | None
    origin: tuple[float, str] | None


def lines_of(result: Mapping[str, Any]) -> dict[str, list[Line]]:
    """The steps of every floor, in the order of the result."""
    cells: dict[tuple[str, str], dict[str, Row]] = {}
    for row in result["figures"]:
        place, what = row["name"].rsplit(": ", 1)
        floor, label, who = place.split("/")
        cells.setdefault((floor, label), {})[f"{who}: {what}"] = row
    found: dict[str, list[Line]] = {}
    for (floor, label), rows in cells.items():
        if "rule: worth" not in rows:
            continue
        acts = {
            what: rows[f"learner: {what}"]
            for what in ("other decisions", "likeliest", "least likely", "as the rule")
            if f"learner: {what}" in rows
        }
        line = Line(
            label,
            rows["rule: worth"],
            rows.get("learner: worth"),
            rows.get("learner: minus the rule"),
            acts,
            rows.get("rule: beyond the sum"),
            _origin(str(rows["rule: worth"]["note"])),
        )
        found.setdefault(floor, []).append(line)
    return found


def _origin(note: str) -> tuple[float, str] | None:
    _, mark, text = note.partition("; origin ")
    if not mark:
        return None
    points, _, verdict = text.partition(" points: ")
    return float(points), verdict


def points(row: Row | None) -> str:
    """A difference of utilisation with its interval, in percentage points."""
    if row is None:
        return ""
    return f"{100 * row['value']:+.2f} ({100 * row['lo']:+.2f} to {100 * row['hi']:+.2f})"


def _acts(acts: Mapping[str, Row]) -> str:
    """What the learner does other than the base rule, in percent."""
    if not acts:
        return ""
    text = f"{100 * acts['other decisions']['value']:.1f}"
    if "likeliest" in acts:
        likeliest, least = (100 * acts[what]["value"] for what in ("likeliest", "least likely"))
        text += f"; calls: {likeliest:.0f} likeliest, {least:.0f} least likely"
        if "as the rule" in acts:
            text += f", {100 * acts['as the rule']['value']:.0f} as the rule"
    return text


def table(result: Mapping[str, Any]) -> Table:
    """The figures for the terminal; points of utilisation at 3 % silent."""
    shown = Table(
        "floor", "shown besides", "rule", "origin", "learner", "learner - rule", "other %"
    )
    for floor, lines in lines_of(result).items():
        for line in lines:
            origin = "" if line.origin is None else f"{line.origin[0]:+.2f}: {line.origin[1]}"
            shown.add_row(
                floor,
                line.label,
                points(line.rule),
                origin,
                points(line.learner),
                points(line.against),
                _acts(line.acts),
            )
    return shown


def markdown(result: Mapping[str, Any]) -> str:
    """The tables of the page, from the content of a result file."""
    text = [made_by(result)]
    levels = {row["name"]: row for row in result["figures"] if "utilisation" in row["name"]}
    for floor, lines in lines_of(result).items():
        begins = [
            f"{'rule' if '/rule' in name else 'learners'} "
            f"{100 * row['value']:.1f} % ({100 * row['lo']:.1f} to {100 * row['hi']:.1f})"
            for name, row in levels.items()
            if name.startswith(f"{floor}/")
        ]
        learners = any(line.learner for line in lines)
        text += ["", f"`{floor}`, 3 % silent, with what a dialer sees today: {', '.join(begins)}."]
        titles = ["The dialer knows besides", "Rule [points]", "Origin", "Reproduced"]
        if learners:
            titles += ["Learner [points]", "Learner minus rule [points]", "Other decisions [%]"]
        text += ["", "| " + " | ".join(titles) + " |", "|" + "---|" * len(titles)]
        for line in lines:
            cells = [line.label, points(line.rule), "", ""]
            if line.origin is not None:
                said = line.origin[1].removeprefix("reproduced ")
                short = {"reproduced": "yes", "not reproduced": "no"}
                cells[2:] = f"{line.origin[0]:+.2f}", short.get(line.origin[1], f"yes, {said}")
            if learners:
                cells += [points(line.learner), points(line.against), _acts(line.acts)]
            text.append("| " + " | ".join(cells) + " |")
        joint = [line for line in lines if line.beyond is not None]
        if joint:
            text += ["", "Both signals together, worth beyond the sum of each alone, for the rule:"]
            text += ["", *(f"- {line.label}: {points(line.beyond)} points" for line in joint)]
    return "\n".join(text)


# --- picture --------------------------------------------------------------------------------------


def save_picture(result: Mapping[str, Any]) -> None:
    """Write the picture of the page."""
    plots.save_png(picture(result), PICTURE)


def picture(result: Mapping[str, Any]) -> Figure:
    """Bars of what each step is worth, rule and learner side by side, one panel for each floor."""
    floors = lines_of(result)
    most = max(len(lines) for lines in floors.values())
    height = 1.75 + 0.44 * most
    figure = plots.new_figure(10.0, height)
    plots.head(
        figure,
        "What a piece of information is worth",
        "points of utilisation at 3 % silent calls, with 95 % intervals",
    )
    left, gap, right = 2.85, 0.3, 0.2
    wide = (10.0 - left - right - gap * (len(floors) - 1)) / len(floors)
    for i, (floor, lines) in enumerate(floors.items()):
        begin = left + i * (wide + gap)
        axes = plots.axes_at(figure, begin, 10.0 - begin - wide, 0.6, 1.1)
        _panel(axes, floor, lines, named=i == 0)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="upper right",
        bbox_to_anchor=(0.985, 1 - 0.1 / height),
        fontsize=10.5,
        frameon=False,
        ncols=len(labels),
    )
    return figure


def _panel(axes: Axes, floor: str, lines: Sequence[Line], *, named: bool) -> None:
    """The bars of one floor, the first step on top."""
    plots.dress(axes, "points of utilisation", "")
    axes.set_title(floor, loc="left", fontsize=12, color=plots.INK)
    axes.grid(axis="x", color=plots.GRID, linewidth=0.8)
    places = -np.arange(len(lines), dtype=np.float64)
    both = any(line.learner for line in lines)
    shift, thick = (0.2, 0.36) if both else (0.0, 0.5)
    for name, colour, up, rows in (
        ("rule", _RULE, shift, [line.rule for line in lines]),
        ("learner", _LEARNER, -shift, [line.learner for line in lines]),
    ):
        shown = [(at + up, row) for at, row in zip(places, rows, strict=True) if row is not None]
        if not shown:
            continue
        at = [place for place, _ in shown]
        value, lo, hi = (
            100 * np.array([row[key] for _, row in shown]) for key in ("value", "lo", "hi")
        )
        axes.barh(at, value, height=thick, color=colour, label=name, zorder=2)
        axes.errorbar(
            value,
            at,
            xerr=[value - lo, hi - value],
            fmt="none",
            ecolor=plots.INK,
            elinewidth=1.2,
            capsize=2.5,
            zorder=3,
        )
    origins = [
        (line.origin[0], at + shift)
        for at, line in zip(places, lines, strict=True)
        if line.origin is not None
    ]
    if origins:
        x, y = zip(*origins, strict=True)
        axes.plot(
            *(x, y, "D"),
            color="white",
            markeredgecolor=plots.INK,
            markersize=6,
            label="origin's study",
            zorder=4,
        )
    axes.axvline(0.0, color=plots.FAINT, linewidth=1.0, zorder=1)
    axes.set_yticks(places, [line.label for line in lines] if named else [])
    axes.set_ylim(places[-1] - 0.6, 0.6)
