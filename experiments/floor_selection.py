"""Choosing a policy that was trained on many floors: on selection days of these floors.

A policy of many floors may be good on most of them and bad on the small ones, and the scenario on
which it is judged afterwards need not show that. So its checkpoints are looked at on some of the
floors that it was trained on, from the smallest to the largest, at the silent rate that the base
rule has there: what each gains over the base rule in utilisation. The best is the one that gains
most on average among those that lose at most :data:`MOST_LOST` on any floor, or what may be luck
of the few episodes (:func:`luck`). Floors where the base rule cannot keep the cap are left out,
since there is no rate at which it is worth comparing, unless all are of that kind. If none of the
checkpoints gains anything, the base rule itself is taken and marked: the training has learned
nothing that holds everywhere.

Floors on which the policy is judged are not looked at, nor tuning or test days: an episode starts
at a random moment of a selection day (`evaluate.select_seeds`) and is as long as those of training.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from quietdial.agents.learned_policy import Layer, LearnedPolicy
from quietdial.agents.policy import RESIDUAL_OFFSET, THETA_RANGE, Policy
from quietdial.agents.rules import Marginal
from quietdial.envs.errors import ConfigError
from quietdial.envs.pacing.params import Knowledge
from quietdial.envs.pacing.world import World
from quietdial.envs.scenario import Scenario
from quietdial.experiments.evaluate import Report, select_seeds
from quietdial.experiments.selection import BASE_RULE, Abreast

N_FLOORS: Final = 8
"""Floors that are looked at, if nothing else is said."""

N_EPISODES: Final = 12
"""Episodes on each of them, if nothing else is said."""

MOST_LOST: Final = 0.005
"""Utilisation that a checkpoint may lose to the base rule on a floor, beside :func:`luck`."""

_LUCK: Final = 0.21
"""Two standard errors of a gain measured in one agent-hour, see :func:`luck`."""

HORIZON_S: Final = 7200.0
"""Length of an episode where a policy does not say that of its training."""

_GRID: Final = (THETA_RANGE[0], 0.004, 0.02, 0.1, THETA_RANGE[1])
"""Thresholds at which the base rule is measured first."""

_FACTORS: Final = (0.4, 1.0, 2.5)
"""Thresholds at which the policies are measured, as shares of the base rule's."""

_HIGHER: Final = (6.0, 15.0, 40.0, 100.0, 250.0, 600.0, 1500.0)
"""Further ones, tried in turn as long as a policy stays below the rate at all before."""


@dataclass(frozen=True)
class FloorChoice:
    """Which policy was chosen on the training floors, and why.

    Attributes:
        step: the chosen one's training step; :data:`BASE_RULE`: the base rule.
        policy: the chosen policy.
        floors: names of the floors that were looked at, (F,).
        agents: their agents, (F,).
        gains: utilisation minus that of the base rule at its own silent rate, by step, (F,) each;
            -inf where the policy is above that rate with every threshold that was tried.
    """

    step: int
    policy: LearnedPolicy
    floors: tuple[str, ...]
    agents: tuple[int, ...]
    gains: Mapping[int, tuple[float, ...]]

    @property
    def is_base_rule(self) -> bool:
        """Whether no checkpoint was better than the base rule."""
        return self.step == BASE_RULE

    def to_dict(self) -> dict[str, Any]:
        """Everything but the policy as plain values; a gain of -inf is null."""
        return {
            "step": self.step,
            "floors": list(self.floors),
            "agents": list(self.agents),
            "gains": {
                str(step): [gain if math.isfinite(gain) else None for gain in gains]
                for step, gains in self.gains.items()
            },
        }


def among(
    policies: Mapping[int, LearnedPolicy],
    floors: Sequence[Scenario],
    report: Report | None = None,
) -> tuple[Mapping[int, LearnedPolicy], FloorChoice | None]:
    """The policies among which one is chosen on the scenario, and how they became so few.

    Args:
        policies: the policies by training step.
        floors: floors that they were trained on; none: the scenario alone.
        report: progress callback.

    Returns:
        The one that :func:`select_over_floors` chooses; all of them and None without floors, or
        if they are of another kind.
    """
    newest = policies[max(policies)]
    if not floors or not can_choose(newest):
        return policies, None
    horizon_s = float(((newest.training or {}).get("config") or {}).get("horizon_s", HORIZON_S))
    choice = select_over_floors(policies, floors, horizon_s=horizon_s, report=report)
    return {choice.step: choice.policy}, choice


def can_choose(policy: LearnedPolicy) -> bool:
    """Whether a policy is of the kind that is chosen so: residual, with the threshold as knob."""
    return policy.spec.action == "residual" and policy.knob_name == "base_theta"


def spread(floors: Sequence[Scenario], n: int) -> tuple[Scenario, ...]:
    """At most `n` of the floors, from the one with fewest agents to the one with most, evenly."""
    by_size = sorted(floors, key=lambda floor: (floor.floor.n_agents, floor.name))
    places = np.unique(np.linspace(0, len(by_size) - 1, min(n, len(by_size))).round().astype(int))
    return tuple(by_size[i] for i in places)


