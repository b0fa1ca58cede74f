"""The training algorithms: how each is built, and where its actor lies.

All are those of stable-baselines3 and sb3-contrib, on the constrained reward of
:class:`~quietdial.agents.learners.sb3_env.SameStepVecEnv`. Every actor is a plain stack of tanh
layers (behind an LSTM for `recurrent-ppo`), so that it runs as a
:class:`~quietdial.agents.learned_policy.LearnedPolicy`:

* `ppo`, `ppo-lagrangian`, `maskable-ppo`, `recurrent-ppo`, `a2c`, `trpo`: the logits; masks are
  used in training only, since the world enforces them all the same.
* `dqn`: the action values. `qr-dqn`: the mean over the quantiles, which is linear in them, so that
  the last layer is averaged (Dabney et al. 2018 act on this mean).
* `sac`: the mean of the Gaussian before its tanh; the action is a threshold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from quietdial.agents.learners.config import AlgorithmName, LearnerConfig
from quietdial.agents.learners.fast_policy import (
    FastDiscretePolicy,
    FastMaskablePolicy,
    FastTanh,
    set_logit_bias,
    starting_bias,
)
from quietdial.agents.learners.sb3_env import N_TRUTHS, SameStepVecEnv
from quietdial.envs.errors import ConfigError, MissingExtraError

try:
    import torch
    from sb3_contrib import QRDQN, TRPO, MaskablePPO, RecurrentPPO
    from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
    from stable_baselines3 import A2C, DQN, PPO, SAC
    from stable_baselines3.common.base_class import BaseAlgorithm
    from stable_baselines3.common.buffers import NStepReplayBuffer
except ImportError as error:  # pragma: no cover - tested in a bare environment
    raise MissingExtraError("stable-baselines3 and sb3-contrib", "train", "training") from error

Tensors = dict[str, NDArray[np.float32]]

VALUE_BIAS_SCALE: Final = 0.1
"""Starting biases of action values are those of logits times this: values are small numbers."""


@dataclass(frozen=True)
class Algorithm:
    """One training algorithm.

    Attributes:
        build: makes the model from settings, environment and decision interval [s].
        layers: the actor's linear layers, from the observation (or memory) to the answer.
        n_averaged: how many numbers of the last layer are averaged for each action.
        memory: the actor's LSTM, or None.
    """

    build: Callable[[LearnerConfig, SameStepVecEnv, float], BaseAlgorithm]
    layers: Callable[[Any], Iterable[torch.nn.Module]]
    n_averaged: Callable[[LearnerConfig], int] = lambda _: 1
    memory: Callable[[Any], torch.nn.LSTM] | None = None


def build_model(
    config: LearnerConfig, vec_env: SameStepVecEnv, decision_interval_s: float
) -> BaseAlgorithm:
    """Make the model that `config` describes (ConfigError when the action space does not fit)."""
    space = vec_env.action_space
    if config.action != "theta" and not isinstance(space, spaces.Discrete):
        raise ConfigError(f"action {config.action!r} gave the space {space}; Discrete is needed")
    return ALGORITHMS[config.algorithm].build(config, vec_env, decision_interval_s)


def actor_tensors(config: LearnerConfig, policy: torch.nn.Module) -> Tensors:
    """The actor of a model's policy, named as `LearnedPolicy.tensors` names it."""
    algorithm = ALGORITHMS[config.algorithm]
    linear = [m for m in algorithm.layers(policy) if isinstance(m, torch.nn.Linear)]
    named: Tensors = {}
    for i, module in enumerate(linear):
        weight, bias = module.weight.detach(), module.bias.detach()
        n = algorithm.n_averaged(config) if i == len(linear) - 1 else 1
        if n > 1:  # rows are (quantile, action)
            weight = weight.double().reshape(n, -1, weight.shape[1]).mean(dim=0).float()
            bias = bias.double().reshape(n, -1).mean(dim=0).float()
        named[f"actor.{i}.weight"] = weight.t().contiguous().cpu().numpy().copy()
        named[f"actor.{i}.bias"] = bias.cpu().numpy().copy()
    if algorithm.memory is not None:
        lstm = algorithm.memory(policy)
        raw = dict(lstm.named_parameters())
        parts = {
            "weight_in": raw["weight_ih_l0"].t(),
            "weight_back": raw["weight_hh_l0"].t(),
            "bias": raw["bias_ih_l0"] + raw["bias_hh_l0"],
        }
        for name, value in parts.items():
            named[f"memory.{name}"] = value.detach().contiguous().cpu().numpy().copy()
    return named


