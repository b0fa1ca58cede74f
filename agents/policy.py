"""What a policy is, and the interface that a learned one was trained in (no torch).

Every policy of quietdial, hand-built or learned, decides for a batch of campaigns at once through
:class:`Policy`.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from typing import Annotated, Any, Final, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from quietdial.envs.errors import ConfigError
from quietdial.envs.pacing.control import RESIDUAL_LOW, THETAS
from quietdial.envs.pacing.insight import N_CHOICES
from quietdial.envs.pacing.params import Knowledge, knowledge_parts
from quietdial.envs.pacing.spec import N_RESIDUALS
from quietdial.envs.scenario import Scenario

THETA_RANGE: Final = (1e-4, 0.5)
"""Allowed thresholds of the marginal rule: probability that one more call would go silent."""


RESIDUAL_OFFSET: Final = RESIDUAL_LOW
"""Dials that action 0 of `residual` adds to the base rule; action 2 follows the rule."""


MULTIPLIER_UNIT: Final = 150.0
"""Agent-seconds per silent call at which the feature of a conditioned policy is zero."""


LearnedAction = Literal[
    "residual", "residual_choice", "dials", "threshold", "vicidial_level", "theta"
]
"""Action kinds that a learned policy can be trained and saved in; `theta` is continuous."""


def _checked_knowledge(knowledge: Knowledge) -> Knowledge:
    knowledge_parts(knowledge)
    return knowledge


KnowledgeName = Annotated[
    str, Field(max_length=100, pattern=r"^[a-z0-9+-]+$"), AfterValidator(_checked_knowledge)
]
"""What the look-ahead goes by (`envs.pacing.params.KNOWLEDGE`), as a field of a checked record."""


def theta_of(action: NDArray[Any], theta_range: tuple[float, float]) -> NDArray[np.float64]:
    """Threshold for a continuous action in [-1, 1]: log-uniform between the range's ends."""
    low, high = theta_range
    share = 0.5 * (np.clip(np.asarray(action, dtype=np.float64), -1.0, 1.0) + 1.0)
    return np.exp(math.log(low) + share * math.log(high / low))


