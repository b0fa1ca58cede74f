"""The budget loop that plans to the end of the window, inside the borrowing shield: `budget-plan`.

Rules on 1,000 test days of each floor, the second thousand of the test days: a first choice of
margins had been played on the first thousand (docs/compliance.md). Trained policies, and the loop
without a plan: budget_loop.py. Windows of 40 hours: long_windows.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from rich.console import Console

from quietdial.envs.scenario import load_scenario
from quietdial.experiments.evaluate import test_seeds
from quietdial.experiments.studies.compliance import N_DAYS, N_TUNE_DAYS, play_all, write_figures
from quietdial.experiments.studies.protected import FLOORS, TARGET, Loop, Setting, rules_in_loop

NAME: Final = "budget-plan"
COMMAND: Final = f"quietdial study {NAME} --output experiments/results/{NAME}.json"

CHOSEN: Final = {
    "study-real-10": Loop(8.0, TARGET, 0.12, margin=4.0),
    "study-real-25": Loop(10.0, TARGET, 0.03, margin=5.0),
}
"""Chosen on 400 tuning days among kappa 5 to 20, margins of 1 to 5 calls and .0046 to .3 answered
calls per agent-second. 10 agents: 83.71 % busy there with no day above the cap. The first choice
was a margin of 3 calls with .03 calls per agent-second, 83.74 % and one day of 400 above, but 15
of the first 1,000 test days. 25 agents: 89.55 % and none."""


def settings(n_tune_days: int) -> list[Setting]:
    """Who plays: the marginal rule on both floors, and on the first a rule tuned to 3 %."""
    found: list[Setting] = []
    for name in FLOORS:
        scenario, first = load_scenario(name), name == FLOORS[0]
        found += rules_in_loop(scenario, CHOSEN[name], n_tune_days, predict1=first)
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
    seeds = f"test days {n_days} to {2 * n_days - 1}; loops chosen on tuning days 0 to 399, "
    seeds += f"Predict1 tuned on tuning days 0 to {n_tune_days - 1}"
    write_figures(output, NAME, COMMAND, seeds, figures, of=NAME)
