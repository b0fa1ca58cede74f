"""The adapter to stable-baselines3 against hand-worked numbers, and on the real environment."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from gymnasium.vector import AutoresetMode
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecMonitor

from quietdial.agents.learners.sb3_env import SameStepVecEnv
from quietdial.envs import PacingVectorEnv, Scenario
from quietdial.envs.errors import ConfigError


@pytest.fixture
def vec(counting_env: Callable[..., Any]) -> SameStepVecEnv:
    return SameStepVecEnv(counting_env(), n_agents=10, cap=0.03, multiplier=200.0)


def test_reward__is_the_constrained_one(vec: SameStepVecEnv) -> None:
    vec.reset()
    _, rewards, _, _ = vec.step(np.array([0, 1]))
    # 0.05 (-0.5 - 200/10 (silent - 0.03 x 10))
    np.testing.assert_allclose(rewards, [0.05 * (-0.5 + 6.0), 0.05 * (-0.5 - 14.0)], rtol=1e-6)
    assert rewards.dtype == np.float32
    vec.multiplier = 0.0
    np.testing.assert_allclose(vec.step(np.array([0, 1]))[1], [-0.025, -0.025], rtol=1e-6)


def test_reward__of_rows_with_prices_is_weighed_by_them(counting_env: Callable[..., Any]) -> None:
    """2 x 150 / (150 + price), so that dear silent calls do not drown the cheap ones."""
    vec = SameStepVecEnv(counting_env(), n_agents=10, cap=0.03, conditioned=(20.0, 2000.0))
    vec.reset()
    prices = np.array(vec.multiplier)
    _, rewards, _, _ = vec.step(np.array([0, 1]))
    plain = 0.05 * (-0.5 - prices / 10.0 * (np.array([0.0, 1.0]) - 0.3))
    np.testing.assert_allclose(rewards, plain * 300.0 / (150.0 + prices), rtol=1e-6)


def test_ended_row__has_its_last_observation_and_is_a_truncation(vec: SameStepVecEnv) -> None:
    vec.reset()
    for _ in range(2):
        _, _, dones, infos = vec.step(np.array([0, 0]))
        assert not dones.any()
        assert infos == [{}, {}]
    obs, rewards, dones, infos = vec.step(np.array([1, 0]))
    assert isinstance(obs, np.ndarray)
    assert dones.tolist() == [True, False]
    assert obs.tolist() == [[0, 0], [1, 3]]
    assert infos[0]["terminal_observation"].tolist() == [0, 3]
    assert infos[0]["TimeLimit.truncated"] is True
    assert infos[1] == {}
    # the silent call of the last step is paid for, although the top-level info is the new episode's
    assert rewards[0] == pytest.approx(0.05 * (-0.5 - 14.0))
    assert infos[0]["episode"]["l"] == 3
    assert infos[0]["episode"]["r"] == pytest.approx(0.05 * (2 * 5.5 - 14.5))


def test_window__counts_across_the_ends_of_episodes(vec: SameStepVecEnv) -> None:
    vec.reset()
    for _ in range(5):  # row 0 ends after 3 steps, row 1 after 4
        vec.step(np.array([1, 0]))
    window = vec.take_window()
    assert window["window_silent"] == window["silent"] == 5
    assert window["window_answered"] == window["answered"] == 100  # not the 100s at the start
    assert window["talk_s"] == 70
    assert window["reward"] == -5.0
    assert window["steps"] == 10
    vec.step(np.array([0, 0]))
    assert vec.take_window()["answered"] == 20


def test_seed__reaches_every_row_once(vec: SameStepVecEnv) -> None:
    vec.seed(40)
    vec.reset()
    vec.reset()
    assert vec.env.seeds == [[40, 41], None]  # type: ignore[attr-defined]


def test_attributes__of_the_environment(vec: SameStepVecEnv) -> None:
    assert vec.get_attr("render_mode") == [None, None]
    assert vec.get_attr("closed", indices=1) == [False]
    assert vec.has_attr("action_masks")
    assert not vec.has_attr("nothing_of_that_name")
    masks = vec.env_method("action_masks")
    assert [mask.tolist() for mask in masks] == [[True, True]] * 2
    assert vec.env_method("totals", indices=[0])[0].keys() == {"answered", "silent", "talk_s"}
    assert vec.env_is_wrapped(object) == [False, False]  # type: ignore[arg-type]
    vec.set_attr("closed", 3)
    assert vec.get_attr("closed") == [3, 3]
    with pytest.raises(ConfigError, match="all rows at once"):
        vec.set_attr("closed", 3, indices=[0])
    vec.close()
    assert vec.get_attr("closed") == [True, True]


def test_constructor__refuses_another_autoreset_mode(counting_env: Callable[..., Any]) -> None:
    with pytest.raises(ConfigError, match="SAME_STEP"):
        SameStepVecEnv(counting_env(2, AutoresetMode.NEXT_STEP), n_agents=10, cap=0.03)


def test_vec_monitor__works_on_top(vec: SameStepVecEnv) -> None:
    monitored = VecMonitor(vec)
    monitored.reset()
    for _ in range(2):
        monitored.step(np.array([0, 0]))
    _, _, _, infos = monitored.step(np.array([0, 0]))
    assert infos[0]["episode"]["l"] == 3
    assert infos[1] == {}


def _real(scenario: Scenario, n: int = 4, horizon_s: float = 60.0) -> SameStepVecEnv:
    env = PacingVectorEnv(
        n,
        scenario,
        silent_penalty=0.0,
        action="residual",
        start="random",
        horizon_s=horizon_s,
        autoreset_mode=AutoresetMode.SAME_STEP,
    )
    return SameStepVecEnv(env, n_agents=scenario.floor.n_agents, cap=0.03)


def test_real_environment__window_agrees_with_the_steps(scenario: Scenario) -> None:
    vec = _real(scenario)
    vec.seed(7)
    vec.reset()
    ends = 0
    for _ in range(200):
        _, _, dones, _ = vec.step(np.full(4, 5))
        ends += int(dones.sum())
    window = vec.take_window()
    assert ends > 8
    assert window["window_answered"] == window["answered"] > 0
    assert window["window_silent"] == window["silent"] > 0
    assert window["available_s"] == pytest.approx(4 * 200 * 10, rel=0.1)


def test_real_environment__same_seed_same_rewards(scenario: Scenario) -> None:
    runs = []
    for _ in range(2):
        vec = _real(scenario)
        vec.seed(11)
        vec.reset()
        runs.append(np.stack([vec.step(np.full(4, 3))[1] for _ in range(100)]))
    assert np.array_equal(runs[0], runs[1])


def test_truncation__is_bootstrapped_by_ppo(scenario: Scenario) -> None:
    vec = _real(scenario, n=2, horizon_s=8.0)
    model = PPO("MlpPolicy", vec, n_steps=16, batch_size=32, n_epochs=1, gamma=0.9, device="cpu")
    with_bootstrap: list[Any] = []
    predict = model.policy.predict_values
    model.policy.predict_values = lambda obs: with_bootstrap.append(obs) or predict(obs)  # type: ignore[assignment, func-returns-value]
    model.learn(32)
    assert len(with_bootstrap) >= 1 + 4  # once at the end of the rollout, and for each ended row
