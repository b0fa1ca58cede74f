"""One policy for many floors: what fits together, who pays what, and a whole small training."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from quietdial.agents.checkpoint import load_state
from quietdial.agents.learners.config import LearnerConfig
from quietdial.agents.learners.floors import ManyFloors
from quietdial.agents.learners.sb3_env import SameStepVecEnv
from quietdial.agents.learners.training import RolloutReport, train
from quietdial.envs.errors import ConfigError
from quietdial.envs.scenario import Scenario, changed, load_scenario
from quietdial.experiments.evaluate import play_days, tune_seeds

SMALL = LearnerConfig(
    total_steps=4096, n_envs=32, n_steps=32, batch_size=256, net=(16,), horizon_s=300.0
)


def capped(name: str, cap: float) -> Scenario:
    return changed(load_scenario(name), f"{name}-capped", rule={"cap": cap})


def test_many_floors__every_row_has_the_agents_and_the_cap_of_its_floor() -> None:
    floors = ManyFloors((load_scenario("study-real-5"), capped("study-real-25", 0.05)))
    env = floors(SMALL.model_copy(update={"n_envs": 5}), load_scenario("study-real-10"))
    np.testing.assert_array_equal(env.n_agents_by_row, [5, 5, 5, 25, 25])
    np.testing.assert_array_equal(env.caps_by_row, [0.03, 0.03, 0.03, 0.05, 0.05])


def test_many_floors__refuses_what_one_policy_cannot_learn() -> None:
    five = load_scenario("study-real-5")
    slow = changed(five, "slow", episode={"decision_interval_s": 5.0})
    with pytest.raises(ConfigError, match="no floors given"):
        ManyFloors(())
    with pytest.raises(ConfigError, match="no limit on the silent rate"):
        ManyFloors((five, load_scenario("uk-2017-50")))
    with pytest.raises(ConfigError, match="floor 'slow' decides every 5 s and scenario"):
        ManyFloors((five, slow))(SMALL, five)
    with pytest.raises(ConfigError, match=r"learner.n_envs = 2 must be at least .*, 3"):
        ManyFloors((five,) * 3)(SMALL.model_copy(update={"n_envs": 2}), five)


def test_many_floors__each_floor_may_have_its_own_threshold_of_the_base_rule() -> None:
    """A higher threshold dials more: with the thresholds swapped, the other floor does."""
    five = load_scenario("study-real-5")

    def dialed(thetas: tuple[float, float]) -> list[float]:
        env = ManyFloors((five, five), thetas)(SMALL, five)
        env.reset(seed=1)
        for _ in range(200):
            env.step(np.full(SMALL.n_envs, 2))  # what the base rule dials
        totals = env.totals()["dialed"]
        return [float(totals[rows].sum()) for rows in env.rows]

    low, high = dialed((0.0005, 0.3))
    assert dialed((0.3, 0.0005))[0] > 1.1 * low
    assert high > 1.1 * dialed((0.3, 0.0005))[1]


def test_many_floors__refuses_thresholds_that_are_not_one_for_each_floor() -> None:
    five = load_scenario("study-real-5")
    with pytest.raises(ConfigError, match="1 thresholds for 2 floors"):
        ManyFloors((five, five), (0.1,))
    with pytest.raises(ConfigError, match="must be above 0"):
        ManyFloors((five,), (0.0,))
    dials = LearnerConfig.preset(action="dials")
    with pytest.raises(ConfigError, match="do not fit action 'dials'"):
        ManyFloors((five,), (0.1,))(dials, five)
    priced = LearnerConfig.preset(conditioned=(50.0, 500.0))
    with pytest.raises(ConfigError, match="goes by the price"):
        ManyFloors((five,), (0.1,))(priced, five)


def test_many_floors__fingerprint_is_that_of_the_floors_in_their_order() -> None:
    five, ten = load_scenario("study-real-5"), load_scenario("study-real-10")
    assert ManyFloors((five, ten)).sha256 == ManyFloors((five, ten)).sha256
    others = ((ten, five), (five,), (five, ten, ten), (capped("study-real-5", 0.02), ten))
    prints = {ManyFloors(floors).sha256 for floors in (*others, (five, ten))}
    assert len(prints) == 5
    own = {ManyFloors((five, ten), thetas).sha256 for thetas in ((0.1, 0.2), (0.2, 0.1))}
    assert len(own | prints) == 7


@pytest.mark.parametrize(("actions", "used"), [([1, 0], 0.1 / 0.063), ([0, 1], 0.005 / 0.063)])
def test_take_window__a_large_floor_counts_as_much_as_a_small_one(
    counting_env: Callable[..., Any], actions: list[int], used: float
) -> None:
    """One silent call of a step is 1/10 of an agent of the small floor, 1/200 of the large one."""
    vec = SameStepVecEnv(counting_env(2), n_agents=np.array([10, 200]), cap=0.06)
    vec.reset()
    for _ in range(20):
        vec.step(np.array(actions))
    window = vec.take_window()
    assert window["window_silent"] == 20
    assert window["window_silent_share"] / window["window_allowed_share"] == pytest.approx(used)
    assert vec.take_window()["window_silent_share"] == 0.0


def test_take_window__has_no_shares_where_all_rows_are_alike(
    counting_env: Callable[..., Any],
) -> None:
    vec = SameStepVecEnv(counting_env(2), n_agents=10, cap=0.03)
    vec.reset()
    assert not any(name.endswith("_share") for name in vec.take_window())


def test_train__one_policy_of_two_floors_plays_a_third(tmp_path: Path) -> None:
    floors = ManyFloors((load_scenario("study-real-5"), capped("study-real-25", 0.05)))
    ten = load_scenario("study-real-10")
    reports: list[RolloutReport] = []
    result = train(SMALL, ten, make_env=floors, on_rollout=reports.append, checkpoints=tmp_path)
    assert result.completed
    assert result.policy.spec.floors == ("study-real-5", "study-real-25-capped")
    assert result.policy.spec.scenario == "study-real-10"
    assert result.checkpoint is not None
    assert load_state(result.checkpoint).spec == result.policy.spec
    # the multiplier sees the rows' own caps, in units of this scenario's
    assert all(report.silent_rate_ema != report.silent_rate for report in reports)
    short = changed(ten, "short", episode={"duration_s": 600.0})
    days = play_days(result.policy, short, tune_seeds(2))
    assert (days.utilisation > 0.3).all()
