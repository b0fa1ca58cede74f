"""The same actor-critics as the ``MlpPolicy`` of PPO and MaskablePPO, 1.4 times as fast on a CPU.

Only `forward` and `evaluate_actions` are overridden: log-softmax over the long axis of transposed
logits and sampling by the inverse of the distribution function, in place of torch.distributions.
:class:`FastTanh` computes tanh through the sigmoid, which torch vectorises better.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from quietdial.agents.policy import RESIDUAL_OFFSET, LearnedAction
from quietdial.envs.errors import ConfigError, MissingExtraError
from quietdial.envs.pacing.control import THETAS
from quietdial.envs.pacing.insight import BY_RULE, N_CHOICES
from quietdial.envs.pacing.spec import N_RESIDUALS

try:
    import torch
    from gymnasium import spaces
    from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
    from stable_baselines3.common.policies import ActorCriticPolicy
    from stable_baselines3.common.torch_layers import MlpExtractor
except ImportError as error:  # pragma: no cover - tested in a bare environment
    raise MissingExtraError("torch and stable-baselines3", "train", "training") from error


class FastTanh(torch.nn.Module):
    """tanh(x) as 2 sigmoid(2 x) - 1: the same function within 2e-7 in float32."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply tanh to every element."""
        return torch.sigmoid(x * 2.0) * 2.0 - 1.0


def set_logit_bias(layer: torch.nn.Module, bias: Sequence[float]) -> None:
    """Set the bias of an actor's last layer, one number per action (ConfigError if not)."""
    if not isinstance(layer, torch.nn.Linear) or len(bias) != layer.out_features:
        n = getattr(layer, "out_features", 0)
        raise ConfigError(f"logit_bias has {len(bias)} entries; {n} actions need as many")
    with torch.no_grad():
        layer.bias.copy_(torch.as_tensor(bias))


class SplitExtractor(torch.nn.Module):
    """Hidden layers of actor and critic of which only the critic sees the last features.

    Args:
        n_features: all features.
        n_truths: how many of the last ones the actor does not see.
        net_arch: widths, `{"pi": [...], "vf": [...]}`.
        activation_fn: between the layers.
    """

    def __init__(
        self,
        n_features: int,
        n_truths: int,
        net_arch: dict[str, list[int]],
        activation_fn: type[torch.nn.Module],
    ) -> None:
        super().__init__()
        self._n_seen = n_features - n_truths
        actor = MlpExtractor(self._n_seen, {**net_arch, "vf": []}, activation_fn, "cpu")
        critic = MlpExtractor(n_features, {**net_arch, "pi": []}, activation_fn, "cpu")
        self.policy_net, self.value_net = actor.policy_net, critic.value_net
        self.latent_dim_pi, self.latent_dim_vf = actor.latent_dim_pi, critic.latent_dim_vf

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What comes out of the actor's and the critic's layers, from features (B, F)."""
        return self.forward_actor(features), self.forward_critic(features)

    def forward_actor(self, features: torch.Tensor) -> torch.Tensor:
        """The actor's layers, (B, width)."""
        return self.policy_net(features[:, : self._n_seen])  # type: ignore[no-any-return]

    def forward_critic(self, features: torch.Tensor) -> torch.Tensor:
        """The critic's layers, (B, width)."""
        return self.value_net(features)  # type: ignore[no-any-return]


_IMPOSSIBLE = -1e8
"""Logit of an impossible action; its probability underflows to exactly zero."""


