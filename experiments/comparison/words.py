"""The comparison in words and tables: the question first, then what it rests on."""

from __future__ import annotations

from collections.abc import Sequence

from quietdial.experiments.comparison.groups import Group, Pair, Section
from quietdial.experiments.comparison.page import Block, Grid, Heading, Items, Paragraph, Picture
from quietdial.experiments.comparison.reading import LeftOut
from quietdial.experiments.stats import Interval, PolicySummary
from quietdial.experiments.wording import plus_minus, points, significance

QUESTION = "Which run keeps the cap, and what does it cost?"

PICTURES = (
    (
        "curves",
        "Learning curves",
        "Utilisation and silent rate while training, mean over the seeds with the 95 % band of "
        "that mean. Training explores, so these are not the judged figures; dashed: the rules on "
        "the test days.",
    ),
    (
        "throughput",
        "Throughput against silent rate",
        "Large marks: groups with 95 % intervals over seeds and days; small marks: their runs; "
        "curves: the rules' knobs on the tuning days. Right of the line is forbidden.",
    ),
    (
        "differences",
        "Differences, paired by day and seed",
        "95 % intervals over seeds and days. An interval that crosses zero says that these runs do "
        "not show a difference.",
    ),
    (
        "profile",
        "Performance profile",
        "Share of the runs that gain more than so many points over the best rule at equal silent "
        "rate; bands by bootstrap over runs. Further right and higher is better.",
    ),
)
"""Key, heading and caption of every picture of a section."""


def blocks(
    sections: Sequence[Section], left_out: Sequence[LeftOut], by: str, command: str
) -> list[Block]:
    """The whole report; `command` is the one that asked for it."""
    found: list[Block] = [Heading(QUESTION, 1)]
    several = len(sections) > 1
    if several:
        found.append(
            Paragraph(
                f"The runs met {len(sections)} different worlds or caps. Only runs of one world "
                "and one cap are compared, each in a section of its own."
            )
        )
    for section in sections:
        if several:
            found.append(Heading(title(section)))
        found += _section(section, prefix_of(section, sections), 3 if several else 2)
    if left_out:
        found.append(Heading("Left out"))
        found.append(Items(tuple(f"`{one.name}`: {one.reason}" for one in left_out)))
    found.append(Heading("How to read this"))
    found.append(Items(_legend(by)))
    found.append(Paragraph(f"Made by: `{command}`. {_origin(sections)}"))
    return found


def _origin(sections: Sequence[Section]) -> str:
    """How the runs were made: the command of one, and their commits."""
    runs = [run for section in sections for group in section.groups for run in group.runs]
    said = f"The run `{runs[0].name}` by: `{runs[0].command}`." if runs[0].command else ""
    commits = sorted({run.commit for run in runs if run.commit})
    if commits:
        said += f" Commit of the runs: {', '.join(commits)}."
    return said


def prefix_of(section: Section, sections: Sequence[Section]) -> str:
    """What the files of a section begin with; nothing if it is the only one."""
    if len(sections) == 1:
        return ""
    return f"{sections.index(section) + 1}-{section.scenario}-"


def title(section: Section) -> str:
    """Name of a section."""
    cap = f"cap {100 * section.cap:g} %" if section.has_cap else "no cap"
    return f"{section.scenario}, {cap} (world {section.world[:8]})"


def _section(section: Section, prefix: str, level: int) -> list[Block]:
    n_runs = sum(len(group.runs) for group in section.groups)
    found: list[Block] = [
        Paragraph(
            f"{n_runs} runs in {len(section.groups)} groups on `{section.scenario}`, "
            f"{'cap ' + _percent(section.cap) if section.has_cap else 'no cap'}, "
            f"{len(section.seeds)} common test days."
        ),
        Items(tuple(answer(section))),
        _groups_table(section),
    ]
    for key, heading, caption in PICTURES:
        if key == "differences" and not section.pairs:
            continue
        found += [
            Heading(heading, level),
            Picture(f"{prefix}{key}.png", heading),
            Paragraph(caption),
        ]
        if key == "differences":
            found.append(_pairs_table(section))
    found += [Heading("Every run", level), _runs_table(section)]
    if section.notes:
        found += [Heading("What to keep in mind", level), Items(section.notes)]
    return found


# ------------------------------------------------------------------------------------- sentences


