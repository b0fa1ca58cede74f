"""The multiplier against numbers worked out by hand."""

import json
import math

import pytest

from quietdial.agents.learners.lagrange import PiMultiplier
from quietdial.envs.errors import ConfigError


def test_update__follows_the_hand_worked_steps() -> None:
    m = PiMultiplier(target=0.03)
    assert m.value == 150.0
    # first rollout: 4.5 %, the average starts there; e = 1.5 - 1 = 0.5
    value = m.update(silent=45, answered=1000)
    assert m.rate_ema == pytest.approx(0.045)
    assert value == pytest.approx(150 * math.exp(0.015 + 0.15))
    # second: 1 %, ema = .7 * 4.5 % + .3 * 1 % = 3.45 %; e = .15; I = .015 + .0045
    value = m.update(silent=10, answered=1000)
    assert m.rate == pytest.approx(0.01)
    assert m.rate_ema == pytest.approx(0.0345)
    assert value == pytest.approx(150 * math.exp(0.0195 + 0.045))


def test_update__error_is_cut_at_one() -> None:
    m = PiMultiplier(target=0.01)
    assert m.update(50, 100) == pytest.approx(150 * math.exp(0.33))
    low = PiMultiplier(target=0.5)
    assert low.update(0, 100) == pytest.approx(150 * math.exp(-0.33))


def test_update__stays_between_5_and_3000() -> None:
    high, low = PiMultiplier(target=0.01), PiMultiplier(target=0.5)
    for _ in range(400):
        high.update(1, 1)
        low.update(0, 1)
    assert high.value == pytest.approx(3000)
    assert low.value == pytest.approx(5)


def test_update__nothing_answered_changes_nothing() -> None:
    m = PiMultiplier(target=0.03)
    assert m.update(0, 0) == 150.0
    assert m.rate is None


@pytest.mark.parametrize(("silent", "answered"), [(-1, 5), (1, -5), (math.nan, 5), (1, math.inf)])
def test_update__refuses_what_is_no_share(silent: float, answered: float) -> None:
    with pytest.raises(ConfigError, match="finite counts"):
        PiMultiplier(target=0.03).update(silent, answered)


@pytest.mark.parametrize("kwargs", [{"target": 0}, {"target": 1.0}, {"target": math.nan}])
def test_constructor__refuses_a_target_outside_0_1(kwargs: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="target silent rate"):
        PiMultiplier(**kwargs)


def test_constructor__refuses_an_initial_value_out_of_range() -> None:
    with pytest.raises(ConfigError, match=r"initial multiplier = 1\.0"):
        PiMultiplier(target=0.03, initial=1.0)


def test_state_dict__continues_exactly_through_json() -> None:
    straight, first = PiMultiplier(0.03), PiMultiplier(0.03)
    for m in (straight, first):
        m.update(40, 1000)
    resumed = PiMultiplier(0.03)
    resumed.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for silent in (20, 35, 31):
        assert resumed.update(silent, 1000) == straight.update(silent, 1000)


def test_state_dict__survives_the_limits() -> None:
    m = PiMultiplier(target=0.01)
    for _ in range(400):
        m.update(1, 1)
    PiMultiplier(0.01).load_state_dict(m.state_dict())


@pytest.mark.parametrize(
    ("key", "value"),
    [("value", None), ("value", 1e9), ("integral", math.nan), ("rate", 2.0), ("rate_ema", "x")],
)
def test_load_state_dict__refuses_damage(key: str, value: object) -> None:
    state: dict[str, object] = {**PiMultiplier(0.03).state_dict(), key: value}
    with pytest.raises(ConfigError, match=f"multiplier state: {key}"):
        PiMultiplier(0.03).load_state_dict(state)


def test_update__counts_a_rate_above_one_as_one() -> None:
    """Callees answered in one window may go silent in the next: 4 silent of 3 answered is legal."""
    m = PiMultiplier(target=0.03)
    m.update(silent=4, answered=3)
    assert m.rate == 1.0
