"""The frontier as figures, a table of values and a page."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from quietdial.experiments.bench.results import figure
from quietdial.experiments.frontier.measure import Curve, Frontier, Point
from quietdial.experiments.frontier.price import exact_price_agent_h
from quietdial.experiments.stats import Interval


def figures(found: Sequence[Frontier]) -> list[dict[str, Any]]:
    """All figures: name, value, unit, lo, hi, n, note."""
    rows: list[dict[str, Any]] = []
    for one in found:
        for curve in one.curves:
            rows += [row for point in curve.points for row in _point_rows(one, curve, point)]
            rows += _price_rows(one, curve)
        for optimum in one.exact:
            name = f"{one.scenario}/exact optimum, long run/{_cap(optimum.cap)}"
            exact = {
                "utilisation": (optimum.utilisation, "1"),
                "price of a silent call": (exact_price_agent_h(optimum), "agent-h"),
            }
            rows += [
                figure(f"{name}/{what}", value, unit, value, value, 1, "exact")
                for what, (value, unit) in exact.items()
            ]
    return rows


def _cap(cap: float | None) -> str:
    return "no knob" if cap is None else f"{100 * cap:g} %"


def _point_rows(one: Frontier, curve: Curve, point: Point) -> list[dict[str, Any]]:
    summary = point.summary
    name = f"{one.scenario}/{curve.name}/{_cap(point.cap)}"
    knob = "no knob" if summary.knob is None else f"{summary.knob_name} {summary.knob:.6g}"
    note = knob if point.reached or point.cap is None else f"{knob}; the rate was not reached"
    shown = [
        ("silent rate", summary.silent_rate, "1", note),
        ("utilisation", summary.utilisation, "1", "mean of days, t interval"),
        (
            "conversations per agent-hour",
            summary.conversations_per_agent_h,
            "1/h",
            "mean of days, t interval",
        ),
    ]
    if point.minus_reference is not None:
        how = "utilisation, paired by day, moved along the sweep of marginal"
        shown.append(("minus marginal at the same rate", point.minus_reference, "1", how))
    return [_row(f"{name}/{what}", value, unit, text) for what, value, unit, text in shown]


def _price_rows(one: Frontier, curve: Curve) -> list[dict[str, Any]]:
    rows = []
    for price in curve.prices:
        between = f"{100 * price.low_rate:.2f} to {100 * price.high_rate:.2f} %"
        name = f"{one.scenario}/{curve.name}/{between}"
        note = "bootstrap over days, paired"
        rows += [
            _row(f"{name}/price of a percentage point", price.per_point, "points", note),
            _row(f"{name}/price of a silent call", price.per_call_agent_h, "agent-h", note),
        ]
    return rows


def _row(name: str, value: Interval, unit: str, note: str) -> dict[str, Any]:
    return figure(name, value.value, unit, value.lo, value.hi, value.n, note)


def as_csv(rows: Sequence[dict[str, Any]]) -> str:
    """One line for each figure: scenario, policy, where, figure, value, lower and upper end."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(("scenario", "policy", "at", "figure", "value", "lo", "hi", "unit", "n"))
    for row in rows:
        parts = row["name"].split("/")
        writer.writerow((*parts, row["value"], row["lo"], row["hi"], row["unit"], row["n"]))
    return buffer.getvalue()


def markdown(found: Sequence[Frontier], pictures: Sequence[str] = ()) -> str:
    """The tables of all scenarios, each below its picture."""
    parts: list[str] = []
    for number, one in enumerate(found):
        parts.append(f"## {one.scenario}\n")
        if number < len(pictures):
            shown = pictures[number]
            parts.append(f"![Throughput against silent calls on {one.scenario}]({shown})\n")
        parts += [_points_table(one), "", _prices_table(one)]
        parts += [f"\n{note}" for note in one.notes]
        parts.append("")
    return "\n".join(parts).rstrip() + "\n"


def _points_table(one: Frontier) -> str:
    lines = [
        "| Policy | Tuned to | Silent [%] | Utilisation [%] | Conversations per agent-h | "
        "Points above `marginal` at its rate |",
        "|---|---|---|---|---|---|",
    ]
    for curve in one.curves:
        for point in curve.points:
            summary = point.summary
            gap = point.minus_reference
            near = "" if point.reached or point.cap is None else " (not reached)"
            above = "" if gap is None or curve is one.curves[0] else _text(gap, 100, 2)
            lines.append(
                f"| {curve.name} | {_cap(point.cap)}{near} | {_text(summary.silent_rate, 100, 2)} "
                f"| {_text(summary.utilisation, 100, 1)} "
                f"| {_text(summary.conversations_per_agent_h, 1, 2)} | {above} |"
            )
    lines += [
        f"| exact optimum, long run | {_cap(optimum.cap)} | {100 * optimum.silent_rate:.2f} "
        f"| {100 * optimum.utilisation:.1f} | {optimum.conversations_per_agent_h:.2f} | |"
        for optimum in one.exact
    ]
    return "\n".join(lines)


def _prices_table(one: Frontier) -> str:
    lines = [
        "| Policy | From | To | Points of utilisation for one percentage point | "
        "Agent-hours of work for each silent call avoided |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {curve.name} | {100 * price.high_rate:.2f} % | {100 * price.low_rate:.2f} % "
        f"| {_text(price.per_point, 1, 2)} | {_text(price.per_call_agent_h, 1, 3)} |"
        for curve in one.curves
        for price in curve.prices
    ]
    lines += [
        f"| exact optimum, long run | at {_cap(optimum.cap)} | | "
        f"| {exact_price_agent_h(optimum):.3f} |"
        for optimum in one.exact
    ]
    return "\n".join(lines)


def _text(value: Interval, scale: float, digits: int) -> str:
    return value.text(scale=scale, digits=digits, unit="")