def answer(section: Section) -> list[str]:
    """The answer to the question, a sentence or two for each part of it."""
    if not section.has_cap:
        return [_busiest_without_cap(section), *_costs(section, section.groups[0])]
    said = _who_keeps(section)
    leader, busiest = section.leader, section.groups[0]
    if leader is None:
        nearest = min(section.groups, key=lambda group: group.silent_rate.hi)
        line = (
            f"**No group surely keeps the cap** over seeds and days. Nearest is {nearest.name}, "
            f"upper limit {_percent(nearest.silent_rate.hi)}."
        )
        if busiest.n_keeping == len(busiest.runs) > 1:
            line += (
                f" Each of the {len(busiest.runs)} runs of {busiest.name} keeps it by itself; more "
                "seeds would tell. It is what the others are held against below."
            )
        said.append(line)
    elif len(section.groups) > 1:
        said.append(
            f"**The busiest group that keeps it is {leader.name}**: utilisation "
            f"{leader.utilisation.text(digits=2)}, "
            f"{leader.conversations_per_agent_h.text(scale=1, digits=2, unit='')} conversations "
            f"per agent-hour, silent rate {leader.silent_rate.text(digits=2)}."
        )
    best = best_run(section)
    if best is None:
        said.append("No single run surely keeps the cap on the test days.")
    else:
        name, summary = best
        said.append(
            f"The busiest single run that keeps it is `{name}`: utilisation "
            f"{summary.utilisation.text(digits=2)}, upper limit of the silent rate "
            f"{_percent(summary.silent_rate.hi)}. It was picked on the days it is quoted on; "
            "before relying on it, judge it on more days: `quietdial evaluate`."
        )
    return said + _costs(section, leader or busiest)


def best_run(section: Section) -> tuple[str, PolicySummary] | None:
    """The busiest run whose own upper limit is within the cap, and its figures; None if none is."""
    keeping = [
        (run.name, summary)
        for group in section.groups
        for run, summary in zip(group.runs, group.summaries, strict=True)
        if summary.meets_cap
    ]
    return max(keeping, key=lambda item: item[1].utilisation.value) if keeping else None


def _who_keeps(section: Section) -> list[str]:
    kept = [group for group in section.groups if group.keeps_cap]
    broken = [group for group in section.groups if not group.keeps_cap]
    cap = _percent(section.cap)
    said: list[str] = []
    if kept:
        names = ", ".join(f"{g.name} ({_percent(g.silent_rate.hi)})" for g in kept)
        said.append(f"**Kept the cap of {cap}**, upper 95 % limit of the silent rate: {names}.")
    if broken:
        names = ", ".join(
            f"{g.name} ({_percent(g.silent_rate.hi)}; by themselves {g.n_keeping} of "
            f"{len(g.runs)} runs keep it)"
            if len(g.runs) > 1
            else f"{g.name} ({_percent(g.silent_rate.hi)})"
            for g in broken
        )
        said.append(f"**Not surely kept** by: {names}.")
    return said


def _busiest_without_cap(section: Section) -> str:
    busiest = section.groups[0]
    return (
        f"The rule has no cap. The busiest group is {busiest.name}: utilisation "
        f"{busiest.utilisation.text(digits=2)}, silent rate {busiest.silent_rate.text(digits=2)}."
    )


def _costs(section: Section, leader: Group) -> list[str]:
    said = [_against_rule(section, leader)]
    if (others := _against_other_rules(section, leader)) is not None:
        said.append(others)
    said += [_against(pair, section) for pair in section.pairs if pair.a == leader.name]
    return said


def _against_rule(section: Section, group: Group) -> str:
    rate = "tuned to the same silent rate"
    rate += "" if section.best_rule_tuned else " where that could be done"
    return (
        f"Against `{section.best_rule}`, the best rule, {rate}, {group.name} has "
        f"{points(group.over_rule)} points of utilisation and "
        f"{_signed(group.conversations_over_rule)} conversations per agent-hour: "
        f"{significance(group.over_rule)} the rule."
    )


def _against_other_rules(section: Section, group: Group) -> str | None:
    """What the leader brings over the other rules at their busiest setting that keeps the cap."""
    parts = [
        f"`{rule.name}` has {100 * rule.utilisation.value:.2f} % utilisation and "
        f"{rule.conversations_per_agent_h.value:.2f} conversations at "
        f"{_percent(rule.silent_rate.value)} silent"
        for rule in section.rules
        if rule.name != section.best_rule
    ]
    if not parts:
        return None
    return f"For orientation, as judged on these days: {'; '.join(parts)}."


def _against(pair: Pair, section: Section) -> str:
    other = next(group for group in section.groups if group.name == pair.b)
    broken = "" if _keeps(other, section) else " (which does not surely keep the cap)"
    equal = _turned(pair.at_equal_rate)
    return (
        f"{pair.b}{broken} instead of {pair.a}: {points(_turned(pair.utilisation))} points and "
        f"{_signed(_turned(pair.conversations_per_agent_h))} conversations per agent-hour as "
        f"judged; at equal silent rate {points(equal)} points, {significance(equal)} {pair.a}."
        f"{_probability(pair)}"
    )


def _probability(pair: Pair) -> str:
    """How often a run of the second group is the better one; nothing for single runs."""
    if pair.n_seeds < 2:
        return ""
    share = _complement(pair.improvement).text(scale=1, digits=2, unit="")
    return f" A run of {pair.b} is the better one with probability {share}."


