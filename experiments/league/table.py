"""The league as a page (docs/league.md), as a result file and as a table for the terminal."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from quietdial.envs.loading import write_text_atomic
from quietdial.envs.scenario import Scenario
from quietdial.experiments.league.entries import OPTIMUM, REFERENCE
from quietdial.experiments.league.rows import (
    FAMILY_WISE,
    Excess,
    Overall,
    Row,
    figures,
    overall,
)
from quietdial.experiments.league.settings import Settings
from quietdial.experiments.rundir import RESULT_SCHEMA
from quietdial.experiments.stats import Interval, WorstHour

_HEAD = (
    "rule",
    "knob",
    "utilisation %",
    "conversations per agent-hour",
    "silent %",
    f"minus {REFERENCE} [points]",
    "windows above cap %",
    "worst hour",
    "repeats %",
    "dials per conversation",
    "days",
)


def _plus_minus(value: Interval | None, scale: float = 100.0, digits: int = 2) -> str:
    """`value ± half width`; a zero with its bound; nothing for None."""
    if value is None:
        return ""
    if value.value == 0.0 and value.lo == 0.0:
        return f"0 (< {scale * value.hi:.2g})"
    return f"{scale * value.value:.{digits}f} ± {scale * value.half_width:.{digits}f}"


def _points(value: Interval | None) -> str:
    if value is None:
        return ""
    return f"{100 * value.value:+.2f} ± {100 * value.half_width:.2f}"


def _share(value: Interval | None) -> str:
    if value is None:
        return "no cap"
    if value.value == 0.0:
        return f"0 of {value.n} (< {100 * value.hi:.2g})"
    return f"{100 * value.value:.0f} ({100 * value.lo:.0f} to {100 * value.hi:.0f})"


def _hour(worst: WorstHour | None) -> str:
    if worst is None:
        return ""
    return f"{worst.hour + 1}: {100 * worst.rate.value:.1f} %"


def label(entry: str, *, tuned: bool, privileged: bool) -> str:
    """Name of a participant with its marks: `*` privileged, `shipped` for an untuned rule."""
    exact = entry == OPTIMUM
    shipped = not (tuned or exact or entry.endswith("shipped"))
    marks = [*(["exact optimum"] if exact else []), *(["as shipped"] if shipped else [])]
    return f"{entry}{'*' if privileged else ''}{' (' + ', '.join(marks) + ')' if marks else ''}"


def _order(row: Row) -> tuple[int, float, str]:
    """Those that reach the rate by utilisation, then the others by utilisation."""
    return (0 if row.reached else 1, -row.utilisation.value, row.entry)


def _scenario_rows(rows: Sequence[Row], first: float) -> list[Row]:
    """The rows of a scenario's table: those at the first rate, and those that play as shipped."""
    return sorted((row for row in rows if row.target in (first, None)), key=_order)


def _cells(row: Row) -> tuple[str, ...]:
    name = label(row.entry, tuned=row.tuned, privileged=row.privileged)
    if row.tuned and row.target is not None and not row.reached:
        name += " (own rate)"
    knob = "" if row.knob is None else f"{row.knob_name} {row.knob:.3g}"
    return (
        name,
        knob,
        _plus_minus(row.utilisation),
        f"{row.conversations_per_agent_h.value:.2f}",
        _plus_minus(row.silent_rate),
        _points(row.difference),
        _share(row.breaches),
        _hour(row.worst_hour),
        _plus_minus(row.repeats, digits=1),
        f"{row.dials_per_conversation.value:.2f}" if row.dials_per_conversation else "",
        str(row.utilisation.n),
    )


def _markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    table = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*table, *("| " + " | ".join(line) + " |" for line in lines)])


