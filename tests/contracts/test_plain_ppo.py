"""Stable-baselines3's PPO with its own defaults learns the trade-off from the plain reward."""

import gymnasium as gym
import numpy as np
import pytest

from quietdial.envs import PacingVectorEnv

torch = pytest.importorskip("torch")
PPO = pytest.importorskip("stable_baselines3").PPO

N_STEPS = 900


def mean_reward(act):
    """Mean reward per step of 16 campaigns over the first quarter of an hour."""
    envs = PacingVectorEnv(16, "italy-50")
    obs, _ = envs.reset(seed=3_000_000_000)
    total = 0.0
    for _ in range(N_STEPS):
        obs, reward, _, _, _ = envs.step(act(obs))
        total += float(reward.mean())
    return total / N_STEPS


def test_plain_ppo__gets_most_of_the_way_from_chance_to_the_base_rule():
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    chance = mean_reward(lambda obs: rng.integers(6, size=len(obs)))
    rule = mean_reward(lambda obs: np.full(len(obs), 2))
    model = PPO("MlpPolicy", gym.make("quietdial.envs:quietdial/Pacing-v1"), seed=1)
    model.learn(10_240)
    learned = mean_reward(lambda obs: model.predict(obs, deterministic=True)[0])
    assert chance < rule - 0.1
    assert learned > chance + 0.75 * (rule - chance)
