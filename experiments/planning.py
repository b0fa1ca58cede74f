"""How many agents, or which silent rate, for a wanted number of conversations.

The world stays as it is but for its number of agents. For each number that is tried, the policy's
knob is tuned to the silent rate on tuning days and the conversations are counted on test days. The
answer is the smallest number whose mean reaches what is wanted; it comes with two more numbers:

* the smallest one whose upper 95 % limit reaches it: with fewer agents it surely is not reached;
* the smallest one whose lower 95 % limit reaches it: with so many agents it surely is, on average.

Asked the other way round, for a number of agents, the policy is played at several silent rates on
the same days. The rate at which the mean meets the wanted number lies on the line between two of
them; its interval is a bootstrap over days.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rich import box
from rich.table import Table

from quietdial.agents.optimal_policy import OptimalMarkov
from quietdial.agents.policy import Policy
from quietdial.envs.errors import ConfigError
from quietdial.envs.regulation.calendar import sessions_of
from quietdial.envs.scenario import Scenario
from quietdial.experiments.evaluate import (
    play_days,
    silent_rate,
    test_seeds,
    tune_rates,
    tune_seeds,
)
from quietdial.experiments.simulate import find_policy
from quietdial.experiments.stats import Interval, PolicyDays, mean_interval, summarise, wilson
from quietdial.experiments.sweeps.space import changed_world

MOST_AGENTS: Final = 500
RATES: Final = (0.001, 0.003, 0.006, 0.01, 0.02, 0.03, 0.05, 0.08)
"""Silent rates between which the one for a number of agents is looked for."""

OPTIMUM: Final = "optimal-markov"
_RESAMPLES, _SEED = 2000, 20_262
_TRIALS: Final = 6

MakePolicy = Callable[[Scenario], Policy]
Told = Callable[[str], None]


def policy_maker(name: str) -> MakePolicy:
    """What plays a scenario: a rule, a finished run, or the exact optimum, solved for each world.

    Raises:
        ConfigError: there is no such policy.
    """
    if name == OPTIMUM:
        return OptimalMarkov.of
    policy = find_policy(name)
    return lambda _: policy


@dataclass(frozen=True)
class Measured:
    """What a floor does at one number of agents and one silent rate.

    Attributes:
        n_agents: number of agents.
        per_h: conversations per hour of opening, all agents together, mean of the days.
        silent_rate: silent / answered, pooled.
        utilisation: mean of the days.
        reached: whether the tuning days had the wanted silent rate.
        by_day: conversations per hour of each test day, (D,).
        days: the test days.
    """

    n_agents: int
    per_h: Interval
    silent_rate: Interval
    utilisation: Interval
    reached: bool
    by_day: NDArray[np.float64]
    days: PolicyDays

    def to_dict(self) -> dict[str, Any]:
        """Its figures as plain values."""
        return {
            "n_agents": self.n_agents,
            "conversations_per_h": self.per_h.to_dict(),
            "silent_rate": self.silent_rate.to_dict(),
            "utilisation": self.utilisation.to_dict(),
            "reached": self.reached,
        }


@dataclass(frozen=True)
class AgentsPlan:
    """How many agents a wanted number of conversations takes.

    Attributes:
        wanted_per_h: conversations per hour of opening.
        rate: silent / answered that knobs were tuned to.
        n_agents: smallest number whose mean reaches it.
        at_least: with fewer it is surely not reached.
        at_most: with so many it surely is reached on average.
        days_reached: share of single days that reach it with `n_agents`.
        tried: all that was played, by number of agents.
    """

    wanted_per_h: float
    rate: float
    n_agents: int
    at_least: int
    at_most: int
    days_reached: Interval
    tried: tuple[Measured, ...]

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values."""
        return {
            "wanted_conversations_per_h": self.wanted_per_h,
            "rate": self.rate,
            "n_agents": self.n_agents,
            "at_least": self.at_least,
            "at_most": self.at_most,
            "days_reached": self.days_reached.to_dict(),
            "tried": [one.to_dict() for one in self.tried],
        }