def base_rule_of(policy: LearnedPolicy) -> LearnedPolicy:
    """The same policy with an actor that never departs from the base rule."""
    layers = [Layer(np.zeros_like(old.weight), np.zeros_like(old.bias)) for old in policy.layers]
    layers[-1].bias[-RESIDUAL_OFFSET] = 1.0
    return replace(policy, layers=tuple(layers), deployed="argmax")


def select_over_floors(
    policies: Mapping[int, LearnedPolicy],
    floors: Sequence[Scenario],
    *,
    horizon_s: float,
    n_floors: int = N_FLOORS,
    n_episodes: int = N_EPISODES,
    report: Report | None = None,
) -> FloorChoice:
    """Choose among the checkpoints of one training, and the base rule below them.

    Args:
        policies: the policies by training step, as they are deployed.
        floors: the floors that they were trained on.
        horizon_s: length of an episode, as in training.
        n_floors: how many of the floors are looked at, see :func:`spread`.
        n_episodes: episodes on each, with each threshold.
        report: progress callback.

    Raises:
        ConfigError: no policy or floor, or policies without the threshold as knob.
    """
    if not policies or not floors:
        raise ConfigError("nothing to choose: give at least one policy and one floor")
    for policy in policies.values():
        if not can_choose(policy):
            raise ConfigError(f"{policy.name}: only residual policies are chosen over floors")
    looked_at = spread(floors, n_floors)
    seeds = select_seeds(max(n_episodes, 2))
    found: list[tuple[Scenario, bool, list[float]]] = []
    for number, floor in enumerate(looked_at):
        if report is not None:
            said = f"{len(policies)} checkpoints on {len(looked_at)} training floors"
            report(said, number / len(looked_at))
        found.append((floor, *gains_on(list(policies.values()), floor, seeds, horizon_s)))
    found = [one for one in found if one[1]] or found
    gains = {step: tuple(its[i] for *_, its in found) for i, step in enumerate(policies)}
    lost = [MOST_LOST + luck(floor, len(seeds), horizon_s) for floor, *_ in found]
    step = best_step(gains, lost)
    chosen = policies[max(policies)] if step == BASE_RULE else policies[step]
    return FloorChoice(
        step=step,
        policy=base_rule_of(chosen) if step == BASE_RULE else chosen,
        floors=tuple(floor.name for floor, *_ in found),
        agents=tuple(floor.floor.n_agents for floor, *_ in found),
        gains=gains,
    )


def luck(floor: Scenario, n_episodes: int, horizon_s: float) -> float:
    """What a gain on a floor may differ by luck: two standard errors of its utilisation.

    The silent calls of the episodes are about Poisson, n of them, so that two rates with one mean
    differ by sqrt(2 / n) of it; utilisation moves by about .05 for each unit of the logarithm of
    the rate; and an agent has some 15 answered calls an hour, 3 % of them silent:
    2 x .05 x sqrt(2 / (.45 x agent-hours)). Common random numbers make it less.
    """
    hours = n_episodes * min(horizon_s, floor.episode.duration_s) / 3600.0
    return _LUCK / math.sqrt(floor.floor.n_agents * hours)


def best_step(gains: Mapping[int, Sequence[float]], most_lost: Sequence[float]) -> int:
    """The step that gains most on average among those that lose little on every floor.

    Args:
        gains: gains on every floor by step, (F,) each.
        most_lost: what may be lost on each floor, (F,).

    Returns:
        The step; :data:`BASE_RULE` if no such step gains anything; of equals the longer trained.
    """
    safe = [
        (float(np.mean(its)), step)
        for step, its in gains.items()
        if its and all(gain >= -lost for gain, lost in zip(its, most_lost, strict=True))
    ]
    gain, step = max(safe, default=(0.0, BASE_RULE))
    return step if gain > 0.0 else BASE_RULE


def gains_on(
    policies: Sequence[LearnedPolicy],
    floor: Scenario,
    seeds: NDArray[np.int64],
    horizon_s: float,
) -> tuple[bool, list[float]]:
    """What each policy gains over the base rule on one floor, in utilisation at the same rate.

    The base rule's threshold is set near the cap of the floor, or at the lowest where the rule
    cannot keep that; the rate that it then has is the one of the comparison. The policies are
    measured at some thresholds around it, and at higher ones while one of them stays below that
    rate; between these a line is drawn (utilisation over the logarithm of the rate). A policy that
    stays below the rate at all of them is taken at the highest, so it may be better than is said.

    Returns:
        Whether the base rule can keep the cap there, and the gains.
    """
    knowledge = policies[0].spec.knowledge
    measured = _rates_of_rule(floor, seeds, horizon_s, knowledge)
    theta = _threshold(measured, floor.rule.cap)
    rate, level = _rule(theta, floor, seeds, horizon_s, knowledge)
    points: list[list[tuple[float, float]]] = [[] for _ in policies]
    low, high = THETA_RANGE

    def measure(knob: float) -> None:
        played = _play([policy.with_knob(knob) for policy in policies], floor, seeds, horizon_s)
        for its, point in zip(points, played, strict=True):
            its.append(point)

    for knob in sorted({min(max(theta * factor, low), high) for factor in _FACTORS}):
        measure(knob)
    for factor in _HIGHER:
        if theta * factor > high or min(max(its)[0] for its in points) >= rate:
            break
        measure(theta * factor)
    keeps = measured[0][1] <= floor.rule.cap * _NEAR
    return keeps, [level_at(its, rate) - level for its in points]


