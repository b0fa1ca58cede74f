"""What the league found, as rows of figures with intervals, and the check against the optimum."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy.interpolate import PchipInterpolator

from quietdial.envs.scenario import Scenario
from quietdial.experiments.evaluate import silent_rate
from quietdial.experiments.executors import Plain
from quietdial.experiments.league.entries import OPTIMUM, REFERENCE
from quietdial.experiments.league.jobs import FRONTIER, days_from_plain, slope_near
from quietdial.experiments.stats import (
    Interval,
    PolicyDays,
    WorstHour,
    clopper_pearson,
    equal_rate_difference,
    holm,
    mean_interval,
    p_value_above,
    paired_difference,
    ratio_interval,
    worst_hour,
)

FAMILY_WISE = 1e-3
"""False-alarm rate of the check against the exact optimum, over all rules, worlds and rates."""

_FIRST_RATE_ONLY = ("worst_hour", "repeats")
"""Figures that the result file holds for the highest rate only, so that it stays small."""

Results = Mapping[tuple[str, str], Plain]


@dataclass(frozen=True)
class Row:
    """One participant on one scenario at one rate.

    Attributes:
        scenario: name of the scenario.
        entry: name of the participant.
        tuned: whether its knob was tuned.
        privileged: whether it sees hidden truth.
        target: the rate asked for, silent / answered; None for one that plays as it is shipped.
        reached: whether its knob reaches that rate on the tuning days.
        knob_name: name of its knob, None if it has none.
        knob: value of the knob.
        utilisation: mean of the days, fraction.
        conversations_per_agent_h: mean of the days.
        silent_rate: silent / answered, pooled over the days.
        difference: utilisation minus that of the reference at the same silent rate, paired by day;
            None for the reference itself and where it cannot reach that rate.
        breaches: share of the rule's windows above the cap; None without a cap.
        worst_hour: the worst hour since the opening; None if nobody answered.
        repeats: silent calls to people who had one before, per silent call; None without people.
        dials_per_conversation: pooled over the days; None without conversations.
    """

    scenario: str
    entry: str
    tuned: bool
    privileged: bool
    target: float | None
    reached: bool
    knob_name: str | None
    knob: float | None
    utilisation: Interval
    conversations_per_agent_h: Interval
    silent_rate: Interval
    difference: Interval | None
    breaches: Interval | None
    worst_hour: WorstHour | None
    repeats: Interval | None
    dials_per_conversation: Interval | None

    @property
    def rate_name(self) -> str:
        """The rate asked for, as a word: `3%`; `shipped` for a rule that is not tuned."""
        return "shipped" if self.target is None else f"{100 * self.target:g}%"


class Excess(NamedTuple):
    """How far a participant is above the exact optimum at its own silent rate.

    Attributes:
        scenario: name of the scenario.
        entry: name of the participant.
        rate_name: the rate asked for, as a word.
        silent_rate: its own rate.
        excess: utilisation minus the optimum's, fraction; negative: below.
        p_value: one-sided, of "not above".
        above: whether it is significantly above, family-wise.
    """

    scenario: str
    entry: str
    rate_name: str
    silent_rate: float
    excess: Interval
    p_value: float
    above: bool


def rows_of(scenario: Scenario, results: Results) -> list[Row]:
    """All rows of a scenario, in the order of the results."""
    reference = results.get((scenario.name, REFERENCE))
    return [
        _row(scenario, result, cell, reference)
        for (name, _), result in results.items()
        if name == scenario.name
        for cell in result.get("cells", ())
    ]


def _row(scenario: Scenario, result: Plain, cell: Plain, reference: Plain | None) -> Row:
    days = days_from_plain(cell["days"], result["entry"])
    totals = days.days
    talked, answered = totals["connected"].any(), bool(totals["answered"].any())
    rate = Interval(0.0, 0.0, 1.0, len(days.seeds))
    if answered:
        rate = ratio_interval(totals["silent"], totals["answered"], upper_bound=1.0)
    repeats = totals.get("repeats") if scenario.people is not None else None
    return Row(
        scenario=scenario.name,
        entry=result["entry"],
        tuned=result["tuned"],
        privileged=result["privileged"],
        target=cell["rate"],
        reached=cell["reached"],
        knob_name=result["knob_name"],
        knob=cell["knob"],
        utilisation=mean_interval(days.utilisation),
        conversations_per_agent_h=mean_interval(days.conversations_per_agent_h),
        silent_rate=rate,
        difference=_difference(days, cell, reference, result["entry"]),
        breaches=_breaches(days, scenario),
        worst_hour=worst_hour(days.hours["silent"], days.hours["answered"]) if answered else None,
        repeats=None
        if repeats is None or not totals["silent"].any()
        else ratio_interval(repeats, totals["silent"], upper_bound=1.0),
        dials_per_conversation=ratio_interval(totals["dialed"], totals["connected"])
        if talked
        else None,
    )


def _difference(
    days: PolicyDays, cell: Plain, reference: Plain | None, entry: str
) -> Interval | None:
    """Utilisation minus the reference's at the rate of these days."""
    if entry == REFERENCE or reference is None:
        return None
    against = cell.get("against")
    if against is not None:
        sweep, other = against["sweep"], against["days"]
    elif cell["reached"]:
        same = [c for c in reference.get("cells", ()) if c["rate"] == cell["rate"] and c["reached"]]
        if not same:
            return None
        sweep, other = reference["sweep"], same[0]["days"]
    else:
        return None
    paired = days_from_plain(other, REFERENCE).first(len(days.seeds))
    if not days.days["answered"].any() or not paired.days["answered"].any():
        return paired_difference(days.utilisation, paired.utilisation)
    middle = (silent_rate(days) + silent_rate(paired)) / 2.0
    slope = slope_near(tuple((p[0], p[1], p[2]) for p in sweep), middle)
    return equal_rate_difference(days, paired, slope)