def optimizers(policy: torch.nn.Module) -> list[torch.optim.Optimizer]:
    """The optimizers of a model's policy: one, or SAC's of actor and critic."""
    holders = [policy, getattr(policy, "actor", None), getattr(policy, "critic", None)]
    found = [getattr(holder, "optimizer", None) for holder in holders]
    return [one for one in found if isinstance(one, torch.optim.Optimizer)]


# -------------------------------------------------------------------------------- building


def _common(config: LearnerConfig, interval_s: float) -> dict[str, Any]:
    first, share = config.learning_rate, config.final_learning_rate_share
    return {
        "learning_rate": lambda remaining: first * (share + (1.0 - share) * remaining),
        "gamma": config.discount(interval_s),
        "seed": config.seed,
        "device": "cpu",
    }


def _bias(config: LearnerConfig, vec_env: SameStepVecEnv) -> list[float]:
    space = vec_env.action_space
    n = int(space.n) if isinstance(space, spaces.Discrete) else 0
    return starting_bias(config.action, n, config.residual_bias, config.dials_bias)


def _actor_critic(config: LearnerConfig, vec_env: SameStepVecEnv) -> dict[str, Any]:
    return {
        "net_arch": {"pi": list(config.net), "vf": list(config.net)},
        "logit_bias": _bias(config, vec_env),
        "n_truths": N_TRUTHS if config.critic == "privileged" else 0,
    }


def _on_rollouts(config: LearnerConfig, interval_s: float) -> dict[str, Any]:
    return _common(config, interval_s) | {
        "n_steps": config.n_steps,
        "gae_lambda": config.gae_lambda,
        "ent_coef": config.ent_coef,
        "vf_coef": config.vf_coef,
        "max_grad_norm": config.max_grad_norm,
    }


def ppo_settings(config: LearnerConfig, interval_s: float) -> dict[str, Any]:
    """Arguments of stable-baselines3's `PPO` for these settings, other than policy and env."""
    return _on_rollouts(config, interval_s) | {
        "batch_size": config.batch_size,
        "n_epochs": config.n_epochs,
        "clip_range": config.clip_range,
        "target_kl": config.target_kl,
    }


def _ppo(config: LearnerConfig, vec_env: SameStepVecEnv, interval_s: float) -> BaseAlgorithm:
    return PPO(
        FastDiscretePolicy,
        vec_env,
        policy_kwargs=_actor_critic(config, vec_env),
        **ppo_settings(config, interval_s),
    )


def _maskable(config: LearnerConfig, vec_env: SameStepVecEnv, interval_s: float) -> BaseAlgorithm:
    return MaskablePPO(
        FastMaskablePolicy,
        vec_env,
        policy_kwargs=_actor_critic(config, vec_env),
        **ppo_settings(config, interval_s),
    )


def _recurrent(config: LearnerConfig, vec_env: SameStepVecEnv, interval_s: float) -> BaseAlgorithm:
    model = RecurrentPPO(
        RecurrentActorCriticPolicy,
        vec_env,
        policy_kwargs={
            "net_arch": {"pi": list(config.net), "vf": list(config.net)},
            "activation_fn": FastTanh,
            "lstm_hidden_size": config.lstm,
            "enable_critic_lstm": True,
        },
        **ppo_settings(config, interval_s),
    )
    set_logit_bias(model.policy.action_net, _bias(config, vec_env))
    return model


def _a2c(config: LearnerConfig, vec_env: SameStepVecEnv, interval_s: float) -> BaseAlgorithm:
    return A2C(
        FastDiscretePolicy,
        vec_env,
        normalize_advantage=True,
        use_rms_prop=False,
        policy_kwargs=_actor_critic(config, vec_env),
        **_on_rollouts(config, interval_s),
    )


