"""Settings of the learner as a validated model; needs no torch, so the command line can read it."""

from __future__ import annotations

import math
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from quietdial.agents.learned_policy import Deployed
from quietdial.agents.learners.lagrange import HIGHEST, LOWEST, MultiplierKind
from quietdial.agents.policy import THETA_RANGE, KnowledgeName, LearnedAction
from quietdial.envs.errors import ConfigError
from quietdial.envs.regulation.rule import profile_names
from quietdial.envs.scenario import Scenario

DISCOUNT_HORIZON_S: Final = 20.0
"""Time constant of the discount: gamma = exp(-decision interval / 20 s)."""

SEED_STRIDE: Final = 4096  # rows of run `seed` use seed * 4096 + row: runs share no training world

AlgorithmName = Literal[
    "ppo-lagrangian",
    "ppo",
    "maskable-ppo",
    "recurrent-ppo",
    "a2c",
    "trpo",
    "dqn",
    "qr-dqn",
    "sac",
]
"""Training algorithms; how each is built is in algorithms.py."""

ALGORITHM_NAMES: Final[tuple[AlgorithmName, ...]] = get_args(AlgorithmName)

OFF_POLICY: Final = frozenset({"dqn", "qr-dqn", "sac"})
"""Algorithms that learn from a store of old transitions."""

_WITH_MINIBATCHES: Final = frozenset({"ppo-lagrangian", "ppo", "maskable-ppo", "recurrent-ppo"})

_ACTOR_CRITIC: Final = frozenset({"ppo-lagrangian", "ppo", "maskable-ppo", "a2c", "trpo"})

_STORED: Final[dict[str, Any]] = {  # common to what learns from a store
    "n_envs": 64,
    "batch_size": 1024,
    "report_every": 16_384,
    "checkpoint_every": 20,
}

_SUMMED: Final[dict[str, Any]] = {"return_steps": 12}
"""A silent call follows its dial by a ring time, 12 s: with the reward of one decision at a time
the values hardly learned of it, the price ran off, and no knob brought the policy to the cap."""