def base_thetas(
    floors: Sequence[Scenario],
    *,
    horizon_s: float,
    knowledge: Knowledge = "believed",
    n_episodes: int = N_EPISODES,
    report: Report | None = None,
) -> tuple[float, ...]:
    """Each floor's threshold of the base rule at which that rule is at the floor's cap.

    For `ManyFloors.base_thetas`: what is trained with one threshold for all floors is far above
    the cap on some and far below on others. Measured as in the choice of checkpoints, on selection
    days; seconds for each floor.

    Args:
        floors: the floors, each with a cap.
        horizon_s: length of an episode, as in training.
        knowledge: what the rule goes by, see `World`.
        n_episodes: episodes on each, with each threshold.
        report: progress callback.

    Returns:
        The thresholds in :data:`THETA_RANGE`, 4 significant digits; the lowest where the rule
        cannot keep the cap, the highest where it never reaches it.
    """
    seeds = select_seeds(max(n_episodes, 2))
    found: list[float] = []
    for number, floor in enumerate(floors):
        if report is not None:
            report(f"the base rule on {len(floors)} floors", number / len(floors))
        measured = _rates_of_rule(floor, seeds, horizon_s, knowledge)
        found.append(float(f"{_threshold(measured, floor.rule.cap):.4g}"))
    return tuple(found)


def _rule(
    theta: float,
    floor: Scenario,
    seeds: NDArray[np.int64],
    horizon_s: float,
    knowledge: Knowledge,
) -> tuple[float, float]:
    """Silent rate and utilisation of the base rule at a threshold."""
    (only,) = _play([Marginal(theta, knowledge)], floor, seeds, horizon_s)
    return only


def _rates_of_rule(
    floor: Scenario, seeds: NDArray[np.int64], horizon_s: float, knowledge: Knowledge
) -> list[tuple[float, float]]:
    """(threshold, silent rate) of the base rule at each threshold of the grid."""
    return [(theta, _rule(theta, floor, seeds, horizon_s, knowledge)[0]) for theta in _GRID]


def _threshold(measured: Sequence[tuple[float, float]], cap: float) -> float:
    """The threshold at which a line through (threshold, rate) meets the cap, in logarithms."""
    x = [math.log(theta) for theta, _ in measured]
    y = np.maximum.accumulate([math.log(rate + 1e-4) for _, rate in measured])
    return math.exp(float(np.interp(math.log(cap + 1e-4), y, x)))


def level_at(points: Sequence[tuple[float, float]], rate: float) -> float:
    """Utilisation at a silent rate, from (rate, utilisation) of several knobs.

    -inf if all are above it; that at the highest rate if all are below.
    """
    by_rate = sorted(points)
    if by_rate[0][0] > rate * _NEAR:
        return -math.inf
    x = [math.log(its + 1e-4) for its, _ in by_rate]
    return float(np.interp(math.log(rate + 1e-4), x, [level for _, level in by_rate]))


_NEAR: Final = 1.1
"""A rate so many times another still counts as that one: luck of few episodes."""


def _play(
    policies: Sequence[Policy],
    floor: Scenario,
    seeds: NDArray[np.int64],
    horizon_s: float,
) -> list[tuple[float, float]]:
    """Silent rate and utilisation of each policy over the same episodes, all in one world."""
    first = policies[0]
    n = len(seeds)
    world = World(
        n * len(policies),
        floor,
        observation=first.observation,
        action=first.action,
        base_theta=first.base_theta,
        start="random",
        horizon_s=min(horizon_s, floor.episode.duration_s),
        **dict(getattr(first, "world_options", {})),
    )
    everywhere = np.ones(n * len(policies), np.bool_)
    world.begin(everywhere, [int(seed) for seed in np.tile(seeds, len(policies))])
    before = world.totals()
    n_steps = round(world.scenario.episode.duration_s / floor.episode.decision_interval_s)
    abreast, state, active = Abreast(policies, n), None, everywhere.copy()
    while active.any():
        actions, state = abreast.act(world.observe(), state)
        if world.action.name == "residual":
            active &= world.step(actions, active)[:, 4] == 0.0
        else:  # a rule: its action never changes
            active &= world.hold(actions, active, n_steps)[:, 4] == 0.0
    gone = {name: values - before[name] for name, values in world.totals().items()}
    found = []
    for rows in abreast.blocks:
        its = {name: float(values[rows].sum()) for name, values in gone.items()}
        busy = (its["talk_s"] + its["wrap_s"]) / max(its["available_s"], 1e-9)
        found.append((its["silent"] / max(its["answered"], 1.0), busy))
    return found