def _trpo(config: LearnerConfig, vec_env: SameStepVecEnv, interval_s: float) -> BaseAlgorithm:
    return TRPO(
        FastDiscretePolicy,
        vec_env,
        n_steps=config.n_steps,
        batch_size=config.batch_size,
        gae_lambda=config.gae_lambda,
        n_critic_updates=config.n_critic_updates,
        sub_sampling_factor=config.sub_sampling,
        target_kl=0.01 if config.target_kl is None else config.target_kl,
        policy_kwargs=_actor_critic(config, vec_env),
        **_common(config, interval_s),
    )


class PricedReplayBuffer(NStepReplayBuffer):
    """A store of transitions whose rewards are always at the multiplier of now.

    Beside each reward stands the excess that was paid for; when the multiplier moves, all stored
    rewards move with it. So what learns from a store can follow a moving price. Rows that have a
    price of their own (conditioned training) keep it: it belongs to their observation. Rewards of
    several decisions may be added up before a value is asked for (`n_steps`, `gamma`).

    Args:
        *args: as `NStepReplayBuffer` takes them.
        vec_env: the environment whose multiplier holds.
        **kwargs: as `ReplayBuffer` takes them.
    """

    def __init__(self, *args: Any, vec_env: SameStepVecEnv, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._vec_env = vec_env
        self.price = vec_env.multiplier
        self.excess = np.zeros_like(self.rewards)

    def _reprice(self) -> None:
        price = self._vec_env.multiplier
        if self._vec_env.conditioned is None and price != self.price:
            self.rewards -= np.float32(price - self.price) * self.excess
            self.price = price

    def add(self, *args: Any, **kwargs: Any) -> None:
        """Store one transition of every row, just after the environment's step."""
        self._reprice()
        self.excess[self.pos] = self._vec_env.last_excess
        super().add(*args, **kwargs)

    def sample(self, *args: Any, **kwargs: Any) -> Any:
        """Draw transitions, their rewards at the multiplier of now."""
        self._reprice()
        return super().sample(*args, **kwargs)


class _ByRow:
    """Exploration row by row, one action up or down, from the first step on.

    stable-baselines3 explores in all rows at once or in none, and begins with uniform actions. On a
    floor of ten agents a uniform number of dials each second floods it, and the learner that sees
    nothing else becomes timid (science study, C2); actions are ordered, so the neighbours are tried
    instead.
    """

    exploration_rate: float
    policy: Any
    action_space: Any

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
    ) -> tuple[NDArray[Any], Any]:
        """Actions for a batch (B, F); not `deterministic`: explored with."""
        actions, state = self.policy.predict(observation, state, episode_start, True)
        if not deterministic:
            shape = np.shape(actions)
            step = np.random.randint(2, size=shape) * 2 - 1  # noqa: NPY002  # seeded by the learner
            tried = np.random.random(shape) < self.exploration_rate  # noqa: NPY002
            actions = np.clip(actions + tried * step, 0, self.action_space.n - 1)
        return actions, state

    def _sample_action(
        self, learning_starts: int, action_noise: Any = None, n_envs: int = 1
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        """As in training proper from the first step on."""
        sampled = super()._sample_action(0, action_noise, n_envs)  # type: ignore[misc]
        return sampled  # type: ignore[no-any-return]


class RowDQN(_ByRow, DQN):
    """DQN that explores row by row."""


class RowQRDQN(_ByRow, QRDQN):
    """QR-DQN that explores row by row."""


class WarmSAC(SAC):
    """SAC that acts by its own policy from the first step on."""

    def _sample_action(
        self, learning_starts: int, action_noise: Any = None, n_envs: int = 1
    ) -> tuple[NDArray[Any], NDArray[Any]]:
        return super()._sample_action(0, action_noise, n_envs)


def _stored(config: LearnerConfig, vec_env: SameStepVecEnv, interval_s: float) -> dict[str, Any]:
    return _common(config, interval_s) | {
        "replay_buffer_class": PricedReplayBuffer,
        "replay_buffer_kwargs": {
            "vec_env": vec_env,
            "n_steps": config.return_steps,
            "gamma": config.discount(interval_s),
        },
        "buffer_size": config.buffer_size,
        "learning_starts": config.learning_starts,
        "batch_size": config.batch_size,
        "train_freq": config.train_freq,
        "gradient_steps": config.gradient_steps,
    }


def _greedy(config: LearnerConfig, vec_env: SameStepVecEnv, interval_s: float) -> dict[str, Any]:
    first, last = config.exploration
    return _stored(config, vec_env, interval_s) | {
        "target_update_interval": config.target_update_every,
        "exploration_initial_eps": first,
        "exploration_final_eps": last,
        "exploration_fraction": config.exploration_fraction,
        "max_grad_norm": config.max_grad_norm,
    }


def _bias_values(nets: Sequence[torch.nn.Sequential], bias: Sequence[float], copies: int) -> None:
    """Let the values of all actions start near a safe rule, in the net and its target."""
    scaled = [VALUE_BIAS_SCALE * number for number in bias] * copies
    for net in nets:
        set_logit_bias(net[-1], scaled)


def _dqn(config: LearnerConfig, vec_env: SameStepVecEnv, interval_s: float) -> BaseAlgorithm:
    model = RowDQN(
        "MlpPolicy",
        vec_env,
        policy_kwargs={"net_arch": list(config.net), "activation_fn": FastTanh},
        **_greedy(config, vec_env, interval_s),
    )
    nets = [model.q_net.q_net, model.q_net_target.q_net]
    _bias_values(nets, _bias(config, vec_env), 1)
    return model


def _qr_dqn(config: LearnerConfig, vec_env: SameStepVecEnv, interval_s: float) -> BaseAlgorithm:
    model = RowQRDQN(
        "MlpPolicy",
        vec_env,
        policy_kwargs={
            "net_arch": list(config.net),
            "activation_fn": FastTanh,
            "n_quantiles": config.n_quantiles,
        },
        **_greedy(config, vec_env, interval_s),
    )
    nets = [model.quantile_net.quantile_net, model.quantile_net_target.quantile_net]
    _bias_values(nets, _bias(config, vec_env), config.n_quantiles)
    return model


def _sac(config: LearnerConfig, vec_env: SameStepVecEnv, interval_s: float) -> BaseAlgorithm:
    model = WarmSAC(
        "MlpPolicy",
        vec_env,
        ent_coef="auto_0.01",
        policy_kwargs={"net_arch": list(config.net), "activation_fn": FastTanh},
        **_stored(config, vec_env, interval_s),
    )
    if not isinstance(model.policy.actor.log_std, torch.nn.Linear):
        raise ConfigError("sac: the actor has no layer for its spread")
    with torch.no_grad():  # begin with a narrow choice of thresholds
        model.policy.actor.log_std.bias.fill_(-1.0)
    return model


def _mlp_extractor(policy: Any) -> list[torch.nn.Module]:
    return [*policy.mlp_extractor.policy_net, policy.action_net]


_Build = Callable[[LearnerConfig, SameStepVecEnv, float], BaseAlgorithm]

_POLICY_GRADIENT: Final[dict[AlgorithmName, _Build]] = {
    "ppo": _ppo,
    "ppo-lagrangian": _ppo,
    "maskable-ppo": _maskable,
    "a2c": _a2c,
    "trpo": _trpo,
}

ALGORITHMS: Final[dict[AlgorithmName, Algorithm]] = {
    **{name: Algorithm(build, _mlp_extractor) for name, build in _POLICY_GRADIENT.items()},
    "recurrent-ppo": Algorithm(_recurrent, _mlp_extractor, memory=lambda policy: policy.lstm_actor),
    "dqn": Algorithm(_dqn, lambda policy: policy.q_net.q_net),
    "qr-dqn": Algorithm(
        _qr_dqn, lambda policy: policy.quantile_net.quantile_net, lambda c: c.n_quantiles
    ),
    "sac": Algorithm(_sac, lambda policy: [*policy.actor.latent_pi, policy.actor.mu]),
}
"""All algorithms by name."""
