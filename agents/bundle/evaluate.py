"""Evaluate a bundle's network with numpy: the reference for every other runtime.

Everything is computed in float64 from float32 features. The same few steps are in the graph of
`policy.onnx` and in the programs of `examples/evaluators/`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quietdial.agents.bundle.errors import BundleError

Floats = NDArray[np.float64]
Wholes = NDArray[np.int64]

CELL_LIMIT: Final = 1e6
"""Largest number of a memory's cell that is taken; hidden numbers lie in -1..1."""

NO_ACTION: Final = -1
"""The action of an invalid row."""


@dataclass(frozen=True)
class Decode:
    """From the network's numbers y to the answer.

    * `argmax`: a = the first of the largest y.
    * `sample`: a = how many cumulated exp(y - max y) are at most `uniform` times their sum.
    * `continuous`: exp(log_low + (tanh(y_0) + 1) / 2 x log_ratio) x scale.

    The answer is table[a], plus the base value if `base`, or the continuous number; then it is
    brought into low..high. An invalid row answers `invalid`.

    Attributes:
        read: how the network is read off.
        low: smallest answer.
        high: largest answer.
        invalid: answer of an invalid row.
        table: value of each action; empty if continuous.
        base: whether the base value is added.
        choices: for each action the kind of lead to dial; empty: none.
        log_low: see above.
        log_ratio: see above.
        scale: see above.
    """

    read: Literal["argmax", "sample", "continuous"]
    low: float
    high: float
    invalid: float
    table: tuple[float, ...] = ()
    base: bool = False
    choices: tuple[int, ...] = ()
    log_low: float = 0.0
    log_ratio: float = 0.0
    scale: float = 1.0

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Decode:
        """From the object `decode` of a manifest or of policy.json, already checked."""
        return cls(
            **{
                **data,
                "table": tuple(float(value) for value in data["table"]),
                "choices": tuple(data["choices"]),
            }
        )

    def to_dict(self) -> dict[str, Any]:
        """The object `decode`, ready for JSON."""
        return {
            "read": self.read,
            "low": self.low,
            "high": self.high,
            "invalid": self.invalid,
            "table": list(self.table),
            "base": self.base,
            "choices": list(self.choices),
            "log_low": self.log_low,
            "log_ratio": self.log_ratio,
            "scale": self.scale,
        }

    @property
    def n_actions(self) -> int:
        """Numbers that the network gives."""
        return len(self.table) if self.table else 1


class Inputs(NamedTuple):
    """What a policy is asked with; None where it takes no such input.

    Attributes:
        obs: float32 (B, F).
        base: int64 (B,), what the base rule would dial.
        uniform: float64 (B,), a number drawn in [0, 1).
        hidden: float64 (B, H), what the memory gave last; zeros at the opening.
        cell: float64 (B, H), the same of the cell.
    """

    obs: NDArray[np.float32]
    base: Wholes | None = None
    uniform: Floats | None = None
    hidden: Floats | None = None
    cell: Floats | None = None

    def rows(self, which: Any) -> Inputs:
        """Some rows: a slice, a mask or numbers."""
        return Inputs._make(None if part is None else part[which] for part in self)


class Answers(NamedTuple):
    """What a policy answers.

    Attributes:
        answer: float64 (B,), in the unit of the contract's action.
        action: int64 (B,), number of the action, :data:`NO_ACTION` where invalid; 0 if continuous.
        valid: bool (B,).
        choice: int64 (B,), kind of lead to dial; None without.
        hidden: float64 (B, H), the memory's new numbers, 0 where invalid; None without.
        cell: the same of the cell.
    """

    answer: Floats
    action: Wholes
    valid: NDArray[np.bool_]
    choice: Wholes | None = None
    hidden: Floats | None = None
    cell: Floats | None = None

    def rows(self, which: Any) -> Answers:
        """Some rows: a slice, a mask or numbers."""
        return Answers._make(None if part is None else part[which] for part in self)


