"""Table and picture of the studies of one policy for many floors, from a result file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from matplotlib.figure import Figure

from quietdial.experiments.bench.results import made_by, points
from quietdial.experiments.plots import FAINT
from quietdial.experiments.studies.generalist_floors import ASKED_POINTS, PLAN, RATE, Plan
from quietdial.experiments.studies.picture import differences_figure, intervals_of

__all__ = ["markdown", "picture"]

_COLUMNS: Final = (
    *("specialist/utilisation", "generalist minus specialist", "generalist minus marginal"),
    *("generalist minus fixed-ratio", "specialist minus marginal"),
    *("generalist/departures", "specialist/departures"),
)


def markdown(result: Mapping[str, Any], plan: Plan = PLAN) -> str:
    """The table of the page, from the content of a result file."""
    rows = {row["name"]: row for row in result["figures"]}
    lines = [
        made_by(result),
        "",
        "| Floor | Generalist busy % | Specialist busy % | Generalist - specialist, points | "
        "Generalist - marginal | Generalist - fixed ratio | Specialist - marginal | "
        "Generalist departs % | Specialist departs % | Verdict |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for floor in plan.judged:
        level = rows.get(f"{floor.name}/generalist/utilisation")
        if level is None:
            continue
        said, _, end = str(level["note"]).partition("; ")
        cells = [f"`{floor.name}`: {said}", _cell(level, signed=False)]
        for column in _COLUMNS:
            one = rows.get(f"{floor.name}/{column}")
            cells.append("" if one is None else _cell(one, signed=" minus " in column))
        lines.append("| " + " | ".join([*cells, end]) + " |")
    return "\n".join(lines) + "\n"


def _cell(row: Mapping[str, Any], *, signed: bool) -> str:
    if signed:
        return points(row)
    value, lo, hi = (100.0 * float(row[key]) for key in ("value", "lo", "hi"))
    return f"{value:.1f} ({max(lo, 0.0):.1f} to {min(hi, 100.0):.1f})"  # a share


def picture(result: Mapping[str, Any], plan: Plan = PLAN) -> Figure:
    """The differences floor by floor, from the content of a result file."""
    against = {
        "specialist": "generalist minus specialist",
        "marginal": "generalist minus marginal",
        "fixed-ratio": "generalist minus fixed-ratio",
    }
    rows = {
        floor.name: intervals_of(
            result["figures"], {name: f"{floor.name}/{of}" for name, of in against.items()}
        )
        for floor in plan.judged
    }
    inside = [floor.name for floor in plan.judged if floor.inside]
    own = _at_own_rate(result)
    outside = "below the dots: outside its range; " if len(inside) < len(plan.judged) else ""
    figure = differences_figure(
        {name + ("*" if name in own else ""): its for name, its in rows.items()},
        title=plan.title,
        subtitle=f"generalist minus the others at {100 * RATE:g} % silent{'*' if own else ''}; "
        f"{outside}shaded: {ASKED_POINTS:g} points",
        band=(-ASKED_POINTS, 0.0),
        rule_after=inside[-1] + ("*" if inside[-1] in own else "") if outside else None,
    )
    if own:
        said = "; ".join(f"{', '.join(rules)} on {name}" for name, rules in own.items())
        text = f"* where a rule cannot have that, at its own rate: {said}"
        figure.text(0.015, 0.02, text, fontsize=8, color=FAINT)
    return figure


def _at_own_rate(result: Mapping[str, Any]) -> dict[str, list[str]]:
    """The rules that cannot be set to the rate, by floor."""
    found: dict[str, list[str]] = {}
    for row in result["figures"]:
        floor, _, gap = str(row["name"]).partition("/generalist minus ")
        rule, own, _ = gap.partition(", at its own rate")
        if own:
            found.setdefault(floor, []).append(rule)
    return found
