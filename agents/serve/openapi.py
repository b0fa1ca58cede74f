"""The description of the HTTP interface, OpenAPI 3.1, with the limits that are enforced."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from quietdial.agents.runtime.counters import OLDEST_S
from quietdial.agents.runtime.ledger_protocol import OUTCOMES
from quietdial.agents.serve.asks import (
    AGES,
    CALL,
    CAMPAIGN,
    COUNTERS,
    DAY,
    FEATURE,
    MAX_COUNT,
    MAX_FEATURES,
    MAX_NUMBER,
    MAX_SEQ,
    MAX_TIME_S,
    MAX_TOTAL,
    MAX_WINDOWS,
    MORE_COUNTERS,
    PERSON,
)
from quietdial.agents.serve.inference import Model, request_schema

Part = dict[str, Any]

RUNGS: Final = ("policy", "table", "override", "progressive", "stop")

_COUNT: Final[Part] = {"type": "integer", "minimum": 0, "maximum": MAX_COUNT}
_TOTAL: Final[Part] = {"type": "integer", "minimum": 0, "maximum": MAX_TOTAL}
_MOMENT: Final[Part] = {"type": "number", "minimum": 0, "maximum": MAX_TIME_S}
_NUMBER: Final[Part] = {"type": "number", "minimum": -MAX_NUMBER, "maximum": MAX_NUMBER}

_AGES: Final[Part] = {
    "type": "array",
    "items": {"type": "number", "minimum": 0, "maximum": OLDEST_S},
}
_AGES_SAY: Final = (
    "how long each dial in flight and each agent has been as it is [s], as many numbers as its "
    "counter says; for residual and threshold policies, the set full and the rule marginal"
)


def _object(needed: Part, more: Mapping[str, Any] | None = None, **rest: Any) -> Part:
    return {
        "type": "object",
        "required": list(needed),
        "properties": {**needed, **(more or {})},
        "additionalProperties": False,
        **rest,
    }


def _said(part: Part, text: str) -> Part:
    return {**part, "description": text}


_WINDOWS: Final[Part] = {
    "type": "array",
    "maxItems": MAX_WINDOWS,
    "items": _object({"silent": _TOTAL, "answered": _TOTAL}),
    "description": "counts of each of the rule's windows, without those who wait",
}


def _schemas(unit: str) -> Part:
    campaign = {"type": "string", "pattern": CAMPAIGN}
    return {
        "Ask": _object(
            {
                "campaign": campaign,
                "seq": {
                    "type": "integer",
                    "minimum": 0,
                    "maximum": MAX_SEQ,
                    "description": "number of the request; the same number with the same "
                    "observed_at gets the same answer",
                },
                "observed_at": _said(_MOMENT, "when the dialer was looked at [Unix s]"),
                "idle": _said(_COUNT, "agents without a call"),
                "in_flight": _said(_COUNT, "dials without an outcome"),
                "waiting": _said(_COUNT, "answered callees who wait for an agent"),
                "features": {
                    "type": "object",
                    "maxProperties": MAX_FEATURES,
                    "propertyNames": {"pattern": FEATURE},
                    "additionalProperties": _NUMBER,
                    "description": "the policy's inputs by name; others are ignored",
                },
            },
            {
                "present": _said(_COUNT, "agents logged in and not on break"),
                "base_dials": _said(_COUNT, "what the base rule of a residual policy would dial"),
                "windows": _said(_WINDOWS, _WINDOWS["description"] + "; then the shield stands"),
            },
        ),
        "Reply": _object(
            {
                "campaign": campaign,
                "seq": {"type": "integer"},
                "answer": {"type": "number", "minimum": 0, "description": f"in {unit}"},
                "unit": {"type": "string", "enum": ["new calls", "lines per agent"]},
                "fallback": {"type": "boolean", "description": "not the policy's own answer"},
                "rung": {"type": "string", "enum": list(RUNGS)},
                "reason": {"type": "string", "description": "short word; empty: no fallback"},
                "detail": {"type": "string", "description": "the reason in a line for people"},
                "lease_s": {"type": "number", "description": "worthless after so long [s]"},
                "valid_until": {"type": "number", "description": "the same as Unix time [s]"},
                "bundle": {"type": "string", "description": "begin of the bundle's id"},
            },
            {
                "choice": {"type": "integer", "description": "kind of lead to dial"},
                "guards": {
                    "type": "array",
                    "items": {"type": "string"},
                    "description": "what cut the answer: shield, lines, most calls",
                },
            },
        ),
        "Snapshot": _object(
            {
                "campaign": campaign,
                "seq": {"type": "integer", "minimum": 0, "maximum": MAX_SEQ},
                "observed_at": _said(_MOMENT, "when the counters were read [Unix s]"),
                "n_agents": _said({**_COUNT, "minimum": 1}, "agents of the roster"),
                "first_day": {
                    "type": "string",
                    "format": "date",
                    "pattern": DAY,
                    "description": "first calendar day of the campaign",
                },
                "opens_at": _said(_MOMENT, "today's session opens [Unix s]"),
                "closes_at": _said(_MOMENT, "it closes [Unix s]"),
                "counters": _object(
                    {
                        **dict.fromkeys(COUNTERS, _TOTAL),
                        "windows": _WINDOWS,
                    },
                    {
                        **dict.fromkeys(MORE_COUNTERS, _COUNT),
                        "list_left": {"type": "number", "minimum": 0, "maximum": 1},
                        "ages": _object({}, dict.fromkeys(AGES, _AGES), description=_AGES_SAY),
                    },
                ),
            }
        ),
        "Told": _object(
            {
                "campaign": campaign,
                "call": {
                    "type": "string",
                    "pattern": CALL,
                    "description": "the dialer's name of the call; told twice, it counts once",
                },
                "at": _said(_MOMENT, "when it became certain [Unix s]"),
                "outcome": {"type": "string", "enum": list(OUTCOMES)},
            },
            {
                "person": {
                    "type": "string",
                    "pattern": PERSON,
                    "description": "keyed hash of the person, never a telephone number",
                }
            },
        ),
        "Counted": _object(
            {
                "campaign": campaign,
                "counted": {"type": "boolean", "description": "false: it was counted before"},
            }
        ),
        "Health": _object(
            {
                "live": {"type": "boolean"},
                "ready": {"type": "boolean"},
                "stopped": {"type": "boolean", "description": "the stop file is there"},
                "bundle": {"type": "string"},
                "bundle_id": {"type": "string"},
            }
        ),
        "Flag": {"type": "object", "additionalProperties": {"type": "boolean"}},
        "Tensor": {
            "type": "object",
            "required": ["name", "shape", "datatype"],
            "properties": {
                "name": {"type": "string"},
                "shape": {"type": "array", "items": {"type": "integer"}},
                "datatype": {"type": "string"},
                "data": {"type": "array"},
                "parameters": {"type": "object"},
            },
        },
        "Inferred": {
            "type": "object",
            "required": ["model_name", "outputs"],
            "properties": {
                "model_name": {"type": "string"},
                "model_version": {"type": "string"},
                "id": {"type": "string"},
                "outputs": {"type": "array", "items": {"$ref": "#/components/schemas/Tensor"}},
            },
        },
        "Model": {
            "type": "object",
            "required": ["name", "versions", "platform", "inputs", "outputs"],
            "properties": {
                "name": {"type": "string"},
                "versions": {"type": "array", "items": {"type": "string"}},
                "platform": {"type": "string"},
                "inputs": {"type": "array", "items": {"type": "object"}},
                "outputs": {"type": "array", "items": {"type": "object"}},
            },
        },
        "Error": _object({"error": {"type": "string"}}),
    }


def _ref(name: str) -> Part:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}


_REFUSALS: Final = {
    400: "not well-formed; one line says what",
    401: "a token is needed",
    404: "there is no such path or model",
    409: "the ledger has it otherwise",
    405: "another method is needed",
    413: "larger than 65,536 bytes",
    415: "another type of content is needed",
    421: "another host is meant",
    431: "headers larger than 16,384 bytes",
    503: "not ready",
}


def _operation(
    name: str, says: str, schema: str, refusals: Sequence[int], body: str = "", **more: Any
) -> Part:
    found: Part = {
        "operationId": name,
        "summary": says,
        "responses": {
            "200": {"description": "answered", "content": _ref(schema)},
            **{
                str(status): {"description": _REFUSALS[status], "content": _ref("Error")}
                for status in (*refusals, 401, 405, 421, 431)
            },
        },
        **more,
    }
    if body:
        found["requestBody"] = {"required": True, "content": _ref(body)}
    return found


def document(model: Model | None, unit: str) -> Part:
    """The OpenAPI document of a sidecar that serves this model.

    Args:
        model: the bundle as a model; None: a rule, which is none.
        unit: unit of its answers to a dialer.
    """
    posted = (400, 413, 415)
    paths: Part = {
        "/v1/decide": {"post": _operation("decide", "how many calls now", "Reply", posted, "Ask")},
        "/v1/pace": {
            "post": _operation("pace", "how many calls, by counters", "Reply", posted, "Snapshot")
        },
        "/v1/outcome": {
            "post": _operation(
                "outcome", "what became of a dial", "Counted", (*posted, 409), "Told"
            )
        },
        "/healthz": {"get": _health("health", "live and ready", "Health")},
        "/v2": {"get": _operation("server", "metadata of the server", "Inferring", ())},
        "/v2/health/live": {"get": _operation("live", "is it up", "Flag", ())},
        "/v2/health/ready": {"get": _health("ready", "may it be asked", "Flag")},
    }
    for place, tag in _places(model):
        paths[place] = {"get": _operation(f"model{tag}", "metadata of the policy", "Model", (404,))}
        paths[f"{place}/ready"] = {
            "get": _health(f"model_ready{tag}", "may the policy be asked", "Flag", (404,))
        }
        paths[f"{place}/infer"] = {
            "post": _operation(
                f"infer{tag}", "the bare policy", "Inferred", (*posted, 404), "Inference"
            )
        }
        answered = paths[f"{place}/infer"]["post"]["responses"]["200"]["content"]
        answered["application/octet-stream"] = {"schema": {"type": "string", "format": "binary"}}
    text = {"text/plain": {"schema": {"type": "string"}}}
    paths["/metrics"] = {"get": _operation("metrics", "counters for Prometheus", "Error", ())}
    paths["/metrics"]["get"]["responses"]["200"]["content"] = text
    schemas = _schemas(unit)
    if model is not None:
        schemas["Inference"] = request_schema(model)
    schemas["Inferring"] = {
        "type": "object",
        "required": ["name", "version", "extensions"],
        "properties": {
            "name": {"type": "string"},
            "version": {"type": "string"},
            "extensions": {"type": "array", "items": {"type": "string"}},
        },
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "quietdial sidecar",
            "version": _version(),
            "description": "How many calls a dialer should place now. Every well-formed request "
            "for a decision is answered with a number.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _places(model: Model | None) -> tuple[tuple[str, str], ...]:
    if model is None:
        return ()
    one = f"/v2/models/{model.name}"
    return (one, ""), (f"{one}/versions/{model.version}", "_version")


def _health(name: str, says: str, schema: str, refusals: Sequence[int] = ()) -> Part:
    found = _operation(name, says, schema, refusals)
    found["responses"]["503"] = {"description": _REFUSALS[503], "content": _ref(schema)}
    return found


def _version() -> str:
    try:
        return version("quietdial")
    except PackageNotFoundError:  # copied to a host without being installed
        return "0"
