"""Choosing a policy of many floors: the rule on made-up gains, and on real small floors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from quietdial.agents.learned_policy import Layer, LearnedPolicy
from quietdial.agents.policy import PolicySpec
from quietdial.agents.rules import Marginal
from quietdial.envs import ConfigError, load_scenario
from quietdial.envs.pacing.spec import observation_fields
from quietdial.envs.scenario import Scenario, changed
from quietdial.experiments import floor_selection, selection
from quietdial.experiments.evaluate import play_days, select_seeds
from quietdial.experiments.floor_selection import BASE_RULE, best_step, level_at, spread

FIVE, TEN = (
    changed(load_scenario(f"study-real-{n}"), f"floor-{n}", episode={"duration_s": 1800.0})
    for n in (5, 10)
)


def policy(*wanted: float, seed: int | None = None) -> LearnedPolicy:
    """A residual policy that prefers one action, with random weights besides if there is a seed."""
    fields = observation_fields("full")
    spec = PolicySpec.of(FIVE, observation="full", action="residual", fields=fields, n_actions=6)
    weight = np.zeros((len(fields), 6))
    if seed is not None:
        weight = np.random.default_rng(seed).normal(0.0, 0.5, weight.shape)
    return LearnedPolicy((Layer(weight, np.array(wanted)),), spec)


RULE = (0.0, 0.0, 1.0, 0.0, 0.0, 0.0)
MORE = (0.0, 0.0, 0.0, 0.0, 0.0, 1.0)


def test_best_step__gains_most_on_average_and_loses_little_everywhere() -> None:
    gains = {1: (0.001, 0.002), 2: (0.004, -0.004), 3: (0.09, -0.08), 4: (0.05, -math.inf)}
    few = (0.005, 0.005)
    assert best_step(gains, few) == 1
    assert best_step({step: gains[step] for step in (2, 3)}, few) == BASE_RULE  # gains nothing
    assert best_step({3: gains[3]}, (0.005, 0.1)) == 3
    assert best_step({3: gains[3]}, (0.1, 0.005)) == BASE_RULE  # each floor by its own
    assert best_step({1: (0.002,), 2: (0.002,)}, few[:1]) == 2  # of equals the longer trained
    assert best_step({1: ()}, ()) == BASE_RULE


def test_luck__falls_with_the_agent_hours_that_were_looked_at() -> None:
    small, large = (load_scenario(f"study-real-{n}") for n in (5, 50))
    assert 0.01 < floor_selection.luck(small, 12, 7200.0) < 0.02
    assert floor_selection.luck(large, 12, 7200.0) < 0.007
    assert floor_selection.luck(FIVE, 12, 7200.0) == pytest.approx(
        2 * floor_selection.luck(small, 12, 7200.0)  # days of half an hour: a quarter of the time
    )


def test_spread__goes_from_the_smallest_floor_to_the_largest() -> None:
    floors = [load_scenario(f"study-real-{n}") for n in (50, 5, 100, 25, 10)]
    assert [floor.floor.n_agents for floor in spread(floors, 3)] == [5, 25, 100]
    assert len(spread(floors, 9)) == 5


def test_level_at__draws_a_line_and_does_not_flatter() -> None:
    points = [(0.01, 0.80), (0.04, 0.86)]
    assert 0.80 < level_at(points, 0.02) < 0.86
    assert level_at(points, 0.08) == 0.86  # not tried so far: it may be better
    assert level_at(points, 0.005) == -math.inf


def test_base_rule_of__plays_the_base_rule() -> None:
    rule = floor_selection.base_rule_of(policy(*MORE, seed=1).with_knob(0.03))
    ours, its = (play_days(who, FIVE, select_seeds(2)) for who in (rule, Marginal(0.03)))
    np.testing.assert_array_equal(ours.days["dialed"], its.days["dialed"])
    assert ours.days["dialed"].sum() > 0


def test_select_over_floors__leaves_out_what_floods_a_small_floor() -> None:
    found = floor_selection.select_over_floors(
        {1: policy(*RULE), 2: policy(*MORE)}, (TEN, FIVE), horizon_s=900.0, n_episodes=6
    )
    assert (found.floors, found.agents) == (("floor-5", "floor-10"), (5, 10))
    assert max(abs(gain) for gain in found.gains[1]) < 0.02  # the base rule but for lines
    assert min(found.gains[2]) == -math.inf
    assert found.step in {1, BASE_RULE}
    alone = floor_selection.select_over_floors(
        {2: policy(*MORE)}, (FIVE,), horizon_s=900.0, n_episodes=6
    )
    assert alone.is_base_rule
    assert alone.policy.layers[-1].bias.argmax() == 2
    assert alone.to_dict()["gains"] == {"2": [None]}


def test_select_over_floors__looks_at_training_floors_on_selection_days_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked: list[tuple[str, int, int]] = []

    def play(who: Any, floor: Scenario, seeds: Any, horizon_s: float) -> list[tuple[float, float]]:
        looked.append((floor.name, int(seeds.min()), int(seeds.max())))
        rate = 0.2 if floor is TEN else 0.03  # TEN cannot keep the cap
        return [(rate, 0.8)] * len(who)

    monkeypatch.setattr(floor_selection, "_play", play)
    found = floor_selection.select_over_floors({1: policy(*RULE)}, (FIVE, TEN), horizon_s=900.0)
    assert {name for name, _, _ in looked} == {"floor-5", "floor-10"}
    first, last = select_seeds(floor_selection.N_EPISODES)[[0, -1]]
    assert all(first <= low <= high <= last for _, low, high in looked)
    assert found.floors == ("floor-5",)  # the rule cannot keep the cap on the other
    alone = floor_selection.select_over_floors({1: policy(*RULE)}, (TEN,), horizon_s=900.0)
    assert alone.floors == ("floor-10",)  # but it must do where there is no better
    assert alone.gains == {1: (0.0,)}


def test_base_thetas__hold_the_rule_at_the_cap_of_each_floor() -> None:
    lax = changed(TEN, "lax", rule={"cap": 0.1})
    strict, lenient = floor_selection.base_thetas((TEN, lax), horizon_s=1800.0, n_episodes=48)
    assert 1e-4 < strict < lenient < 0.5
    for floor, theta in ((TEN, strict), (lax, lenient)):
        ((rate, _),) = floor_selection._play([Marginal(theta)], floor, select_seeds(48), 1800.0)
        assert 0.6 < rate / floor.rule.cap < 1.5  # a line between few thresholds


def test_gains_on__looks_at_higher_thresholds_while_a_policy_stays_below(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A made-up policy that needs 20 times the rule's threshold for the rule's rate."""
    played: list[float] = []

    def play(who: Any, floor: Scenario, seeds: Any, horizon_s: float) -> list[tuple[float, float]]:
        (one,) = who
        if isinstance(one, Marginal):
            return [(min(3.0 * one.theta, 1.0), 0.8)]
        played.append(one.knob)
        rate = min(0.15 * one.knob, 1.0)
        return [(rate, 0.7 + 5.0 * rate)]

    monkeypatch.setattr(floor_selection, "_play", play)
    keeps, found = floor_selection.gains_on([policy(*RULE)], FIVE, select_seeds(4), 900.0)
    assert keeps
    assert played[-1] == pytest.approx(40 * 0.01, rel=0.1)
    assert found[0] == pytest.approx(0.7 + 5 * 0.03 - 0.8, abs=0.02)


