"""Strict JSON: what a bundle may hold, its one canonical form, and the published schema.

The schema is JSON Schema (2020-12) in the few keywords of :data:`KEYWORDS`, so that this small
validator and any other one agree on it.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any, Final

from quietdial.agents.bundle.errors import BundleError

MAX_DEPTH: Final = 16
"""Deepest nesting of objects and lists; the top one is level 1."""

KEYWORDS: Final = frozenset(
    {
        "$comment",
        "$defs",
        "$id",
        "$ref",
        "$schema",
        "additionalProperties",
        "anyOf",
        "const",
        "description",
        "enum",
        "exclusiveMaximum",
        "exclusiveMinimum",
        "items",
        "maxItems",
        "maxLength",
        "maximum",
        "minItems",
        "minLength",
        "minimum",
        "pattern",
        "patternProperties",
        "properties",
        "required",
        "title",
        "type",
    }
)
"""What the schema is written in."""

_MAX_INTEGER: Final = 2**63


def read_json(data: bytes, name: str) -> Any:
    """Parse JSON that a stranger wrote.

    Refused: more than :data:`MAX_DEPTH` levels, a key given twice, NaN, infinity, numbers beyond
    float64 or 64 bits, text that is not UTF-8.

    Args:
        data: the bytes.
        name: what they are, for the message.

    Raises:
        BundleError: one line on what is wrong.
    """

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(items)
        if len(result) != len(items):
            raise BundleError(f"{name}: a key is given twice")
        return result

    def constant(text: str) -> Any:
        raise BundleError(f"{name}: {text} is not allowed; numbers are finite")

    def real(text: str) -> float:
        value = float(text)
        if not math.isfinite(value):
            raise BundleError(f"{name}: the number {text[:20]} is not finite")
        return value

    def whole(text: str) -> int:
        value = int(text) if len(text) <= 20 else _MAX_INTEGER
        if not -_MAX_INTEGER <= value < _MAX_INTEGER:
            raise BundleError(f"{name}: the number {text[:20]} does not fit 64 bits")
        return value

    try:
        value = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=pairs,
            parse_constant=constant,
            parse_float=real,
            parse_int=whole,
        )
    except BundleError:
        raise
    except RecursionError:
        raise BundleError(f"{name}: nested deeper than the {MAX_DEPTH} levels allowed") from None
    except ValueError:  # UnicodeDecodeError and JSONDecodeError too
        raise BundleError(f"{name}: is not valid JSON in UTF-8") from None
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            part
            for whole_ in level
            if isinstance(whole_, dict | list)
            for part in (whole_.values() if isinstance(whole_, dict) else whole_)
        ]
        if not level:
            return value
    if any(isinstance(part, dict | list) for part in level):
        raise BundleError(f"{name}: nested deeper than the {MAX_DEPTH} levels allowed")
    return value


def canonical(value: Any) -> bytes:
    """The one form of a value in a bundle: sorted keys, no spaces, UTF-8, a final newline.

    Numbers are written as Python's `repr` does, the shortest text that reads back the same.
    """
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return (text + "\n").encode("utf-8")


def read_canonical(data: bytes, name: str) -> dict[str, Any]:
    """Parse a JSON object that must be in canonical form (`BundleError` if it is not)."""
    value = read_json(data, name)
    try:
        same = canonical(value) == data
    except UnicodeEncodeError:
        same = False
    if not isinstance(value, dict) or not same:
        raise BundleError(f"{name}: is not a JSON object in canonical form")
    return value


# ---------------------------------------------------------------------------------------- schema


@cache
def schema() -> dict[str, Any]:
    """The published schema of all JSON files of a bundle."""
    text = resources.files("quietdial.agents.bundle").joinpath("bundle.schema.json").read_text()
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def check_schema(value: Any, definition: str, name: str) -> None:
    """Refuse a value that is not what the schema says.

    Args:
        value: parsed JSON.
        definition: name under `$defs`.
        name: what it is, for the message.

    Raises:
        BundleError: the first place that does not fit.
    """
    found = _misfit(value, schema()["$defs"][definition], name)
    if found is not None:
        raise BundleError(found)


_TYPES: Final[Mapping[str, Any]] = {
    "object": dict,
    "array": list,
    "string": str,
    "boolean": bool,
    "null": type(None),
}


_NUMBERS: Final = (int, float)
_BOUNDS: Final = {"anyOf", "const", "enum", "minimum", "maximum"} | {
    "exclusiveMinimum",
    "exclusiveMaximum",
}


def _is_type(value: Any, kind: str) -> bool:
    if kind == "number":
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind == "integer":
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        return whole and not isinstance(value, bool)
    return isinstance(value, _TYPES[kind])


def _shown(value: Any) -> str:
    return "".join(char if char.isprintable() else "?" for char in repr(value)[:60])


def _misfit(value: Any, rule: Mapping[str, Any], where: str) -> str | None:
    """The first place where `value` does not fit `rule`, in one line; None: it fits."""
    if "$ref" in rule:
        return _misfit(value, schema()["$defs"][rule["$ref"].rpartition("/")[2]], where)
    if "anyOf" in rule:
        found = [_misfit(value, one, where) for one in rule["anyOf"]]
        return None if None in found else found[-1]
    kinds = rule.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(_is_type(value, kind) for kind in kinds):
        return f"{where}: {_shown(value)} is not of type {' or '.join(kinds)}"
    if "const" in rule and not _equal(value, rule["const"]):
        return f"{where}: {_shown(value)} must be {rule['const']!r}"
    if "enum" in rule and not any(_equal(value, one) for one in rule["enum"]):
        return f"{where}: {_shown(value)} must be one of {rule['enum']}"
    if isinstance(value, str):
        return _text_misfit(value, rule, where)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _number_misfit(value, rule, where)
    if isinstance(value, list):
        return _list_misfit(value, rule, where)
    if isinstance(value, dict):
        return _object_misfit(value, rule, where)
    return None


def _equal(value: Any, wanted: Any) -> bool:
    return isinstance(value, bool) == isinstance(wanted, bool) and bool(value == wanted)


def _text_misfit(value: str, rule: Mapping[str, Any], where: str) -> str | None:
    if not rule.get("minLength", 0) <= len(value) <= rule.get("maxLength", len(value)):
        return f"{where}: a text of {len(value)} characters is not allowed"
    if "pattern" in rule and not _matches(rule["pattern"], value):
        return f"{where}: {_shown(value)} does not have the form {rule['pattern']}"
    return None


def _matches(pattern: str, text: str) -> bool:
    """As JSON Schema means it: "$" is the end of the text, not of its last line."""
    return re.search(re.sub(r"\$(?=\)?\Z)", r"\\Z", pattern), text) is not None


def _number_misfit(value: float, rule: Mapping[str, Any], where: str) -> str | None:
    ok = (
        rule.get("minimum", value) <= value <= rule.get("maximum", value)
        and ("exclusiveMinimum" not in rule or value > rule["exclusiveMinimum"])
        and ("exclusiveMaximum" not in rule or value < rule["exclusiveMaximum"])
    )
    return None if ok else f"{where}: {value} is outside what is allowed"


def _list_misfit(value: list[Any], rule: Mapping[str, Any], where: str) -> str | None:
    if not rule.get("minItems", 0) <= len(value) <= rule.get("maxItems", len(value)):
        return f"{where}: a list of {len(value)} is not allowed"
    if "items" in rule:
        part = rule["items"]
        if "$ref" in part:
            part = schema()["$defs"][part["$ref"].rpartition("/")[2]]
        quick = _NUMBERS if "number" in part.get("type", ()) and not _BOUNDS & set(part) else ()
        for i, item in enumerate(value):
            if type(item) in quick:
                continue  # lists are nearly always of numbers, and long
            found = _misfit(item, part, f"{where}[{i}]")
            if found is not None:
                return found
    return None


def _object_misfit(value: dict[str, Any], rule: Mapping[str, Any], where: str) -> str | None:
    for key in rule.get("required", ()):
        if key not in value:
            return f"{where}: {key!r} is missing"
    known, patterns = rule.get("properties", {}), rule.get("patternProperties", {})
    more = rule.get("additionalProperties", True)
    for key, item in value.items():
        fitting = [known[key]] if key in known else []
        fitting += [part for pattern, part in patterns.items() if _matches(pattern, key)]
        if not fitting:
            if more is False:
                return f"{where}: the key {_shown(key)} is not known"
            fitting = [more] if isinstance(more, dict) else []
        for part in fitting:
            found = _misfit(item, part, f"{where}.{key[:40]}")
            if found is not None:
                return found
    return None
