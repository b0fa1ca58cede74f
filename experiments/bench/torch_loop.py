"""PPO written out in PyTorch, without stable-baselines3: what a loop by hand would reach.

The maths are those of stable-baselines3's PPO with its `MlpPolicy` for one discrete action
(Schulman et al. 2017): two tanh networks, orthogonal starting weights, advantages by GAE and
normalised in each minibatch, clipped ratio, gradient norm clipped, Adam with eps = 1e-5, truncated
episodes bootstrapped. The step size is constant. `quietdial bench train` measures it beside ours.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.distributions import Categorical
from torch.nn import functional

from quietdial.agents.learners.config import LearnerConfig


class Campaigns(Protocol):
    """Campaigns side by side, as stable-baselines3's `VecEnv` plays them; resets by itself."""

    def reset(self) -> Any:
        """Start all; observations (B, F)."""
        ...

    def step(self, actions: NDArray[Any]) -> tuple[Any, Any, Any, Sequence[dict[str, Any]]]:
        """One decision: observations (B, F), rewards (B,), ended (B,), an info for each row."""
        ...


@dataclass(frozen=True)
class Rollout:
    """What is learned from at once: T decisions of B campaigns.

    Attributes:
        observations: float32 (T, B, F).
        actions: int64 (T, B).
        log_probs: of these actions when they were taken, float32 (T, B).
        values: estimated when they were taken, float32 (T, B).
        rewards: with the discounted value of the last observation where an episode was truncated,
            float32 (T, B).
        ended: whether the episode ended with this decision, float32 (T, B).
        last_values: of the observations after the last decision, float32 (B,).
    """

    observations: torch.Tensor
    actions: torch.Tensor
    log_probs: torch.Tensor
    values: torch.Tensor
    rewards: torch.Tensor
    ended: torch.Tensor
    last_values: torch.Tensor


def tanh_net(widths: Sequence[int], last_gain: float) -> nn.Sequential:
    """Linear layers of these widths with tanh between them, orthogonal weights and no bias."""
    layers: list[nn.Module] = []
    for i, (n_in, n_out) in enumerate(itertools.pairwise(widths)):
        last = i == len(widths) - 2
        linear = nn.Linear(n_in, n_out)
        nn.init.orthogonal_(linear.weight, last_gain if last else 2.0**0.5)
        nn.init.zeros_(linear.bias)
        layers += [linear] if last else [linear, nn.Tanh()]
    return nn.Sequential(*layers)


class TorchPpo:
    """The loop.

    Args:
        campaigns: what it acts in, `config.n_envs` rows.
        config: settings; those of the Lagrangian and the falling step size are not used.
        n_features: numbers of an observation.
        n_actions: actions to choose from.
        gamma: discount per decision.
    """

    def __init__(
        self,
        campaigns: Campaigns,
        config: LearnerConfig,
        n_features: int,
        n_actions: int,
        gamma: float,
    ) -> None:
        self.config = config
        self.gamma = gamma
        self.actor = tanh_net((n_features, *config.net, n_actions), 0.01)
        self.critic = tanh_net((n_features, *config.net, 1), 1.0)
        self._parameters = [*self.actor.parameters(), *self.critic.parameters()]
        self._adam = torch.optim.Adam(self._parameters, lr=config.learning_rate, eps=1e-5)
        self._campaigns = campaigns
        self._obs = torch.as_tensor(campaigns.reset(), dtype=torch.float32)

    def iterate(self) -> Rollout:
        """One rollout and the update from it."""
        rollout = self.collect()
        self.update(rollout)
        return rollout

    @torch.no_grad()
    def collect(self) -> Rollout:
        """Play `n_steps` decisions."""
        kept: list[tuple[torch.Tensor, ...]] = []
        for _ in range(self.config.n_steps):
            chances: Any = Categorical(logits=self.actor(self._obs))
            actions: torch.Tensor = chances.sample()
            values = self.critic(self._obs).flatten()
            obs, rewards, ended, infos = self._campaigns.step(actions.numpy())
            paid = torch.tensor(rewards, dtype=torch.float32)
            for row in np.flatnonzero(ended).tolist():
                if infos[row].get("TimeLimit.truncated", False):
                    final = torch.as_tensor(infos[row]["terminal_observation"])
                    paid[row] += self.gamma * self.critic(final.float()).squeeze()
            over = torch.as_tensor(ended, dtype=torch.float32)
            kept.append((self._obs, actions, chances.log_prob(actions), values, paid, over))
            self._obs = torch.tensor(obs, dtype=torch.float32)
        last_values = self.critic(self._obs).flatten()
        observed, acted, log_probs, valued, paid, over = map(torch.stack, zip(*kept, strict=True))
        return Rollout(observed, acted, log_probs, valued, paid, over, last_values)

    def advantages(self, rollout: Rollout) -> torch.Tensor:
        """Generalised advantage estimates, float32 (T, B)."""
        found = torch.empty_like(rollout.rewards)
        following, later = rollout.last_values, torch.zeros_like(rollout.last_values)
        for t in reversed(range(len(found))):
            goes_on = 1.0 - rollout.ended[t]
            surprise = rollout.rewards[t] + self.gamma * following * goes_on - rollout.values[t]
            later = surprise + self.gamma * self.config.gae_lambda * goes_on * later
            found[t] = later
            following = rollout.values[t]
        return found

    def update(self, rollout: Rollout) -> None:
        """Descend for `n_epochs` passes over the rollout in minibatches."""
        advantages = self.advantages(rollout)
        returns = (advantages + rollout.values).flatten()
        advantages = advantages.flatten()
        observations = rollout.observations.flatten(0, 1)
        actions, log_probs = rollout.actions.flatten(), rollout.log_probs.flatten()
        for _ in range(self.config.n_epochs):
            order = torch.randperm(len(actions))
            for first in range(0, len(order), self.config.batch_size):
                rows = order[first : first + self.config.batch_size]
                loss = self.loss(
                    observations[rows],
                    actions[rows],
                    log_probs[rows],
                    advantages[rows],
                    returns[rows],
                )
                self._adam.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                nn.utils.clip_grad_norm_(self._parameters, self.config.max_grad_norm)
                self._adam.step()

    def loss(
        self,
        observations: torch.Tensor,
        actions: torch.Tensor,
        log_probs: torch.Tensor,
        advantages: torch.Tensor,
        returns: torch.Tensor,
    ) -> torch.Tensor:
        """PPO's loss of one minibatch; observations (M, F), all else (M,)."""
        config = self.config
        chances: Any = Categorical(logits=self.actor(observations))
        ratio: torch.Tensor = (chances.log_prob(actions) - log_probs).exp()
        scaled = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
        clipped = ratio.clamp(1.0 - config.clip_range, 1.0 + config.clip_range)
        gain = torch.minimum(scaled * ratio, scaled * clipped).mean()
        value_loss = functional.mse_loss(self.critic(observations).flatten(), returns)
        entropy: torch.Tensor = chances.entropy().mean()
        return config.vf_coef * value_loss - gain - config.ent_coef * entropy
