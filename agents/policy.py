"""What a policy is, and the learned policy as plain arrays (no torch needed to run it).

Every policy of quietdial, hand-built or learned, decides for a batch of campaigns at once through
:class:`Policy`. A learned policy is a small multi-layer perceptron on the observation, evaluated in
float64 and read off by argmax: the same numbers in numpy, torch, ONNX and any other runtime.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from quietdial.envs.errors import ConfigError
from quietdial.envs.pacing.control import RESIDUAL_LOW
from quietdial.envs.scenario import Scenario

THETA_RANGE: Final = (1e-4, 0.5)
"""Allowed thresholds of the marginal rule: probability that one more call would go silent."""

RESIDUAL_OFFSET: Final = RESIDUAL_LOW
"""Dials that action 0 of `residual` adds to the base rule; action 2 follows the rule."""

LearnedAction = Literal["residual", "dials"]
"""Action kinds that a learned policy can be trained, saved and exported in."""


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
    n_actions: int = Field(ge=2)
    max_dials: int = Field(ge=1, description="most calls that one decision may place")

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
        return self

    @classmethod
    def of(
        cls,
        scenario: Scenario,
        *,
        observation: str,
        action: LearnedAction,
        fields: Iterable[FieldLike],
        n_actions: int,
    ) -> PolicySpec:
        """Describe the interface between a policy and the world `scenario`."""
        return cls(
            scenario=scenario.name,
            scenario_sha256=scenario_sha256(scenario),
            n_agents=scenario.floor.n_agents,
            cap=scenario.rule.cap,
            wait_limit_s=scenario.rule.wait_limit_s,
            rule=scenario.rule.id,
            rule_source=scenario.rule.source,
            decision_interval_s=scenario.episode.decision_interval_s,
            observation=observation,
            features=features_of(fields),
            action=action,
            n_actions=n_actions,
            max_dials=scenario.max_dials,
        )


@dataclass(frozen=True, eq=False)
class Layer:
    """One fully connected layer: y = x @ weight + bias.

    Attributes:
        weight: float64 (inputs, outputs).
        bias: float64 (outputs,).
    """

    weight: NDArray[np.float64]
    bias: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LearnedPolicy:
    """A trained actor: tanh layers on the observation, the last one linear, then argmax.

    It reads the observation as it is (no running normalisation: the features are scaled by
    construction). Under `residual` actions the answer is added to the marginal rule at
    `base_theta`, which is therefore its knob; a `dials` policy has no knob.

    Attributes:
        layers: the actor, from the observation to one number per action.
        spec: the world and interface that it was trained in.
        base_theta: threshold of the base rule, probability, in :data:`THETA_RANGE`.
        name: name for tables and files.
        training: where it comes from (steps, settings, multiplier), for the files made of it.
    """

    layers: tuple[Layer, ...]
    spec: PolicySpec
    base_theta: float = 0.02
    name: str = "ppo-lagrangian"
    training: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        """Check that the layers fit each other, the observation and the actions."""
        checked_knob(self.name, "base_theta", self.base_theta, THETA_RANGE)
        sizes = [len(self.spec.features)]
        for layer in self.layers:
            inputs, outputs = layer.weight.shape
            if inputs != sizes[-1] or layer.bias.shape != (outputs,):
                raise ConfigError(
                    f"{self.name}: a layer with weights {layer.weight.shape} and bias "
                    f"{layer.bias.shape} does not follow one with {sizes[-1]} outputs"
                )
            if not (np.isfinite(layer.weight).all() and np.isfinite(layer.bias).all()):
                raise ConfigError(f"{self.name}: a layer holds numbers that are not finite")
            sizes.append(outputs)
        if len(sizes) < 2 or sizes[-1] != self.spec.n_actions:
            raise ConfigError(
                f"{self.name}: the last layer has {sizes[-1]} outputs; "
                f"{self.spec.n_actions} actions need as many"
            )

    @property
    def observation(self) -> str:
        """Observation set that :meth:`act` needs."""
        return self.spec.observation

    @property
    def action(self) -> str:
        """Action kind that :meth:`act` answers in."""
        return self.spec.action

    @property
    def knob_name(self) -> str | None:
        """`base_theta` for a residual policy, else None."""
        return "base_theta" if self.spec.action == "residual" else None

    @property
    def knob(self) -> float | None:
        """Threshold of the base rule (probability), or None for `dials`."""
        return self.base_theta if self.spec.action == "residual" else None

    @property
    def knob_range(self) -> tuple[float, float] | None:
        """:data:`THETA_RANGE` for a residual policy, else None."""
        return THETA_RANGE if self.spec.action == "residual" else None

    def with_knob(self, value: float) -> LearnedPolicy:
        """Return the same actor on the marginal rule with another threshold."""
        if self.spec.action != "residual":
            raise ConfigError(f"{self.name} with {self.spec.action!r} actions has no knob to set")
        return replace(self, base_theta=checked_knob(self.name, "base_theta", value, THETA_RANGE))

    def logits(self, obs: NDArray[Any]) -> NDArray[np.float64]:
        """Preference of every action: float64 (B, n_actions) from observations (B, F)."""
        x = np.asarray(obs, dtype=np.float64)
        if x.ndim != 2 or x.shape[1] != len(self.spec.features):
            raise ConfigError(
                f"{self.name}: observations of shape {x.shape} given; "
                f"expected (batch, {len(self.spec.features)})"
            )
        for layer in self.layers[:-1]:
            x = x @ layer.weight
            x += layer.bias
            np.tanh(x, out=x)
        return x @ self.layers[-1].weight + self.layers[-1].bias

    def act(
        self, obs: NDArray[Any], state: object | None = None
    ) -> tuple[NDArray[np.int64], object | None]:
        """Return the preferred action of every campaign, int64 (B,), and the state unchanged."""
        return self.logits(obs).argmax(axis=1).astype(np.int64, copy=False), state


def tensors_of(layers: Iterable[Layer]) -> dict[str, NDArray[np.float32]]:
    """Name the arrays of an actor as they are saved: ``actor.<i>.weight``, ``actor.<i>.bias``."""
    result: dict[str, NDArray[np.float32]] = {}
    for i, layer in enumerate(layers):
        result[f"actor.{i}.weight"] = np.ascontiguousarray(layer.weight, dtype=np.float32)
        result[f"actor.{i}.bias"] = np.ascontiguousarray(layer.bias, dtype=np.float32)
    return result


def layers_from(tensors: Mapping[str, NDArray[Any]]) -> tuple[Layer, ...]:
    """Read back what :func:`tensors_of` named; other tensors are left alone."""
    layers: list[Layer] = []
    while f"actor.{len(layers)}.weight" in tensors:
        weight = tensors[f"actor.{len(layers)}.weight"]
        bias = tensors.get(f"actor.{len(layers)}.bias", np.zeros(0))
        if weight.ndim != 2:
            raise ConfigError(f"actor.{len(layers)}.weight of shape {weight.shape} is no matrix")
        layers.append(Layer(np.asarray(weight, np.float64), np.asarray(bias, np.float64)))
    return tuple(layers)