def _turned(gap: Interval) -> Interval:
    """The second minus the first."""
    return Interval(-gap.value, -gap.hi, -gap.lo, gap.n)


def _complement(share: Interval) -> Interval:
    return Interval(1.0 - share.value, 1.0 - share.hi, 1.0 - share.lo, share.n)


def _keeps(group: Group, section: Section) -> bool:
    return group.keeps_cap or not section.has_cap


# ---------------------------------------------------------------------------------------- tables


def _groups_table(section: Section) -> Grid:
    head = (
        "group",
        "runs",
        "cap kept",
        "utilisation %",
        "conversations per agent-h",
        "silent %",
        "upper limit %",
        "days above cap %",
        f"minus {section.best_rule} [points]",
        "the same, IQM of runs",
    )
    rows = [_group_row(group, section) for group in section.groups]
    rows += [_rule_row(rule, section) for rule in section.rules]
    return Grid(head, tuple(rows))


def _group_row(group: Group, section: Section) -> tuple[str, ...]:
    n = len(group.runs)
    kept = "no cap"
    if section.has_cap:
        kept = f"**{'yes' if group.keeps_cap else 'no'}**"
        kept += f", {group.n_keeping} of {n} runs" if n > 1 else ""
    return (
        group.name,
        str(n),
        kept,
        plus_minus(group.utilisation),
        plus_minus(group.conversations_per_agent_h, scale=1.0),
        plus_minus(group.silent_rate),
        f"{100 * group.silent_rate.hi:.2f}",
        plus_minus(group.days_above, digits=0),
        plus_minus(group.over_rule, sign="+"),
        points(group.iqm) if n > 1 else "-",
    )


def _rule_row(rule: PolicySummary, section: Section) -> tuple[str, ...]:
    kept = "no cap"
    if section.has_cap:
        kept = "yes" if rule.meets_cap else "no"
    return (
        f"`{rule.name}` (rule)",
        "",
        kept,
        plus_minus(rule.utilisation),
        plus_minus(rule.conversations_per_agent_h, scale=1.0),
        plus_minus(rule.silent_rate),
        f"{100 * rule.silent_rate.hi:.2f}",
        plus_minus(rule.p_day_breaks_cap, digits=0),
        "",
        "",
    )


def _pairs_table(section: Section) -> Grid:
    head = (
        "first minus second",
        "seeds",
        "utilisation [points]",
        "at equal silent rate [points]",
        "conversations per agent-h",
        "silent rate [percentage points]",
        "probability that a run of the first is better",
    )
    rows = [
        (
            f"{pair.a} minus {pair.b}",
            str(pair.n_seeds),
            points(pair.utilisation),
            points(pair.at_equal_rate),
            _signed(pair.conversations_per_agent_h),
            points(pair.silent_rate),
            pair.improvement.text(scale=1, digits=2, unit="") if pair.n_seeds > 1 else "-",
        )
        for pair in section.pairs
    ]
    return Grid(head, tuple(rows))


def _runs_table(section: Section) -> Grid:
    head = (
        "run",
        "group",
        "seed",
        "M steps",
        "cap kept",
        "utilisation %",
        "silent %",
        "upper limit %",
        f"minus {section.best_rule} [points]",
    )
    rows = [
        (
            f"`{run.name}`",
            group.name,
            str(run.seed),
            f"{run.steps / 1e6:.2f}",
            ("yes" if summary.meets_cap else "**no**") if section.has_cap else "no cap",
            plus_minus(summary.utilisation),
            plus_minus(summary.silent_rate),
            f"{100 * summary.silent_rate.hi:.2f}",
            f"{100 * score:+.2f}",
        )
        for group in section.groups
        for run, summary, score in zip(group.runs, group.summaries, group.scores, strict=True)
    ]
    return Grid(head, tuple(rows))


def _legend(by: str) -> tuple[str, ...]:
    return (
        f"Groups: runs with the same `{by}`; their seeds differ. Every run met the same test days, "
        "so differences are paired by day, and by training seed.",
        "Cap kept: the upper end of the 95 % interval of the silent rate is within the cap, not "
        "only its mean. For a group the interval counts seeds and days as random, for a run its "
        "days.",
        "Minus the best rule: at equal silent rate, the rule's knob having been tuned to that of "
        "each run. Points: percentage points of utilisation.",
        "IQM: the mean of the middle half of the runs, with a bootstrap interval over runs; with "
        "few runs such intervals are too narrow (5 runs: 95 % is rather 82 %). Decide by the "
        "intervals over seeds and days.",
        "Rules stand at the busiest of the judged settings that keeps the cap.",
        "0 (< x): none was seen, and x is the 95 % bound.",
    )


def _percent(value: float) -> str:
    return f"{100 * value:.2f} %".replace(".00 %", " %")


def _signed(interval: Interval) -> str:
    return f"{interval.value:+.2f} ({interval.lo:+.2f} to {interval.hi:+.2f})"
