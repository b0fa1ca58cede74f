"""Settings of the learner as a validated model; needs no torch, so the command line can read it."""

from __future__ import annotations

import math
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from quietdial.agents.learners.lagrange import HIGHEST, LOWEST
from quietdial.agents.policy import THETA_RANGE, LearnedAction
from quietdial.envs.errors import ConfigError
from quietdial.envs.regulation.rule import profile_names
from quietdial.envs.scenario import Scenario

DISCOUNT_HORIZON_S: Final = 20.0
"""Time constant of the discount: gamma = exp(-decision interval / 20 s)."""

SEED_STRIDE: Final = 4096  # rows of run `seed` use seed * 4096 + row: runs share no training world


def require_cap(scenario: Scenario) -> None:
    """Refuse to train where the rule does not limit the rate: there is no constraint to learn.

    Raises:
        ConfigError: `rule.cap` is 1, as in the profiles au, de, fr, none and uk_2017.
    """
    rule = scenario.rule
    if rule.cap >= 1.0:
        profile = rule.id if rule.id in profile_names() else "it_2014"
        raise ConfigError(
            f"scenario {scenario.name!r}: rule {rule.id!r} has no limit on the silent rate "
            "(rule.cap = 1), so there is nothing to train for; set rule.cap below 1, for example "
            f"`rule: {{profile: {profile}, cap: 0.03}}`"
        )


class LearnerConfig(BaseModel):
    """Settings of the learner; the defaults train `italy-50` in a few minutes on one core."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    total_steps: int = Field(
        default=4_000_000, ge=1, le=10_000_000_000, description="environment steps to train"
    )
    n_envs: int = Field(default=256, ge=1, le=SEED_STRIDE, description="campaigns side by side")
    n_steps: int = Field(default=128, ge=2, le=100_000, description="decisions per rollout and row")
    batch_size: int = Field(default=2048, ge=2, le=10_000_000, description="rows of a minibatch")
    n_epochs: int = Field(default=4, ge=1, le=100, description="passes over each rollout")
    gamma: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=None, description="discount per decision; none: exp(-decision interval / 20 s)"
    )
    gae_lambda: float = Field(default=0.95, ge=0, le=1, description="lambda of the advantages")
    learning_rate: float = Field(default=1e-3, gt=0, le=1, description="step size at the start")
    final_learning_rate_share: float = Field(
        default=0.02, gt=0, le=1, description="step size at the end / at the start; linear between"
    )
    clip_range: float = Field(default=0.2, gt=0, le=1, description="PPO's clip of the ratio")
    ent_coef: float = Field(default=5e-4, ge=0, le=1, description="weight of the entropy bonus")
    vf_coef: float = Field(default=0.5, ge=0, le=10, description="weight of the value loss")
    max_grad_norm: float = Field(default=0.5, gt=0, le=1000, description="clip of the gradient")
    net: tuple[Annotated[int, Field(ge=1, le=4096)], ...] = Field(
        default=(64, 64), min_length=1, max_length=8, description="hidden widths, actor and critic"
    )
    observation: Literal["full", "counters", "markov"] = Field(
        default="full", description="observation set"
    )
    action: LearnedAction = Field(default="residual", description="action kind")
    base_theta: float = Field(
        default=0.02,
        ge=THETA_RANGE[0],
        le=THETA_RANGE[1],
        description="threshold of the marginal rule under residual actions",
    )
    target_silent_rate: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=None, description="silent / answered to train for; none: 0.95 of the rule's cap"
    )
    initial_multiplier: float = Field(
        default=150.0, ge=LOWEST, le=HIGHEST, description="first price, agent-s per silent call"
    )
    reward_scale: float = Field(default=0.05, gt=0, le=1000, description="factor on the reward")
    residual_bias: float = Field(
        default=0.3,
        ge=0,
        le=10,
        description="how much each call away from the base rule is disfavoured at the start, nats; "
        "with 1.0 the preferred action never left the rule in 4 M steps of italy-50",
    )
    horizon_s: float = Field(
        default=7200.0, gt=0, le=2_678_400, description="length of a training episode"
    )
    seed: int = Field(default=1, ge=0, le=240_000, description="seed of weights, worlds, sampling")
    checkpoint_every: int = Field(
        default=10, ge=1, le=1_000_000, description="rollouts between checkpoints"
    )

    @model_validator(mode="after")
    def _whole_batches(self) -> LearnerConfig:
        rollout = self.n_envs * self.n_steps
        if rollout % self.batch_size:
            raise ValueError(
                f"batch_size = {self.batch_size} must divide n_envs x n_steps = {rollout}"
            )
        return self

    def discount(self, decision_interval_s: float) -> float:
        """The discount per decision."""
        if self.gamma is not None:
            return self.gamma
        return math.exp(-decision_interval_s / DISCOUNT_HORIZON_S)

    def target(self, cap: float) -> float:
        """The silent rate to train for under a rule with this cap, fraction of answered."""
        return 0.95 * cap if self.target_silent_rate is None else self.target_silent_rate

    @property
    def planned_steps(self) -> int:
        """Environment steps that will be run: whole rollouts."""
        rollout = self.n_envs * self.n_steps
        return -(-self.total_steps // rollout) * rollout
