"""Entropy and movement of the policy, for the algorithms that do not log them themselves.

PPO in all its forms logs `train/entropy_loss` and `train/approx_kl`. A2C logs no movement, TRPO
and SAC no entropy. Under the same tags and signs (`entropy_loss` is minus the entropy, nats), so
that curves of different algorithms lie in one chart, they are measured here on the observations at
the end of a rollout, before and after the update that follows. DQN and QR-DQN choose greedily:
what they have instead is `rollout/exploration_rate`.
"""

from __future__ import annotations

import math
from typing import Any

from quietdial.agents.learners.config import LearnerConfig
from quietdial.envs.errors import MissingExtraError

try:
    import torch
except ImportError as error:  # pragma: no cover - tested in a bare environment
    raise MissingExtraError("torch", "train", "training") from error

_CATEGORICAL = frozenset({"a2c", "trpo"})


class Probe:
    """Looks at the policy before and after one update; draws nothing at random.

    Args:
        config: settings of the learner; only its algorithm matters.
    """

    def __init__(self, config: LearnerConfig) -> None:
        self._algorithm = config.algorithm
        self._obs: torch.Tensor | None = None
        self._log_probs: torch.Tensor | None = None

    def before(self, model: Any) -> None:
        """Keep what the policy does now, at the end of a rollout."""
        if self._algorithm not in _CATEGORICAL and self._algorithm != "sac":
            return
        self._obs = torch.as_tensor(model._last_obs)
        if self._algorithm in _CATEGORICAL:
            self._log_probs = self._now(model, self._obs)

    def after(self, model: Any) -> dict[str, float]:
        """Numbers by tag after the update that followed; empty if there is nothing to compare."""
        obs, self._obs = self._obs, None
        if obs is None:
            return {}
        if self._algorithm == "sac":
            with torch.no_grad():
                _, log_std, _ = model.policy.actor.get_action_dist_params(obs)
            entropy = float(log_std.sum(dim=1).mean())  # of the Gaussian before its tanh
            entropy += 0.5 * log_std.shape[1] * math.log(2.0 * math.pi * math.e)
            return {"train/entropy_loss": -entropy}
        old, new = self._log_probs, self._now(model, obs)
        if old is None:
            return {}
        kl = float((old.exp() * (old - new)).sum(dim=1).mean())
        entropy = -float((new.exp() * new).sum(dim=1).mean())
        return {"train/entropy_loss": -entropy, "train/approx_kl": kl}

    def _now(self, model: Any, obs: torch.Tensor) -> torch.Tensor:
        """Log-probabilities of the actions, (B, A)."""
        with torch.no_grad():
            logits: torch.Tensor = model.policy.get_distribution(obs).distribution.logits
        return logits
