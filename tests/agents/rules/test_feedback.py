"""Budget feedback: the threshold by hand, against a second transcription, and on the floor."""

import math
from typing import Any

import numpy as np
import pytest

from quietdial.agents.policy import Policy
from quietdial.agents.rules import MarginalBudget
from quietdial.envs.errors import ConfigError
from quietdial.envs.pacing import state as at
from quietdial.envs.pacing.chance import curves
from quietdial.envs.pacing.controllers.feedback import budget_threshold
from quietdial.envs.pacing.controllers.sight import MEMO
from quietdial.envs.pacing.world import World

CURVES = curves()


@pytest.mark.parametrize(
    ("silent", "answered", "expected"),
    [
        # kappa 10, target .03: .03 x 150 - 3 - 1.5 = 0, so theta stays
        (3, 100, 0.02),
        # .03 x 150 - 8 - 1.5 = -5; 10 x -5 / 50 = -1
        (8, 100, 0.02 * math.exp(-1)),
        # .03 x 150 - 40 - 1.5 = -37; -7.4 is cut to -4
        (40, 100, 0.02 * math.exp(-4)),
        # .03 x 2050 - 1.5 = 60; 12 is cut to 2.5
        (0, 2000, 0.02 * math.exp(2.5)),
        (0, 0, 0.02),
    ],
)
def test_threshold__by_hand(silent: int, answered: int, expected: float) -> None:
    found = budget_threshold(CURVES, 0.02, 10.0, 0.03, 0.0, silent, answered, 0, 0, 0.1)
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("silent", "answered", "spent_s", "p_answer", "expected"),
    [
        # half of 8 h: 600 more to come, n = 50, r = .03 - 3 / 1200; r 600 - 20.5 = -4
        (20.5, 600, 14_400, 0.25, 0.02 * math.exp(-8 * 4 / 50)),
        # 100 to come: n = 10, r = .03 - 3 / 800 = .02625; r 700 - 17.375 = 1
        (17.375, 700, 25_200, 0.25, 0.02 * math.exp(8 * 1 / 10)),
        # at the end: n = 1, r 1000 = 27; 8 x -1 = -8 is cut to -4
        (28, 1000, 28_800, 0.25, 0.02 * math.exp(-4)),
        # 8 x .5 = 4 is cut to 1: what is left is not spent at once
        (26.5, 1000, 28_800, 0.25, 0.02 * math.e),
        # begin: nothing is known, so theta stays
        (0, 0, 0, 0.25, 0.02),
        # 10 answered in 30 s count as in 60 s: 4790 to come; r 10 - 1 = -.7 - .03 / 4.8
        (1, 10, 30, 0.25, 0.02 * math.exp(-8 * (0.7 + 30 / 4805) / 50)),
        # one in 13 is answered: sqrt(12 / 3) = 2, 6 calls are left; r = .025, r 600 - 16 = -1
        (16, 600, 14_400, 1 / 13, 0.02 * math.exp(-8 * 1 / 50)),
        # one in 40 counts as .05: r = .03 - .0025 sqrt(19 / 3); r 600 - 12 = -1.5 sqrt(19 / 3) + 6
        (12, 600, 14_400, 1 / 40, 0.02 * math.exp(8 * (6 - 1.5 * math.sqrt(19 / 3)) / 50)),
        # nine in ten count as .6: r = .03 - .0025 sqrt(2) / 3; r 600 - 18 = -.5 sqrt(2)
        (18, 600, 14_400, 0.9, 0.02 * math.exp(-8 * 0.5 * math.sqrt(2) / 50)),
    ],
)
def test_threshold__with_a_margin_by_hand(
    silent: float, answered: int, spent_s: int, p_answer: float, expected: float
) -> None:
    found = budget_threshold(
        CURVES, 0.02, 8.0, 0.03, 3.0, silent, answered, 1000 * spent_s, 28_800_000, p_answer
    )
    assert found == pytest.approx(expected, rel=1e-5)