@dataclass(frozen=True, eq=False)
class PlainPolicy:
    """A policy as plain arrays.

    Attributes:
        low: float64 (F,), smallest allowed features.
        high: float64 (F,), largest allowed features.
        layers: weights (inputs, outputs) and biases (outputs,), float64; tanh between the layers.
        decode: from the last layer to the answer.
        memory: weights (inputs, 4 H), weights back (H, 4 H) and biases (4 H,) of an LSTM cell with
            gates in the order input, forget, cell, output; None: no memory.
    """

    low: Floats
    high: Floats
    layers: tuple[tuple[Floats, Floats], ...]
    decode: Decode
    memory: tuple[Floats, Floats, Floats] | None = None

    def __post_init__(self) -> None:
        """Refuse arrays that do not fit each other (`BundleError`)."""
        width = len(self.low)
        ok = self.low.shape == self.high.shape == (width,) and bool((self.low < self.high).all())
        if self.memory is not None:
            weight, back, bias = self.memory
            h = len(back)
            ok = ok and weight.shape == (width, 4 * h) and back.shape == (h, 4 * h)
            ok = ok and bias.shape == (4 * h,)
            ok = ok and all(bool(np.isfinite(part).all()) for part in self.memory)
            width = h
        for weight, bias in self.layers:
            ok = ok and weight.ndim == 2 and weight.shape == (width, len(bias)) and bias.ndim == 1
            ok = ok and bool(np.isfinite(weight).all()) and bool(np.isfinite(bias).all())
            width = len(bias)
        if not ok or not self.layers or width != self.decode.n_actions:
            raise BundleError("the policy's layers do not fit each other, its inputs or actions")

    @property
    def n_weights(self) -> int:
        """All numbers of the network."""
        return sum(w.size + b.size for w, b in self.layers) + sum(
            part.size for part in self.memory or ()
        )

    def numbers(self, inputs: Inputs) -> tuple[Floats, Floats | None, Floats | None]:
        """The last layer (B, A), and the memory's new hidden and cell numbers (B, H)."""
        x = inputs.obs.astype(np.float64)
        hidden, cell = None, None
        if self.memory is not None and inputs.hidden is not None and inputs.cell is not None:
            weight, back, bias = self.memory
            gates = x @ weight + inputs.hidden @ back + bias
            put, keep, new, show = np.split(gates, 4, axis=1)
            cell = _sigmoid(keep) * inputs.cell + _sigmoid(put) * np.tanh(new)
            hidden = _sigmoid(show) * np.tanh(cell)
            x = hidden
        for weight, bias in self.layers[:-1]:
            x = np.tanh(x @ weight + bias)
        weight, bias = self.layers[-1]
        return x @ weight + bias, hidden, cell

    def valid_rows(self, inputs: Inputs) -> NDArray[np.bool_]:
        """Which rows may be answered, bool (B,): every input is within its range."""
        valid = ((inputs.obs >= self.low) & (inputs.obs <= self.high)).all(axis=1)  # NaN: false
        if inputs.base is not None:
            valid = valid & (inputs.base >= 0) & (inputs.base <= self.decode.high)
        if inputs.uniform is not None:
            valid = valid & (inputs.uniform >= 0.0) & (inputs.uniform < 1.0)
        for part, limit in ((inputs.hidden, 1.0), (inputs.cell, CELL_LIMIT)):
            if part is not None:
                valid = valid & ((part >= -limit) & (part <= limit)).all(axis=1)
        return np.asarray(valid, dtype=np.bool_)

    def answer(self, inputs: Inputs) -> Answers:
        """Decide for a batch.

        Raises:
            BundleError: the inputs are not those of this policy.
        """
        self._check(inputs)
        valid = self.valid_rows(inputs)
        rows = valid[:, None]
        clean = inputs._replace(
            obs=np.where(rows, inputs.obs, np.float32(0)),
            hidden=None if inputs.hidden is None else np.where(rows, inputs.hidden, 0.0),
            cell=None if inputs.cell is None else np.where(rows, inputs.cell, 0.0),
        )
        y, hidden, cell = self.numbers(clean)
        decode = self.decode
        action = np.zeros(len(y), np.int64)
        if decode.read == "continuous":
            share = 0.5 * (np.tanh(y[:, 0]) + 1.0)
            value = np.exp(decode.log_low + share * decode.log_ratio) * decode.scale
        else:
            if decode.read == "argmax":
                action = y.argmax(axis=1).astype(np.int64)
            elif inputs.uniform is not None:
                sums = np.exp(y - y.max(axis=1, keepdims=True)).cumsum(axis=1)
                u = np.where(valid, inputs.uniform, 0.0)
                action = (sums <= (u * sums[:, -1])[:, None]).sum(axis=1).astype(np.int64)
                action = np.minimum(action, decode.n_actions - 1)
            value = np.asarray(decode.table)[action]
        if decode.base and inputs.base is not None:
            value = value + np.where(valid, inputs.base, 0)
        value = np.minimum(np.maximum(value, decode.low), decode.high)
        choice = None
        if decode.choices:
            choice = np.where(valid, np.asarray(decode.choices, np.int64)[action], 0)
        return Answers(
            answer=np.where(valid, value, decode.invalid),
            action=np.where(valid, action, NO_ACTION),
            valid=valid,
            choice=choice,
            hidden=None if hidden is None else np.where(rows, hidden, 0.0),
            cell=None if cell is None else np.where(rows, cell, 0.0),
        )

    def margin(self, inputs: Inputs) -> Floats:
        """How far each row is from another action, (B,): in y, or in the drawn number.

        Infinite where the answer is continuous: it has no edge.
        """
        y, _, _ = self.numbers(inputs)
        if self.decode.read == "continuous":
            return np.full(len(y), math.inf)
        if self.decode.read == "argmax" or inputs.uniform is None:
            best = np.sort(y, axis=1)
            return np.asarray(best[:, -1] - best[:, -2])
        sums = np.exp(y - y.max(axis=1, keepdims=True)).cumsum(axis=1)
        edges = sums[:, :-1] / sums[:, -1:]
        return np.asarray(np.abs(edges - inputs.uniform[:, None]).min(axis=1))

    def _check(self, inputs: Inputs) -> None:
        if inputs.obs.ndim != 2 or inputs.obs.shape[1] != len(self.low):
            raise BundleError(
                f"obs of shape {inputs.obs.shape} given; (batch, {len(self.low)}) is needed"
            )
        needs = {
            "base": self.decode.base,
            "uniform": self.decode.read == "sample",
            "hidden": self.memory is not None,
            "cell": self.memory is not None,
        }
        for name, needed in needs.items():
            if (getattr(inputs, name) is not None) != needed:
                raise BundleError(f"this policy {'needs' if needed else 'takes no'} input {name!r}")


