"""The contract of an exported policy: everything a dialer must know beside ``policy.onnx``.

``policy.json`` names the inputs (meaning, unit, order, allowed range), how the answer becomes
dials, when to fall back, where the policy was trained, and it holds the network once more as plain
layers, so that a script in any language can evaluate it without a runtime for ONNX.
"""

from __future__ import annotations

import inspect
import json
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError, model_validator

from quietdial.agents.policy import Feature, Frozen
from quietdial.agents.rules.base import Rule
from quietdial.envs.errors import ExportError
from quietdial.envs.scenario import Scenario, describe_validation_error

FORMAT: Final = "quietdial-policy/1"
ExportedAction = Literal["residual", "dials"]
"""Action kinds that the contract can say: those whose answer is a number of calls."""

MAX_BYTES: Final = 16 * 1024 * 1024
"""Largest policy.json that is read."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class ContractFeature(Feature):
    """One input of the policy: number `index` of `obs`."""

    index: int = Field(ge=0)
    dtype: Literal["float32"] = "float32"


class Normalisation(Frozen):
    """What the policy does to the observation first: (obs - mean) / std; already in the graph."""

    kind: Literal["identity", "mean-std"] = "identity"
    in_graph: Literal[True] = True
    mean: tuple[float, ...]
    std: tuple[Annotated[float, Field(gt=0)], ...]


class Base(Frozen):
    """The rule that a residual policy corrects; its answer is the input `base_dials`."""

    rule: Literal["marginal"] = "marginal"
    theta: float = Field(gt=0, lt=1, description="threshold of the rule, a probability")
    input: Literal["base_dials"] = "base_dials"


class Decode(Frozen):
    """From the last layer's numbers y to dials: clip(base + argmax(y) + offset, min, max)."""

    kind: Literal["argmax"] = "argmax"
    ties: Literal["first"] = "first"
    n_actions: int = Field(ge=2)
    offset: int
    min: Literal[0] = 0
    max: int = Field(ge=1, description="most new calls of one decision")


class ContractAction(Frozen):
    """What the policy answers."""

    kind: ExportedAction
    unit: Literal["new calls to place now"] = "new calls to place now"
    decode: Decode
    base: Base | None = Field(description="the corrected rule; none for 'dials'")

    @model_validator(mode="after")
    def _base_fits(self) -> ContractAction:
        if (self.kind == "residual") != (self.base is not None):
            raise ValueError(f"a base rule belongs to 'residual' actions only, not {self.kind!r}")
        return self


class Fallback(Frozen):
    """What to do when the policy gives no answer.

    An invalid answer has ``valid = false`` and ``dials = 0``: a caller that overlooks `valid` stops
    dialing, it never floods.
    """

    mode: Literal["progressive"] = "progressive"
    formula: str = "new calls = max(0, idle agents - calls in flight - waiting callees)"
    when: str = (
        "valid is false: an input is NaN, infinite or outside its low..high, or base_dials is "
        "outside 0..max; also when an input is older than one decision interval"
    )
    dials_when_invalid: Literal[0] = 0


class Regulation(Frozen):
    """The compliance rule that the policy was trained under."""

    id: str
    cap: float = Field(gt=0, lt=1, description="allowed silent / answered")
    wait_limit_s: float = Field(ge=0, description="answered calls are cut here")
    source: str = ""

    @classmethod
    def of(cls, scenario: Scenario) -> Regulation:
        """The rule of a scenario."""
        rule = scenario.rule
        return cls(id=rule.id, cap=rule.cap, wait_limit_s=rule.wait_limit_s, source=rule.source)


class Training(Frozen):
    """Where the policy comes from."""

    scenario: str
    scenario_sha256: Sha256
    n_agents: int = Field(ge=1)
    observation: str
    details: dict[str, Any] = Field(description="steps, settings and multiplier of the learner")


class Parity(Frozen):
    """The comparison without which nothing is exported."""

    vectors: int = Field(ge=1)
    invalid_vectors: int = Field(ge=0, description="vectors that had to be refused")
    mismatches: Literal[0] = 0
    seed: int
    runtimes: dict[str, str] = Field(description="what agreed, with versions")


class Onnx(Frozen):
    """The ONNX file beside this contract."""

    file: Literal["policy.onnx"] = "policy.onnx"
    sha256: Sha256
    bytes: int = Field(ge=1)
    opset: int
    ir_version: int
    inputs: dict[str, str]
    outputs: dict[str, str]


class PlainLayer(Frozen):
    """y = act(x w + b), in float64; `w` has one row for each input."""

    w: tuple[tuple[float, ...], ...] = Field(min_length=1)
    b: tuple[float, ...] = Field(min_length=1)
    act: Literal["tanh", "identity"]


class Contract(Frozen):
    """What every policy's contract says, learned or hand-built."""

    name: str = Field(min_length=1, max_length=100)
    created: str = Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$", description="UTC")
    quietdial: str = Field(description="version of the package that exported")
    decision_interval_s: float = Field(gt=0)
    regulation: Regulation
    fallback: Fallback = Fallback()


class RuleSetting(Frozen):
    """A number that the operator of a rule sets."""

    name: str = Field(min_length=1, max_length=100)
    unit: str = Field(max_length=100)
    value: float
    low: float
    high: float
    meaning: str = Field(max_length=1000)

    @model_validator(mode="after")
    def _within(self) -> RuleSetting:
        if not self.low <= self.value <= self.high:
            raise ValueError(
                f"{self.name} = {self.value} must lie between {self.low} and {self.high}"
            )
        return self