class Feedback:
    """Second transcription, with its own clock."""

    def __init__(self, theta: float, kappa: float, target: float) -> None:
        self.theta, self.kappa, self.target = theta, kappa, target
        self.at_s, self.now = -15, 0.0

    def second(self, t_s: int, silent: int, answered: int) -> float:
        if t_s - self.at_s >= 15:
            self.at_s = t_s
            over = (silent + 50 * self.target - self.target * (50 + answered)) / 50
            self.now = self.theta * math.exp(max(-4.0, min(2.5, -self.kappa * over)))
        return self.now


def test_threshold__is_the_second_transcription_on_random_counts() -> None:
    rng = np.random.default_rng(3)
    for _ in range(300):
        theta, kappa, target = rng.uniform(0.001, 0.1), rng.uniform(0, 60), rng.uniform(0.005, 0.1)
        answered = int(rng.integers(0, 3000))
        silent = int(rng.binomial(answered, target * rng.uniform(0.3, 2)))
        found = budget_threshold(CURVES, theta, kappa, target, 0.0, silent, answered, 0, 0, 0.1)
        again = Feedback(theta, kappa, target).second(0, silent, answered)
        assert found == pytest.approx(again, rel=1e-5)


@pytest.mark.parametrize("name", ["italy-10", "machines-50"])
def test_feedback__moves_the_threshold_every_15_s_by_the_days_counts(name: str) -> None:
    rule = MarginalBudget(0.03, 20.0, 0.02)
    world = World(1, name, observation="none", action="controller", **rule.world_options)
    every, knob = np.ones(1, np.bool_), np.full((1, 1), rule.knob, np.float32)
    world.begin(every, [5])
    again, thresholds = Feedback(0.03, 20.0, float(np.float32(0.02))), set()
    for second in range(2400):
        world.step(knob, every)
        if world.is_full:  # counted by the dialer, in the rule's first window
            counts = world.windows()
            silent, answered = counts["seen_silent"][0, 0], counts["seen_answered"][0, 0]
        else:
            head = world.state.head[0]
            silent = head[at.SILENT_CUT] + head[at.SILENT_LEFT]
            answered = silent + head[at.CONNECTED]
        expected = again.second(second, silent, answered)
        assert world.state.memo[0, MEMO + 1] == pytest.approx(expected, rel=1e-5)
        thresholds.add(round(expected, 6))
    assert len(thresholds) > 20


def days(rule: Any, name: str) -> dict[str, Any]:
    world = World(16, name, observation="none", action="controller", **rule.world_options)
    every = np.ones(16, np.bool_)
    world.begin(every, list(range(16)))
    world.hold(rule.act(np.zeros((16, 0)))[0], every, 40_000)
    return world.totals()


def test_feedback__keeps_the_target_from_day_to_day() -> None:
    rates = []
    for kappa in (0.0, 30.0):
        totals = days(MarginalBudget(kappa=kappa, target=0.025), "italy-10")
        rates.append(totals["silent"] / totals["answered"])
    assert rates[1].mean() == pytest.approx(0.025, abs=0.003)
    assert rates[1].std() < 0.5 * rates[0].std()


def test_feedback__in_several_days_of_one_window() -> None:
    totals = days(MarginalBudget(kappa=30.0, target=0.02), "italy-month-10")
    assert totals["silent"].sum() / totals["answered"].sum() == pytest.approx(0.02, abs=0.003)


def test_feedback__is_a_policy() -> None:
    rule = MarginalBudget()
    assert isinstance(rule, Policy)
    assert rule.with_knob(0.01) == MarginalBudget(target=0.01)
    assert MarginalBudget(knowledge="learnt").name == "marginal-budget-learnt"
    with pytest.raises(ConfigError, match="kappa = -1 must be a number between 0 and 200"):
        MarginalBudget(kappa=-1)
