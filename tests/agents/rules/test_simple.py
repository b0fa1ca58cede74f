"""The hand-built rules as policies, and on the real floor."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from quietdial.agents.policy import Policy
from quietdial.agents.rules import Blend, FixedRatio, Marginal, Progressive
from quietdial.envs import PacingVectorEnv, Scenario
from quietdial.envs.errors import ConfigError

RULES: list[Any] = [Progressive(), FixedRatio(), Marginal(), Blend()]


@pytest.mark.parametrize("rule", RULES)
def test_rules__are_policies(rule: Any) -> None:
    assert isinstance(rule, Policy)
    assert rule.observation == "none"
    assert (rule.knob_range is None) == (rule.knob is None) == (rule.knob_name is None)


@pytest.mark.parametrize("rule", RULES)
def test_act__fits_the_action_space_of_its_kind(rule: Any, scenario: Scenario) -> None:
    env = PacingVectorEnv(3, scenario, observation=rule.observation, action=rule.action)
    obs, _ = env.reset(seed=1)
    action, state = rule.act(obs, "kept")
    assert state == "kept"
    assert env.action_space.contains(action)
    assert action.shape == ((3,) if rule.action == "progressive" else (3, 1))


def test_act__gives_the_knob() -> None:
    obs = np.zeros((4, 0), np.float32)
    assert FixedRatio(2.5).act(obs)[0].tolist() == [[2.5]] * 4
    assert Marginal(0.25).act(obs)[0].tolist() == [[0.25]] * 4
    assert Blend(1.5).act(obs)[0].tolist() == [[1.5]] * 4
    assert Progressive().act(obs)[0].tolist() == [0] * 4


def test_with_knob__changes_only_the_knob() -> None:
    assert FixedRatio().with_knob(3).knob == 3.0
    assert Marginal().with_knob(0.1) == Marginal(0.1)
    assert Marginal().with_knob(0.1).name == "marginal"


@pytest.mark.parametrize("value", [0.0, 20.1, float("nan"), float("inf")])
def test_fixed_ratio__refuses_a_ratio_out_of_range(value: float) -> None:
    with pytest.raises(ConfigError, match=r"fixed-ratio: ratio = .* between 0.2 and 20"):
        FixedRatio().with_knob(value)
    with pytest.raises(ConfigError):
        FixedRatio(value)
    with pytest.raises(ConfigError, match=r"blend: ratio = .* between 0.2 and 20"):
        Blend().with_knob(value)


def test_marginal__refuses_a_threshold_out_of_range() -> None:
    with pytest.raises(ConfigError, match=r"marginal: theta = 0\.6"):
        Marginal(0.6)


def test_progressive__has_no_knob() -> None:
    with pytest.raises(ConfigError, match="progressive has no knob"):
        Progressive().with_knob(1.0)


def test_rules__are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Marginal().theta = 0.5  # type: ignore[misc]


def _hour(rule: Any, scenario: Scenario) -> tuple[float, float]:
    env = PacingVectorEnv(4, scenario, observation="none", action=rule.action)
    obs, _ = env.reset(seed=5)
    for _ in range(3600):
        obs, *_ = env.step(rule.act(obs)[0])
    totals = {name: values.sum() for name, values in env.totals().items()}
    busy = (totals["talk_s"] + totals["wrap_s"]) / totals["available_s"]
    return float(busy), float(totals["silent"] / totals["answered"])


def test_rules__order_on_the_floor(scenario: Scenario) -> None:
    progressive, silent = _hour(Progressive(), scenario)
    assert silent == 0.0
    careful, few = _hour(Marginal(0.005), scenario)
    bold, many = _hour(Marginal(0.05), scenario)
    assert progressive < careful < bold
    assert 0.0 < few < 0.02 < many
    assert _hour(FixedRatio(1.0), scenario)[1] < _hour(FixedRatio(4.0), scenario)[1]
