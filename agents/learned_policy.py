"""A learned policy as plain arrays: no torch is needed to run it.

It is a small multi-layer perceptron on the observation, behind a memory (LSTM) or not, evaluated in
float64: the same numbers in numpy, torch, ONNX and any other runtime. It is read off by argmax, by
reproducible sampling, or as one number (a threshold).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from quietdial.agents.chance import draw, hash_of
from quietdial.agents.policy import (
    THETA_RANGE,
    PolicySpec,
    checked_knob,
    log_multiplier,
    priced_theta,
    theta_of,
)
from quietdial.envs.errors import ConfigError
from quietdial.envs.pacing.control import THETAS
from quietdial.envs.pacing.spec import N_RESIDUALS

THETA_SCALE_RANGE: Final = (0.01, 100.0)
"""Allowed factors on the thresholds that a policy chooses."""


Deployed = Literal["argmax", "sampled"]
"""How a policy with discrete actions is read off: the preferred action, or one drawn."""


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
class Memory:
    """An LSTM cell: what a recurrent policy remembers between decisions.

    Attributes:
        weight_in: float64 (inputs, 4 H), gates in the order input, forget, cell, output.
        weight_back: float64 (H, 4 H), from the last hidden numbers.
        bias: float64 (4 H,).
    """

    weight_in: NDArray[np.float64]
    weight_back: NDArray[np.float64]
    bias: NDArray[np.float64]

    @property
    def size(self) -> int:
        """Number H of hidden numbers."""
        return int(self.weight_back.shape[0])

    def step(
        self, x: NDArray[np.float64], hidden: NDArray[np.float64], cell: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The new hidden and cell numbers, (B, H) each, from inputs (B, inputs)."""
        gates = x @ self.weight_in + hidden @ self.weight_back + self.bias
        put, keep, new, show = np.split(gates, 4, axis=1)
        cell = _sigmoid(keep) * cell + _sigmoid(put) * np.tanh(new)
        return _sigmoid(show) * np.tanh(cell), cell


def _sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return 0.5 * (1.0 + np.tanh(0.5 * x))


@dataclass(frozen=True, eq=False)
class Recall:
    """State of a learned policy between decisions: its memory, the hash of the past, or both."""

    hidden: NDArray[np.float64] | None = None
    cell: NDArray[np.float64] | None = None
    past: NDArray[np.uint64] | None = None


