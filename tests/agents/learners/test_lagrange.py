"""The multiplier against numbers worked out by hand."""

import json
import math

import numpy as np
import pytest

from quietdial.agents.learners.lagrange import (
    FeedbackMultiplier,
    Multiplier,
    MultiplierKind,
    make_multiplier,
)
from quietdial.envs.errors import ConfigError


def test_update__follows_the_hand_worked_steps() -> None:
    m = FeedbackMultiplier(target=0.03)
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
    m = FeedbackMultiplier(target=0.01)
    assert m.update(50, 100) == pytest.approx(150 * math.exp(0.33))
    low = FeedbackMultiplier(target=0.5)
    assert low.update(0, 100) == pytest.approx(150 * math.exp(-0.33))


def test_update__stays_between_5_and_3000() -> None:
    high, low = FeedbackMultiplier(target=0.01), FeedbackMultiplier(target=0.5)
    for _ in range(400):
        high.update(1, 1)
        low.update(0, 1)
    assert high.value == pytest.approx(3000)
    assert low.value == pytest.approx(5)


def test_update__nothing_answered_changes_nothing() -> None:
    m = FeedbackMultiplier(target=0.03)
    assert m.update(0, 0) == 150.0
    assert m.rate is None


@pytest.mark.parametrize(("silent", "answered"), [(-1, 5), (1, -5), (math.nan, 5), (1, math.inf)])
def test_update__refuses_what_is_no_share(silent: float, answered: float) -> None:
    with pytest.raises(ConfigError, match="finite counts"):
        FeedbackMultiplier(target=0.03).update(silent, answered)


@pytest.mark.parametrize("target", [0.0, 1.0, math.nan])
def test_constructor__refuses_a_target_outside_0_1(target: float) -> None:
    with pytest.raises(ConfigError, match="target silent rate"):
        FeedbackMultiplier(target)


def test_constructor__refuses_an_initial_value_out_of_range() -> None:
    with pytest.raises(ConfigError, match=r"initial multiplier = 1\.0"):
        FeedbackMultiplier(target=0.03, initial=1.0)


def test_state_dict__continues_exactly_through_json() -> None:
    straight, first = FeedbackMultiplier(0.03), FeedbackMultiplier(0.03)
    for m in (straight, first):
        m.update(40, 1000)
    resumed = FeedbackMultiplier(0.03)
    resumed.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for silent in (20, 35, 31):
        assert resumed.update(silent, 1000) == straight.update(silent, 1000)


def test_state_dict__survives_the_limits() -> None:
    m = FeedbackMultiplier(target=0.01)
    for _ in range(400):
        m.update(1, 1)
    FeedbackMultiplier(0.01).load_state_dict(m.state_dict())


@pytest.mark.parametrize(
    ("key", "value"),
    [("value", None), ("value", 1e9), ("integral", math.nan), ("rate", 2.0), ("rate_ema", "x")],
)
def test_load_state_dict__refuses_damage(key: str, value: object) -> None:
    state: dict[str, object] = {**FeedbackMultiplier(0.03).state_dict(), key: value}
    with pytest.raises(ConfigError, match=f"multiplier state: {key}"):
        FeedbackMultiplier(0.03).load_state_dict(state)


def test_update__counts_a_rate_above_one_as_one() -> None:
    """Callees answered in one window may go silent in the next: 4 silent of 3 answered is legal."""
    m = FeedbackMultiplier(target=0.03)
    m.update(silent=4, answered=3)
    assert m.rate == 1.0


KINDS: tuple[MultiplierKind, ...] = ("pi", "pid", "gradient", "fixed")


def test_make_multiplier__pid_adds_the_rise_of_the_average() -> None:
    m = make_multiplier("pid", 0.03)
    m.update(silent=30, answered=1000)  # on target: nothing moves
    assert m.value == pytest.approx(150)
    m.update(silent=60, answered=1000)  # ema .039: e = .3, d = .3
    assert m.value == pytest.approx(150 * math.exp(0.009 + 0.09 + 0.3))
    m.update(silent=30, answered=1000)  # ema .0363: e = .21, falling: no derivative
    assert m.value == pytest.approx(150 * math.exp(0.0153 + 0.063))


def test_make_multiplier__gradient_steps_on_the_last_rate_alone() -> None:
    m = make_multiplier("gradient", 0.03)
    m.update(silent=45, answered=1000)
    m.update(silent=15, answered=1000)
    assert m.value == pytest.approx(150)
    assert m.rate_ema == pytest.approx(0.036)
    m.update(silent=33, answered=1000)
    assert m.value == pytest.approx(150 * math.exp(0.01))


def test_make_multiplier__fixed_never_moves_but_measures() -> None:
    m = make_multiplier("fixed", 0.03, 137.0)
    m.update(silent=500, answered=1000)
    assert m.value == 137.0
    assert m.rate == 0.5


def test_make_multiplier__refuses_an_unknown_kind() -> None:
    with pytest.raises(ConfigError, match="'adam' must be one of pi, pid, gradient, fixed"):
        make_multiplier("adam", 0.03)  # type: ignore[arg-type]


def _learner(m: Multiplier, updates: int, *, needed: float, seed: int = 3) -> list[float]:
    """Silent rates of a learner that moves a fifth of the way (in logs) to the rate that L asks.

    It would hold 3 % with L = `needed`; the rate falls as the power 1.2 of L and is measured on
    1,500 answered calls.
    """
    rng = np.random.default_rng(seed)
    log_rate = math.log(0.2)
    rates = []
    for _ in range(updates):
        asked = math.log(0.03) - 1.2 * math.log(m.value / needed)
        log_rate += 0.2 * (asked - log_rate)
        rate = math.exp(log_rate)
        m.update(float(rng.binomial(1500, min(rate, 1.0))), 1500.0)
        rates.append(rate)
    return rates


@pytest.mark.parametrize("kind", KINDS[:3])
@pytest.mark.parametrize("needed", [70.0, 180.0, 600.0])
def test_update__holds_the_target_in_closed_loop(kind: MultiplierKind, needed: float) -> None:
    m = make_multiplier(kind, 0.03)
    settled = _learner(m, 240, needed=needed)[160:]
    assert np.mean(settled) == pytest.approx(0.03, rel=0.04)
    assert np.std(settled) < 0.0045
    assert m.value == pytest.approx(needed, rel=0.2)


@pytest.mark.parametrize("kind", KINDS[:3])
def test_update__leaves_a_bound_with_the_first_error_back(kind: MultiplierKind) -> None:
    m = make_multiplier(kind, 0.03)
    for _ in range(1000):
        m.update(1, 1)
    assert m.value == pytest.approx(3000)
    while (m.rate_ema or 0.0) > 0.03:  # the average alone may need some updates
        m.update(0, 1000)
    m.update(0, 1000)
    assert m.value < 3000


@pytest.mark.parametrize("kind", KINDS)
def test_state_dict__every_kind_continues_exactly(kind: MultiplierKind) -> None:
    straight, first = make_multiplier(kind, 0.03), make_multiplier(kind, 0.03)
    for m in (straight, first):
        m.update(40, 1000)
        m.update(10, 1000)
    resumed = make_multiplier(kind, 0.03)
    resumed.load_state_dict(json.loads(json.dumps(first.state_dict())))
    for silent in (20, 35, 31):
        assert resumed.update(silent, 1000) == straight.update(silent, 1000)
        assert resumed.state_dict() == straight.state_dict()