def _section(scenario: Scenario, rows: Sequence[Row], settings: Settings, note: str) -> str:
    plan = settings.plan(scenario)
    cap = scenario.rule.cap
    limit = f"cap {100 * cap:g} % silent" if cap < 1.0 else "no cap"
    episodes = "episodes" if scenario.episode.n_days > 1 else "days"
    first = scenario.description.split(". ")[0].strip().rstrip(".")
    parts = [
        f"## {scenario.name}",
        f"{first}. " if first else "",
        f"{scenario.floor.n_agents} agents, rule `{scenario.rule.id}`, {limit}; knobs tuned on "
        f"{plan.tune_days} {episodes}, figures from {plan.stopping.least} to {plan.stopping.most} "
        f"test {episodes} of {plan.agent_h:.0f} agent-hours.{note}",
    ]
    rate_of_table, *further = settings.rates
    its = _scenario_rows(rows, rate_of_table)
    head = [*_HEAD]
    lines = [[*_cells(row)] for row in its]
    for rate in further:
        head += [f"utilisation at {100 * rate:g} %", f"minus {REFERENCE} at {100 * rate:g} %"]
        by_entry = {row.entry: row for row in rows if row.target == rate}
        for row, line in zip(its, lines, strict=True):
            line += _further(by_entry.get(row.entry))
    table = _markdown(*_trimmed(head, lines)) if lines else ""
    return (
        f"{parts[0]}\n\n{parts[1]}{parts[2]}\n\nAt {100 * rate_of_table:g} % silent:\n\n{table}\n"
    )


def _further(row: Row | None) -> list[str]:
    """Utilisation and difference at a further rate; the own rate where that is not reached."""
    if row is None:
        return ["", ""]
    own = "" if row.reached else f" (at {100 * row.silent_rate.value:.1f} %)"
    return [f"{100 * row.utilisation.value:.2f}{own}", _points(row.difference)]


def _trimmed(
    head: Sequence[str], lines: Sequence[Sequence[str]]
) -> tuple[list[str], list[list[str]]]:
    """The table without columns that are empty (no people, no cap)."""
    used = [i for i in range(len(head)) if any(line[i] not in ("", "no cap") for line in lines)]
    return [head[i] for i in used], [[line[i] for i in used] for line in lines]


def _summary(totals: Sequence[Overall], settings: Settings) -> str:
    """One line for each participant: mean difference at each rate and how often it is reached."""
    first = settings.rates[0]
    names = [item.entry for item in totals if item.target == first]
    names += [item.entry for item in totals if item.target is None]
    by_key = {(item.entry, item.target): item for item in totals}
    head = ["rule"]
    for rate in settings.rates:
        head += [f"minus {REFERENCE} at {100 * rate:g} % [points]", f"reaches {100 * rate:g} %"]
    lines: list[list[str]] = []
    for name in names:
        items = [by_key.get((name, rate)) for rate in settings.rates]
        own = by_key.get((name, None))
        known = next(item for item in (*items, own) if item is not None)
        line = [label(name, tuned=known.tuned, privileged=known.privileged)]
        if own is not None:
            at_own = _points(own.difference) or "-"
            line += [f"{at_own} (own rates)", "-"] + ["", ""] * (len(settings.rates) - 1)
        else:
            for item in items:
                gap = "reference" if name == REFERENCE else _points(item and item.difference) or "-"
                line += [gap, f"{item.reached} of {item.played}" if item else "-"]
        lines.append(line)
    return _markdown(head, lines)


_HOW_TO_READ = f"""\
**How to read it.** Every rule has one knob. It is tuned on days of its own until the silent rate
(silent / answered calls) is the one asked for, and all figures come from other days, the same ones
for every rule (common random numbers). Rules marked `as shipped` play with their documented
settings, at the rate that comes of it. A rule that cannot reach the rate is shown at its own rate;
so is one that gets worse before it reaches it: then its busiest setting below the rate is shown.
`*` marks rules that see what no dialer can see (the value of information). ± and brackets are
intervals of 95 % over days; an episode of several calendar days counts as one.

- *minus {REFERENCE}*: points of utilisation more than `{REFERENCE}`, paired by day, with
  `{REFERENCE}` at the same silent rate: what is left of a difference between the two rates is moved
  along `{REFERENCE}`'s own sweep of knobs. Empty where `{REFERENCE}` cannot have that rate.
- *windows above cap*: share of the windows of the scenario's rule (of days, where there is one
  window a day) above the cap, by Clopper and Pearson, who take windows for independent; none of n
  is shown with its bound.
- *worst hour*: the hour since the opening with the highest silent rate, and that rate. It is the
  largest of several, so it is a little too high.
- *repeats*: silent calls to people who had one before, as a share of silent calls.

Days are added in rounds until the half-width of the difference is small enough or the days are used
up. This looks at the width only, never at the sign, and never before a fixed least number of days.
Intervals of 95 % then still cover at least 93 % where daily differences are skewed by .7 at most
(`tests/experiments/test_stats.py`), 92 % at a skewness of 1 and 88 % at 2. In a first league on
`italy-50` and `markov-10`, 15 % of the differences were skewed by more than .7 and 9 % by more than
1: read the intervals of rules that are bad on a few days as somewhat too narrow."""


