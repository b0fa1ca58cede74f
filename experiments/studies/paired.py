"""Learned policies of several training seeds against other policies, at exactly one silent rate.

Every knob is tuned to the rate on the tuning days. On the test days a rate then differs by chance,
so each day's utilisation is moved along the policy's own slope to the rate asked for
(`stats.utilisation_at`). Days and training seeds are both drawn at random, and the same days are
met by all: the differences form a matrix of seeds x days, and the interval of its mean counts both
(`stats.crossed_interval`).
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from quietdial.agents.learned_policy import LearnedPolicy
from quietdial.agents.policy import Policy, scenario_sha256
from quietdial.agents.wrapped import Wrapped, unwrapped
from quietdial.envs.errors import ConfigError, QuietDialError
from quietdial.envs.loading import write_text_atomic
from quietdial.envs.scenario import Scenario
from quietdial.experiments.evaluate import (
    play_days,
    select_seeds,
    silent_rate,
    test_seeds,
    tune_rates,
    tune_seeds,
)
from quietdial.experiments.executors import (
    InlineExecutor,
    Key,
    LocalExecutor,
    Outcome,
    Plain,
    run_all,
)
from quietdial.experiments.league.entries import settings_of
from quietdial.experiments.league.jobs import days_from_plain, days_to_plain, slope_near
from quietdial.experiments.league.sources import code_sha256, kernel_sha256
from quietdial.experiments.rundir import make_folder
from quietdial.experiments.stats import (
    Interval,
    PolicyDays,
    crossed_interval,
    mean_interval,
    utilisation_at,
)

__all__ = [
    "AsShipped",
    "AtRate",
    "Comparison",
    "Days",
    "Facing",
    "compare_at_rate",
    "fingerprint",
    "judge_at",
    "judge_many",
]

FloatArray = NDArray[np.float64]
Said = Callable[[str], None]
"""Told in words what was done."""

_STEP = 1.2
"""A second knob for the slope, where tuning needed only one."""

_NEAR = 0.25
"""A rate is called near another when it differs by at most this share; slopes hold that far."""


@dataclass(frozen=True)
class Days:
    """How many days are played.

    Attributes:
        tune: days for every knob that is tried.
        test: days for the figures.
        tolerance: a rate is met when the tuning days' rate is within this share of it.
        most_trials: most knobs that are tried for one rate.
    """

    tune: int = 64
    test: int = 128
    tolerance: float = 0.02
    most_trials: int = 8


@dataclass(frozen=True)
class AsShipped(Wrapped):
    """A rule with the settings that it is shipped with; its knob is not to be tuned."""

    @property
    def name(self) -> str:
        """The rule's name."""
        return f"{self.inner.name}, shipped"

    @property
    def knob_name(self) -> None:
        """No knob."""

    @property
    def knob(self) -> None:
        """No knob."""

    @property
    def knob_range(self) -> None:
        """No knob."""

    def with_knob(self, value: float) -> Self:
        """There is no knob to set (ConfigError)."""
        raise ConfigError(f"{self.name}: plays as it is shipped; it has no knob to set to {value}")


@dataclass(frozen=True)
class AtRate:
    """A policy with its knob set for one silent rate, and its test days.

    Attributes:
        policy: the policy as it was judged.
        rate: silent rate that was asked for.
        reached: whether its knob could be set for it. A policy without a knob never reaches it.
        tuning_rate: silent rate on the tuning days.
        slope: growth of its utilisation for each unit of the silent rate; 0 if unknown.
        days: the test days.
    """

    policy: Policy
    rate: float
    reached: bool
    tuning_rate: float
    slope: float
    days: PolicyDays

    @property
    def own_rate(self) -> float:
        """The rate at which it can be compared: the one asked for, else that of the tuning days."""
        return self.rate if self.reached else self.tuning_rate

    def values(self, rate: float | None = None, slope: float | None = None) -> FloatArray:
        """Utilisation of each day moved to a silent rate, (D,).

        Args:
            rate: the rate; None: `own_rate`.
            slope: growth of utilisation for each unit of the rate; None: its own.
        """
        to = self.own_rate if rate is None else rate
        return utilisation_at(self.days, to, self.slope if slope is None else slope)