@dataclass(frozen=True, eq=False)
class LearnedPolicy:
    """A trained actor: a memory or none, then tanh layers, the last one linear.

    It reads the observation as it is (no running normalisation: the features are scaled by
    construction). What it answers depends on the action kind of its `spec`:

    * `residual`: calls added to the marginal rule at `base_theta`, which is its knob;
      `residual_choice`: that, and which of the leads with scores these calls go to.
    * `dials`, `vicidial_level`: the action itself; no knob.
    * `threshold`: one of the levels of the marginal rule's threshold, times the knob `theta_scale`;
      played as the world action `theta`.
    * `theta`: the threshold as one continuous number, times `theta_scale`.

    A policy trained for a range of multipliers (`spec.conditioned`) has the multiplier as its knob
    instead: a higher price of silent calls means fewer of them. With `spec.priced_theta` the
    threshold of its base rule goes by that price, whatever `base_theta` is given.

    Attributes:
        layers: the actor, from the observation (or the memory) to one number per action.
        spec: the world and interface that it was trained in.
        base_theta: threshold of the base rule, probability, in :data:`THETA_RANGE`.
        name: name for tables and files.
        training: where it comes from (steps, settings, multiplier), for the files made of it.
        theta_scale: factor on the thresholds it chooses, in :data:`THETA_SCALE_RANGE`.
        multiplier: price of a silent call that a conditioned policy plays for, agent-seconds.
        deployed: preferred action (argmax), or drawn by its probabilities (sampled).
        seed: of the draws, below 2^64.
        memory: the LSTM of a recurrent policy, or None.
    """

    layers: tuple[Layer, ...]
    spec: PolicySpec
    base_theta: float = 0.02
    name: str = "ppo-lagrangian"
    training: Mapping[str, Any] | None = None
    theta_scale: float = 1.0
    multiplier: float | None = None
    deployed: Deployed = "argmax"
    seed: int = 0
    memory: Memory | None = None

    def __post_init__(self) -> None:
        """Check that the layers fit each other, the observation and the actions."""
        checked_knob(self.name, "base_theta", self.base_theta, THETA_RANGE)
        checked_knob(self.name, "theta_scale", self.theta_scale, THETA_SCALE_RANGE)
        limits = self.spec.conditioned
        if (limits is None) != (self.multiplier is None):
            raise ConfigError(
                f"{self.name}: multiplier = {self.multiplier!r} does not fit a policy trained for "
                f"{'one multiplier' if limits is None else f'a range of them, {limits}'}"
            )
        if limits is not None and self.multiplier is not None:
            checked_knob(self.name, "multiplier", self.multiplier, limits)
            if self.spec.priced_theta is not None:
                theta = priced_theta(self.spec.priced_theta, self.multiplier)
                object.__setattr__(self, "base_theta", float(theta))
        if self.deployed not in ("argmax", "sampled"):
            raise ConfigError(f"{self.name}: deployed = {self.deployed!r}; use argmax or sampled")
        if self.deployed == "sampled" and self.spec.action == "theta":
            raise ConfigError(f"{self.name}: a continuous action cannot be deployed sampled")
        if type(self.seed) is not int or not 0 <= self.seed < 2**64:
            raise ConfigError(f"{self.name}: seed = {self.seed!r} must be in 0..2^64 - 1")
        sizes = [self.spec.n_inputs]
        if self.memory is not None:
            self._check_memory(self.memory)
            sizes = [self.memory.size]
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
        object.__setattr__(self, "_plain", self._at_its_multiplier())

    def _check_memory(self, memory: Memory) -> None:
        n, h = self.spec.n_inputs, memory.size
        shapes = (memory.weight_in.shape, memory.weight_back.shape, memory.bias.shape)
        if shapes != ((n, 4 * h), (h, 4 * h), (4 * h,)):
            raise ConfigError(f"{self.name}: a memory of shapes {shapes} does not fit {n} inputs")
        if not all(
            np.isfinite(part).all() for part in (memory.weight_in, memory.weight_back, memory.bias)
        ):
            raise ConfigError(f"{self.name}: the memory holds numbers that are not finite")

    def _at_its_multiplier(self) -> tuple[Memory | None, tuple[Layer, ...]]:
        """Memory and layers on the features alone: the multiplier is put into the first bias."""
        if self.multiplier is None:
            return self.memory, self.layers
        price = float(log_multiplier(self.multiplier))
        if self.memory is not None:
            old = self.memory
            bias = old.bias + price * old.weight_in[-1]
            return Memory(old.weight_in[:-1], old.weight_back, bias), self.layers
        first, *rest = self.layers
        return None, (Layer(first.weight[:-1], first.bias + price * first.weight[-1]), *rest)

    @property
    def plain_layers(self) -> tuple[Layer, ...]:
        """The layers from the features to the actions, at the multiplier it plays for.

        Raises:
            ConfigError: the policy has a memory, so it is no function of the features alone.
        """
        memory, layers = self._parts()
        if memory is not None:
            raise ConfigError(f"{self.name}: a recurrent policy is more than layers of numbers")
        return layers

    def _parts(self) -> tuple[Memory | None, tuple[Layer, ...]]:
        parts: tuple[Memory | None, tuple[Layer, ...]] = self.__dict__["_plain"]
        return parts

    @property
    def observation(self) -> str:
        """Observation set that :meth:`act` needs."""
        return self.spec.observation

    @property
    def action(self) -> str:
        """Action kind of the world that :meth:`act` answers in."""
        return "theta" if self.spec.action == "threshold" else self.spec.action

    @property
    def world_options(self) -> Mapping[str, Any]:
        """What the world must be told: what its look-ahead goes by, if not by the belief."""
        knowledge = self.spec.knowledge
        return {} if knowledge == "believed" else {"knowledge": knowledge}

    @property
    def selection(self) -> Mapping[str, Any] | None:
        """How it was chosen among the checkpoints of its training; None if it was not."""
        found = (self.training or {}).get("selection")
        return found if isinstance(found, Mapping) else None

    @property
    def infeasible(self) -> bool:
        """Whether it is only the least violating checkpoint, none being feasible."""
        return self.selection is not None and not self.selection["feasible"]

    @property
    def knob_name(self) -> str | None:
        """`multiplier` if conditioned, else `base_theta`, `theta_scale` or None by action kind."""
        if self.spec.conditioned is not None:
            return "multiplier"
        return {
            "residual": "base_theta",
            "residual_choice": "base_theta",
            "threshold": "theta_scale",
            "theta": "theta_scale",
        }.get(self.spec.action)

    @property
    def knob(self) -> float | None:
        """Value of the knob, or None without one."""
        name = self.knob_name
        return None if name is None else float(getattr(self, name))

    @property
    def knob_range(self) -> tuple[float, float] | None:
        """Lowest and highest value of the knob; None without one."""
        name = self.knob_name
        if name is None:
            return None
        if name == "multiplier":
            return self.spec.conditioned
        return THETA_RANGE if name == "base_theta" else THETA_SCALE_RANGE

    @property
    def knob_lowers(self) -> bool:
        """Whether a higher knob means fewer dials: true of a price only."""
        return self.knob_name == "multiplier"

    def with_knob(self, value: float) -> LearnedPolicy:
        """Return the same actor with another value of its knob (ConfigError out of range)."""
        name, limits = self.knob_name, self.knob_range
        if name is None or limits is None:
            raise ConfigError(f"{self.name} with {self.spec.action!r} actions has no knob to set")
        changed: dict[str, Any] = {name: checked_knob(self.name, name, value, limits)}
        return replace(self, **changed)

    def logits(self, obs: NDArray[Any]) -> NDArray[np.float64]:
        """Numbers of the last layer, float64 (B, n_actions), from observations (B, F).

        A recurrent policy answers as at the start of an episode.
        """
        return self._numbers(obs, Recall())[0]

    def _numbers(
        self, obs: NDArray[Any], recall: Recall, price: NDArray[np.float64] | None = None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64] | None, NDArray[np.float64] | None]:
        """The last layer, and the memory's new hidden and cell numbers.

        With `price` (B,), a conditioned policy plays each row for that multiplier.
        """
        x = np.asarray(obs, dtype=np.float64)
        if x.ndim != 2 or x.shape[1] != len(self.spec.features):
            raise ConfigError(
                f"{self.name}: observations of shape {x.shape} given; "
                f"expected (batch, {len(self.spec.features)})"
            )
        memory, layers = self._parts()
        if price is not None:
            memory, layers = self.memory, self.layers
            x = np.concatenate([x, log_multiplier(price)[:, None]], axis=1)
        hidden = cell = None
        if memory is not None:
            hidden, cell = recall.hidden, recall.cell
            if hidden is None or cell is None or len(hidden) != len(x):
                hidden = cell = np.zeros((len(x), memory.size))
            hidden, cell = memory.step(x, hidden, cell)
            x = hidden
        for layer in layers[:-1]:
            x = x @ layer.weight
            x += layer.bias
            np.tanh(x, out=x)
        return x @ layers[-1].weight + layers[-1].bias, hidden, cell

    def act(
        self,
        obs: NDArray[Any],
        state: object | None = None,
        *,
        factor: NDArray[np.float64] | None = None,
    ) -> tuple[NDArray[Any], object | None]:
        """Decide for every campaign.

        Args:
            obs: float32 (B, F), observations.
            state: what the last call returned; None at the start of an episode.
            factor: (B,), how much more each campaign is to dial, 1: as trained. Thresholds are
                multiplied by it and a multiplier is divided by it, within their ranges; of other
                actions, residual ones too, each is `factor` times as probable against the next
                lower one.

        Returns:
            Actions int64 (B,), or thresholds float64 (B, 1) for the world action `theta`; and the
            state: unchanged for a policy that neither remembers nor draws.
        """
        price = None
        if factor is not None and self.multiplier is not None and self.spec.conditioned is not None:
            price, factor = np.clip(self.multiplier / factor, *self.spec.conditioned), None
        if self.memory is None and self.deployed == "argmax":
            return self._answer(self._numbers(obs, Recall(), price)[0], None, factor), state
        recall = state if isinstance(state, Recall) else Recall()
        numbers, hidden, cell = self._numbers(obs, recall, price)
        u, past = None, None
        if self.deployed == "sampled":
            past = recall.past
            if past is None or len(past) != len(numbers):
                past = np.full(len(numbers), self.seed, np.uint64)
            u, past = draw(past, hash_of(obs))
        return self._answer(numbers, u, factor), Recall(hidden, cell, past)

    def probabilities(
        self, obs: NDArray[Any], state: object | None = None
    ) -> NDArray[np.float64] | None:
        """How probable each action is at observations, (B, n); None for continuous actions.

        Args:
            obs: float32 (B, F).
            state: as for :meth:`act`.
        """
        if self.spec.action == "theta":
            return None
        recall = state if isinstance(state, Recall) else Recall()
        numbers = self._numbers(obs, recall, None)[0]
        if self.deployed != "sampled":
            return np.asarray(np.eye(numbers.shape[1])[numbers.argmax(axis=1)])
        shares = np.exp(numbers - numbers.max(axis=1, keepdims=True))
        return np.asarray(shares / shares.sum(axis=1, keepdims=True))

    def _answer(
        self,
        numbers: NDArray[np.float64],
        u: NDArray[np.float64] | None,
        factor: NDArray[np.float64] | None,
    ) -> NDArray[Any]:
        """The answer for the last layer's numbers; with `u` in [0, 1) drawn, else the argmax."""
        if self.spec.action == "theta" and self.spec.theta_range is not None:
            return self._scaled(theta_of(np.tanh(numbers), self.spec.theta_range), factor)
        if factor is not None and self.spec.action != "threshold":
            order = np.arange(numbers.shape[1])  # of dials, fewest first
            if self.spec.action == "residual_choice":
                order %= N_RESIDUALS
            numbers = numbers + np.log(factor)[:, None] * order
        if u is None:
            chosen: NDArray[np.int64] = numbers.argmax(axis=1).astype(np.int64, copy=False)
        else:
            cumulative = np.exp(numbers - numbers.max(axis=1, keepdims=True)).cumsum(axis=1)
            chosen = (cumulative <= (u * cumulative[:, -1])[:, None]).sum(axis=1)
        if self.spec.action == "threshold":
            return self._scaled(np.asarray(THETAS)[chosen][:, None], factor)
        return chosen

    def _scaled(
        self, thetas: NDArray[np.float64], factor: NDArray[np.float64] | None
    ) -> NDArray[np.float64]:
        scale = self.theta_scale if factor is None else self.theta_scale * factor[:, None]
        scaled: NDArray[np.float64] = np.minimum(thetas * scale, 1.0)
        return scaled

    def tensors(self) -> dict[str, NDArray[np.float32]]:
        """All arrays by the names in which they are saved."""
        named = tensors_of(self.layers)
        if self.memory is not None:
            for part in _MEMORY_PARTS:
                values = getattr(self.memory, part)
                named[f"memory.{part}"] = np.ascontiguousarray(values, dtype=np.float32)
        return named


_MEMORY_PARTS: Final = ("weight_in", "weight_back", "bias")


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


def memory_from(tensors: Mapping[str, NDArray[Any]]) -> Memory | None:
    """The memory among named arrays, or None; ConfigError when a part is missing or misshapen."""
    if not any(f"memory.{part}" in tensors for part in _MEMORY_PARTS):
        return None
    parts = [np.asarray(tensors.get(f"memory.{part}", 0.0), np.float64) for part in _MEMORY_PARTS]
    if [part.ndim for part in parts] != [2, 2, 1]:
        raise ConfigError(f"memory.* of shapes {[part.shape for part in parts]} is no LSTM")
    return Memory(*parts)