def test_gains_on__meets_a_rule_that_cannot_keep_the_cap_at_its_lowest_rate(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A made-up rule at 6 to 50 %; the policy has 1 % with the lowest threshold."""

    def play(who: Any, floor: Scenario, seeds: Any, horizon_s: float) -> list[tuple[float, float]]:
        (one,) = who
        if isinstance(one, Marginal):
            return [(min(0.06 + one.theta, 0.5), 0.7)]
        rate = min(0.01 + 5.0 * one.knob, 1.0)
        return [(rate, 0.75 if rate > 0.03 else 0.6)]

    monkeypatch.setattr(floor_selection, "_play", play)
    keeps, (gain,) = floor_selection.gains_on([policy(*RULE)], FIVE, select_seeds(4), 900.0)
    assert not keeps
    assert gain == pytest.approx(0.05)


def test_among__chooses_only_after_a_training_on_floors() -> None:
    policies = {1: policy(*RULE), 2: policy(*MORE)}
    assert floor_selection.among(policies, ()) == (policies, None)
    with pytest.raises(ConfigError, match="nothing to choose"):
        floor_selection.select_over_floors({}, (FIVE,), horizon_s=900.0)


@pytest.mark.parametrize(("step", "said"), [(0, "BASE RULE: on 2"), (7, "7 decisions, chosen")])
def test_sentence__says_how_the_floors_decided(step: int, said: str) -> None:
    one = {"value": 0.02, "hi": 0.025}
    floors = {"step": step, "floors": ["a", "b"], "gains": {"7": [0.01, -0.001]}}
    row = {"step": step, "silent_rate": one, "p_day_breaks_cap": one}
    chosen = {"step": step, "feasible": True, "days": 8, "cap": 0.03, "most_days_above": 0.7}
    sentence = selection.sentence({**chosen, "candidates": [row], "floors": floors})
    assert said in sentence
    assert "on 8 selection days silent rate 2.00 %" in sentence
    assert ("+0.45 points" in sentence) == (step == 7)
    poor = {**chosen, "feasible": False, "candidates": [row], "floors": floors}
    assert selection.sentence(poor).startswith("INFEASIBLE: ")