@dataclass(frozen=True)
class Facing:
    """The learned policies against one opponent.

    Attributes:
        name: the opponent.
        knob_name: its knob.
        knob: value of the knob at the rate; None without a knob.
        reached: whether the opponent could be set to the rate.
        rate: silent rate of the opponent in the comparison.
        utilisation: the opponent's level at that rate.
        difference: learned minus opponent. At equal rate if the opponent reached it; else the
            learned policies stay at the rate asked for, and the opponent is at its own.
        matrix: the differences, (S, D).
        reference: reference rule at the opponent's own rate minus opponent, for an opponent that
            could not reach the rate; None if it did, or if the reference cannot reach its rate.
    """

    name: str
    knob_name: str | None
    knob: float | None
    reached: bool
    rate: float
    utilisation: Interval
    difference: Interval
    matrix: FloatArray
    reference: Interval | None = None

    @property
    def by_seed(self) -> FloatArray:
        """Mean difference of each training seed, (S,)."""
        means: FloatArray = self.matrix.mean(axis=1)
        return means


@dataclass(frozen=True)
class Comparison:
    """What :func:`compare_at_rate` found.

    Attributes:
        rate: the silent rate asked for.
        learned: the judged policies, one for each training seed.
        utilisation: their level at the rate (days and seeds random).
        facing: one entry for each opponent, in order.
    """

    rate: float
    learned: tuple[AtRate, ...]
    utilisation: Interval
    facing: tuple[Facing, ...]

    def against(self, name: str) -> Facing:
        """The entry of one opponent."""
        return next(row for row in self.facing if row.name == name)


def judge_at(
    policy: Policy,
    scenario: Scenario,
    rate: float,
    days: Days,
    work: Path | None = None,
    on: Literal["test", "select"] = "test",
) -> AtRate:
    """Tune a policy to a silent rate and play the test days.

    Args:
        policy: who decides; a learned or hand-built policy, with or without a knob.
        scenario: the world.
        rate: silent / answered, in (0, 1).
        days: how many days.
        work: folder in which the result is kept; a later call takes it from there as long as
            policy, world, code and days are the same. None: nothing is kept.
        on: which days are played with the knob that was found, `days.test` of them.
    """
    if not 0.0 < rate < 1.0:
        raise ConfigError(f"rate = {rate!r} must lie between 0 and 1")
    more: dict[str, Any] = {} if on == "test" else {"on": on}
    sha = fingerprint(policy, scenario, rate=rate, days=asdict(days), **more)
    path = None if work is None else work / f"{sha}.json"
    if path is not None and path.is_file():
        return _from_plain(policy, json.loads(path.read_text(encoding="utf-8")))
    seeds = test_seeds(days.test) if on == "test" else select_seeds(days.test)
    found = _judge(policy, scenario, rate, days, seeds)
    if path is not None:
        make_folder(path.parent)
        text = json.dumps(_to_plain(found), separators=(",", ":"), allow_nan=False)
        write_text_atomic(path, text + "\n")
    return found