class _Fast:
    """What both policies do in place of torch.distributions, with masks or without.

    Args:
        logit_bias: starting bias of the actions' logits, one per action; none: zeros.
        n_truths: how many of the last features the critic alone sees.
        *args: as the policy of stable-baselines3 takes them.
        **kwargs: as it takes them; the activation defaults to :class:`FastTanh`.
    """

    action_net: Any
    value_net: Any
    mlp_extractor: Any
    extract_features: Any
    features_dim: int
    net_arch: Any
    activation_fn: Any

    def __init__(
        self,
        *args: Any,
        logit_bias: Sequence[float] | None = None,
        n_truths: int = 0,
        **kwargs: Any,
    ) -> None:
        self.n_truths = n_truths  # asked for while the layers are built
        kwargs.setdefault("activation_fn", FastTanh)
        super().__init__(*args, **kwargs)
        if logit_bias is not None:
            set_logit_bias(self.action_net, logit_bias)

    def _build_mlp_extractor(self) -> None:
        """As stable-baselines3 does, or with the truth for the critic alone."""
        if self.n_truths == 0:
            super()._build_mlp_extractor()  # type: ignore[misc]
            return
        self.mlp_extractor = SplitExtractor(
            self.features_dim, self.n_truths, self.net_arch, self.activation_fn
        )

    def _log_probs_and_values(
        self, obs: torch.Tensor, action_masks: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probabilities (actions, batch) and values (batch, 1)."""
        features = self.extract_features(obs)
        latent_pi, latent_vf = self.mlp_extractor(features)
        logits = self.action_net(latent_pi).t().contiguous()
        if action_masks is not None:
            possible = torch.as_tensor(action_masks, dtype=torch.bool, device=logits.device)
            logits = logits.masked_fill(~possible.reshape(-1, logits.shape[0]).t(), _IMPOSSIBLE)
        return torch.log_softmax(logits, dim=0), self.value_net(latent_vf)

    def forward(
        self, obs: torch.Tensor, deterministic: bool = False, action_masks: Any = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Decide for a batch.

        Args:
            obs: float32 (B, F).
            deterministic: take the likeliest action in place of a sampled one.
            action_masks: which actions are possible, bool (B, n); none: all.

        Returns:
            Actions int64 (B,), values (B, 1), log-probabilities of the actions (B,).
        """
        log_probs, values = self._log_probs_and_values(obs, action_masks)
        if deterministic:
            actions = log_probs.argmax(dim=0)
        else:
            cumulative = log_probs.exp().cumsum(dim=0)
            threshold = torch.rand(log_probs.shape[1], device=log_probs.device) * cumulative[-1]
            actions = (cumulative <= threshold).sum(dim=0).clamp_(max=log_probs.shape[0] - 1)
        chosen = log_probs.gather(0, actions.unsqueeze(0)).squeeze(0)
        return actions, values, chosen

    def evaluate_actions(
        self, obs: Any, actions: torch.Tensor, action_masks: Any = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
        """Judge given actions under the policy as it is now.

        Args:
            obs: float32 (B, F).
            actions: int64 (B,).
            action_masks: which actions are possible, bool (B, n); none: all.

        Returns:
            Values (B, 1), log-probabilities of the actions (B,), entropies (B,) in nats.
        """
        log_probs, values = self._log_probs_and_values(obs, action_masks)
        chosen = log_probs.gather(0, actions.long().reshape(1, -1)).squeeze(0)
        entropy = -(log_probs.exp() * log_probs).sum(dim=0)
        return values, chosen, entropy


class FastDiscretePolicy(_Fast, ActorCriticPolicy):
    """An ``MlpPolicy`` for one discrete action with faster sampling and evaluation.

    Args: see :class:`_Fast`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not isinstance(self.action_space, spaces.Discrete):
            raise ConfigError(
                f"FastDiscretePolicy needs a Discrete action space, not {self.action_space}"
            )
        if not self.share_features_extractor:
            raise ConfigError("FastDiscretePolicy needs share_features_extractor=True")


class FastMaskablePolicy(_Fast, MaskableActorCriticPolicy):
    """The same for MaskablePPO: impossible actions have a probability of exactly zero.

    Args: see :class:`_Fast`.
    """


def starting_bias(
    action: LearnedAction, n_actions: int, residual_bias: float = 0.3, dials_bias: float = 3.0
) -> list[float]:
    """Logit bias that starts training near a safe rule (science study, section F).

    `residual`: -`residual_bias` for each call away from the base rule. `residual_choice`: the same,
    and once more where the lead is not the rule's choice. `threshold`: the same for each level
    away from 0.02.
    `vicidial_level`: the same away from level 1.5. `dials`:
    +`dials_bias` on dialing nothing.
    """
    if action == "residual_choice":
        residual = starting_bias("residual", N_RESIDUALS, residual_bias)
        away = [0.0 if choice == BY_RULE else residual_bias for choice in range(N_CHOICES)]
        return [bias - more for more in away for bias in residual]
    near = {"residual": -RESIDUAL_OFFSET, "threshold": THETAS.index(0.02), "vicidial_level": 2}
    if action in near:
        return [-residual_bias * abs(i - near[action]) for i in range(n_actions)]
    return [dials_bias] + [0.0] * (n_actions - 1)
