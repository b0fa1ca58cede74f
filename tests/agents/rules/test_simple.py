"""The hand-built rules as policies, and on the real floor."""

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from quietdial.agents.policy import Policy
from quietdial.agents.rules import Blend, FixedRatio, Marginal, Progressive
from quietdial.envs import PacingVectorEnv, Scenario
from quietdial.envs.errors import ConfigError
from quietdial.envs.pacing import log, state
from quietdial.envs.pacing.world import World
from quietdial.envs.scenario import BlendDialer, load_scenario

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


# ------------------------------------------------------------------------------- dials by hand


def _seconds(rule: Any, name: str, n: int) -> Iterator[tuple[World, Any, int]]:
    """(world, its counts before the decision, dials) for each second of a day."""
    world = World(1, name, observation="none", action=rule.action)
    every = np.ones(1, np.bool_)
    world.begin(every, [4])
    for _ in range(n):
        head = world.state.head[0].copy()
        world.step(rule.act(np.zeros((1, 0)))[0], every)
        yield world, head, int(world.state.head[0, state.DIALED] - head[state.DIALED])


def test_progressive__one_call_for_each_idle_agent_without_one() -> None:
    placed = []
    for world, head, dialed in _seconds(Progressive(), "study-real-10", 1800):
        free = head[state.COUNT + state.IDLE] - head[state.WAITING] - head[state.IN_FLIGHT]
        assert dialed == min(max(free, 0), world.scenario.max_dials)
        placed.append(dialed)
    assert placed[:3] == [6, 4, 0]  # ten agents; a decision places ceil(.4 x 10) + 2 at most
    assert sum(placed) > 150


def test_fixed_ratio__calls_in_flight_are_the_ratio_of_the_idle() -> None:
    # 2.4 x idle is rounded down or up, the same way for 33 s: between floor and floor + 1
    above = below = 0
    for world, head, dialed in _seconds(FixedRatio(2.4), "study-real-10", 3600):
        exact = float(np.float32(2.4)) * head[state.COUNT + state.IDLE]
        low = np.floor(exact) - head[state.IN_FLIGHT]
        fits = np.clip([low, low + 1], 0, world.scenario.max_dials)
        assert dialed in fits
        if fits[0] < fits[1] and exact % 1 > 0.3:
            above, below = above + (dialed == fits[1]), below + (dialed == fits[0])
    assert above > 20
    assert below > 20


def _blend_log(ratio: float, **settings: Any) -> tuple[dict[int, list[int]], list[int]]:
    """(idle agents and dials at each moment, moments of service ends) of an hour."""
    scenario = load_scenario("study-stat-10")
    scenario = scenario.model_copy(update={"blend": BlendDialer(**settings)})
    world = World(1, scenario, observation="none", action="blend", records=True)
    every, idle = np.ones(1, np.bool_), 0  # the log begins with the log-ins
    world.begin(every, [4])
    moments: dict[int, list[int]] = {}
    ends = []
    for _ in range(3600):
        world.step(np.full((1, 1), ratio, np.float32), every)
        for time, code, _, a, b, _ in world.drain_log()[0].tolist():
            if code == log.AGENT_STATE_CHANGE:
                idle += int(b == state.IDLE) - int(a == state.IDLE)
                if a == state.WRAP:  # the wrap-up belongs to the service
                    ends.append(time)
            moments.setdefault(time, [idle, 0])
            moments[time][0] = idle
            moments[time][1] += code == log.DIAL
    return moments, ends


@pytest.mark.parametrize(
    ("ratio", "settings", "wanted"),
    [
        # ContactCenters' example Blend: twice the idle agents
        (2.0, {}, lambda idle: 2 * idle if idle >= 1 else 0),
        # 1.5 x 1, 2, 3 idle = 1.5, 3, 4.5 -> 2, 3, 5, and one more; only from two idle agents on
        (1.5, {"min_free": 2, "extra": 1}, lambda idle: (3 * idle + 1) // 2 + 1 if idle > 1 else 0),
        (1.0, {"extra": -1}, lambda idle: max(idle - 1, 0)),
    ],
)
def test_blend__dials_when_a_service_ends(ratio: float, settings: Any, wanted: Any) -> None:
    moments, ends = _blend_log(ratio, **settings)
    acted = 0
    for time, (idle, dials) in moments.items():
        if dials and time not in ends:
            assert time % 1000 == 0, "else only at a decision, when nothing can end"
            continue
        if time in ends:
            assert dials == min(wanted(idle), 6), time  # 6: the most at a time
            acted += dials > 0
    assert acted > 60