@dataclass(frozen=True)
class RatePlan:
    """Which silent rate a wanted number of conversations takes with so many agents.

    Attributes:
        wanted_per_h: conversations per hour of opening.
        n_agents: number of agents.
        rate: silent / answered; None where no rate within what was played meets it.
        enough: whether the lowest rate that was played reaches it.
        tried: what was played, by rising silent rate.
    """

    wanted_per_h: float
    n_agents: int
    rate: Interval | None
    enough: bool
    tried: tuple[Measured, ...]

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values."""
        return {
            "wanted_conversations_per_h": self.wanted_per_h,
            "n_agents": self.n_agents,
            "rate": None if self.rate is None else self.rate.to_dict(),
            "enough": self.enough,
            "tried": [one.to_dict() for one in self.tried],
        }


class Planner:
    """Plays a world with other numbers of agents; what was played is kept.

    Args:
        scenario: the world.
        make_policy: who plays it.
        tune_days: days for the knobs.
        test_days: days for the figures.
        tell: told what was played.
    """

    def __init__(
        self,
        scenario: Scenario,
        make_policy: MakePolicy,
        *,
        tune_days: int = 16,
        test_days: int = 32,
        tell: Told = lambda _: None,
    ) -> None:
        self.scenario, self._make = scenario, make_policy
        self._tune_days, self._test_days, self._tell = tune_days, test_days, tell
        sessions = sessions_of(scenario)
        self.open_h = sum(s.close_ms - s.open_ms for s in sessions) / 3_600_000
        self._known: dict[tuple[int, float], Measured] = {}

    def agents_for(
        self, wanted_per_h: float, rate: float, most_agents: int = MOST_AGENTS
    ) -> AgentsPlan:
        """The number of agents for a wanted number of conversations at a silent rate.

        Args:
            wanted_per_h: conversations per hour of opening.
            rate: silent / answered.
            most_agents: the search ends there.

        Raises:
            ConfigError: the wanted number is not positive, or more agents would be needed.
        """
        if not wanted_per_h > 0.0:
            raise ConfigError(f"conversations per hour = {wanted_per_h:g} must be above 0")

        def at(n: int) -> Measured:
            return self.measure(n, (rate,))[0]

        def smallest(reaches: Callable[[Interval], bool]) -> int:
            guess = min(self._guess(wanted_per_h, rate), most_agents)
            return _smallest(lambda n: reaches(at(n).per_h), guess, most_agents)

        for _ in range(2):
            at(min(self._guess(wanted_per_h, rate), most_agents))
        answer = smallest(lambda per_h: per_h.value >= wanted_per_h)
        if not at(answer).per_h.value >= wanted_per_h:
            raise ConfigError(
                f"{wanted_per_h:g} conversations per hour take more than {most_agents} agents, who "
                f"have {at(answer).per_h.value:.1f}; give a higher --most-agents"
            )
        at_least = min(smallest(lambda per_h: per_h.hi >= wanted_per_h), answer)
        at_most = max(smallest(lambda per_h: per_h.lo >= wanted_per_h), answer)
        found = at(answer)
        n_reached = int(np.sum(found.by_day >= wanted_per_h))
        tried = [one for (_, its), one in sorted(self._known.items()) if its == rate]
        return AgentsPlan(
            wanted_per_h,
            rate,
            answer,
            at_least,
            at_most,
            wilson(n_reached, len(found.by_day)),
            tuple(tried),
        )

    def rate_for(
        self, wanted_per_h: float, n_agents: int, rates: Sequence[float] = RATES
    ) -> RatePlan:
        """The silent rate at which so many agents have the wanted number of conversations.

        Args:
            wanted_per_h: conversations per hour of opening.
            n_agents: number of agents.
            rates: silent rates that are played; the answer lies between them.
        """
        tried = sorted(self.measure(n_agents, rates), key=lambda one: one.silent_rate.value)
        n_days = len(tried[0].by_day)
        weights = np.random.Generator(np.random.PCG64(_SEED)).multinomial(
            n_days, np.full(n_days, 1.0 / n_days), size=_RESAMPLES
        )
        value = _rate_at(wanted_per_h, tried, np.ones((1, n_days)))[0]
        drawn = _rate_at(wanted_per_h, tried, weights.astype(np.float64))
        rate = None
        if np.isfinite(value):
            low, high = np.quantile(drawn, (0.025, 0.975), method="nearest")
            low = max(low, tried[0].silent_rate.value)
            high = min(high, tried[-1].silent_rate.value)
            rate = Interval(float(value), float(low), float(high), n_days)
        enough = tried[0].per_h.value >= wanted_per_h
        return RatePlan(wanted_per_h, n_agents, rate, bool(enough), tuple(tried))

    def measure(self, n_agents: int, rates: Sequence[float]) -> list[Measured]:
        """Tune the knob to each silent rate and count on the test days."""
        missing = [rate for rate in rates if (n_agents, rate) not in self._known]
        if missing:
            world = changed_world(self.scenario, {"floor.n_agents": n_agents})
            for rate, (policy, reached) in zip(missing, self._tuned(world, missing), strict=True):
                days = play_days(policy, world, test_seeds(self._test_days))
                summary = summarise(days, world.rule.cap)
                by_day = days.days["connected"] / self.open_h
                found = Measured(
                    n_agents,
                    mean_interval(by_day),
                    summary.silent_rate,
                    summary.utilisation,
                    reached,
                    by_day,
                    days,
                )
                self._known[n_agents, rate] = found
                self._tell(
                    f"{n_agents} agents at {100 * silent_rate(days):.2f} % silent: "
                    f"{found.per_h.text(scale=1, unit='conversations per hour')}"
                )
        return [self._known[n_agents, rate] for rate in rates]

    def _tuned(self, world: Scenario, rates: Sequence[float]) -> list[tuple[Policy, bool]]:
        policy = self._make(world)
        if isinstance(policy, OptimalMarkov):
            return [(policy.with_knob(rate), True) for rate in rates]
        if policy.knob is None or policy.knob_range is None:
            return [(policy, True) for _ in rates]
        found = tune_rates(
            policy, world, rates, tune_seeds(self._tune_days), most_trials=_TRIALS, tolerance=0.05
        )
        return [(item.policy, item.reached) for item in found]

    def _guess(self, wanted_per_h: float, rate: float) -> int:
        """Agents for a start, from what was measured, or a conversation of each every 5 minutes."""
        known = [one for (_, its), one in self._known.items() if its == rate]
        if not known:
            return max(round(wanted_per_h / 12.0), 1)
        near = min(known, key=lambda one: abs(one.per_h.value - wanted_per_h))
        return max(round(near.n_agents * wanted_per_h / max(near.per_h.value, 1e-6)), 1)


def _smallest(reaches: Callable[[int], bool], guess: int, most: int) -> int:
    """The smallest number from 1 to `most` that reaches something; `most` if none does."""
    low, high, step = 0, min(max(guess, 1), most), 1  # 0 surely does not
    while not reaches(high):
        if high == most:
            return most
        low, high, step = high, min(high + step, most), 2 * step
    while low == 0 and high > 1:
        tried = max(high - step, 1)
        if reaches(tried):
            high, step = tried, 2 * step
        else:
            low = tried
    while high - low > 1:
        tried = (low + high) // 2
        low, high = (low, tried) if reaches(tried) else (tried, high)
    return high


def _rate_at(
    wanted: float, tried: Sequence[Measured], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The silent rate where the line between two settings meets the wanted number, (R,).

    -inf where the lowest rate has more already, inf where even the highest has less. `weights` of
    the days are (R, D).
    """
    per_h = np.stack([weights @ one.by_day / weights.sum(axis=1) for one in tried])
    rates = np.stack(
        [
            (weights @ one.days.days["silent"]) / np.maximum(weights @ one.days.days["answered"], 1)
            for one in tried
        ]
    )
    found = np.where(per_h[0] >= wanted, -np.inf, np.inf)
    for k in range(len(tried) - 1, 0, -1):
        below, above = per_h[k - 1], per_h[k]
        inside = (below < wanted) & (wanted <= above)
        share = np.where(inside, (wanted - below) / np.where(inside, above - below, 1.0), 0.0)
        at = rates[k - 1] + share * (rates[k] - rates[k - 1])
        found = np.where(inside & np.isfinite(at) & (per_h[0] < wanted), at, found)
    return found


