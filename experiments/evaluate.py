"""The judge: every policy on the same held-out days, at the same silent rate.

Days are seeds. Tuning, selection and test seeds are disjoint constants, and training seeds stay
below all of them. Every policy meets the same worlds (common random numbers), so differences are
paired by day.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quietdial.agents.budget import decide, steady_steps
from quietdial.agents.learned_policy import LearnedPolicy
from quietdial.agents.policy import Policy, features_of
from quietdial.agents.rules import FixedRatio, Marginal, Progressive
from quietdial.agents.wrapped import unwrapped
from quietdial.envs.errors import ConfigError, QuietDialError
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
    exchange_rate,
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

    A rule that runs inside the world says in `world_options` which one and with which settings.
    With `records` it keeps a raw log of every event (`envs/records.py`).
    Raises `ConfigError` when a learned policy's inputs, actions or decision interval are others
    than this world's.
    """
    options: dict[str, Any] = {**getattr(policy, "world_options", {})}
    if records:
        options["records"] = True
    world = World(
        n_campaigns,
        scenario,
        observation=policy.observation,
        action=policy.action,
        base_theta=policy.base_theta,
        **options,
    )
    learned = unwrapped(policy)
    if isinstance(learned, LearnedPolicy):
        spec, interval_s = learned.spec, world.scenario.episode.decision_interval_s
        for what, its, here in (
            ("observation fields", spec.features, features_of(world.fields)),
            ("number of actions", _n_answers(learned), getattr(world.action_space, "n", None)),
            ("decision interval [s]", spec.decision_interval_s, interval_s),
        ):
            if its != here:
                shown = "" if isinstance(its, tuple) else f" ({its} there, {here} here)"
                raise ConfigError(
                    f"{policy.name}, trained on {spec.scenario!r}, does not fit the scenario "
                    f"{scenario.name!r}: the {what} differ{shown}"
                )
    return world


def _n_answers(policy: LearnedPolicy) -> int | None:
    """Actions that the world must have; None where the answer is a threshold."""
    return None if policy.action == "theta" else policy.spec.n_actions


def play_days(
    policy: Policy,
    scenario: Scenario,
    seeds: NDArray[np.int64],
    *,
    report: Report | None = None,
    batch: int = 64,
) -> PolicyDays:
    """Play whole days with one policy.

    A policy whose action never changes (`constant`) is played an hour at a time in compiled code,
    one whose action stands for some time (`steady_s`) so long.

    Args:
        policy: who decides.
        scenario: the world; every day is one episode of it.
        seeds: one seed for each day, (D,).
        report: progress callback.
        batch: days that are played side by side; the result does not depend on it.

    Returns:
        The totals of every day, its calls by hour, and its windows.
    """
    days: PolicyDays | None = None
    label = f"{policy.name}: {len(seeds)} days"
    for begin in range(0, len(seeds), batch):
        chunk = seeds[begin : begin + batch]

        def done(share: float, begin: int = begin, size: int = len(chunk)) -> None:
            if report is not None:
                report(label, (begin + size * share) / len(seeds))

        part = _play_batch(policy, scenario, chunk, done)
        days = part if days is None else days.followed_by(part)
    if days is None:
        raise ConfigError(f"{policy.name}: no days to play; give at least one seed")
    return days


class _Stretch(NamedTuple):
    """Decision intervals that lie in one hour of one session."""

    hour: int
    n_steps: int


