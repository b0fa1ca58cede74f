"""The one ONNX graph of a policy, written byte by byte, without onnx and without torch.

The bytes follow from the policy and its contract alone. So an export is the same every time, and a
loader, which has neither onnx nor torch, makes the graph once more and compares: external data,
custom operators, other inputs or a single changed number cannot pass. Opset 18, IR 8: read by
onnxruntime from 1.16 (2023) on. Everything is float64 behind the float32 observation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quietdial.agents.bundle.evaluate import CELL_LIMIT, NO_ACTION, PlainPolicy

OPSET: Final = 18
IR_VERSION: Final = 8

_FLOAT, _INT64, _BOOL, _DOUBLE = 1, 7, 9, 11
_TYPES: Final = {"float32": _FLOAT, "int64": _INT64, "bool": _BOOL, "float64": _DOUBLE}
_NUMPY: Final = {np.dtype("<f8"): _DOUBLE, np.dtype("<i8"): _INT64}


class Port(NamedTuple):
    """An input or output of the graph: name, type and numbers per row (None: one)."""

    name: str
    dtype: str
    width: int | None = None


def ports_in(policy: PlainPolicy) -> tuple[Port, ...]:
    """The inputs of a policy's graph."""
    found = [Port("obs", "float32", len(policy.low))]
    if policy.decode.base:
        found.append(Port("base_dials", "int64"))
    if policy.decode.read == "sample":
        found.append(Port("uniform", "float64"))
    if policy.memory is not None:
        size = len(policy.memory[1])
        found += [Port("hidden", "float64", size), Port("cell", "float64", size)]
    return tuple(found)


def ports_out(policy: PlainPolicy) -> tuple[Port, ...]:
    """The outputs of a policy's graph."""
    found = [Port("answer", "float64"), Port("action", "int64"), Port("valid", "bool")]
    if policy.decode.choices:
        found.append(Port("choice", "int64"))
    if policy.memory is not None:
        size = len(policy.memory[1])
        found += [Port("hidden_out", "float64", size), Port("cell_out", "float64", size)]
    return tuple(found)


def graph_bytes(policy: PlainPolicy, metadata: Mapping[str, str]) -> bytes:
    """The policy as a serialised ONNX model.

    Args:
        policy: the policy.
        metadata: text that is kept in the file, by key.
    """
    graph = _Graph()
    _build(graph, policy)
    body = b"".join(_field(1, node) for node in graph.nodes)
    body += _text(2, "policy")
    body += b"".join(_field(5, tensor) for tensor in graph.tensors)
    body += b"".join(_field(11, _port(port)) for port in ports_in(policy))
    body += b"".join(_field(12, _port(port)) for port in ports_out(policy))
    model = _number(1, IR_VERSION) + _text(2, "quietdial") + _field(7, body)
    model += _field(8, _text(1, "") + _number(2, OPSET))
    for key in sorted(metadata):
        model += _field(14, _text(1, key) + _text(2, metadata[key]))
    return model


# ------------------------------------------------------------------------- the policy's steps


class _Graph:
    """Nodes and numbers of a graph as they are added; every result has a name of its own."""

    def __init__(self) -> None:
        self.nodes: list[bytes] = []
        self.tensors: list[bytes] = []
        self._known: set[str] = set()

    def add(self, operator: str, *inputs: str, out: str = "", **attributes: int) -> str:
        """Add a node; the name of its result."""
        name = out or f"n{len(self.nodes)}"
        node = b"".join(_text(1, one) for one in inputs) + _text(2, name)
        node += _text(3, name) + _text(4, operator)
        for key in sorted(attributes):
            whole = _text(1, key) + _number(3, attributes[key]) + _number(20, 2)
            node += _field(5, whole)
        self.nodes.append(node)
        return name

    def numbers(self, name: str, values: NDArray[np.float64] | NDArray[np.int64]) -> str:
        """Add numbers under a name, once; the name."""
        if name not in self._known:
            self._known.add(name)
            dims = b"".join(_number(1, n) for n in values.shape)
            kind = np.dtype("<i8") if values.dtype.kind == "i" else np.dtype("<f8")
            raw = np.ascontiguousarray(values, dtype=kind).tobytes()
            tensor = dims + _number(2, _NUMPY[kind]) + _text(8, name) + _field(9, raw)
            self.tensors.append(tensor)
        return name

    def real(self, value: float) -> str:
        """A float64 constant."""
        return self.numbers(f"r{value!r}", np.array(value, np.float64))

    def whole(self, value: int) -> str:
        """An int64 constant."""
        return self.numbers(f"i{value}", np.array(value, np.int64))

    def axis(self, value: int) -> str:
        """An int64 constant of shape (1,)."""
        return self.numbers(f"a{value}", np.array([value], np.int64))


