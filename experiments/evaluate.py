"""The judge: every policy on the same held-out days, at the same silent rate.

Days are seeds. Tuning, selection and test seeds are disjoint constants, and training seeds stay
below all of them. Every policy meets the same worlds (common random numbers), so differences are
paired by day.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quietdial.agents.policy import LearnedPolicy, Policy, features_of
from quietdial.agents.rules import FixedRatio, Marginal, Progressive
from quietdial.envs.errors import ConfigError
from quietdial.envs.pacing.world import World
from quietdial.envs.regulation.calendar import sessions_of
from quietdial.envs.scenario import Scenario
from quietdial.experiments.stats import (
    Difference,
    Interval,
    PolicyDays,
    PolicySummary,
    compare,
    equal_rate_difference,
    summarise,
)

TUNE_BASE, SELECT_BASE, TEST_BASE = 1_000_000_000, 2_000_000_000, 3_000_000_000
MAX_DAYS = 1_000_000
TRAIN_SEED_LIMIT = 1_000_000_000
"""Training seeds lie below this number, so no training world is a judged one."""

Report = Callable[[str, float], None]
"""Called with what is being done and the share of it that is done, in [0, 1]."""


def tune_seeds(n_days: int) -> NDArray[np.int64]:
    """Seeds of the days on which knobs are tuned, int64 (n_days,)."""
    return _seeds(TUNE_BASE, n_days)


def select_seeds(n_days: int) -> NDArray[np.int64]:
    """Seeds of the days on which a policy is chosen among several, int64 (n_days,)."""
    return _seeds(SELECT_BASE, n_days)


def test_seeds(n_days: int) -> NDArray[np.int64]:
    """Seeds of the days on which figures are quoted, int64 (n_days,)."""
    return _seeds(TEST_BASE, n_days)


test_seeds.__test__ = False  # type: ignore[attr-defined]  # not a test, whatever its name


def _seeds(base: int, n_days: int) -> NDArray[np.int64]:
    if not 2 <= n_days <= MAX_DAYS:
        raise ConfigError(f"number of days = {n_days} must be between 2 and {MAX_DAYS}")
    return base + np.arange(n_days, dtype=np.int64)


def make_world(
    policy: Policy, scenario: Scenario, n_campaigns: int, *, records: bool = False
) -> World:
    """A world in which `policy` can act: its observation set, action kind and base threshold.

    With `records` it keeps a raw log of every event (`envs/records.py`).
    Raises `ConfigError` when a learned policy's inputs, actions or decision interval are others
    than this world's.
    """
    options: dict[str, Any] = {"records": True} if records else {}
    world = World(
        n_campaigns,
        scenario,
        observation=policy.observation,
        action=policy.action,
        base_theta=policy.base_theta,
        **options,
    )
    if isinstance(policy, LearnedPolicy):
        spec, interval_s = policy.spec, scenario.episode.decision_interval_s
        for what, its, here in (
            ("observation fields", spec.features, features_of(world.fields)),
            ("number of actions", spec.n_actions, getattr(world.action_space, "n", None)),
            ("decision interval [s]", spec.decision_interval_s, interval_s),
        ):
            if its != here:
                shown = "" if isinstance(its, tuple) else f" ({its} there, {here} here)"
                raise ConfigError(
                    f"{policy.name}, trained on {spec.scenario!r}, does not fit the scenario "
                    f"{scenario.name!r}: the {what} differ{shown}"
                )
    return world


def play_days(
    policy: Policy,
    scenario: Scenario,
    seeds: NDArray[np.int64],
    *,
    report: Report | None = None,
    batch: int = 64,
) -> PolicyDays:
    """Play whole days with one policy.

    Args:
        policy: who decides.
        scenario: the world; every day is one episode of it.
        seeds: one seed for each day, (D,).
        report: progress callback.
        batch: days that are played side by side; the result does not depend on it.

    Returns:
        The totals of every day.
    """
    parts: list[dict[str, NDArray[np.float64]]] = []
    label = f"{policy.name}: {len(seeds)} days"
    for begin in range(0, len(seeds), batch):
        chunk = seeds[begin : begin + batch]
        world = make_world(policy, scenario, len(chunk))
        everywhere = np.ones(len(chunk), np.bool_)
        world.begin(everywhere, [int(seed) for seed in chunk])
        end_s = sessions_of(scenario)[-1].close_ms / 1000
        state: object | None = None
        step, over = 0, False
        while not over:
            actions, state = policy.act(world.observe(), state)
            over = bool(world.step(actions, everywhere)[0, 4])  # all rows end together
            if report is not None and step % 512 == 0:
                share = float(world.clock_s()[0]) / end_s
                report(label, begin / len(seeds) + len(chunk) / len(seeds) * share)
            step += 1
        parts.append(world.totals())
    if report is not None:
        report(label, 1.0)
    days = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return PolicyDays(policy.name, policy.knob_name, policy.knob, seeds, days)


def silent_rate(days: PolicyDays) -> float:
    """Silent / answered, pooled over the days."""
    answered = float(days.days["answered"].sum())
    return float(days.days["silent"].sum()) / answered if answered else 0.0


@dataclass(frozen=True)
class Tuned:
    """A policy whose knob was tuned, and how."""

    policy: Policy
    tuning_rate: float  # silent rate on the tuning days at the chosen knob
    sweep: tuple[tuple[float, float, float], ...]  # (knob, silent rate, utilisation), by knob
    reached: bool


def tune(
    policy: Policy,
    scenario: Scenario,
    rate: float,
    seeds: NDArray[np.int64],
    *,
    tolerance: float = 2e-4,
    most_trials: int = 12,
    report: Report | None = None,
) -> Tuned:
    """Set the knob so that the pooled silent rate on the tuning days is `rate`.

    False position (Illinois) in log knob, with bisection as fallback: the silent rate grows with
    the knob. A policy without knob is returned as it is; one that cannot reach the rate is set to
    the end of its range that comes nearest and marked.
    """
    if policy.knob_range is None or policy.knob is None:
        days = play_days(policy, scenario, seeds, report=report)
        return Tuned(policy, silent_rate(days), (), reached=False)
    tried: dict[float, tuple[float, float]] = {}

    def measure(knob: float) -> float:
        if knob not in tried:
            days = play_days(policy.with_knob(knob), scenario, seeds, report=report)
            tried[knob] = (silent_rate(days), float(days.utilisation.mean()))
        return tried[knob][0] - rate

    low, high = policy.knob_range
    knob = min(max(policy.knob, low), high)
    error = measure(knob)
    step = 1.25
    while abs(error) > tolerance and len(tried) < most_trials:
        # walk from the given knob until the rate is bracketed
        other = max(knob / step, low) if error > 0 else min(knob * step, high)
        if other == knob:
            break
        other_error = measure(other)
        if (other_error > 0) != (error > 0):
            knob, error = _false_position(
                measure, (knob, error), (other, other_error), tolerance, most_trials - len(tried)
            )
            break
        knob, error, step = other, other_error, step * step
    best = min(tried, key=lambda value: abs(tried[value][0] - rate))
    sweep = tuple((value, *tried[value]) for value in sorted(tried))
    reached = abs(tried[best][0] - rate) <= max(5 * tolerance, 0.05 * rate)
    return Tuned(policy.with_knob(best), tried[best][0], sweep, reached)


def _false_position(
    measure: Callable[[float], float],
    first: tuple[float, float],
    second: tuple[float, float],
    tolerance: float,
    trials: int,
) -> tuple[float, float]:
    (low, low_error), (high, high_error) = sorted((first, second))
    for _ in range(trials):
        span = np.log(high / low)
        share = low_error / (low_error - high_error)
        knob = float(low * np.exp(span * min(max(share, 0.05), 0.95)))
        error = measure(knob)
        if abs(error) <= tolerance:
            return knob, error
        if error < 0:
            low, low_error, high_error = knob, error, high_error / 2
        else:
            high, high_error, low_error = knob, error, low_error / 2
    return min(((low, low_error), (high, high_error)), key=lambda pair: abs(pair[1]))


@dataclass(frozen=True)
class Verdict:
    """What the judge found on the test days."""

    scenario: str
    cap: float
    target_rate: float
    tuned: tuple[Tuned, ...]
    days: tuple[PolicyDays, ...]
    summaries: tuple[PolicySummary, ...]
    differences: tuple[Difference, ...]
    at_equal_rate: tuple[Interval | None, ...]
    """Utilisation of the judged policy minus each other, moved to one silent rate; None without
    a tuned knob."""

    def summary(self, name: str) -> PolicySummary:
        """The row of one policy."""
        return next(row for row in self.summaries if row.name == name)

    def difference(self, other: str) -> Difference:
        """The judged policy (the first one) minus another."""
        return next(row for row in self.differences if row.b == other)


def rules() -> list[Policy]:
    """The rules that every learned policy is held against, strongest last."""
    return [Progressive(), FixedRatio(3.0), Marginal(0.02)]


def judge(
    policies: Sequence[Policy],
    scenario: Scenario,
    *,
    target_rate: float,
    n_tune_days: int = 48,
    n_test_days: int = 64,
    report: Report | None = None,
) -> Verdict:
    """Tune every policy to one silent rate on the tuning days, compare on the test days.

    Args:
        policies: the judged policy first; differences are it minus each of the others.
        scenario: the world.
        target_rate: silent / answered that every knob is tuned to.
        n_tune_days: days for the knobs.
        n_test_days: days for the figures.
        report: progress callback.
    """
    cap = scenario.rule.cap
    if not 0.0 < target_rate < 1.0:
        raise ConfigError(
            f"target_rate = {target_rate} must lie between 0 and 1 (the cap is {cap})"
        )
    tuning_days = tune_seeds(n_tune_days)
    tuned = [tune(policies[0], scenario, target_rate, tuning_days, report=report)]
    if not tuned[0].reached and 0.0 < tuned[0].tuning_rate < 1.0:
        target_rate = tuned[0].tuning_rate  # a policy is compared at its own rate
    tuned += [
        tune(policy, scenario, target_rate, tuning_days, report=report) for policy in policies[1:]
    ]
    seeds = test_seeds(n_test_days)
    days = [play_days(item.policy, scenario, seeds, report=report) for item in tuned]
    return Verdict(
        scenario=scenario.name,
        cap=cap,
        target_rate=target_rate,
        tuned=tuple(tuned),
        days=tuple(days),
        summaries=tuple(summarise(item, cap) for item in days),
        differences=tuple(compare(days[0], item) for item in days[1:]),
        at_equal_rate=tuple(
            equal_rate_difference(days[0], item, slope)
            if other.reached and (slope := _slope(other, target_rate)) is not None
            else None
            for other, item in zip(tuned[1:], days[1:], strict=True)
        ),
    )


def _slope(tuned: Tuned, rate: float) -> float | None:
    """Utilisation for each unit of the silent rate, by least squares over the knobs near `rate`."""
    near = [(r, u) for _, r, u in tuned.sweep if 0.5 * rate <= r <= 2.0 * rate]
    rates, utilisations = np.array(near or [(0.0, 0.0)]).T
    if len(near) < 2 or np.ptp(rates) < 0.02 * rate:
        return None
    return float(np.polyfit(rates, utilisations, 1)[0])


__all__ = [
    "MAX_DAYS",
    "Tuned",
    "Verdict",
    "judge",
    "make_world",
    "play_days",
    "rules",
    "select_seeds",
    "silent_rate",
    "test_seeds",
    "tune",
    "tune_seeds",
]
