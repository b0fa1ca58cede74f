"""Who plays in which world in the studies of compliance: policies, loops, shields and worlds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quietdial.agents.budget import BudgetFeedback
from quietdial.agents.policy import Policy
from quietdial.agents.rules import FixedRatio, Marginal
from quietdial.agents.rules.feedback import MarginalBudget
from quietdial.agents.rules.unicom import Predict1
from quietdial.agents.shields import Shielded
from quietdial.envs.pacing.shield import Shield
from quietdial.envs.scenario import Scenario, changed, load_scenario
from quietdial.experiments.evaluate import tune, tune_seeds

FLOORS: Final = ("study-real-10", "study-real-25")
TARGET: Final = 0.03

DETERMINISTIC: Final = Shield("deterministic")
BORROWING: Final = Shield("borrowing")
RESERVING: Final = Shield("deterministic", reserves=True)


@dataclass(frozen=True)
class AlwaysDials:
    """Dials as many calls as it may at every decision, or a random number: to test shields with.

    Attributes:
        most: calls of a decision.
        random: whether to draw the number from 0 to `most`, by a hash of decision and row.
    """

    most: int
    random: bool = False

    observation: str = field(default="none", init=False, repr=False)
    action: str = field(default="dials", init=False, repr=False)
    base_theta: float = field(default=0.02, init=False, repr=False)
    knob_name: str | None = field(default=None, init=False, repr=False)
    knob: float | None = field(default=None, init=False, repr=False)
    knob_range: tuple[float, float] | None = field(default=None, init=False, repr=False)

    @property
    def name(self) -> str:
        """Short name for tables."""
        return "random-dials" if self.random else "dial-everything"

    @property
    def constant(self) -> bool:
        """Whether the action never changes."""
        return not self.random

    def act(
        self, obs: NDArray[Any], state: object | None = None
    ) -> tuple[NDArray[np.int64], object | None]:
        """Calls to place in every campaign, int64 (B,)."""
        if not self.random:
            return np.full(len(obs), self.most), state
        rng = state if isinstance(state, np.random.Generator) else np.random.default_rng(len(obs))
        return rng.integers(0, self.most + 1, len(obs)), rng

    def with_knob(self, value: float) -> AlwaysDials:
        """It has no knob; the value is not used."""
        del value
        return self


class Setting(NamedTuple):
    """A policy in a world, as the table shows it.

    Attributes:
        world: name of the world in the table.
        label: name of the policy in the table.
        policies: who plays: one policy, or those of several training seeds, each its share of days.
        scenario: the world.
        bare: label of the same policy without a shield or loop, to measure the cost against.
    """

    world: str
    label: str
    policies: tuple[Policy, ...]
    scenario: Scenario
    bare: str | None = None


class Loop(NamedTuple):
    """Settings of a budget loop that plans, and of the borrowing shield around it.

    Attributes:
        kappa: strength of the loop.
        margin: silent calls that it plans to leave at the end of the window, see `BudgetFeedback`.
        answers_per_agent_s: answered calls of an agent and second that the shield counts on.
    """

    kappa: float
    margin: float
    answers_per_agent_s: float

    @property
    def name(self) -> str:
        """The loop in the words of the table."""
        return f"plan, margin {self.margin:g}"

    @property
    def shield(self) -> Shield:
        """The borrowing shield."""
        return Shield("borrowing", answers_per_agent_s=self.answers_per_agent_s)

    def around(self, policy: Policy) -> BudgetFeedback:
        """The loop around a policy."""
        return BudgetFeedback(policy, self.kappa, TARGET, self.margin)


def broken_worlds() -> dict[str, Scenario]:
    """Worlds of 10 agents in which a condition of the theorem fails."""
    base = load_scenario("study-real-10")
    amd = {
        "kind": "amd",
        "decision": {"kind": "uniform", "low_s": 1.0, "high_s": 2.0},
        "p_false_machine": 0.02,
        "p_false_person": 0.05,
        "machine_handling": {"kind": "exponential", "mean_s": 8.0},
    }
    shifts = [
        {"n_agents": 4},
        *({"n_agents": 1, "logout": f"{hour}:30"} for hour in (11, 12, 13, 14, 15, 16)),
    ]
    masses = [{"n_agents": 4}, {"n_agents": 6, "logout": "14:00"}]
    return {
        "late-feed": changed(base, "late-feed", belief={"feed_delay_s": 3.0}),
        "amd": changed(base, "amd", calls={"detection": amd}),
        "log-offs": changed(base, "log-offs", floor={"shifts": shifts}),
        "mass-log-off": changed(base, "mass-log-off", floor={"shifts": masses}),
    }


def settings(n_tune_days: int) -> list[Setting]:
    """All settings, tuned rules included."""
    seeds = tune_seeds(n_tune_days)
    found: list[Setting] = []
    for name in FLOORS:
        scenario = load_scenario(name)
        found += alone_and_behind(
            scenario, "marginal .02", Marginal(0.02), BORROWING, DETERMINISTIC
        )
        found += alone_and_behind(scenario, "marginal .012", Marginal(0.012))
        for target in (0.027, 0.024):
            fed = MarginalBudget(kappa=10.0, target=target)
            label = f"budget {100 * target:g} %"
            found += alone_and_behind(scenario, label, fed, BORROWING, DETERMINISTIC)
        ruled = (
            ("fixed ratio", FixedRatio(3.0)),
            ("predict1", Predict1(50.0, max_silent_pct=100.0)),
        )
        for label, rule in ruled:
            best = tune(rule, scenario, TARGET, seeds).policy
            found += alone_and_behind(scenario, f"{label} at 3 %", best, BORROWING, DETERMINISTIC)
        for reckless in (False, True):
            dialer = AlwaysDials(scenario.max_dials, random=reckless)
            found.append(_behind(name, scenario, dialer, DETERMINISTIC))
    for name, scenario in broken_worlds().items():
        found += alone_and_behind(scenario, "marginal .02", Marginal(0.02), DETERMINISTIC)
        if "log-off" in name:
            dialer = AlwaysDials(scenario.max_dials)
            found.append(_behind(name, scenario, Marginal(0.02), RESERVING))
            found.append(_behind(name, scenario, dialer, DETERMINISTIC))
            found.append(_behind(name, scenario, dialer, RESERVING))
    stale = load_scenario("study-real-10")
    for period_s in (2.5, 15.0):
        shield = Shield(period_s=period_s)
        for policy in (Marginal(0.02), AlwaysDials(stale.max_dials)):
            found.append(_behind(f"placer {period_s:g} s", stale, policy, shield))
    return found


def shield_name(shield: Shield) -> str:
    """A shield in the words of the table."""
    pace = shield.answers_per_agent_s
    return shield.kind if pace is None else f"{shield.kind}, r {pace:g}"


def alone_and_behind(
    scenario: Scenario, label: str, policy: Policy, *shields: Shield
) -> list[Setting]:
    """A policy alone, and behind each shield."""
    world = scenario.name
    return [
        Setting(world, label, (policy,), scenario),
        *(
            Setting(
                world,
                f"{label} + {shield_name(shield)}",
                (Shielded(policy, shield),),
                scenario,
                label,
            )
            for shield in shields
        ),
    ]


def rules_in_loop(
    scenario: Scenario, loop: Loop, n_tune_days: int, *, predict1: bool
) -> list[Setting]:
    """Rules alone, with the loop inside the shield, and with the loop.

    Args:
        scenario: the world.
        loop: loop and shield.
        n_tune_days: days on which Predict1 is tuned.
        predict1: Predict1 plays too, which has no such loop of its own.
    """
    rules: list[tuple[str, Policy]] = [("marginal .02", Marginal(0.02))]
    if predict1:
        rule = Predict1(50.0, max_silent_pct=100.0)
        best = tune(rule, scenario, TARGET, tune_seeds(n_tune_days)).policy
        rules.append(("predict1 at 3 %", best))
    found: list[Setting] = []
    for label, policy in rules:
        world, fed = scenario.name, loop.around(policy)
        looped = f"{label} + {loop.name}"
        behind = f"{looped} + {shield_name(loop.shield)}"
        found += [
            Setting(world, label, (policy,), scenario),
            Setting(world, behind, (Shielded(fed, loop.shield),), scenario, label),
            Setting(world, looped, (fed,), scenario, label),
        ]
    return found


def long_windows(scenario: Scenario, hours: float) -> list[Setting]:
    """The marginal rule in windows of so many hours, alone and behind each shield."""
    name, episode = f"{scenario.name}-{hours:g}h", {"duration_s": hours * 3600.0}
    longer = changed(scenario, name, episode=episode)
    return alone_and_behind(longer, "marginal .02", Marginal(0.02), BORROWING, DETERMINISTIC)


def _behind(world: str, scenario: Scenario, policy: Policy, shield: Shield) -> Setting:
    """A policy behind a shield, under its own name."""
    behind = Shielded(policy, shield)
    return Setting(world, behind.name, (behind,), scenario)
