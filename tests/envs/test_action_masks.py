"""Hard rules as masks: what may not be dialed is masked, and the world holds to it anyway."""

import numpy as np
import pytest

from quietdial.envs import ConfigError, PacingEnv, PacingVectorEnv, Scenario, load_scenario
from quietdial.envs.pacing.world import World


def small(**changes):
    """Three agents, no one answers within a minute; dialing stops 60 s before the end of 180 s."""
    data = load_scenario("study-stat-5").model_dump(mode="json")
    data["calls"] |= {
        "unanswered": [
            {"outcome": "no_answer", "share": 1, "time": {"kind": "constant", "value_s": 60}}
        ],
        "answer_rate": {"kind": "constant", "p": 0},
        "max_dials_per_decision": 4,
        "max_lines": 6,
    } | changes.pop("calls", {})
    data["episode"] |= {"duration_s": 180.0, "close_s": 60.0}
    return Scenario.model_validate(data | {"action": "dials"} | changes)


@pytest.mark.parametrize("full", [False, True])
def test_action_masks__follow_lines_and_hours(full):
    world = World(1, small(), full=full)
    everywhere = np.ones(1, np.bool_)
    world.begin(everywhere, [1])
    assert world.action_masks().tolist() == [[True] * 5]
    world.step(np.array([4]), everywhere)  # 2 of 6 lines are left
    assert world.action_masks().tolist() == [[True, True, True, False, False]]
    world.step(np.array([4]), everywhere)  # asks for more than is possible: all lines are used
    assert world.totals()["dialed"].tolist() == [6]
    assert world.action_masks().tolist() == [[True, False, False, False, False]]
    for _ in range(118):  # at 120 s all calls are over, but dialing has stopped
        world.step(np.array([0]), everywhere)
    assert world.action_masks().tolist() == [[True, False, False, False, False]]


def test_action_masks__count_trunks_and_leave_cancelling_possible():
    rule = {"id": "test", "cap": 0.03, "wait_limit_s": 3, "may_cancel": True}
    env = PacingEnv(small(calls={"trunks": 3}, action="dials_or_cancel", rule=rule))
    env.reset(seed=1)
    assert env.action_masks().tolist() == [True] * 5 + [True, True, True, False]


def test_action_masks__are_one_row_for_each_campaign_and_only_for_discrete_actions():
    env = PacingVectorEnv(3, small())
    env.reset(seed=1)
    assert env.action_masks().shape == (3, 5)
    assert PacingVectorEnv(2, "study-stat-5", action="residual").action_masks().all()
    with pytest.raises(ConfigError, match="'theta' has no masks"):
        World(1, "study-stat-5", action="theta").action_masks()