def log_multiplier(multiplier: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Feature of a conditioned policy: log(multiplier / 150 agent-seconds)."""
    return np.log(np.asarray(multiplier, dtype=np.float64) / MULTIPLIER_UNIT)


def weight_of_price(multiplier: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Factor on a reward with this price of silent calls, 2 x 150 / (150 + multiplier).

    A positive factor changes no optimum; with it rewards at all prices have about the same spread.

    Args:
        multiplier: prices, agent-seconds per silent call, any shape.
    """
    return 2.0 * MULTIPLIER_UNIT / (MULTIPLIER_UNIT + np.asarray(multiplier, dtype=np.float64))


def priced_theta(theta: float, multiplier: NDArray[np.float64] | float) -> NDArray[np.float64]:
    """Threshold of the base rule at a price of silent calls: theta x 150 / multiplier, cut.

    Args:
        theta: threshold at 150 agent-seconds per silent call.
        multiplier: prices, agent-seconds per silent call, any shape.

    Returns:
        Thresholds in :data:`THETA_RANGE`, float64 of that shape.
    """
    at_price = theta * MULTIPLIER_UNIT / np.asarray(multiplier, dtype=np.float64)
    return np.asarray(np.clip(at_price, *THETA_RANGE))


@runtime_checkable
class Policy(Protocol):
    """What decides for a batch of campaigns; state is only for policies that remember."""

    @property
    def name(self) -> str:
        """Short name for tables and files, for example "marginal"."""
        ...

    @property
    def observation(self) -> str:
        """Observation set that `act` needs; "none": nothing."""
        ...

    @property
    def action(self) -> str:
        """Action kind that `act` answers in."""
        ...

    @property
    def base_theta(self) -> float:
        """Threshold of the marginal rule under `residual` actions, a probability."""
        ...

    @property
    def knob_name(self) -> str | None:
        """What the one tuning knob is called; None without a knob."""
        ...

    @property
    def knob(self) -> float | None:
        """Value of the knob; more means more dials and more silent calls."""
        ...

    @property
    def knob_range(self) -> tuple[float, float] | None:
        """Lowest and highest value of the knob; None without a knob."""
        ...

    def act(
        self, obs: NDArray[np.float32], state: object | None = None
    ) -> tuple[NDArray[Any], object | None]:
        """Decide for every campaign.

        Args:
            obs: float32 (B, F), observations of B campaigns.
            state: what the last call returned; None at the start of an episode.

        Returns:
            The actions, (B,) or (B, 1), and the state for the next call.
        """
        ...

    def with_knob(self, value: float) -> Policy:
        """Return the same policy with another value of its knob (ConfigError out of range)."""
        ...


class Counts(NamedTuple):
    """What a dialer has counted in every campaign, (B,) float64 each.

    Attributes:
        now_s: time since the campaign opened.
        silent: silent calls in the window of the rule that comes first.
        answered: answered calls in that window.
        spent_s: open time of that window so far.
        span_s: its open time in all.
        p_answer: estimated probability that a dial is answered.
    """

    now_s: NDArray[np.float64]
    silent: NDArray[np.float64]
    answered: NDArray[np.float64]
    spent_s: NDArray[np.float64]
    span_s: NDArray[np.float64]
    p_answer: NDArray[np.float64]


class CountingPolicy(Policy, Protocol):
    """A policy that must be told the counts before each decision; `counts_calls` is true."""

    def told(self, counts: Counts, state: object | None) -> object:
        """The state for the next `act`, with the counts of now."""
        ...

    def base_thetas(self, state: object | None) -> NDArray[np.float64] | None:
        """Thresholds of the rule below residual actions, (B,); None: that of the world."""
        ...

    def steady_s(self, state: object | None) -> float:
        """Time for which the action after the last `told` surely stands [s]; 0: one decision."""
        ...


def checked_knob(policy: str, knob: str, value: float, limits: tuple[float, float]) -> float:
    """`value` as a float, or a ConfigError that names the policy, the value and the limits."""
    number = float(value)
    low, high = limits
    if not (math.isfinite(number) and low <= number <= high):
        raise ConfigError(f"{policy}: {knob} = {value!r} must be between {low:g} and {high:g}")
    return number


def scenario_sha256(scenario: Scenario) -> str:
    """Fingerprint of everything that a scenario says: sha256 of its canonical JSON (hex)."""
    data = scenario.model_dump(mode="json")
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


class Frozen(BaseModel):
    """A frozen record of a file; unknown keys and non-finite numbers are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Feature(Frozen):
    """One number of the observation, in the order in which the policy reads it."""

    name: str = Field(min_length=1, max_length=100)
    unit: str = Field(max_length=100)
    low: float = Field(description="lowest value that can occur")
    high: float = Field(description="highest value that can occur")
    meaning: str = Field(max_length=1000)

    @model_validator(mode="after")
    def _ordered(self) -> Feature:
        if not self.low < self.high:
            raise ValueError(f"low = {self.low} of {self.name!r} must be below high = {self.high}")
        return self


class FieldLike(Protocol):
    """A field of an environment's observation table."""

    @property
    def name(self) -> str:
        """Name of the number."""
        ...

    @property
    def unit(self) -> str:
        """Its unit."""
        ...

    @property
    def low(self) -> float:
        """Lowest value that can occur."""
        ...

    @property
    def high(self) -> float:
        """Highest value that can occur."""
        ...

    @property
    def meaning(self) -> str:
        """What it says."""
        ...


def features_of(fields: Iterable[FieldLike]) -> tuple[Feature, ...]:
    """Copy an environment's observation table; the bounds are rounded to float32 as its Box is."""
    return tuple(
        Feature(
            name=field.name,
            unit=field.unit,
            low=float(np.float32(field.low)),
            high=float(np.float32(field.high)),
            meaning=field.meaning,
        )
        for field in fields
    )


class PolicySpec(Frozen):
    """The world and the interface that a policy was trained in; saved with every policy."""

    scenario: str
    scenario_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    n_agents: int = Field(ge=1)
    cap: float = Field(gt=0, lt=1, description="allowed silent / answered")
    wait_limit_s: float = Field(ge=0, description="answered calls are cut here")
    rule: str = Field(description="name of the compliance rule")
    rule_source: str = ""
    decision_interval_s: float = Field(gt=0)
    observation: str
    features: tuple[Feature, ...] = Field(min_length=1)
    action: LearnedAction
    n_actions: int = Field(ge=1, description="numbers that the network gives")
    max_dials: int = Field(ge=1, description="most calls that one decision may place")
    theta_range: tuple[float, float] | None = Field(
        default=None, description="'theta': thresholds at the ends of the action"
    )
    conditioned: tuple[float, float] | None = Field(
        default=None, description="multipliers that the policy was trained for; none: one"
    )
    priced_theta: float | None = Field(
        default=None,
        ge=THETA_RANGE[0],
        le=THETA_RANGE[1],
        description="conditioned: threshold of the base rule at 150 agent-seconds, which goes "
        "against the price; none: the base rule keeps its threshold at every price",
    )
    knowledge: KnowledgeName = Field(
        default="believed", description="what the world's look-ahead and base rule go by"
    )
    floors: tuple[str, ...] = Field(
        default=(), description="floors that the policy was trained on; none: the scenario alone"
    )

    @model_validator(mode="after")
    def _consistent(self) -> PolicySpec:
        names = [feature.name for feature in self.features]
        if len(set(names)) != len(names):
            raise ValueError(f"feature names must differ: {names}")
        if self.action == "dials" and self.n_actions != self.max_dials + 1:
            raise ValueError(
                f"'dials' with max_dials = {self.max_dials} needs {self.max_dials + 1} actions, "
                f"not {self.n_actions}"
            )
        if self.action == "residual_choice" and self.n_actions != N_CHOICES * N_RESIDUALS:
            raise ValueError(
                f"'residual_choice' needs {N_CHOICES * N_RESIDUALS} actions, not {self.n_actions}"
            )
        if self.action == "threshold" and self.n_actions != len(THETAS):
            raise ValueError(f"'threshold' needs {len(THETAS)} actions, not {self.n_actions}")
        if self.action == "theta":
            if self.n_actions != 1 or self.theta_range is None:
                raise ValueError("'theta' needs one number and a theta_range")
            low, high = self.theta_range
            if not THETA_RANGE[0] <= low < high <= THETA_RANGE[1]:
                raise ValueError(f"theta_range = {self.theta_range} must lie in {THETA_RANGE}")
        elif self.n_actions < 2:
            raise ValueError(f"{self.action!r} needs at least 2 actions, not {self.n_actions}")
        if self.conditioned is not None and not 0 < self.conditioned[0] < self.conditioned[1]:
            raise ValueError(f"conditioned = {self.conditioned} must be low < high, above 0")
        if self.priced_theta is not None and (
            self.conditioned is None or not self.action.startswith("residual")
        ):
            raise ValueError("priced_theta needs conditioned training of residual actions")
        return self

    @property
    def n_inputs(self) -> int:
        """Numbers that the network reads: the features, and the multiplier if conditioned."""
        return len(self.features) + (self.conditioned is not None)

    @classmethod
    def of(
        cls,
        scenario: Scenario,
        *,
        observation: str,
        action: LearnedAction,
        fields: Iterable[FieldLike],
        n_actions: int,
        theta_range: tuple[float, float] | None = None,
        conditioned: tuple[float, float] | None = None,
        priced_theta: float | None = None,
        decision_interval_s: float | None = None,
        knowledge: Knowledge = "believed",
        floors: tuple[str, ...] = (),
    ) -> PolicySpec:
        """Describe the interface between a policy and the world `scenario`.

        `decision_interval_s` is given where the action kind has one of its own, `floors` where
        training played others than `scenario`.
        """
        return cls(
            scenario=scenario.name,
            scenario_sha256=scenario_sha256(scenario),
            n_agents=scenario.floor.n_agents,
            cap=scenario.rule.cap,
            wait_limit_s=scenario.rule.wait_limit_s,
            rule=scenario.rule.id,
            rule_source=scenario.rule.source,
            decision_interval_s=decision_interval_s or scenario.episode.decision_interval_s,
            observation=observation,
            features=features_of(fields),
            action=action,
            n_actions=n_actions,
            max_dials=scenario.max_dials,
            theta_range=theta_range,
            conditioned=conditioned,
            priced_theta=priced_theta,
            knowledge=knowledge,
            floors=floors,
        )