def _stretches(scenario: Scenario) -> list[_Stretch]:
    """All decision intervals of an episode, hour by hour since each opening."""
    step_ms = round(1000 * scenario.episode.decision_interval_s)
    an_hour = max(3_600_000 // step_ms, 1)
    found: list[_Stretch] = []
    for session in sessions_of(scenario):
        n_steps = -(-(session.close_ms - session.open_ms) // step_ms)
        for first in range(0, n_steps, an_hour):
            hour = first * step_ms // 3_600_000
            found.append(_Stretch(hour, min(an_hour, n_steps - first)))
    return found


def _play_batch(
    policy: Policy, scenario: Scenario, seeds: NDArray[np.int64], done: Callable[[float], None]
) -> PolicyDays:
    """Play days side by side; arguments as in :func:`play_days`."""
    world = make_world(policy, scenario, len(seeds))
    totals, hours, windows = play_world(policy, world, seeds, done)
    return PolicyDays(
        policy.name, policy.knob_name, policy.knob, seeds, totals, hours=hours, windows=windows
    )


Columns = dict[str, NDArray[np.float64]]
"""Numbers of each day by name, (D,) or (D, H)."""


def play_world(
    policy: Policy, world: World, seeds: NDArray[np.int64], done: Callable[[float], None]
) -> tuple[Columns, Columns, Columns]:
    """Play one episode in every row of a world.

    Args:
        policy: who decides.
        world: the world.
        seeds: one seed for each row, (B,); a seed may occur in several.
        done: told the share that is done, in [0, 1].

    Returns:
        Totals, calls by hour and windows of every row, as `PolicyDays` has them.
    """
    everywhere = np.ones(len(seeds), np.bool_)
    world.begin(everywhere, [int(seed) for seed in seeds])
    stretches = _stretches(world.scenario)
    n_hours = 1 + max(stretch.hour for stretch in stretches)
    hours = {name: np.zeros((len(seeds), n_hours)) for name in ("silent", "answered")}
    totals = world.totals()
    state: object | None = None
    over = False
    for number, stretch in enumerate(stretches, start=1):
        over, state = _play_steps(policy, world, everywhere, stretch.n_steps, state)
        before, totals = totals, world.totals()
        for name, counts in hours.items():
            counts[:, stretch.hour] += totals[name] - before[name]
        done(number / len(stretches))
    if not over:
        raise QuietDialError(f"{world.scenario.name}: the episode is longer than its sessions")
    windows: Columns = {}
    if world.is_full:
        first = world.windows()
        windows = {name: first[name][:, 0] for name in ("closed", "breached")}
    return totals, hours, windows


def _play_steps(
    policy: Policy,
    world: World,
    everywhere: NDArray[np.bool_],
    n_steps: int,
    state: object | None,
) -> tuple[bool, object | None]:
    """Play decision intervals; whether the episode is over, and the policy's state."""
    interval_s = world.scenario.episode.decision_interval_s
    over = False
    while n_steps > 0 and not over:
        actions, state = decide(policy, world, state)
        n = steady_steps(policy, state, interval_s, n_steps)
        played = world.step(actions, everywhere) if n == 1 else world.hold(actions, everywhere, n)
        over = bool(played[0, 4])  # all rows end together
        n_steps -= n
    return over, state


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

    A policy without knob is returned as it is; one that cannot reach the rate is set to the knob
    that comes nearest and marked. See :func:`tune_rates`.
    """
    if policy.knob_range is None or policy.knob is None:
        days = play_days(policy, scenario, seeds, report=report)
        return Tuned(policy, silent_rate(days), (), reached=False)
    share = tolerance / rate
    (found,) = tune_rates(
        policy,
        scenario,
        (rate,),
        seeds,
        tolerance=share,
        reach=max(5.0 * share, 0.05),
        most_trials=most_trials,
        resolution=1e-5,
        report=report,
    )
    return found


_CLEARLY_BUSIER = 0.003
"""Utilisation by which a less silent setting must be busier to be preferred to the rate itself."""

_FAR_BELOW = 0.6
"""A setting that has this share of a rate, or less, should be clearly less busy."""

_REFINEMENTS = 2


class _Sweep:
    """Knobs that were measured on the tuning days, for any number of rates."""

    def __init__(
        self, policy: Policy, play: Callable[[float], PolicyDays], resolution: float
    ) -> None:
        self.play = play  # the tuning days with a knob
        self.resolution = resolution
        if policy.knob_range is None or policy.knob is None:
            raise ConfigError(f"{policy.name} has no knob to tune")
        self.low, self.high = policy.knob_range
        self.start = min(max(policy.knob, self.low), self.high)
        self.sign = -1.0 if getattr(policy, "knob_lowers", False) else 1.0
        self.tried: dict[float, tuple[float, float]] = {}

    def measure(self, knob: float) -> None:
        """Play the tuning days with a knob, unless that was done."""
        if knob not in self.tried:
            days = self.play(knob)
            self.tried[knob] = (silent_rate(days), float(days.utilisation.mean()))

    def points(self) -> tuple[tuple[float, float, float], ...]:
        """(knob, silent rate, utilisation), by knob."""
        return tuple((knob, *self.tried[knob]) for knob in sorted(self.tried))

    def nearest(self, rate: float) -> float:
        """The measured knob whose silent rate is nearest to `rate`, the lower one of two."""
        return min(sorted(self.tried), key=lambda knob: abs(self.tried[knob][0] - rate))

    def best_for(self, rate: float, tolerance: float) -> float:
        """The knob nearest to a rate, or a less silent and busier one.

        Some rules get worse beyond a setting: more silent and less busy at once. No opponent is
        left weak, so then the busiest setting below the rate is looked for.
        """
        nearest, limit = self.nearest(rate), rate * (1.0 + tolerance)
        far_below = self._busiest(_FAR_BELOW * rate)
        if far_below is None or self._busy(far_below) < self._busy(nearest) - _CLEARLY_BUSIER:
            return nearest  # more silent and busier up to here, as it should be
        for _ in range(_REFINEMENTS):
            knobs = sorted(self.tried)
            best = self._busiest(limit) or nearest
            at = knobs.index(best)
            for other in knobs[max(at - 1, 0) : at] + knobs[at + 1 : at + 2]:
                self.measure(self._knob(0.5 * (self._place(best) + self._place(other))))
        best = self._busiest(limit) or nearest
        clearly = self._busy(best) > self._busy(nearest) + _CLEARLY_BUSIER
        return best if clearly else nearest

    def _busiest(self, highest_rate: float) -> float | None:
        """The measured knob with the highest utilisation up to a silent rate."""
        within = [knob for knob in sorted(self.tried) if self.tried[knob][0] <= highest_rate]
        return max(within, key=self._busy) if within else None

    def _busy(self, knob: float) -> float:
        return self.tried[knob][1]

    def next_knob(self, rate: float) -> float | None:
        """The knob to measure next on the way to `rate`; None if there is none left."""
        if not self.tried:
            return self.start
        knobs = sorted(self.tried, key=self._place)
        x = [self._place(knob) for knob in knobs]
        y = [_height(self.tried[knob][0], rate) for knob in knobs]
        for i in range(len(knobs) - 1):
            if y[i] <= 0.0 < y[i + 1]:
                return self._between(x[i : i + 2], y[i : i + 2], knobs[i : i + 2])
        return self._beyond(x, y)

    def _between(self, x: list[float], y: list[float], knobs: list[float]) -> float | None:
        """Where a straight line meets the rate, well inside the bracket."""
        share = min(max(y[0] / (y[0] - y[1]), 0.15), 0.85)
        knob = self._knob(x[0] + share * (x[1] - x[0]))
        too_near = self.resolution * max(abs(knob), 1e-6)
        return None if min(abs(knob - knobs[0]), abs(knobs[1] - knob)) <= too_near else knob

    def _beyond(self, x: list[float], y: list[float]) -> float | None:
        """A step out of the measured range, along the line through the two outermost knobs."""
        up = y[-1] <= 0.0
        end, inner = (-1, -2) if up else (0, 1)
        slope = 0.0 if len(x) < 2 else (y[end] - y[inner]) / (x[end] - x[inner])
        width = abs(self._place(self.high) - self._place(self.low))
        step = 1.15 * abs(y[end]) / slope if slope > 0.0 else math.inf
        first = 0.04 * width
        step = min(max(step, 0.25 * first), 5.0 * first if len(x) > 1 else first)
        knob = self._knob(x[end] + (step if up else -step))
        return None if knob in self.tried else knob

    def _place(self, knob: float) -> float:
        """Knobs above 0 are measured in ratios, others in differences; a price from above."""
        return self.sign * (math.log(knob) if self.low > 0.0 else knob)

    def _knob(self, place: float) -> float:
        knob = math.exp(self.sign * place) if self.low > 0.0 else self.sign * place
        return min(max(knob, self.low), self.high)


def _height(rate: float, target: float) -> float:
    """How far a silent rate is above the target, in logarithms; finite at a rate of 0."""
    return math.log((rate + 1e-4) / (target + 1e-4))


def tune_rates(
    policy: Policy,
    scenario: Scenario,
    rates: Sequence[float],
    seeds: NDArray[np.int64],
    *,
    tolerance: float = 0.03,
    reach: float = 0.1,
    most_trials: int = 8,
    resolution: float = 0.005,
    batch: int = 64,
    known: Sequence[tuple[float, float, float]] = (),
    report: Report | None = None,
) -> tuple[Tuned, ...]:
    """Set the knob to each of several silent rates, from one common sweep of knobs.

    Every measured knob serves all rates. Between two knobs around a rate the next one is where a
    line through them meets it (logarithm of the rate over the logarithm of the knob); outside, the
    line through the outermost two is followed. Where a less silent setting is busier than the one
    that has the rate, it is taken instead and the rate counts as not reached.

    Args:
        policy: whose knob is tuned; it must have one.
        scenario: the world.
        rates: silent / answered, each in (0, 1).
        seeds: the tuning days.
        tolerance: a rate is met when the tuning days' rate is within this share of it.
        reach: a rate counts as reached within this share of it.
        most_trials: most knobs that are measured for the first rate; each further one has half.
        resolution: knobs nearer to each other than this share are not told apart: there luck of the
            days decides, not the knob.
        batch: days played side by side.
        known: (knob, silent rate, utilisation) of an earlier sweep on the same days.
        report: progress callback.

    Returns:
        One result for each rate, in order; all hold the same sweep.
    """
    said: dict[str, Any] = {} if report is None else {"report": report}

    def play(knob: float) -> PolicyDays:
        return play_days(policy.with_knob(knob), scenario, seeds, batch=batch, **said)

    sweep = _Sweep(policy, play, resolution)
    sweep.tried.update({knob: (its, busy) for knob, its, busy in known})
    for number, rate in enumerate(rates):
        for _ in range(most_trials if number == 0 else most_trials // 2):
            if sweep.tried:
                best = sweep.tried[sweep.nearest(rate)][0]
                if abs(best - rate) <= tolerance * rate:
                    break
            knob = sweep.next_knob(rate)
            if knob is None:
                break
            sweep.measure(knob)
    chosen = [sweep.best_for(rate, tolerance) for rate in rates]
    points = sweep.points()
    found: list[Tuned] = []
    for rate, knob in zip(rates, chosen, strict=True):
        its = sweep.tried[knob][0]
        reached = abs(its - rate) <= reach * rate
        found.append(Tuned(policy.with_knob(knob), its, points, reached))
    return tuple(found)


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

    def over_best_rule(self) -> tuple[str, Interval]:
        """The policy that the judged one does worst against, and its utilisation minus that one's.

        At equal silent rate where that could be computed, else each at its own.
        """
        gaps = {
            row.b: row.utilisation if equal is None else equal
            for row, equal in zip(self.differences, self.at_equal_rate, strict=True)
        }
        best = min(gaps, key=lambda name: gaps[name].value)
        return best, gaps[best]


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
    first: Tuned | None = None,
    report: Report | None = None,
) -> Verdict:
    """Tune every policy to one silent rate on the tuning days, compare on the test days.

    Args:
        policies: the judged policy first; differences are it minus each of the others.
        scenario: the world.
        target_rate: silent / answered that every knob is tuned to.
        n_tune_days: days for the knobs.
        n_test_days: days for the figures.
        first: the judged policy, if it was tuned to that rate on those days already.
        report: progress callback.
    """
    cap = scenario.rule.cap
    if not 0.0 < target_rate < 1.0:
        raise ConfigError(
            f"target_rate = {target_rate} must lie between 0 and 1 (the cap is {cap})"
        )
    tuning_days = tune_seeds(n_tune_days)
    tuned = [first or tune(policies[0], scenario, target_rate, tuning_days, report=report)]
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
            if other.reached
            and (slope := _slope(other, target_rate)) is not None
            and days[0].days["answered"].any()  # nobody answers who is never dialed
            else None
            for other, item in zip(tuned[1:], days[1:], strict=True)
        ),
    )


def _slope(tuned: Tuned, rate: float) -> float | None:
    return exchange_rate([(its, busy) for _, its, busy in tuned.sweep], rate)


__all__ = [
    "MAX_DAYS",
    "Tuned",
    "Verdict",
    "judge",
    "make_world",
    "play_days",
    "play_world",
    "rules",
    "select_seeds",
    "silent_rate",
    "test_seeds",
    "tune",
    "tune_rates",
    "tune_seeds",
]