def page(
    scenarios: Sequence[Scenario],
    rows: Sequence[Row],
    checks: Sequence[Excess],
    settings: Settings,
    command: str,
    notes: Mapping[str, Sequence[str]],
    pictures: Sequence[str] = (),
) -> str:
    """The page docs/league.md.

    Args:
        scenarios: in the order of the page.
        rows: all rows.
        checks: the comparison with the exact optimum.
        settings: of the league.
        command: that made it.
        notes: sentences by scenario, for instance on participants that cannot play it.
        pictures: file names relative to the page.
    """
    wanted = f"{100 * settings.half_width:g}"
    parts = [
        "# The league table",
        f"Generated by `{command}`; figures with all digits: `experiments/results/league.json`.",
        _HOW_TO_READ,
        f"Wanted half-width: {wanted} points; {settings.least} to {settings.most} test days, fewer "
        f"in large worlds ({settings.test_agent_h:g} agent-hours for each rule and rate).",
        *(f"![Throughput against silent calls]({name})" for name in pictures),
        f"## Over all scenarios\n\nMean over the {len(scenarios)} scenarios, each with equal "
        "weight, of those on which the rule reaches the rate.\n\n"
        + _summary(overall(rows), settings),
    ]
    if checks:
        parts.append("## Against the exact optimum\n\n" + check_text(checks))
    by_name: dict[str, list[Row]] = {}
    for row in rows:
        by_name.setdefault(row.scenario, []).append(row)
    for scenario in scenarios:
        said = "".join(f" {text}" for text in notes.get(scenario.name, ()))
        parts.append(_section(scenario, by_name.get(scenario.name, []), settings, said))
    return "\n\n".join(part.strip() for part in parts) + "\n"


def check_text(checks: Sequence[Excess]) -> str:
    """The verdict on the Markov worlds in one or two sentences."""
    above = [check for check in checks if check.above]
    smallest = min(checks, key=lambda check: check.p_value)
    text = (
        f"{len(checks)} results on Markov worlds were held against the exact optimum at their own "
        f"silent rate (one-sided t tests over days, Holm, family-wise {FAMILY_WISE:g}; without the "
        "rules that are told how calls and conversations will end, which may be above it): "
    )
    if above:
        names = ", ".join(f"{c.entry} on {c.scenario} at {c.rate_name}" for c in above)
        return text + f"**{len(above)} are significantly above it ({names})**: the world or the "\
            "solver is wrong."  # fmt: skip
    return text + (
        f"none is significantly above it. The smallest p-value is {smallest.p_value:.2g} "
        f"({smallest.entry} on {smallest.scenario} at {smallest.rate_name}, "
        f"{_points(smallest.excess)} points)."
    )


def result_text(head: Mapping[str, Any], rows: Sequence[Row], checks: Sequence[Excess]) -> str:
    """The result file: one figure a line, so that it stays small and differences can be read."""
    lines = [
        json.dumps(
            figure, sort_keys=True, ensure_ascii=False, allow_nan=False, separators=(",", ":")
        )
        for figure in figures(rows, checks, overall(rows))
    ]
    values = {"schema": RESULT_SCHEMA, "name": "league", **head}
    text = json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return text[: -len("\n}")] + ',\n  "figures": [\n' + ",\n".join(lines) + "\n  ]\n}\n"


def write_result(
    path: Path, head: Mapping[str, Any], rows: Sequence[Row], checks: Sequence[Excess]
) -> None:
    """Write the result file at once."""
    write_text_atomic(path, result_text(head, rows, checks))


def terminal_table(rows: Sequence[Row], settings: Settings) -> Table:
    """The summary over all scenarios for a terminal."""
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), title_justify="left")
    head, _, *lines = _summary(overall(rows), settings).splitlines()
    for title in head.strip("| ").split(" | "):
        shown.add_column(
            title.replace(" [", "\n[").replace(f"minus {REFERENCE} ", f"minus {REFERENCE}\n")
        )
    for line in lines:
        shown.add_row(*(cell.strip() for cell in line[1:-1].split("|")))
    return shown
