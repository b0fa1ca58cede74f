"""Groups of judged runs on common test days: figures, differences, who keeps the cap.

Runs are compared only where they met the same world under the same cap: these make a *section*. In
a section all figures are over the test days that all its runs share. A group's figures count both
training seeds and days as drawn at random; two groups are paired by seed where they have two or
more seeds in common, else in the order of their seeds, and always by day.

Two differences of utilisation are told apart:

* *as judged*: each at its own silent rate; what a floor would see;
* *at equal silent rate*: each run is first measured against the best rule, tuned to that run's own
  silent rate and moved along the rule's knob over what is left (`equal_rate_difference`). The
  difference of two groups is that of these distances. Nothing is moved farther than the rule's
  tuning missed, so no run is extrapolated to a rate at which it was never seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from quietdial.envs.errors import ConfigError
from quietdial.experiments.comparison.reading import JudgedRun
from quietdial.experiments.stats import (
    Interval,
    PolicyDays,
    PolicySummary,
    Strata,
    bootstrap,
    clopper_pearson,
    crossed_ratio,
    interquartile_mean,
    probability_of_improvement,
    profile_band,
    seeds_and_days,
    summarise,
    utilisation_at,
)
from quietdial.experiments.stats.intervals import FloatArray, IntArray

ALL_PAIRS_UP_TO: Final = 6
"""With more groups than this only pairs with the leader are compared."""

_THRESHOLDS: Final = 401


@dataclass(frozen=True, eq=False)
class Group:
    """Runs of one kind, one for each training seed.

    Attributes:
        name: value of the setting that they share.
        runs: the runs, by seed.
        summaries: each run's own figures on the common days.
        utilisation: over seeds and days, fraction.
        conversations_per_agent_h: over seeds and days.
        silent_rate: pooled over seeds and days, fraction.
        days_above: share of the days above the cap.
        over_rule: utilisation minus that of the best rule at equal silent rate, fraction.
        conversations_over_rule: the same in conversations per agent-hour, as tuned.
        scores: `over_rule` of each run, the mean of its days, (S,).
        iqm: interquartile mean of `scores` with its bootstrap interval.
    """

    name: str
    runs: tuple[JudgedRun, ...]
    summaries: tuple[PolicySummary, ...]
    utilisation: Interval
    conversations_per_agent_h: Interval
    silent_rate: Interval
    days_above: Interval
    over_rule: Interval
    conversations_over_rule: Interval
    scores: FloatArray
    iqm: Interval
    gaps: FloatArray
    cap: float

    @property
    def keeps_cap(self) -> bool:
        """Whether the upper limit over seeds and days is within the cap."""
        return self.silent_rate.hi <= self.cap

    @property
    def n_keeping(self) -> int:
        """Runs whose own upper limit over days is within the cap."""
        return sum(summary.meets_cap for summary in self.summaries)


@dataclass(frozen=True)
class Pair:
    """What group `a` does more than group `b`, paired by day and seed.

    Attributes:
        a: name of the first group.
        b: name of the second.
        utilisation: as judged, fraction.
        at_equal_rate: at equal silent rate, fraction.
        conversations_per_agent_h: as judged.
        silent_rate: fraction of answered.
        improvement: how probable it is that a run of `a` has the higher score.
        n_seeds: pairs of seeds.
    """

    a: str
    b: str
    utilisation: Interval
    at_equal_rate: Interval
    conversations_per_agent_h: Interval
    silent_rate: Interval
    improvement: Interval
    n_seeds: int


@dataclass(frozen=True, eq=False)
class Profile:
    """A performance profile: share of runs whose score is above each threshold, with its band."""

    thresholds: FloatArray
    share: FloatArray
    lo: FloatArray
    hi: FloatArray


@dataclass(frozen=True, eq=False)
class Section:
    """All that is compared in one world under one cap.

    Attributes:
        scenario: name of the world.
        world: its fingerprint.
        cap: the allowed silent rate, fraction.
        seeds: seeds of the common test days.
        groups: the groups, the leader first.
        pairs: the leader against every other; all pairs if there are few groups.
        rules: the rules at the setting that keeps the cap, the busiest of those that were judged.
        best_rule: name of the rule that the groups are measured against.
        best_rule_tuned: whether that rule could be tuned to every run's silent rate.
        sweeps: silent rate and utilisation of every rule's settings on the tuning days.
        profiles: performance profile of each group.
        notes: what a reader must know, in sentences.
    """

    scenario: str
    world: str
    cap: float
    seeds: tuple[int, ...]
    groups: tuple[Group, ...]
    pairs: tuple[Pair, ...]
    rules: tuple[PolicySummary, ...]
    best_rule: str
    best_rule_tuned: bool
    sweeps: Mapping[str, tuple[tuple[float, float], ...]]
    profiles: Mapping[str, Profile]
    notes: tuple[str, ...]

    @property
    def leader(self) -> Group | None:
        """The busiest group that keeps the cap; None if there is none."""
        return next((group for group in self.groups if group.keeps_cap), None)

    @property
    def has_cap(self) -> bool:
        """Whether the rule limits the silent rate at all."""
        return self.cap < 1.0


def sections_of(runs: Sequence[JudgedRun]) -> tuple[Section, ...]:
    """The runs in sections of one world and cap each, the largest first.

    Raises:
        ConfigError: runs of one world share fewer than two test days.
    """
    by_world: dict[tuple[str, str, float], list[JudgedRun]] = {}
    for run in runs:
        by_world.setdefault((run.scenario, run.world, run.cap), []).append(run)
    ordered = sorted(by_world.items(), key=lambda item: (-len(item[1]), item[0]))
    return tuple(_section(*key, its) for key, its in ordered)


def _section(scenario: str, world: str, cap: float, runs: Sequence[JudgedRun]) -> Section:
    seeds = _common_days(runs)
    notes = _notes(runs, len(seeds))
    best, tuned = _best_rule(runs, seeds)
    if not tuned:
        untuned = [run.name for run in runs if run.rules[best].slope is None]
        notes.append(
            f"{best} could not be tuned to the silent rate of {_listed(untuned)}: against these it "
            "stands at its own."
        )
    by_name: dict[str, list[JudgedRun]] = {}
    for run in sorted(runs, key=lambda run: (run.seed, run.name)):
        by_name.setdefault(run.group, []).append(run)
    found = [_group(name, its, seeds, best, cap) for name, its in by_name.items()]
    groups = sorted(found, key=_rank)
    every = list(combinations(groups, 2))
    if len(groups) > ALL_PAIRS_UP_TO:
        every = [(groups[0], other) for other in groups[1:]]
    return Section(
        scenario=scenario,
        world=world,
        cap=cap,
        seeds=tuple(int(seed) for seed in seeds),
        groups=tuple(groups),
        pairs=tuple(_pair(a, b, seeds) for a, b in every),
        rules=_rules(runs, seeds, cap),
        best_rule=best,
        best_rule_tuned=tuned,
        sweeps=_sweeps(runs),
        profiles=_profiles(groups),
        notes=tuple(notes),
    )


def _rank(group: Group) -> tuple[bool, float, float, str]:
    """Who keeps the cap first, then by the share of runs that do, then by utilisation."""
    share = group.n_keeping / len(group.runs)
    return not group.keeps_cap, -share, -group.utilisation.value, group.name


def _common_days(runs: Sequence[JudgedRun]) -> IntArray:
    common = runs[0].days.seeds
    for run in runs[1:]:
        shared = np.intersect1d(common, run.days.seeds)
        if len(shared) < 2:
            raise ConfigError(
                f"{run.name} was judged on other test days than {runs[0].name} "
                f"({len(shared)} in common, at least 2 are needed): not comparable; judge both "
                "with the same quietdial version and judge.test_days"
            )
        common = shared
    return common


def on_days(days: PolicyDays, seeds: IntArray) -> PolicyDays:
    """A policy's days with these seeds, in this order."""
    order = np.argsort(days.seeds)
    at = order[np.searchsorted(days.seeds, seeds, sorter=order)]
    totals = {name: values[at] for name, values in days.days.items()}
    return PolicyDays(days.name, days.knob_name, days.knob, days.seeds[at], totals)