def _breaches(days: PolicyDays, scenario: Scenario) -> Interval | None:
    """Share of windows above the cap: the rule's first kind of window, else the day itself."""
    cap = scenario.rule.cap
    if cap >= 1.0:
        return None
    if days.windows:
        closed, breached = days.windows["closed"].sum(), days.windows["breached"].sum()
        return clopper_pearson(round(breached), round(closed)) if closed else None
    return clopper_pearson(int(np.count_nonzero(days.silent_rate > cap)), len(days.seeds))


# --- the check against the optimum ----------------------------------------------------------------


def excesses(results: Results) -> list[Excess]:
    """Every participant on the Markov worlds against the exact optimum at its own silent rate.

    The optimum is one over all policies that see what a dialer can see; those that are told how
    calls and conversations will end may be above it, and are left out.
    """
    found: list[tuple[str, Plain, Plain, Interval, float, float]] = []
    for (scenario, name), result in results.items():
        frontier = results.get((scenario, FRONTIER))
        if name == FRONTIER or frontier is None or result["status"] != "done":
            continue
        if result["privileged"] and name != OPTIMUM:
            continue
        best = frontier_of(frontier)
        for cell in result.get("cells", ()):
            days = days_from_plain(cell["days"], name)
            rate = silent_rate(days)
            if rate >= 0.5:  # no optimum is solved there, and utilisation is at most 1 anyway
                continue
            limit, slope = float(best(rate)), float(best(rate, 1))
            p_value = p_value_above(days, limit, slope)
            found.append((scenario, result, cell, _excess(days, limit, slope), rate, p_value))
    above = holm([item[5] for item in found], FAMILY_WISE)
    return [
        Excess(
            scenario,
            result["entry"],
            "shipped" if cell["rate"] is None else f"{100 * cell['rate']:g}%",
            rate,
            excess,
            p_value,
            bool(flag),
        )
        for (scenario, result, cell, excess, rate, p_value), flag in zip(found, above, strict=True)
    ]


def _excess(days: PolicyDays, limit: float, slope: float) -> Interval:
    """Utilisation minus the optimum at the same rate, with its interval."""
    totals = days.days
    answered = totals["answered"]
    values = days.utilisation - limit
    if answered.any():
        values = values - slope * (totals["silent"] - silent_rate(days) * answered) / (
            answered.mean()
        )
    return mean_interval(values)


def frontier_of(result: Plain) -> PchipInterpolator:
    """Highest utilisation by silent rate, monotone cubic between the solved caps."""
    points = sorted((cap, utilisation) for cap, utilisation, *_ in result["points"])
    caps, best = np.array(points).T
    return PchipInterpolator(caps, best)


# --- over all scenarios ---------------------------------------------------------------------------