def _judge(
    policy: Policy, scenario: Scenario, rate: float, days: Days, judged: NDArray[np.int64]
) -> AtRate:
    seeds = tune_seeds(days.tune)
    if policy.knob_range is None or policy.knob is None:
        tuning_rate = silent_rate(play_days(policy, scenario, seeds))
        played = play_days(policy, scenario, judged)
        return AtRate(policy, rate, False, tuning_rate, 0.0, played)
    (tuned,) = tune_rates(
        policy, scenario, (rate,), seeds, tolerance=days.tolerance, most_trials=days.most_trials
    )
    sweep = tuned.sweep
    if tuned.reached and len({r for _, r, _ in sweep}) < 2:
        knob = tuned.policy.knob
        low, high = policy.knob_range
        other = min(knob * _STEP, high) if knob is not None and knob > 0 else high
        if other == knob:
            other = max(other / _STEP, low)
        more = play_days(policy.with_knob(other), scenario, seeds)
        sweep = (*sweep, (other, silent_rate(more), float(more.utilisation.mean())))
    played = play_days(tuned.policy, scenario, judged)
    slope = slope_near(sweep, rate) if tuned.reached else 0.0
    return AtRate(tuned.policy, rate, tuned.reached, tuned.tuning_rate, slope, played)


def judge_job(spec: Mapping[str, Any], _: Plain | None = None) -> Plain:
    """:func:`judge_at` as a worker does it; the arguments by name."""
    return _to_plain(judge_at(**spec))


def judge_many(
    asked: Sequence[tuple[Policy, float]],
    scenario: Scenario,
    days: Days,
    work: Path | None = None,
    *,
    processes: int = 1,
    said: Said | None = None,
    on: Literal["test", "select"] = "test",
) -> list[AtRate]:
    """:func:`judge_at` for several (policy, rate), side by side in processes of one thread each.

    Raises:
        QuietDialError: a policy could not be judged; the others are, and are kept.
    """
    found: dict[Key, AtRate] = {}
    errors: list[str] = []
    by_key: dict[Key, tuple[Policy, float]] = {
        ("judge", str(i)): one for i, one in enumerate(asked)
    }

    def begin(key: Key) -> tuple[Mapping[str, Any], None]:
        policy, rate = by_key[key]
        given = {"policy": policy, "scenario": scenario, "rate": rate, "days": days}
        return {**given, "work": work, "on": on}, None

    def ended(outcome: Outcome, seconds: float) -> None:
        policy, rate = by_key[outcome.key]
        if outcome.result is None:
            errors.append(f"{policy.name} at {rate:g}: {outcome.error}")
            return
        found[outcome.key] = _from_plain(policy, outcome.result)
        _say(said, found[outcome.key])

    number = min(processes, len(asked))
    executor = InlineExecutor(judge_job) if number <= 1 else LocalExecutor(number, judge_job)
    run_all(executor, list(by_key), begin, ended)
    if errors:
        raise QuietDialError(f"judging failed: {'; '.join(sorted(errors))}")
    return [found[key] for key in by_key]


def _say(said: Said | None, found: AtRate) -> None:
    if said is not None:
        said(
            f"{found.policy.name} at {100 * found.rate:.3g} %: "
            f"utilisation {100 * found.days.utilisation.mean():.2f} %, "
            f"silent {100 * silent_rate(found.days):.2f} %"
            + ("" if found.reached else " (does not reach the rate)")
        )