def _best_rule(runs: Sequence[JudgedRun], seeds: IntArray) -> tuple[str, bool]:
    """The rule against which the runs do worst on average, and if it was tuned to every rate."""
    shared = [name for name in runs[0].rules if all(name in run.rules for run in runs)]
    if not shared:
        raise ConfigError(
            f"{runs[0].name} and the others were not judged beside a common rule; judge them anew"
        )
    mean = {name: float(np.mean([_gaps(r, name, seeds).mean() for r in runs])) for name in shared}
    best = min(shared, key=lambda name: mean[name])
    return best, all(run.rules[best].slope is not None for run in runs)


def _gaps(run: JudgedRun, rule: str, seeds: IntArray) -> FloatArray:
    """Utilisation of a run minus a rule's, by day, at equal silent rate where that is known."""
    other, own = run.rules[rule], on_days(run.days, seeds)
    its = on_days(other.days, seeds)
    if other.slope is None or not own.days["answered"].any() or not its.days["answered"].any():
        return own.utilisation - its.utilisation
    return utilisation_at(own, 0.0, other.slope) - utilisation_at(its, 0.0, other.slope)


def _group(name: str, runs: Sequence[JudgedRun], seeds: IntArray, rule: str, cap: float) -> Group:
    days = [on_days(run.days, seeds) for run in runs]
    ruled = [on_days(run.rules[rule].days, seeds) for run in runs]
    gaps = np.array([_gaps(run, rule, seeds) for run in runs])
    above = np.array([one.silent_rate > cap for one in days], dtype=np.float64)
    share = seeds_and_days(above)
    if above.min() == above.max():  # no day or every day: the days alone bound it
        share = clopper_pearson(len(seeds) * int(above.max()), len(seeds))
    scores = gaps.mean(axis=1)
    conversations = np.array([one.conversations_per_agent_h for one in days])
    theirs = np.array([one.conversations_per_agent_h for one in ruled])
    return Group(
        name=name,
        runs=tuple(runs),
        summaries=tuple(summarise(one, cap) for one in days),
        utilisation=seeds_and_days([one.utilisation for one in days]),
        conversations_per_agent_h=seeds_and_days(conversations),
        silent_rate=crossed_ratio(
            [one.days["silent"] for one in days],
            [one.days["answered"] for one in days],
            upper_bound=1.0,
        ),
        days_above=Interval(share.value, max(share.lo, 0.0), min(share.hi, 1.0), share.n),
        over_rule=seeds_and_days(gaps),
        conversations_over_rule=seeds_and_days(conversations - theirs),
        scores=scores,
        iqm=bootstrap([[scores]], interquartile_mean),
        gaps=gaps,
        cap=cap,
    )