# --- what is told ---------------------------------------------------------------------------------


def agents_sentence(plan: AgentsPlan) -> str:
    """The answer in words."""
    sure = f"{plan.at_least} to {plan.at_most}" if plan.at_least < plan.at_most else "surely"
    share = plan.days_reached.text(digits=0)
    return (
        f"{plan.n_agents} agents ({sure}) have {plan.wanted_per_h:g} conversations per hour at "
        f"{100 * plan.rate:g} % silent, on average over the days; {share} of single days reach it."
    )


def rate_sentence(plan: RatePlan) -> str:
    """The answer in words."""
    who = f"{plan.n_agents} agents"
    what = f"{plan.wanted_per_h:g} conversations per hour"
    first, last = plan.tried[0], plan.tried[-1]
    if plan.rate is not None:
        rate = plan.rate
        less = " or less" if rate.lo <= first.silent_rate.value else ""
        more = " or more" if rate.hi >= last.silent_rate.value else ""
        return (
            f"{who} have {what} at {100 * rate.value:.2f} % ({100 * rate.lo:.2f}{less} to "
            f"{100 * rate.hi:.2f}{more}) silent, on average over the days."
        )
    if plan.enough:
        return (
            f"{who} have {what} already at {100 * first.silent_rate.value:.2f} % silent: "
            f"{first.per_h.value:.1f}."
        )
    return (
        f"{who} do not have {what} even at {100 * last.silent_rate.value:.2f} % silent: "
        f"{last.per_h.value:.1f}; more agents are needed."
    )


def plan_table(tried: Sequence[Measured]) -> Table:
    """All that was played."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for title in ("agents", "conversations per hour", "silent [%]", "utilisation [%]"):
        table.add_column(title, justify="right")
    for one in tried:
        rate = one.silent_rate.text(digits=2, unit="")
        table.add_row(
            str(one.n_agents),
            one.per_h.text(scale=1, unit=""),
            rate if one.reached else f"{rate}, not reached",
            one.utilisation.text(unit=""),
        )
    return table
