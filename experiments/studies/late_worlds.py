"""The result `late-worlds`: floors whose agents are seen late, with more seeds.

Among the worlds of `hard-worlds` the learner came out ahead only where agents are seen late. This
study asks whether that is a property of such floors: two small teams, a feed that lags and a
script that polls, and training seeds of which none was used before.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Final

from rich.console import Console

from quietdial.envs.scenario import Scenario, changed, load_scenario
from quietdial.experiments.studies.hard_worlds import HardWorld, Plan, record

NAME: Final = "late-worlds"
STEPS: Final = 2_000_000
"""Decisions of a training."""


def _feed(n_agents: int) -> Scenario:
    name = f"late-feed-{n_agents}"
    return changed(load_scenario(f"study-real-{n_agents}"), name, belief={"feed_delay_s": 4.0})


def _poller(n_agents: int) -> Scenario:
    return changed(
        load_scenario(f"study-real-{n_agents}"),
        f"late-poller-{n_agents}",
        belief={"feed_delay_s": 3.0},
        episode={"decision_interval_s": 3.0},
    )


PLAN: Final = Plan(
    NAME,
    tuple(
        HardWorld(
            f"{kind}-{n_agents}",
            f"{n_agents} agents, {missing}",
            partial(build, n_agents),
            {"total_steps": STEPS},
        )
        for kind, missing, build in (
            ("late-feed", "seen 4 s late", _feed),
            ("late-poller", "seen 3 s late, with a decision every 3 s", _poller),
        )
        for n_agents in (5, 10)
    ),
    seeds=(11, 12, 13, 14, 15),
)


def run(*, work: Path, processes: int, output: Path | None, console: Console) -> None:
    """Do the study (see `command.Study`)."""
    record(PLAN, work=work, processes=processes, output=output, console=console)