def _sigmoid(x: Floats) -> Floats:
    return 0.5 * (1.0 + np.tanh(0.5 * x))


def plain_of_json(data: Mapping[str, Any]) -> PlainPolicy:
    """The policy of a policy.json that the schema allows.

    Raises:
        BundleError: its arrays do not fit.
    """
    last = len(data["layers"]) - 1
    if any((layer["act"] == "tanh") != (i < last) for i, layer in enumerate(data["layers"])):
        raise BundleError("policy.json: every layer but the last one ends in tanh")
    try:
        layers = tuple(
            (np.array(layer["w"], dtype=np.float64), np.array(layer["b"], dtype=np.float64))
            for layer in data["layers"]
        )
    except ValueError:
        raise BundleError("policy.json: a layer's rows differ in length") from None
    return PlainPolicy(
        low=np.array(data["low"], dtype=np.float64),
        high=np.array(data["high"], dtype=np.float64),
        layers=layers,
        decode=Decode.of(data["decode"]),
    )


def plain_of_tensors(
    tensors: Mapping[str, NDArray[Any]],
    low: Floats,
    high: Floats,
    decode: Decode,
    log_price: float | None,
) -> PlainPolicy:
    """The policy of the arrays of policy.safetensors.

    Args:
        tensors: `actor.<i>.weight`, `actor.<i>.bias`, and `memory.*` for a recurrent one.
        low: float64 (F,), smallest allowed features.
        high: float64 (F,), largest allowed features.
        decode: from the last layer to the answer.
        log_price: of a policy conditioned on the price of a silent call, the number that its last
            input stands at; it is put into the first bias. None: no such input.

    Raises:
        BundleError: the arrays do not fit, or there are others.
    """
    left = dict(tensors)
    parts = [left.pop(f"memory.{part}", None) for part in ("weight_in", "weight_back", "bias")]
    layers: list[tuple[Floats, Floats]] = []
    while (weight := left.pop(f"actor.{len(layers)}.weight", None)) is not None:
        bias = left.pop(f"actor.{len(layers)}.bias", None)
        if bias is None or weight.ndim != 2 or bias.ndim != 1:
            raise BundleError(f"policy.safetensors: layer {len(layers)} is not whole")
        layers.append((weight.astype(np.float64), bias.astype(np.float64)))
    memory = tuple(part.astype(np.float64) for part in parts if part is not None)
    if left or len(memory) not in (0, 3) or not layers or any(w.ndim != 2 for w in memory[:2]):
        raise BundleError("policy.safetensors: holds other arrays than a policy's")
    if log_price is not None:
        weight, bias = (memory[0], memory[2]) if memory else layers[0]
        if len(weight) < 2 or weight.shape[1:] != bias.shape:
            raise BundleError("policy.safetensors: layer 0 is not whole")
        folded = (weight[:-1], bias + log_price * weight[-1])
        if memory:
            memory = (folded[0], memory[1], folded[1])
        else:
            layers[0] = folded
    whole = (memory[0], memory[1], memory[2]) if memory else None
    return PlainPolicy(low, high, tuple(layers), decode, whole)
