"""The budget loop that plans to the end of the window, inside the borrowing shield: `budget-plan`.

Rules on 1,000 test days of each floor, the second thousand of the test days: a first choice of
margins had been played on the first thousand (docs/compliance.md). Trained policies, and the loop
without a plan: budget_loop.py. Windows of 40 hours: long_windows.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

from rich.console import Console

from quietdial.agents.budget import BudgetFeedback
from quietdial.agents.policy import Policy
from quietdial.agents.rules import Marginal
from quietdial.agents.rules.unicom import Predict1
from quietdial.agents.shields import Shielded
from quietdial.envs.loading import write_json_atomic
from quietdial.envs.pacing.shield import Shield
from quietdial.envs.scenario import Scenario, load_scenario
from quietdial.experiments.bench.results import put_figures, result_file
from quietdial.experiments.evaluate import test_seeds, tune, tune_seeds
from quietdial.experiments.studies.compliance import N_DAYS, N_TUNE_DAYS, PAGE, page_table, play_all
from quietdial.experiments.studies.protected import FLOORS, TARGET, Setting

NAME: Final = "budget-plan"
COMMAND: Final = f"quietdial study {NAME} --output experiments/results/{NAME}.json"
RULE: Final = "marginal .02"


class Plan(NamedTuple):
    """Settings of a planning loop and of the borrowing shield around it."""

    kappa: float
    margin: float
    answers_per_agent_s: float

    @property
    def shield(self) -> Shield:
        """The borrowing shield."""
        return Shield("borrowing", answers_per_agent_s=self.answers_per_agent_s)

    def around(self, policy: Policy) -> BudgetFeedback:
        """The loop around a policy, with the cap as its target."""
        return BudgetFeedback(policy, self.kappa, TARGET, self.margin)


CHOSEN: Final = {
    "study-real-10": Plan(8.0, 4.0, 0.12),
    "study-real-25": Plan(10.0, 5.0, 0.03),
}
"""Chosen on 400 tuning days among kappa 5 to 20, margins of 1 to 5 calls and .0046 to .3 answered
calls per agent-second. 10 agents: 83.71 % busy there with no day above the cap. The first choice
was a margin of 3 calls with .03 calls per agent-second, 83.74 % and one day of 400 above, but 15
of the first 1,000 test days. 25 agents: 89.55 % and none."""


def planned(scenario: Scenario, plan: Plan, label: str, policy: Policy) -> list[Setting]:
    """A policy alone, with the planning loop, and with the shield around that."""
    fed, world = plan.around(policy), scenario.name
    loop = f"{label} + plan, margin {plan.margin:g}"
    behind = f"{loop} + borrowing, r {plan.answers_per_agent_s:g}"
    return [
        Setting(world, label, (policy,), scenario),
        Setting(world, behind, (Shielded(fed, plan.shield),), scenario, label),
        Setting(world, loop, (fed,), scenario, label),
    ]


def settings(n_tune_days: int) -> list[Setting]:
    """Who plays: the marginal rule on both floors, and on the first a rule tuned to 3 %."""
    found: list[Setting] = []
    for name in FLOORS:
        scenario = load_scenario(name)
        found += planned(scenario, CHOSEN[name], RULE, Marginal(0.02))
        if name == FLOORS[0]:
            rule = Predict1(50.0, max_silent_pct=100.0)
            best = tune(rule, scenario, TARGET, tune_seeds(n_tune_days)).policy
            found += planned(scenario, CHOSEN[name], "predict1 at 3 %", best)
    return found


def run(
    *,
    work: Path,
    processes: int,
    output: Path | None,
    console: Console,
    n_days: int = N_DAYS,
    n_tune_days: int = N_TUNE_DAYS,
) -> None:
    """Play every setting, show the table and write the figures; nothing is trained here."""
    del processes
    figures = play_all(settings(n_tune_days), test_seeds(2 * n_days)[n_days:], work, console)
    if output is None:
        return
    seeds = f"test days {n_days} to {2 * n_days - 1}; loops chosen on tuning days 0 to 399, "
    seeds += f"Predict1 tuned on tuning days 0 to {n_tune_days - 1}"
    write_json_atomic(output, result_file(NAME, COMMAND, seeds, figures))
    if PAGE.is_file():
        put_figures(PAGE, page_table(figures), NAME)