def _build(graph: _Graph, policy: PlainPolicy) -> None:
    decode = policy.decode
    x, in_range = _within(
        graph,
        graph.add("Cast", "obs", to=_DOUBLE),
        graph.numbers("low", policy.low),
        graph.numbers("high", policy.high),
    )
    valid = _all(graph, in_range)
    if decode.base:
        low, high = graph.whole(0), graph.whole(int(decode.high))
        ok = graph.add(
            "And",
            graph.add("GreaterOrEqual", "base_dials", low),
            graph.add("LessOrEqual", "base_dials", high),
        )
        valid = graph.add("And", valid, ok)
    if decode.read == "sample":
        ok = graph.add(
            "And",
            graph.add("GreaterOrEqual", "uniform", graph.real(0.0)),
            graph.add("Less", "uniform", graph.real(1.0)),
        )
        valid = graph.add("And", valid, ok)
    if policy.memory is not None:
        x, valid = _remember(graph, policy.memory, x, valid)
    for i, (weight, bias) in enumerate(policy.layers):
        x = graph.add("MatMul", x, graph.numbers(f"w{i}", weight))
        last = i == len(policy.layers) - 1
        x = graph.add("Add", x, graph.numbers(f"b{i}", bias))
        if not last:
            x = graph.add("Tanh", x)
    value, action = _read(graph, policy, x, valid)
    if decode.base:
        base = graph.add("Where", valid, "base_dials", graph.whole(0))
        value = graph.add("Add", value, graph.add("Cast", base, to=_DOUBLE))
    value = graph.add("Max", value, graph.real(decode.low))
    value = graph.add("Min", value, graph.real(decode.high))
    graph.add("Where", valid, value, graph.real(decode.invalid), out="answer")
    graph.add("Where", valid, action, graph.whole(NO_ACTION), out="action")
    if decode.choices:
        table = graph.numbers("choices", np.array(decode.choices, np.int64))
        taken = graph.add("Gather", table, action, axis=0)
        graph.add("Where", valid, taken, graph.whole(0), out="choice")
    graph.add("And", valid, valid, out="valid")


def _within(graph: _Graph, x: str, low: str, high: str) -> tuple[str, str]:
    """The input with 0 where it is out of range (NaN is), and where it is in range."""
    ok = graph.add("And", graph.add("GreaterOrEqual", x, low), graph.add("LessOrEqual", x, high))
    return graph.add("Where", ok, x, graph.real(0.0)), ok


def _all(graph: _Graph, ok: str) -> str:
    """Whether all numbers of a row are ok."""
    least = graph.add("ReduceMin", graph.add("Cast", ok, to=_INT64), graph.axis(1), keepdims=0)
    return graph.add("Cast", least, to=_BOOL)


