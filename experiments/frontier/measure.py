"""Curves of throughput against silent rate: learned policies, rules and the exact optimum.

Every policy's knob is tuned to each of the silent rates on tuning days and measured on test days.
Learned are one policy that is conditioned on the price of a silent call, whose knob is that price,
and one policy for each cap, trained under it. All meet the same days.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from quietdial.agents.learners.config import LearnerConfig
from quietdial.agents.learners.lagrange import HIGHEST, LOWEST
from quietdial.agents.optimal import Optimum, frontier
from quietdial.agents.optimal_policy import OptimalMarkov
from quietdial.agents.policy import Policy, weight_of_price
from quietdial.agents.rules.catalogue import rule_named
from quietdial.envs.errors import ConfigError
from quietdial.envs.pacing.markov import MarkovWorld
from quietdial.envs.scenario import Scenario
from quietdial.experiments.evaluate import (
    make_world,
    play_days,
    test_seeds,
    tune_rates,
    tune_seeds,
)
from quietdial.experiments.frontier.price import Price, prices_of
from quietdial.experiments.league.jobs import difference_at_equal_rate
from quietdial.experiments.stats import Interval, PolicyDays, PolicySummary, summarise
from quietdial.experiments.studies.pool import Trained, TrainJob, train_all
from quietdial.experiments.sweeps.space import changed_world

CAPS: Final = (0.005, 0.01, 0.02, 0.03, 0.05)
"""Silent / answered, if nothing else is said."""

PRICES: Final = (20.0, 2000.0)
"""Between which prices the conditioned policy is trained, agent-seconds per silent call."""

REFERENCE: Final = "marginal"
CONDITIONED, PER_CAP, OPTIMUM = "conditioned on the price", "one policy per cap", "exact optimum"
_TRIALS: Final = 6

Told = Callable[[str], None]


@dataclass(frozen=True)
class FrontierSettings:
    """What a frontier is made of.

    Attributes:
        caps: silent / answered that policies are trained under and tuned to, rising.
        rules: names of rules.
        learner: settings of the trainings; None: none is trained.
        prices: lowest and highest price that the conditioned policy is trained for.
        tune_days: days for the knobs.
        test_days: days for the figures.
    """

    caps: tuple[float, ...] = CAPS
    rules: tuple[str, ...] = ("progressive", "fixed-ratio", REFERENCE)
    learner: LearnerConfig | None = None
    prices: tuple[float, float] = PRICES
    tune_days: int = 24
    test_days: int = 48

    def checked(self) -> FrontierSettings:
        """The same (ConfigError: a cap is not allowed)."""
        if len(self.caps) < 2 or list(self.caps) != sorted(set(self.caps)):
            raise ConfigError(f"caps = {self.caps} must be at least two, rising")
        if not (self.caps[0] > 0.0 and self.caps[-1] < 1.0):
            raise ConfigError(f"caps = {self.caps} must lie between 0 and 1")
        return self


@dataclass(frozen=True)
class Point:
    """A policy at one cap, on test days.

    Attributes:
        cap: silent / answered that it was tuned to; None for a policy without a knob.
        summary: its figures.
        days: its days.
        reached: whether the tuning days had that rate.
        minus_reference: utilisation minus the reference rule's at the same silent rate, paired.
    """

    cap: float | None
    summary: PolicySummary
    days: PolicyDays
    reached: bool
    minus_reference: Interval | None = None


@dataclass(frozen=True)
class Curve:
    """One policy, or one for each cap, over all caps.

    Attributes:
        name: what it is.
        points: by cap.
        prices: between neighbouring points.
    """

    name: str
    points: tuple[Point, ...]
    prices: tuple[Price, ...] = ()


@dataclass(frozen=True)
class Frontier:
    """All curves of a scenario.

    Attributes:
        scenario: its name.
        cap: its own cap.
        curves: rules, learned policies, the optimum played.
        exact: the exact optimum at each cap; empty where it is not known.
        notes: what could not be played, and why.
    """

    scenario: str
    cap: float
    curves: tuple[Curve, ...]
    exact: tuple[Optimum, ...] = ()
    notes: tuple[str, ...] = field(default=())


Sweep = tuple[tuple[float, float, float], ...]


def measure(
    scenario: Scenario,
    settings: FrontierSettings,
    work: Path,
    processes: int,
    *,
    policies: Sequence[tuple[str, Policy]] = (),
    tell: Told = lambda _: None,
) -> Frontier:
    """Train what is missing, tune and play everything.

    Args:
        scenario: the world.
        settings: caps, rules, learner, days.
        work: folder of the trainings; what is finished there is taken.
        processes: trainings at the same time.
        policies: further policies by name, for instance of finished runs.
        tell: told what is being done.
    """
    notes: list[str] = []
    reference, sweep = _by_knob(rule_named(REFERENCE), scenario, settings)
    tell(f"{scenario.name}: {REFERENCE} played")
    thetas = [point.days.knob for point in reference]
    learned = _train(scenario, settings, thetas, work, processes, tell)
    curves: list[Curve] = []
    families: list[tuple[str, Policy]] = [
        *((name, rule_named(name)) for name in settings.rules if name != REFERENCE),
        *policies,
        *((CONDITIONED, learned[0]) for _ in learned[:1]),
    ]
    for name, policy in families:
        try:
            make_world(policy, scenario, 1)
        except ConfigError as error:
            notes.append(f"{name} cannot play {scenario.name}: {error}")
            continue
        points, _ = _by_knob(policy, scenario, settings)
        curves.append(_compared(name, points, reference, sweep))
        tell(f"{scenario.name}: {name} played")
    if learned:
        own = [
            _by_knob(policy, scenario, settings, (cap,))[0][0]
            for policy, cap in zip(learned[1:], settings.caps, strict=True)
        ]
        curves.append(_compared(PER_CAP, own, reference, sweep))
        tell(f"{scenario.name}: {PER_CAP} played")
    curves.insert(0, _compared(REFERENCE, reference, reference, sweep))
    exact = _exact(scenario, settings.caps)
    if exact:
        points, _ = _by_knob(OptimalMarkov.of(scenario), scenario, settings, tuned=False)
        curves.append(_compared(OPTIMUM, points, reference, sweep))
        tell(f"{scenario.name}: {OPTIMUM} played")
    return Frontier(scenario.name, scenario.rule.cap, tuple(curves), exact, tuple(notes))


def _train(
    scenario: Scenario,
    settings: FrontierSettings,
    thetas: Sequence[float | None],
    work: Path,
    processes: int,
    tell: Told,
) -> list[Policy]:
    """The conditioned policy, then one for each cap; nothing without a learner.

    A policy for one cap stands on the base rule with the threshold that has this rate on the tuning
    days (`thetas`), and starts with the price that goes with it, its reward scaled as by the
    conditioned one.
    """
    learner = settings.learner
    if learner is None:
        return []
    priced = _changed(learner, conditioned=settings.prices, multiplier="fixed")
    jobs = [TrainJob(f"{scenario.name}-conditioned", priced, scenario)]
    for cap, theta in zip(settings.caps, thetas, strict=True):
        own = learner
        if theta is not None and learner.action.startswith("residual"):
            price = learner.initial_multiplier * learner.base_theta / theta
            price = min(max(price, LOWEST), HIGHEST)
            scale = learner.reward_scale * weight_of_price(price)
            own = _changed(learner, base_theta=theta, initial_multiplier=price, reward_scale=scale)
        world = changed_world(scenario, {"rule.cap": cap})
        jobs.append(TrainJob(f"{scenario.name}-cap-{cap:g}", own, world))

    def report(step: Trained) -> None:
        tell(
            f"trained {step.done}/{step.total} {step.key}: {step.error or f'{step.seconds:.0f} s'}"
        )

    return list(train_all(jobs, work, processes, report).values())


def _changed(learner: LearnerConfig, **changes: object) -> LearnerConfig:
    return LearnerConfig.model_validate({**learner.model_dump(), **changes})


def _by_knob(
    policy: Policy,
    scenario: Scenario,
    settings: FrontierSettings,
    caps: tuple[float, ...] | None = None,
    *,
    tuned: bool = True,
) -> tuple[list[Point], Sweep]:
    """A policy at each cap, and the sweep of its knob; one point if it has no knob.

    With `tuned` False the caps are the knob itself.
    """
    caps = settings.caps if caps is None else caps
    seeds = test_seeds(settings.test_days)
    played: dict[float | None, PolicyDays] = {}

    def point(at: Policy, cap: float | None, *, reached: bool) -> Point:
        days = played.get(at.knob) or play_days(at, scenario, seeds)
        played[at.knob] = days
        return Point(cap, summarise(days, scenario.rule.cap if cap is None else cap), days, reached)

    if policy.knob is None or policy.knob_range is None:
        return [point(policy, caps[0] if len(caps) == 1 else None, reached=False)], ()
    if not tuned:
        return [point(policy.with_knob(cap), cap, reached=True) for cap in caps], ()
    found = tune_rates(
        policy, scenario, caps, tune_seeds(settings.tune_days), most_trials=_TRIALS, tolerance=0.05
    )
    points = [
        point(item.policy, cap, reached=item.reached) for item, cap in zip(found, caps, strict=True)
    ]
    return points, found[0].sweep


def _compared(
    name: str, points: Sequence[Point], reference: Sequence[Point], sweep: Sweep
) -> Curve:
    """A curve with what each point is above the reference at its rate, and the prices."""
    compared = [
        Point(
            point.cap,
            point.summary,
            point.days,
            point.reached,
            difference_at_equal_rate(point.days, _nearest(point, reference).days, sweep),
        )
        for point in points
    ]
    return Curve(name, tuple(compared), tuple(prices_of([point.days for point in points])))


def _nearest(point: Point, reference: Sequence[Point]) -> Point:
    rate = point.summary.silent_rate.value
    return min(reference, key=lambda other: abs(other.summary.silent_rate.value - rate))


def _exact(scenario: Scenario, caps: tuple[float, ...]) -> tuple[Optimum, ...]:
    """The exact optimum at each cap, where the world can be solved."""
    try:
        world = MarkovWorld.of(scenario)
    except ConfigError:
        return ()
    return frontier(*world[:4], caps, world[4])
