"""A shield around any policy: the policy is asked as before, the world refuses dials."""

from types import SimpleNamespace

import numpy as np
import pytest

from quietdial.agents.policy import Policy
from quietdial.agents.rules import FixedRatio, Marginal
from quietdial.agents.shields import Shielded
from quietdial.envs import ConfigError, load_scenario
from quietdial.envs.pacing.shield import Shield
from quietdial.envs.scenario import Scenario
from quietdial.experiments.evaluate import make_world, play_days


def short(duration_s=7200.0):
    values = load_scenario("study-real-5").model_dump(exclude_none=True)
    values["episode"] = {**values["episode"], "duration_s": duration_s}
    return Scenario.model_validate(values)


def test_shielded__is_a_policy_with_the_knob_of_the_inner_one():
    policy = Shielded(FixedRatio(3.0))
    assert isinstance(policy, Policy)
    assert policy.name == f"{FixedRatio(3.0).name}+deterministic"
    assert policy.with_knob(2.0).knob == 2.0
    assert policy.with_knob(2.0).shield == Shield()
    assert Shielded(Marginal(), Shield(reserves=True)).name == "marginal+deterministic-reserving"
    with pytest.raises(ConfigError):
        policy.with_knob(-1.0)


def test_shielded__counts_what_it_refuses_and_keeps_every_day_below_the_cap():
    seeds = np.arange(8)
    bare = play_days(Marginal(0.2), short(), seeds)
    kept = play_days(Shielded(Marginal(0.2)), short(), seeds)
    assert (bare.silent_rate > 0.03).any()
    assert (kept.silent_rate <= 0.03).all()
    assert (kept.days["shield_calls"] > 0).all()
    assert "shield_calls" not in bare.days


def test_shielded__looks_the_same_in_python_and_in_compiled_code():
    """A policy that is asked at every decision meets the same shield as one that is held."""
    scenario, policy = short(1800.0), Shielded(Marginal(0.2))
    everywhere = np.ones(4, np.bool_)
    asked, held = (make_world(policy, scenario, 4) for _ in range(2))
    for world in (asked, held):
        world.begin(everywhere, [1, 2, 3, 4])
    actions, _ = policy.act(asked.observe())
    for _ in range(1800):
        actions, _ = policy.act(asked.observe())
        asked.step(actions, everywhere)
    held.hold(actions, everywhere, 1800)
    np.testing.assert_array_equal(asked.state.head, held.state.head)


def test_shielded__hands_on_what_a_controller_rule_needs():
    from quietdial.agents.rules.feedback import MarginalBudget

    policy = Shielded(MarginalBudget(), Shield("borrowing"))
    assert policy.world_options["controller"] == "marginal-budget"
    assert policy.constant
    assert make_world(policy, short(), 2).shield == Shield("borrowing")


def test_shielded__hands_on_whether_its_knob_lowers():
    """A price as knob means fewer dials when it is higher: the search must know."""
    policy = Shielded(SimpleNamespace(knob_lowers=True))  # type: ignore[arg-type]
    assert policy.knob_lowers
    assert not Shielded(Marginal()).knob_lowers
