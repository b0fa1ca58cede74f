"""Read safetensors with numpy alone, strictly: a dialer's host needs no further library."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from quietdial.agents.bundle.errors import BundleError
from quietdial.agents.bundle.strict import read_json

_DTYPES: Final = {"F32": "<f4", "F64": "<f8", "I64": "<i8"}
_MAX_TENSORS: Final = 200


def read_tensors(data: bytes, name: str) -> dict[str, NDArray[Any]]:
    """The finite arrays of a safetensors file that holds nothing else, without gaps.

    Args:
        data: the file.
        name: its name, for the message.

    Raises:
        BundleError: it is anything else.
    """
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or not 2 <= length <= min(len(data) - 8, 100_000):
        raise BundleError(f"{name}: is not a safetensors file")
    head = read_json(data[8 : 8 + length], f"{name}'s head")
    body = data[8 + length :]
    if not isinstance(head, dict) or len(head) > _MAX_TENSORS:
        raise BundleError(f"{name}: its head is no object of at most {_MAX_TENSORS} arrays")
    tensors: dict[str, NDArray[Any]] = {}
    spans: list[tuple[int, int]] = []
    for key, entry in head.items():
        ok = (
            isinstance(entry, dict)
            and set(entry) == {"dtype", "shape", "data_offsets"}
            and entry["dtype"] in _DTYPES
            and _whole_numbers(entry["shape"], 0, 3)
            and _whole_numbers(entry["data_offsets"], 2, 2)
        )
        if not ok:
            raise BundleError(f"{name}: the array {key[:40]!r} is not described as it should be")
        begin, end = entry["data_offsets"]
        dtype, shape = np.dtype(_DTYPES[entry["dtype"]]), tuple(entry["shape"])
        size = dtype.itemsize
        for n in shape:
            size *= n
        if end - begin != size or not begin <= end <= len(body):
            raise BundleError(f"{name}: the array {key[:40]!r} does not fit its bytes")
        spans.append((begin, end))
        tensors[key] = np.frombuffer(body[begin:end], dtype).reshape(shape)
        if not np.isfinite(tensors[key]).all():
            raise BundleError(f"{name}: the array {key[:40]!r} holds numbers that are not finite")
    at = 0
    for begin, end in sorted(spans):
        if begin != at:
            raise BundleError(f"{name}: its arrays overlap or leave gaps")
        at = end
    if at != len(body):
        raise BundleError(f"{name}: {len(body) - at} bytes belong to no array")
    return tensors


def _whole_numbers(value: Any, least: int, most: int) -> bool:
    return (
        isinstance(value, list)
        and least <= len(value) <= most
        and all(type(one) is int and 0 <= one < 2**31 for one in value)
    )