class Overall(NamedTuple):
    """A participant over all scenarios at one rate.

    Attributes:
        entry: its name.
        tuned: whether its knob was tuned.
        privileged: whether it sees hidden truth.
        target: the rate; None: as shipped.
        played: scenarios that it can play.
        reached: scenarios on which it reaches the rate.
        difference: mean of the differences to the reference where there is one; equal weight to
            each scenario.
        compared: scenarios in that mean.
    """

    entry: str
    tuned: bool
    privileged: bool
    target: float | None
    played: int
    reached: int
    difference: Interval | None
    compared: int


def overall(rows: Sequence[Row]) -> list[Overall]:
    """Every participant at every rate over all scenarios, the best first within each rate."""
    groups: dict[tuple[str, float | None], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.entry, row.target), []).append(row)
    found: list[Overall] = []
    for (entry, target), its in groups.items():
        differences = [
            row.difference for row in its if row.difference and (row.reached or target is None)
        ]
        mean: Interval | None = None
        if differences:
            n = len(differences)
            value = math.fsum(d.value for d in differences) / n
            half = math.sqrt(math.fsum(d.half_width**2 for d in differences)) / n
            mean = Interval(value, value - half, value + half, n)
        first = its[0]
        reached = sum(row.reached for row in its)
        found.append(
            Overall(
                entry, first.tuned, first.privileged, target, len(its), reached, mean,
                len(differences),
            )
        )  # fmt: skip
    return sorted(found, key=lambda o: (-(o.target or 0.0), -_rank(o), o.entry))


def _rank(item: Overall) -> float:
    if item.entry == REFERENCE:
        return 0.0
    return item.difference.value if item.difference is not None else -math.inf


# --- figures for the result file ------------------------------------------------------------------


def figures(
    rows: Sequence[Row], checks: Sequence[Excess], totals: Sequence[Overall]
) -> list[Plain]:
    """Every number of the league as {name, value, unit, lo, hi, n, note}."""
    found: list[Plain] = []
    first = max((row.target for row in rows if row.target is not None), default=0.0)
    shown: set[tuple[str, str, float | None, bool]] = set()
    for row in rows:
        at_own = (row.scenario, row.entry, row.knob, row.reached)
        if not row.reached and at_own in shown:
            continue  # two rates out of reach: the same play, told once
        shown.add(at_own)
        prefix = f"{row.scenario}/{row.entry}/{row.rate_name}"
        short = row.target is not None and row.target < first
        for name, value, unit, note in _figures_of(row):
            if value is not None and not (short and name in _FIRST_RATE_ONLY):
                found.append(_figure(f"{prefix}/{name}", value, unit, note))
    for check in checks:
        name = f"{check.scenario}/{check.entry}/{check.rate_name}/above exact optimum"
        found.append(_figure(name, check.excess, "1", f"one-sided p = {check.p_value:.2g}"))
    for item in totals:
        if item.difference is not None:
            rate = "shipped" if item.target is None else f"{100 * item.target:g}%"
            note = f"reaches the rate on {item.reached} of {item.played} scenarios"
            found.append(_figure(f"all/{item.entry}/{rate}/difference", item.difference, "1", note))
    return found


def _figures_of(row: Row) -> tuple[tuple[str, Interval | None, str, str], ...]:
    hour = row.worst_hour
    return (
        ("utilisation", row.utilisation, "1", _note(row)),
        ("conversations_per_agent_h", row.conversations_per_agent_h, "1/h", ""),
        ("silent_rate", row.silent_rate, "1", ""),
        ("difference", row.difference, "1", ""),
        ("windows_above_cap", row.breaches, "1", ""),
        ("worst_hour", hour.rate if hour else None, "1", f"hour {hour.hour + 1}" if hour else ""),
        ("repeats", row.repeats, "1", ""),
    )


def _note(row: Row) -> str:
    words = [] if row.knob is None else [f"{row.knob_name} {row.knob:.4g}"]
    if row.target is not None and not row.reached:
        words.append("does not reach the rate, shown at its own")
    if row.privileged:
        words.append("privileged")
    return "; ".join(words)


def _figure(name: str, value: Interval, unit: str, note: str) -> Plain:
    numbers = {key: _digits(number) for key, number in value.to_dict().items()}
    return {"name": name, "unit": unit, "note": note, **numbers}


def _digits(value: float) -> Any:
    """A number with five significant digits."""
    return value if isinstance(value, int) else float(f"{value:.5g}")
