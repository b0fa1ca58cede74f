"""The budget loop that plans to the end of the window, inside the borrowing shield: `budget-plan`.

Rules on 2,000 test days of each floor, and trained policies of three seeds on the first 1,000 of
them, each seed on a third, alone and behind both shields. The days begin with the third thousand,
since earlier forms of the loop had been played on the first two (docs/compliance.md). The rest of
what keeps the cap: the study `compliance`. Windows of 40 hours: long_windows.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich.console import Console

from quietdial.agents.policy import Policy
from quietdial.agents.shields import Shielded
from quietdial.envs.scenario import load_scenario
from quietdial.experiments.evaluate import test_seeds
from quietdial.experiments.studies.command import command_of, progress
from quietdial.experiments.studies.compliance import N_TUNE_DAYS, play_all, write_figures
from quietdial.experiments.studies.pool import train_all
from quietdial.experiments.studies.protected import (
    BORROWING,
    DETERMINISTIC,
    FLOORS,
    Loop,
    Setting,
    rules_in_loop,
    shield_name,
)
from quietdial.experiments.studies.realistic import LEARNER, SEEDS, jobs_of

NAME: Final = "budget-plan"
COMMAND: Final = command_of(NAME)
N_DAYS: Final = 2000
N_LEARNED_DAYS: Final = 1000
FIRST_DAY: Final = 2000

CHOSEN: Final = {
    "study-real-10": Loop(10.0, 3.0, 0.12),
    "study-real-25": Loop(10.0, 5.0, 0.12),
}
"""Chosen on tuning days for the marginal rule. 10 agents: among kappa 5 to 16, margins of 2 to 4
calls, .012 to .12 answered calls per agent-second and highest exponents of .5 to 2.5; of 6,000 days
7 were above the cap, 83.7 % busy. 25 agents: margins of 3 to 5 calls; 1 of 1,500 days, 89.7 %."""


def rule_settings(n_tune_days: int) -> list[Setting]:
    """Rules: the marginal rule on both floors, and on the first one that is tuned to 3 %."""
    found: list[Setting] = []
    for name in FLOORS:
        scenario, first = load_scenario(name), name == FLOORS[0]
        found += rules_in_loop(scenario, CHOSEN[name], n_tune_days, predict1=first)
    return found


def learned_settings(name: str, policies: Sequence[Policy]) -> list[Setting]:
    """Trained policies of one floor: alone, behind shields, and with the loop."""
    scenario, loop = load_scenario(name), CHOSEN[name]
    fed = [loop.around(policy) for policy in policies]
    planned = f"{LEARNER} + {loop.name}"
    forms: dict[str, Sequence[Policy]] = {
        LEARNER: policies,
        f"{LEARNER} + deterministic": [Shielded(one, DETERMINISTIC) for one in policies],
        f"{LEARNER} + borrowing": [Shielded(one, BORROWING) for one in policies],
        f"{planned} + {shield_name(loop.shield)}": [Shielded(one, loop.shield) for one in fed],
        planned: fed,
    }
    return [
        Setting(name, label, tuple(who), scenario, None if label == LEARNER else LEARNER)
        for label, who in forms.items()
    ]


def run(
    *,
    work: Path,
    processes: int,
    output: Path | None,
    console: Console,
    n_days: int = N_DAYS,
    n_learned_days: int = N_LEARNED_DAYS,
    n_tune_days: int = N_TUNE_DAYS,
) -> None:
    """Train what is missing, play every setting, show and write (see `command.Study`)."""
    jobs = {floor: jobs_of(floor) for floor in FLOORS}
    every = [job for floor in FLOORS for job in jobs[floor]]
    trained = train_all(every, work, processes, progress(console))
    learned = [
        row
        for floor in FLOORS
        for row in learned_settings(floor, [trained[job.key] for job in jobs[floor]])
    ]
    days = test_seeds(FIRST_DAY + n_days)[FIRST_DAY:]
    figures = play_all(rule_settings(n_tune_days), days, work, console)
    figures += play_all(learned, days[:n_learned_days], work, console)
    seeds = f"test days from {FIRST_DAY} on, {n_days} for rules, {n_learned_days} for trained "
    seeds += f"policies; training {SEEDS}, a third of these days each; loops chosen on tuning days "
    seeds += f"0 to 5999, Predict1 tuned on tuning days 0 to {n_tune_days - 1}"
    write_figures(output, NAME, COMMAND, seeds, figures, of=NAME)
