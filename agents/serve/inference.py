"""The Open Inference Protocol, version 2: the bare policy for tools of model serving.

No guard, no campaign and no fallback stand before it: each row's `valid` says whether the policy
may be followed. Tensors come as JSON, or with the binary extension (raw little-endian numbers
behind the JSON, its length in the header `Inference-Header-Content-Length`).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quietdial.agents.bundle.errors import BundleError
from quietdial.agents.bundle.evaluate import Inputs, PlainPolicy
from quietdial.agents.bundle.graph import Port, ports_in, ports_out
from quietdial.agents.bundle.load import Bundle
from quietdial.agents.serve.asks import MAX_NUMBER, read_object
from quietdial.agents.serve.errors import RequestError

EXTENSIONS: Final = ("binary_tensor_data",)
PLATFORM: Final = "onnx_onnxv1"
HEADER: Final = "inference-header-content-length"
MAX_ROWS: Final = 1024

_KINDS: Final[Mapping[str, Any]] = {
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "INT64": np.dtype("<i8"),
    "BOOL": np.dtype("?"),
}
_NAMES: Final = {"float32": "FP32", "float64": "FP64", "int64": "INT64", "bool": "BOOL"}
_OURS: Final = {"base_dials": "base", "hidden_out": "hidden", "cell_out": "cell"}


class Tensors(NamedTuple):
    """An answer: the JSON part, and raw numbers behind it (empty: all tensors are in the JSON)."""

    head: bytes
    raw: bytes


class Model:
    """A bundle's policy as a model of the protocol.

    Args:
        bundle: a loaded bundle.
        policy: its policy.
    """

    def __init__(self, bundle: Bundle, policy: PlainPolicy) -> None:
        self.policy = policy
        self.name = str(bundle.manifest["name"])
        self.version = str(bundle.manifest["version"])
        self.inputs = ports_in(self.policy)
        self.outputs = ports_out(self.policy)

    def about(self) -> dict[str, Any]:
        """Metadata of the model."""
        return {
            "name": self.name,
            "versions": [self.version],
            "platform": PLATFORM,
            "inputs": [_about(port) for port in self.inputs],
            "outputs": [_about(port) for port in self.outputs],
        }

    def infer(self, body: bytes, head_bytes: int | None) -> Tensors:
        """Answer an inference request.

        Args:
            body: the request's body.
            head_bytes: length of its JSON part; None: all of it.

        Raises:
            RequestError: the first thing that is wrong with it.
        """
        if head_bytes is not None and not 0 < head_bytes <= len(body):
            raise RequestError(f"{HEADER}: must be a length from 1 to {len(body)}")
        request = read_object(body[:head_bytes])
        raw = b"" if head_bytes is None else body[head_bytes:]
        given = self._given(request, raw)
        try:
            with np.errstate(over="ignore"):
                answers = self.policy.answer(Inputs(**given))
        except BundleError as error:
            raise RequestError(str(error)) from None
        wanted, binary = self._wanted(request)
        found: dict[str, Any] = {
            "model_name": self.name,
            "model_version": self.version,
            "outputs": [],
        }
        if "id" in request:
            found["id"] = request["id"]
        parts = []
        for port in wanted:
            values = getattr(answers, _OURS.get(port.name, port.name))
            entry: dict[str, Any] = {
                "name": port.name,
                "shape": list(values.shape),
                "datatype": _kind(port),
            }
            if binary[port.name]:
                data = np.ascontiguousarray(values, _KINDS[_kind(port)]).tobytes()
                entry["parameters"] = {"binary_data_size": len(data)}
                parts.append(data)
            else:
                entry["data"] = values.ravel().tolist()
            found["outputs"].append(entry)
        head = json.dumps(found, separators=(",", ":"), allow_nan=False).encode()
        return Tensors(head, b"".join(parts))

    def _given(self, request: Mapping[str, Any], raw: bytes) -> dict[str, NDArray[Any]]:
        _known(request, ("id", "inputs", "outputs", "parameters"), "request")
        inputs = request.get("inputs")
        if not isinstance(inputs, list) or not all(isinstance(one, dict) for one in inputs):
            raise RequestError("inputs: must be a list of tensors")
        if "id" in request and not isinstance(request["id"], str):
            raise RequestError("id: must be a text")
        ports = {port.name: port for port in self.inputs}
        found: dict[str, NDArray[Any]] = {}
        rows = 0
        for tensor in inputs:
            name = tensor.get("name")
            if not isinstance(name, str) or name not in ports or _OURS.get(name, name) in found:
                raise RequestError(f"inputs: give each of {', '.join(ports)} once")
            _known(tensor, ("name", "shape", "datatype", "data", "parameters"), name)
            values, raw = _values(tensor, ports[name], raw)
            rows = rows or len(values)
            if len(values) != rows:
                raise RequestError(f"inputs: {name} has {len(values)} rows, others have {rows}")
            found[_OURS.get(name, name)] = values
        if len(found) != len(ports):
            raise RequestError(f"inputs: give each of {', '.join(ports)} once")
        if raw:
            raise RequestError(f"{len(raw)} bytes behind the last tensor")
        return found

    def _wanted(self, request: Mapping[str, Any]) -> tuple[list[Port], dict[str, bool]]:
        ports = {port.name: port for port in self.outputs}
        usual = _flag(
            _parameters(request, "request", "binary_data_output"), "binary_data_output", False
        )
        outputs = request.get("outputs", ())
        if outputs == ():
            return list(self.outputs), dict.fromkeys(ports, usual)
        if not isinstance(outputs, list) or len(outputs) > 2 * len(ports):
            raise RequestError(f"outputs: must be a list of at most {2 * len(ports)}")
        wanted, binary = [], {}
        for output in outputs:
            name = output.get("name") if isinstance(output, dict) else None
            if not isinstance(name, str) or name not in ports:
                raise RequestError(f"outputs: ask for some of {', '.join(ports)}")
            _known(output, ("name", "parameters"), name)
            if name not in binary:
                wanted.append(ports[name])
            binary[name] = _flag(_parameters(output, name, "binary_data"), "binary_data", usual)
        return wanted or list(self.outputs), binary or dict.fromkeys(ports, usual)


def request_schema(model: Model) -> dict[str, Any]:
    """JSON Schema of an inference request with one row."""
    number = {"minimum": -MAX_NUMBER, "maximum": MAX_NUMBER}
    tensors = []
    for port in model.inputs:
        n = port.width or 1
        kind = {"type": "integer" if _kind(port) == "INT64" else "number", **number}
        fields: dict[str, Any] = {
            "name": {"const": port.name},
            "datatype": {"const": _kind(port)},
            "shape": {"const": [1, *_shape(port)[1:]]},
            "data": {"type": "array", "items": kind, "minItems": n, "maxItems": n},
        }
        tensors.append(_object(tuple(fields), **fields))
    names = [port.name for port in model.outputs]
    output = _object(
        ("name",),
        name={"type": "string", "enum": names},
        parameters=_object((), binary_data={"type": "boolean"}),
    )
    exact = {"items": tensors[0]} if len(tensors) == 1 else {"prefixItems": tensors}
    return {
        **_object(
            ("inputs",),
            id={"type": "string"},
            inputs={
                "type": "array",
                "minItems": len(tensors),
                "maxItems": len(tensors),
                **exact,
            },
            outputs={"type": "array", "items": output, "maxItems": 2 * len(names)},
            parameters=_object((), binary_data_output={"type": "boolean"}),
        ),
        "description": "one row; for more rows the first number of every shape is their number",
    }


def _object(needed: Sequence[str], **fields: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "required": list(needed),
        "properties": fields,
        "additionalProperties": False,
    }


def _about(port: Port) -> dict[str, Any]:
    return {"name": port.name, "datatype": _kind(port), "shape": _shape(port)}


def _kind(port: Port) -> str:
    return _NAMES.get(port.dtype, port.dtype)


def _shape(port: Port) -> list[int]:
    return [-1] if port.width is None else [-1, port.width]


def _parameters(of: Mapping[str, Any], name: str, known: str) -> Mapping[str, Any]:
    parameters = of.get("parameters", {})
    if not isinstance(parameters, dict):
        raise RequestError(f"{name}: parameters must be an object")
    _known(parameters, (known,), f"{name}.parameters")
    return parameters


def _known(value: Mapping[str, Any], keys: tuple[str, ...], name: str) -> None:
    for key in value:
        if key not in keys:
            raise RequestError(f"{name}: {key[:64]!r} is not known; use {', '.join(keys)}")


def _flag(parameters: Mapping[str, Any], name: str, usual: bool) -> bool:
    flag = parameters.get(name, usual)
    if not isinstance(flag, bool):
        raise RequestError(f"parameters.{name}: must be true or false")
    return flag


def _values(tensor: Mapping[str, Any], port: Port, raw: bytes) -> tuple[NDArray[Any], bytes]:
    """One tensor, and what is left of the raw bytes."""
    name, kind = port.name, _kind(port)
    shape, wanted = tensor.get("shape"), _shape(port)
    if tensor.get("datatype") != kind:
        raise RequestError(f"{name}: datatype must be {kind}")
    if (
        not isinstance(shape, list)
        or len(shape) != len(wanted)
        or not all(type(size) is int and size >= 1 for size in shape)
        or shape[0] > MAX_ROWS
        or any(w not in (-1, size) for size, w in zip(shape, wanted, strict=True))
    ):
        raise RequestError(f"{name}: shape must be {wanted}, with -1 from 1 to {MAX_ROWS}")
    n = math.prod(shape)
    size = _parameters(tensor, name, "binary_data_size").get("binary_data_size")
    if size is not None:
        if type(size) is not int or size != n * _KINDS[kind].itemsize or size > len(raw):
            raise RequestError(f"{name}: binary_data_size does not fit its shape or the body")
        values = np.frombuffer(raw[:size], _KINDS[kind])
        return values.astype(values.dtype.newbyteorder("=")).reshape(shape), raw[size:]
    data = _flat(tensor.get("data"), shape, name)
    if len(data) != n:
        raise RequestError(f"{name}: {len(data)} numbers; the shape says {n}")
    whole = kind == "INT64"
    for one in data:
        fits = type(one) is int or (type(one) is float and (not whole or one.is_integer()))
        if not fits or not -MAX_NUMBER <= one <= MAX_NUMBER:
            kinds = "whole numbers" if whole else "numbers"
            raise RequestError(f"{name}: data must be {kinds}, at most {MAX_NUMBER:g}")
    return np.array(data, _KINDS[kind].newbyteorder("=")).reshape(shape), raw


def _flat(data: Any, shape: list[int], name: str) -> list[Any]:
    """Data may be nested as its shape is."""
    if not isinstance(data, list):
        raise RequestError(f"{name}: data must be a list")
    if len(shape) == 2 and data and isinstance(data[0], list):
        if not all(isinstance(row, list) and len(row) == shape[1] for row in data):
            raise RequestError(f"{name}: data must be numbers, or rows of {shape[1]}")
        return [one for row in data for one in row]
    return data


def model_of(bundle: Bundle) -> Model | None:
    """The bundle's policy as a model; None: it is a rule."""
    return None if bundle.policy is None else Model(bundle, bundle.policy)