def _remember(
    graph: _Graph, memory: Sequence[NDArray[np.float64]], x: str, valid: str
) -> tuple[str, str]:
    """The memory's step: its hidden numbers as the next input, and which rows are valid."""
    weight, back, bias = memory
    size = len(back)
    one = graph.real(1.0)
    hidden, ok = _within(graph, "hidden", graph.real(-1.0), one)
    valid = graph.add("And", valid, _all(graph, ok))
    cell, ok = _within(graph, "cell", graph.real(-CELL_LIMIT), graph.real(CELL_LIMIT))
    valid = graph.add("And", valid, _all(graph, ok))
    gates = graph.add(
        "Add",
        graph.add("MatMul", x, graph.numbers("memory_in", weight)),
        graph.add("MatMul", hidden, graph.numbers("memory_back", back)),
    )
    gates = graph.add("Add", gates, graph.numbers("memory_bias", bias))
    put, keep, new, show = (
        graph.add("Slice", gates, graph.axis(i * size), graph.axis((i + 1) * size), graph.axis(1))
        for i in range(4)
    )

    def sigmoid(name: str) -> str:
        half = graph.real(0.5)
        shifted = graph.add("Add", one, graph.add("Tanh", graph.add("Mul", half, name)))
        return graph.add("Mul", half, shifted)

    fresh = graph.add(
        "Add",
        graph.add("Mul", sigmoid(keep), cell),
        graph.add("Mul", sigmoid(put), graph.add("Tanh", new)),
    )
    told = graph.add("Mul", sigmoid(show), graph.add("Tanh", fresh))
    row = graph.add("Unsqueeze", valid, graph.axis(1))
    graph.add("Where", row, told, graph.real(0.0), out="hidden_out")
    graph.add("Where", row, fresh, graph.real(0.0), out="cell_out")
    return told, valid


def _read(graph: _Graph, policy: PlainPolicy, y: str, valid: str) -> tuple[str, str]:
    """Value and number of the action, before base, limits and validity."""
    decode = policy.decode
    if decode.read == "continuous":
        one = graph.add("Gather", y, graph.whole(0), axis=1)
        share = graph.add("Add", graph.add("Tanh", one), graph.real(1.0))
        share = graph.add("Mul", graph.real(0.5), share)
        share = graph.add("Mul", share, graph.real(decode.log_ratio))
        value = graph.add("Exp", graph.add("Add", graph.real(decode.log_low), share))
        value = graph.add("Mul", value, graph.real(decode.scale))
        return value, graph.add("ArgMax", y, axis=1, keepdims=0, select_last_index=0)
    if decode.read == "argmax":
        action = graph.add("ArgMax", y, axis=1, keepdims=0, select_last_index=0)
    else:
        most = graph.add("ReduceMax", y, graph.axis(1), keepdims=1)
        sums = graph.add("CumSum", graph.add("Exp", graph.add("Sub", y, most)), graph.whole(1))
        total = graph.add("Gather", sums, graph.whole(decode.n_actions - 1), axis=1)
        drawn = graph.add("Where", valid, "uniform", graph.real(0.0))
        edge = graph.add("Unsqueeze", graph.add("Mul", drawn, total), graph.axis(1))
        passed = graph.add("Cast", graph.add("LessOrEqual", sums, edge), to=_INT64)
        action = graph.add("ReduceSum", passed, graph.axis(1), keepdims=0)
        action = graph.add("Min", action, graph.whole(decode.n_actions - 1))
    table = graph.numbers("table", np.array(decode.table, np.float64))
    return graph.add("Gather", table, action, axis=0), action


# ------------------------------------------------------------------------- protobuf by hand


def _varint(value: int) -> bytes:
    value &= 0xFFFFFFFFFFFFFFFF
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _field(field: int, data: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(data)) + data


def _text(field: int, text: str) -> bytes:
    return _field(field, text.encode("utf-8"))


def _port(port: Port) -> bytes:
    shape = _field(1, _text(2, "batch"))
    if port.width is not None:
        shape += _field(1, _number(1, port.width))
    tensor = _number(1, _TYPES[port.dtype]) + _field(2, shape)
    return _text(1, port.name) + _field(2, _field(1, tensor))