class RuleContract(Contract):
    """A hand-built rule, in the words of the same contract; a rule has no network."""

    format: Literal["quietdial-rule/1"] = "quietdial-rule/1"
    rule: str = Field(description="the class that plays it, in quietdial.agents.rules")
    formula: str = Field(description="what it computes, from the rule's documentation")
    settings: tuple[RuleSetting, ...]
    knob: str | None = Field(description="the setting by which it is tuned to a silent rate")
    tick_s: float = Field(gt=0, description="it acts so often")
    event: str = Field(default="", description="what makes it act besides")
    sees: tuple[str, ...] = Field(min_length=1, description="what it must be told of the floor")
    unit: Literal["new calls to place now"] = "new calls to place now"

    @model_validator(mode="after")
    def _has_knob(self) -> RuleContract:
        if self.knob is not None and self.knob not in {s.name for s in self.settings}:
            raise ValueError(f"the knob {self.knob!r} is none of the settings")
        return self

    @classmethod
    def of(cls, rule: Rule, scenario: Scenario, created: str) -> RuleContract:
        """Describe a rule as it would be run on a scenario's floor.

        Args:
            rule: the rule with its settings.
            scenario: whose compliance rule and decision interval hold.
            created: time stamp, UTC, like 2026-01-31T12:00:00Z.

        Raises:
            ExportError: the rule is given hidden truth, so no dialer can run it.
        """
        card = rule.card
        if card.privileged:
            raise ExportError(
                f"{rule.name}: sees hidden truth, so no dialer can run it; it is for comparison"
            )
        return cls(
            name=rule.name,
            created=created,
            quietdial=version("quietdial"),
            decision_interval_s=scenario.episode.decision_interval_s,
            regulation=Regulation.of(scenario),
            rule=type(rule).__name__,
            formula=inspect.getdoc(type(rule)) or "",
            settings=tuple(
                RuleSetting(
                    name=s.name,
                    unit=s.unit,
                    value=value,
                    low=s.low,
                    high=s.high,
                    meaning=s.meaning,
                )
                for s, value in zip(card.settings, card.values, strict=True)
            ),
            knob=rule.knob_name,
            tick_s=card.tick_s or scenario.episode.decision_interval_s,
            event=card.event,
            sees=card.sees,
        )


class PolicyContract(Contract):
    """The whole of ``policy.json``."""

    format: Literal["quietdial-policy/1"] = "quietdial-policy/1"
    features: tuple[ContractFeature, ...] = Field(min_length=1)
    normalisation: Normalisation
    action: ContractAction
    training: Training
    parity: Parity
    onnx: Onnx
    layers: tuple[PlainLayer, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _fits(self) -> PolicyContract:
        n = len(self.features)
        if [feature.index for feature in self.features] != list(range(n)):
            raise ValueError("the features' index must count 0, 1, 2, ...")
        if len({feature.name for feature in self.features}) != n:
            raise ValueError("the features' names must differ")
        if len(self.normalisation.mean) != n or len(self.normalisation.std) != n:
            raise ValueError(f"normalisation needs {n} means and standard deviations")
        width = n
        for i, layer in enumerate(self.layers):
            if len(layer.w) != width or any(len(row) != len(layer.b) for row in layer.w):
                raise ValueError(f"layer {i} does not take {width} numbers")
            width = len(layer.b)
        if width != self.action.decode.n_actions:
            raise ValueError(f"the last layer gives {width} numbers, not one for each action")
        return self


def evaluate(
    contract: PolicyContract,
    obs: NDArray[np.float32],
    base_dials: NDArray[np.int64] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Evaluate the plain layers: the reference for evaluators in other languages.

    Args:
        contract: the contract.
        obs: float32 (B, F).
        base_dials: int64 (B,), the base rule's answers; None for `dials` policies.

    Returns:
        Dials int64 (B,), 0 where invalid, and valid bool (B,).
    """
    features, decode = contract.features, contract.action.decode
    if obs.ndim != 2 or obs.shape[1] != len(features):
        raise ExportError(f"obs of shape {obs.shape} given; (batch, {len(features)}) is needed")
    if (base_dials is None) != (contract.action.base is None):
        need = "needs" if contract.action.base is not None else "takes no"
        raise ExportError(f"a policy with {contract.action.kind!r} actions {need} base_dials")
    x = obs.astype(np.float64)
    low = np.array([feature.low for feature in features])
    high = np.array([feature.high for feature in features])
    valid = np.asarray(((x >= low) & (x <= high)).all(axis=1), dtype=np.bool_)
    base = np.zeros(len(x), dtype=np.int64)
    if base_dials is not None:
        valid = valid & (base_dials >= decode.min) & (base_dials <= decode.max)
        base = np.where(valid, base_dials, 0)
    mean, std = np.array(contract.normalisation.mean), np.array(contract.normalisation.std)
    x = (np.where(valid[:, None], x, 0.0) - mean) / std
    for layer in contract.layers:
        x = x @ np.array(layer.w) + np.array(layer.b)
        if layer.act == "tanh":
            x = np.tanh(x)
    dials = np.clip(base + x.argmax(axis=1) + decode.offset, decode.min, decode.max)
    return np.where(valid, dials, contract.fallback.dials_when_invalid), valid


def load_contract(path: str | Path) -> PolicyContract:
    """Read and check a ``policy.json``.

    Raises:
        ExportError: one line on what is missing or wrong.
    """
    path = Path(path)
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ExportError(f"{path}: cannot be read: {reason}") from error
    if len(data) > MAX_BYTES:
        raise ExportError(f"{path}: larger than the {MAX_BYTES} bytes allowed")
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        raise ExportError(f"{path}: is not valid JSON") from None
    try:
        return PolicyContract.model_validate(value)
    except ValidationError as error:
        raise ExportError(describe_validation_error(error, str(path))) from None
