"""The rule below residual actions is the rule itself, also where the world places dials of its own.

A person who was met with silence is called again with an agent set aside (the Italian rule). That
dial belongs to no policy and comes before the decision, so the observation must show it already:
a residual policy whose base was worked out before would place one call too many.
"""

from __future__ import annotations

import numpy as np
import pytest

from quietdial.envs.pacing.control import RESIDUAL_LOW
from quietdial.envs.pacing.world import World
from quietdial.envs.scenario import load_scenario

THETA = 0.03
DAYS = [3_000_000_001, 3_000_000_002, 3_000_000_003]


def _dialed(scenario, action, order, hours):
    """Calls placed so far, decision by decision, (T, 3)."""
    world = World(3, scenario, observation="full", action=action, base_theta=THETA)
    everywhere = np.ones(3, np.bool_)
    world.begin(everywhere, DAYS)
    found = []
    for _ in range(int(3600 * hours)):
        world.observe()
        world.step(order, everywhere)
        found.append(world.totals()["dialed"].copy())
    return np.array(found), world


@pytest.mark.parametrize("name", ["italy-10", "study-real-10"])
def test_residual_0__is_the_rule_at_every_decision(name):
    scenario = load_scenario(name)
    theta = np.full((3, 1), np.float32(THETA))
    rule, world = _dialed(scenario, "theta", theta, 3.0)
    residual, _ = _dialed(scenario, "residual", np.full(3, -RESIDUAL_LOW), 3.0)
    assert np.array_equal(rule, residual)
    if world.is_full:
        assert world.totals()["held_s"].sum() > 0.0  # the world has placed such dials