def _pair(a: Group, b: Group, seeds: IntArray) -> Pair:
    rows = _matched(a, b)
    ours = [on_days(a.runs[i].days, seeds) for i, _ in rows]
    theirs = [on_days(b.runs[j].days, seeds) for _, j in rows]

    def gap(matrix_a: ArrayLike, matrix_b: ArrayLike) -> Interval:
        return seeds_and_days(np.array(matrix_a) - np.array(matrix_b))

    scores: list[Strata] = [[a.scores], [b.scores]]
    return Pair(
        a=a.name,
        b=b.name,
        utilisation=gap([x.utilisation for x in ours], [x.utilisation for x in theirs]),
        at_equal_rate=gap([a.gaps[i] for i, _ in rows], [b.gaps[j] for _, j in rows]),
        conversations_per_agent_h=gap(
            [x.conversations_per_agent_h for x in ours],
            [x.conversations_per_agent_h for x in theirs],
        ),
        silent_rate=gap(_rates(ours), _rates(theirs)),
        improvement=bootstrap(scores, probability_of_improvement),
        n_seeds=len(rows),
    )


def _matched(a: Group, b: Group) -> list[tuple[int, int]]:
    """Places of runs in both groups that are paired: by seed, or else in order."""
    ours, theirs = [run.seed for run in a.runs], [run.seed for run in b.runs]
    common = sorted(set(ours) & set(theirs))
    if len(common) >= 2 or (len(common) == 1 and len(ours) == len(theirs) == 1):
        return [(ours.index(seed), theirs.index(seed)) for seed in common]
    return [(i, i) for i in range(min(len(ours), len(theirs)))]