PRESETS: Final[dict[AlgorithmName, dict[str, Any]]] = {
    "ppo-lagrangian": {},
    "ppo": {"multiplier": "fixed"},
    "maskable-ppo": {},
    "recurrent-ppo": {
        "n_envs": 256,
        "n_steps": 32,
        "batch_size": 2048,
        "n_epochs": 2,
        "net": (32,),
        "total_steps": 2_000_000,
        "report_every": 32_768,
    },
    "a2c": {"n_steps": 16, "total_steps": 6_000_000, "report_every": 32_768, "dials_bias": 5.0},
    "trpo": {"n_steps": 128, "batch_size": 4096, "target_kl": 0.01},
    "dqn": {**_STORED, **_SUMMED, "total_steps": 1_500_000, "learning_rate": 5e-4},
    "qr-dqn": {**_STORED, **_SUMMED, "total_steps": 1_000_000, "learning_rate": 5e-4},
    "sac": {**_STORED, "action": "theta", "total_steps": 1_000_000, "learning_rate": 5e-4},
}
"""What each algorithm's preset changes of the defaults of :class:`LearnerConfig`."""


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
    """Settings of the learner; the defaults train `italy-50` in a few minutes on one core.

    What is not given is taken from the preset of the `algorithm` (:data:`PRESETS`).
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    algorithm: AlgorithmName = Field(default="ppo-lagrangian", description="training algorithm")
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
    target_kl: Annotated[float, Field(gt=0, le=10)] | None = Field(
        default=None,
        description="end an update when the policy has moved so far, nats (PPO's epochs, TRPO)",
    )
    clip_range: float = Field(default=0.2, gt=0, le=1, description="PPO's clip of the ratio")
    ent_coef: float = Field(default=5e-4, ge=0, le=1, description="weight of the entropy bonus")
    vf_coef: float = Field(default=0.5, ge=0, le=10, description="weight of the value loss")
    max_grad_norm: float = Field(default=0.5, gt=0, le=1000, description="clip of the gradient")
    net: tuple[Annotated[int, Field(ge=1, le=4096)], ...] = Field(
        default=(64, 64), min_length=1, max_length=8, description="hidden widths, actor and critic"
    )
    critic: Literal["same", "privileged"] = Field(
        default="same",
        description="what the critic sees: what the actor sees, or hidden truth besides, which "
        "calls will be answered and when agents will be free; for training only",
    )
    observation: Literal["full", "counters", "leads", "wide", "markov"] = Field(
        default="full", description="observation set"
    )
    knowledge: KnowledgeName = Field(
        default="believed",
        description="what the look-ahead in the observation and the base rule go by: one of "
        "envs.pacing.params.KNOWLEDGE, or several joined by '+', as in scores+signal-10",
    )
    action: LearnedAction = Field(default="residual", description="action kind")
    base_theta: float = Field(
        default=0.02,
        ge=THETA_RANGE[0],
        le=THETA_RANGE[1],
        description="threshold of the marginal rule under residual actions; with conditioned at "
        "150 agent-s per silent call: it goes against the price",
    )
    target_silent_rate: Annotated[float, Field(gt=0, lt=1)] | None = Field(
        default=None, description="silent / answered to train for; none: 0.95 of the rule's cap"
    )
    multiplier: MultiplierKind = Field(
        default="pi", description="how the price of a silent call follows the silent rate"
    )
    initial_multiplier: float = Field(
        default=150.0, ge=LOWEST, le=HIGHEST, description="first price, agent-s per silent call"
    )
    conditioned: tuple[float, float] | None = Field(
        default=None,
        description="lowest and highest price, agent-s per silent call: each episode has its own, "
        "log-uniform, and the policy sees it; needs multiplier = fixed",
    )
    reward_scale: float = Field(default=0.05, gt=0, le=1000, description="factor on the reward")
    residual_bias: float = Field(
        default=0.3,
        ge=0,
        le=10,
        description="how much each call away from the base rule is disfavoured at the start, nats; "
        "with 1.0 the preferred action never left the rule in 4 M steps of italy-50",
    )
    dials_bias: float = Field(
        default=3.0,
        ge=0,
        le=20,
        description="'dials': how much dialing nothing is favoured at the start, nats; on ten "
        "agents 3 floods them for a while (60 % silent), 5 is near progressive dialing",
    )
    horizon_s: float = Field(
        default=7200.0, gt=0, le=2_678_400, description="length of a training episode"
    )
    lstm: int = Field(
        default=32, ge=1, le=4096, description="hidden numbers of recurrent-ppo's memory"
    )
    theta_range: tuple[float, float] = Field(
        default=(0.002, 0.2), description="'theta': thresholds at the ends of the action"
    )
    buffer_size: int = Field(
        default=200_000, ge=1, le=100_000_000, description="stored transitions (off-policy)"
    )
    learning_starts: int = Field(
        default=10_000, ge=0, description="transitions before the first update (off-policy)"
    )
    train_freq: int = Field(
        default=4, ge=1, le=100_000, description="decisions per row between updates (off-policy)"
    )
    gradient_steps: int = Field(
        default=2, ge=1, le=100_000, description="minibatches per update (off-policy)"
    )
    target_update_every: int = Field(
        default=8192, ge=1, description="environment steps between copies to the target network"
    )
    return_steps: int = Field(
        default=1,
        ge=1,
        le=1000,
        description="decisions whose rewards are added up before a value is asked for (off-policy)",
    )
    exploration: tuple[float, float] = Field(
        default=(0.2, 0.02), description="share of neighbouring actions tried, first and last"
    )
    exploration_fraction: float = Field(
        default=0.5, gt=0, le=1, description="share of training in which exploration falls"
    )
    n_quantiles: int = Field(default=25, ge=1, le=1000, description="quantiles of qr-dqn")
    n_critic_updates: int = Field(
        default=4, ge=1, le=1000, description="passes of trpo's critic over each rollout"
    )
    warm_start: str | None = Field(
        default=None,
        min_length=1,
        max_length=100,
        description="rule (docs/pacing-rules.md) that the actor is a copy of when learning starts",
    )
    sub_sampling: int = Field(
        default=4, ge=1, le=100, description="trpo's policy steps on one in so many transitions"
    )
    deployed: Deployed = Field(
        default="argmax", description="how the trained policy is read off and judged"
    )
    report_every: int = Field(
        default=1,
        ge=1,
        description="fewest environment steps between two reports and moves of the multiplier",
    )
    seed: int = Field(default=1, ge=0, le=240_000, description="seed of weights, worlds, sampling")
    checkpoint_every: int = Field(
        default=10, ge=1, le=1_000_000, description="reports between checkpoints"
    )
    keep_checkpoints: int = Field(
        default=3, ge=1, le=100_000, description="newest checkpoints that stay"
    )
    keep_start: bool = Field(
        default=False,
        description="the policy before its training stays among the checkpoints too; with residual "
        "actions it is the base rule",
    )

    @model_validator(mode="before")
    @classmethod
    def _from_preset(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        algorithm = given.get("algorithm", "ppo-lagrangian")
        preset = dict(PRESETS[algorithm]) if algorithm in ALGORITHM_NAMES else {}
        if given.get("conditioned") is not None:
            preset["multiplier"] = "fixed"
        return {**preset, **given}

    @model_validator(mode="after")
    def _consistent(self) -> LearnerConfig:
        rollout = self.n_envs * self.n_steps
        if self.algorithm in _WITH_MINIBATCHES and rollout % self.batch_size:
            raise ValueError(
                f"batch_size = {self.batch_size} must divide n_envs x n_steps = {rollout}"
            )
        if (self.action == "theta") != (self.algorithm == "sac"):
            others = "'theta'" if self.algorithm == "sac" else "'residual' or another discrete one"
            raise ValueError(
                f"action = {self.action!r} does not fit algorithm = {self.algorithm!r}, which "
                f"needs {others}"
            )
        low, high = self.theta_range
        if not THETA_RANGE[0] <= low < high <= THETA_RANGE[1]:
            raise ValueError(f"theta_range = {self.theta_range} must lie in {THETA_RANGE}")
        if self.conditioned is not None:
            low, high = self.conditioned
            if not LOWEST <= low < high <= HIGHEST:
                raise ValueError(
                    f"conditioned = {self.conditioned} must be low < high, both between "
                    f"{LOWEST:g} and {HIGHEST:g} agent-seconds"
                )
            if self.multiplier != "fixed":
                raise ValueError(
                    f"multiplier = {self.multiplier!r} does not fit conditioned training, where "
                    "every episode has its own price; use fixed"
                )
        if self.warm_start is not None and (
            self.algorithm not in _ACTOR_CRITIC or self.action not in ("residual", "dials")
        ):
            raise ValueError(
                f"warm_start = {self.warm_start!r} needs algorithm "
                f"{', '.join(sorted(_ACTOR_CRITIC))} and action residual or dials"
            )
        if self.critic == "privileged" and (
            self.algorithm not in _ACTOR_CRITIC or self.warm_start is not None
        ):
            raise ValueError(
                f"critic = {self.critic!r} needs algorithm {', '.join(sorted(_ACTOR_CRITIC))} and "
                "no warm_start"
            )
        if not all(0 <= share <= 1 for share in self.exploration):
            raise ValueError(f"exploration = {self.exploration}: both must be between 0 and 1")
        if self.deployed == "sampled" and self.algorithm in OFF_POLICY:
            raise ValueError(
                f"deployed = 'sampled' does not fit {self.algorithm!r}, which has no probabilities "
                "of actions; use argmax"
            )
        return self

    @classmethod
    def preset(cls, algorithm: AlgorithmName = "ppo-lagrangian", **changes: Any) -> LearnerConfig:
        """The settings of an algorithm that train in one to three minutes on one core.

        Args:
            algorithm: which one.
            **changes: settings that differ from the preset.
        """
        return cls.model_validate({"algorithm": algorithm, **changes})

    def with_algorithm(self, algorithm: AlgorithmName) -> LearnerConfig:
        """Another algorithm's preset, with what these settings change of their own preset."""
        own = self.preset(self.algorithm)
        changes = {
            name: value
            for name in type(self).model_fields
            if name != "algorithm" and (value := getattr(self, name)) != getattr(own, name)
        }
        return self.preset(algorithm, **changes)

    def discount(self, decision_interval_s: float) -> float:
        """The discount per decision."""
        if self.gamma is not None:
            return self.gamma
        return math.exp(-decision_interval_s / DISCOUNT_HORIZON_S)

    def target(self, cap: float) -> float:
        """The silent rate to train for under a rule with this cap, fraction of answered."""
        return 0.95 * cap if self.target_silent_rate is None else self.target_silent_rate

    @property
    def priced_theta(self) -> float | None:
        """Threshold of the base rule at 150 agent-seconds where it goes by the price; else none."""
        moves = self.conditioned is not None and self.action.startswith("residual")
        return self.base_theta if moves else None

    @property
    def rollout_steps(self) -> int:
        """Environment steps between two updates."""
        each = self.train_freq if self.algorithm in OFF_POLICY else self.n_steps
        return self.n_envs * each

    @property
    def rollouts_per_report(self) -> int:
        """Rollouts between two reports and moves of the multiplier."""
        return max(-(-self.report_every // self.rollout_steps), 1)

    @property
    def planned_steps(self) -> int:
        """Environment steps that will be run: whole rollouts."""
        return -(-self.total_steps // self.rollout_steps) * self.rollout_steps
