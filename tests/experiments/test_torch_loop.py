"""The PPO loop by hand does what stable-baselines3's PPO does, and learns."""

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium import spaces
from gymnasium.wrappers import TimeLimit
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import CallbackList
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.vec_env import DummyVecEnv

from quietdial.agents.learners.config import LearnerConfig
from quietdial.experiments.bench.torch_loop import Rollout, TorchPpo

N_FEATURES = 3
GAMMA = 0.9


class Largest(gym.Env[Any, Any]):
    """Pays 1 for naming the largest of the numbers shown."""

    def __init__(self) -> None:
        self.observation_space = spaces.Box(-1.0, 1.0, (N_FEATURES,), np.float32)
        self.action_space = spaces.Discrete(N_FEATURES)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._shown = self.np_random.uniform(-1.0, 1.0, N_FEATURES).astype(np.float32)
        return self._shown, {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        reward = float(action == self._shown.argmax())
        self._shown = self.np_random.uniform(-1.0, 1.0, N_FEATURES).astype(np.float32)
        return self._shown, reward, False, False, {}


def _envs(n: int) -> DummyVecEnv:
    envs = DummyVecEnv([lambda: TimeLimit(Largest(), 5)] * n)
    envs.seed(1)
    return envs


def _config(**changes: Any) -> LearnerConfig:
    return LearnerConfig(
        **{"n_envs": 4, "n_steps": 32, "batch_size": 128, "n_epochs": 6, "ent_coef": 0.01} | changes
    )


def _loop(config: LearnerConfig) -> TorchPpo:
    return TorchPpo(_envs(config.n_envs), config, N_FEATURES, N_FEATURES, GAMMA)


@pytest.fixture
def stock() -> Any:
    """PPO of stable-baselines3 with a rollout in its buffer, all of it in one minibatch."""
    config = _config()
    model = PPO(
        "MlpPolicy",
        _envs(config.n_envs),
        learning_rate=config.learning_rate,
        n_steps=config.n_steps,
        batch_size=config.batch_size,
        n_epochs=config.n_epochs,
        gamma=GAMMA,
        gae_lambda=config.gae_lambda,
        ent_coef=config.ent_coef,
        seed=1,
        device="cpu",
    )
    model.set_logger(Logger(None, []))
    _, callback = model._setup_learn(1000, CallbackList([]))
    model.collect_rollouts(model.env, callback, model.rollout_buffer, config.n_steps)  # type: ignore[arg-type]
    return model


def _like(stock: Any) -> tuple[TorchPpo, Rollout]:
    """The loop with the same weights, and the same rollout."""
    loop = _loop(_config())
    policy, buffer = stock.policy, stock.rollout_buffer
    for mine, hidden, last in (
        (loop.actor, policy.mlp_extractor.policy_net, policy.action_net),
        (loop.critic, policy.mlp_extractor.value_net, policy.value_net),
    ):
        theirs = [*hidden.parameters(), *last.parameters()]
        for a, b in zip(mine.parameters(), theirs, strict=True):
            a.data.copy_(b.data)
    with torch.no_grad():
        last_values = policy.predict_values(torch.as_tensor(stock._last_obs)).flatten()
    ended = np.vstack([buffer.episode_starts[1:], stock._last_episode_starts])
    columns = (buffer.observations, buffer.actions[..., 0], buffer.log_probs, buffer.values)
    seen, actions, log_probs, values = map(torch.tensor, columns)
    rewards, over = torch.tensor(buffer.rewards), torch.tensor(ended.astype(np.float32))
    return loop, Rollout(seen, actions, log_probs, values, rewards, over, last_values)


def test_advantages__are_those_of_sb3(stock: Any) -> None:
    loop, rollout = _like(stock)
    assert rollout.ended.sum() > 0
    assert rollout.rewards.max() != 1.0  # ends are bootstrapped
    want = torch.as_tensor(stock.rollout_buffer.advantages)
    assert torch.allclose(loop.advantages(rollout), want, atol=1e-6)


def test_update__moves_the_weights_as_sb3_does(stock: Any) -> None:
    loop, rollout = _like(stock)
    before = [p.detach().clone() for p in (*loop.actor.parameters(), *loop.critic.parameters())]
    stock.train()
    loop.update(rollout)
    want, _ = _like(stock)
    after = [*loop.actor.parameters(), *loop.critic.parameters()]
    for was, now, other in zip(
        before, after, [*want.actor.parameters(), *want.critic.parameters()], strict=True
    ):
        assert (now - was).abs().max() > 1e-3
        assert torch.allclose(now, other, atol=1e-5)


def test_collect__judges_its_actions_and_bootstraps_truncated_episodes() -> None:
    torch.manual_seed(0)
    loop = _loop(_config(n_steps=10, batch_size=40))
    rollout = loop.collect()
    assert rollout.observations.shape == (10, 4, N_FEATURES)
    assert rollout.ended.sum(dim=1).tolist() == [0, 0, 0, 0, 4, 0, 0, 0, 0, 4]
    with torch.no_grad():
        shares = torch.log_softmax(loop.actor(rollout.observations), -1)
        values = loop.critic(rollout.observations)[..., 0]
    chosen = shares.gather(-1, rollout.actions.unsqueeze(-1))[..., 0]
    assert torch.allclose(chosen, rollout.log_probs, atol=1e-6)
    assert torch.allclose(values, rollout.values, atol=1e-6)
    right = (rollout.actions == rollout.observations.argmax(-1)).float()
    added = rollout.rewards - right
    assert (added[rollout.ended == 0] == 0).all()
    assert (added[rollout.ended == 1] != 0).all()
    assert added.abs().max() < 2 * values.abs().max()


def test_iterate__learns_to_name_the_largest() -> None:
    torch.manual_seed(0)
    loop = _loop(_config(n_envs=16, n_steps=64, batch_size=256, learning_rate=3e-3))
    first = loop.iterate()
    assert (first.actions == first.observations.argmax(-1)).float().mean() < 0.5
    last = [loop.iterate() for _ in range(8)][-1]
    assert (last.actions == last.observations.argmax(-1)).float().mean() > 0.85