def _rates(days: Sequence[PolicyDays]) -> FloatArray:
    """Pooled silent rate plus the influence of each seed and day, (S, D)."""
    y = np.array([one.days["silent"] for one in days])
    x = np.array([one.days["answered"] for one in days])
    if x.sum() <= 0.0:
        return np.zeros_like(x)
    ratio = float(y.sum() / x.sum())
    found: FloatArray = ratio + (y - ratio * x) / x.mean()
    return found


def _rules(runs: Sequence[JudgedRun], seeds: IntArray, cap: float) -> tuple[PolicySummary, ...]:
    """Every rule at one of the settings that were judged: the busiest that keeps the cap."""
    found: list[PolicySummary] = []
    for name in runs[0].rules:
        judged = [
            summarise(on_days(run.rules[name].days, seeds), cap)
            for run in runs
            if name in run.rules
        ]
        keeping = [summary for summary in judged if summary.meets_cap]
        if keeping:
            found.append(max(keeping, key=lambda summary: summary.utilisation.value))
        else:
            found.append(min(judged, key=lambda summary: summary.silent_rate.hi))
    return tuple(found)


def _sweeps(runs: Sequence[JudgedRun]) -> dict[str, tuple[tuple[float, float], ...]]:
    found: dict[str, set[tuple[float, float]]] = {}
    for run in runs:
        for name, rule in run.rules.items():
            if len(rule.sweep) > 1:
                found.setdefault(name, set()).update(rule.sweep)
    return {name: tuple(sorted(points)) for name, points in found.items()}


def _profiles(groups: Sequence[Group]) -> dict[str, Profile]:
    every = np.concatenate([group.scores for group in groups])
    room = max(0.05 * float(np.ptp(every)), 1e-4)
    at = np.linspace(float(every.min()) - room, float(every.max()) + room, _THRESHOLDS)
    return {g.name: Profile(at, *profile_band([g.scores], at)) for g in groups}


def _notes(runs: Sequence[JudgedRun], n_days: int) -> list[str]:
    notes: list[str] = []
    longest = max(len(run.days.seeds) for run in runs)
    if longest > n_days:
        short = [run.name for run in runs if len(run.days.seeds) < longest]
        why = "the runs were not all judged on the same days"
        if short:
            why = f"{_listed(short)} {'was' if len(short) == 1 else 'were'} judged on fewer"
        notes.append(f"Figures are over the {n_days} test days that all runs share; {why}.")
    by_group: dict[str, list[JudgedRun]] = {}
    for run in runs:
        by_group.setdefault(run.group, []).append(run)
    for name, its in by_group.items():
        differing = _differing(its)
        if differing:
            notes.append(
                f"The runs of {name} differ in more than their seed: {_listed(differing)}."
            )
        if len({run.seed for run in its}) < len(its):
            notes.append(f"{name} has several runs of one seed; they count as seeds of their own.")
    single = [name for name, its in by_group.items() if len(its) == 1]
    if single:
        notes.append(
            f"{_listed(single)}: one run only, so the intervals are over days and say nothing of "
            "other training seeds."
        )
    infeasible = [run.name for run in runs if run.feasible is False]
    if infeasible:
        notes.append(
            f"{_listed(infeasible)}: on the selection days no checkpoint surely kept the limits."
        )
    return notes


_FREE: Final = frozenset({"learner.seed", "name", "runs", "track", "export"})


def _differing(runs: Sequence[JudgedRun]) -> list[str]:
    """Settings other than seed and name in which these runs differ."""
    flat = [_flat(run.config) for run in runs]
    keys = sorted(set().union(*flat) - _FREE)
    return [key for key in keys if len({repr(one.get(key)) for one in flat}) > 1]


def _flat(config: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def _listed(names: Sequence[str], most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