def compare_at_rate(
    policies_by_seed: Sequence[Policy],
    opponents: Sequence[Policy],
    scenario: Scenario,
    rate: float,
    *,
    n_tune: int = 64,
    n_test: int = 128,
    tolerance: float = 0.02,
    most_trials: int = 8,
    names: Sequence[str] | None = None,
    reference: Policy | None = None,
    work: Path | None = None,
    processes: int = 1,
    said: Said | None = None,
) -> Comparison:
    """Policies of several training seeds minus opponents in utilisation, at exactly one rate.

    A learned policy that cannot be set to the rate (no knob) is compared at its own rate, to which
    the opponents are tuned anew when it is not near.

    Args:
        policies_by_seed: the same learner, one policy for each training seed, at least 2.
        opponents: whom they face; hand-built or learned.
        scenario: the world.
        rate: silent / answered.
        n_tune: days for every knob that is tried.
        n_test: days for the figures.
        tolerance: see :class:`Days`.
        most_trials: see :class:`Days`.
        names: names of the opponents; None: their own.
        reference: rule that is held against opponents that do not reach the rate, at their own.
        work: folder that keeps what was played, so that a later call goes on.
        processes: policies that are judged side by side.
        said: told in words what was done.

    Returns:
        Levels, and for each opponent the mean difference with its interval.
    """
    if len(policies_by_seed) < 2:
        raise ConfigError(f"{len(policies_by_seed)} training seed given; at least 2 are needed")
    if names is not None and len(names) != len(opponents):
        raise ConfigError(f"{len(names)} names for {len(opponents)} opponents")
    days = Days(n_tune, n_test, tolerance, most_trials)

    def many(asked: Sequence[tuple[Policy, float]]) -> list[AtRate]:
        return judge_many(asked, scenario, days, work, processes=processes, said=said)

    judged = many([(policy, rate) for policy in (*policies_by_seed, *opponents)])
    learned = judged[: len(policies_by_seed)]
    others = judged[len(policies_by_seed) :]
    facing = []
    for number, (opponent, other) in enumerate(zip(opponents, others, strict=True)):
        rows = []
        for one in learned:
            same = other
            if other.reached and abs(one.own_rate / rate - 1.0) > _NEAR:
                same = many([(opponent, one.own_rate)])[0]
            slope = one.slope if one.slope or not same.reached else same.slope
            at = one.own_rate if same.reached else None
            rows.append(one.values(slope=slope) - same.values(at))
        against = None
        if not other.reached and reference is not None and 0.0 < other.tuning_rate < 1.0:
            against = many([(reference, other.tuning_rate)])[0]
        matrix = np.array(rows)
        facing.append(
            Facing(
                name=opponent.name if names is None else names[number],
                knob_name=other.policy.knob_name,
                knob=other.policy.knob,
                reached=other.reached,
                rate=other.own_rate,
                utilisation=mean_interval(other.values()),
                difference=crossed_interval(matrix),
                matrix=matrix,
                reference=None
                if against is None or not against.reached
                else mean_interval(against.values() - other.values(slope=against.slope)),
            )
        )
    level = crossed_interval(np.array([one.values() for one in learned]))
    return Comparison(rate, tuple(learned), level, tuple(facing))


# --- what is kept ---------------------------------------------------------------------------------


def fingerprint(policy: Policy, scenario: Scenario, **more: Any) -> str:
    """Hash of all that played days depend on: policy, world, code, and `more` plain values."""
    inner = unwrapped(policy)
    modules = [type(inner).__module__]
    controller = getattr(inner, "controller", None)
    if controller is not None:
        from quietdial.envs.pacing.controllers.plug import MODULES

        modules.append(f"quietdial.envs.pacing.controllers.{MODULES[controller]}")
    around = policy
    while isinstance(around, Wrapped):
        if type(around).__module__.startswith("quietdial.agents."):
            modules.append(type(around).__module__)
        around = around.inner
    depends = {
        "policy": settings_of(policy),
        "options": repr(dict(getattr(policy, "world_options", {}))),
        "name": inner.name if isinstance(inner, LearnedPolicy) else "",
        "scenario": scenario_sha256(scenario),
        "kernel": kernel_sha256(),
        "code": code_sha256(modules, within="quietdial.agents."),
        **more,
    }
    text = json.dumps(depends, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def _to_plain(found: AtRate) -> dict[str, Any]:
    return {
        "rate": found.rate,
        "reached": found.reached,
        "tuning_rate": found.tuning_rate,
        "slope": found.slope if math.isfinite(found.slope) else 0.0,
        "days": days_to_plain(found.days),
    }


def _from_plain(policy: Policy, kept: dict[str, Any]) -> AtRate:
    days = days_from_plain(kept["days"], policy.name)
    if days.knob is not None:
        policy = policy.with_knob(days.knob)
    return AtRate(policy, kept["rate"], kept["reached"], kept["tuning_rate"], kept["slope"], days)
