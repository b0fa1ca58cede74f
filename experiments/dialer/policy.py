"""The plain level rule as a network, so that it can be exported where no run exists."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np

from quietdial.agents.bundle.describe import Seen
from quietdial.agents.bundle.write import Origin, write_policy
from quietdial.agents.learned_policy import Layer, LearnedPolicy
from quietdial.agents.policy import PolicySpec
from quietdial.agents.vicidial.rule import (
    ENOUGH_IDLE,
    IDLE_SHARE,
    MOST_WAITING,
    N_LEVELS,
    OVER_BUDGET,
    SPENT,
    THRIFTY,
    WAITING,
)
from quietdial.envs.pacing.spec import observation_fields
from quietdial.envs.scenario import Scenario
from quietdial.experiments.dialer.floor import SimulatedFloor
from quietdial.experiments.dialer.loop import INTERVAL_S

_STEEP: Final = 1000.0
"""Slope at which tanh is a step."""


def level_network(scenario: Scenario) -> LearnedPolicy:
    """`vicidial.rule.level_number` as weights: a step for each of its four questions.

    Hidden numbers are near -1 or 1. Level 0 wins if one of its two conditions holds, level 2 if
    both of its own do and level 0 does not win, else level 1.
    """
    fields = observation_fields("counters")
    asked = np.zeros((len(fields), 4))
    asked[OVER_BUDGET, 0] = asked[WAITING, 1] = asked[IDLE_SHARE, 2] = _STEEP
    asked[OVER_BUDGET, 3] = -_STEEP
    limits = _STEEP * np.array([-SPENT, -(MOST_WAITING - 0.5), -ENOUGH_IDLE, THRIFTY])
    chosen = np.zeros((4, N_LEVELS))
    chosen[:2, 0] = 1.5
    chosen[2:, 2] = 1.0
    bias = np.full(N_LEVELS, -10.0)
    bias[:3] = 1.5, 0.0, -1.0
    return LearnedPolicy(
        layers=(Layer(asked, limits), Layer(chosen, bias)),
        spec=PolicySpec.of(
            scenario,
            observation="counters",
            action="vicidial_level",
            fields=fields,
            n_actions=N_LEVELS,
            decision_interval_s=INTERVAL_S,
        ),
        name="level-rule",
    )


def export_level_rule(floor: SimulatedFloor, folder: Path, minutes: float = 15.0) -> Path:
    """Write the network as a bundle into `folder`; the floor is played on meanwhile.

    Args:
        floor: where it is to be used, at level 1.0.
        folder: the bundle's.
        minutes: how long the floor is watched.
    """
    scenario = floor.scenario
    until_s = floor.elapsed_s + 60.0 * minutes
    obs = []
    while floor.elapsed_s < until_s:
        floor.step()
        obs.append(floor.observation())
    totals = floor.totals()
    handle_s = (totals["talk_s"] + totals["wrap_s"]) / max(totals["connected"], 1.0)
    # a rule was trained nowhere, so it knows no other floors
    seen = Seen(
        obs=np.array(obs),
        present=(1.0, float(scenario.floor.n_agents)),
        answer_rate=(0.01, 0.99),
        handle_s=(handle_s, handle_s),
    )
    policy = level_network(scenario)
    return write_policy(policy, scenario, folder, seen=seen, origin=Origin(), vectors=1000)
