"""The HTTP interface without its transport: method, path and body to status and body."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, NamedTuple

from quietdial.agents.serve.asks import MAX_BODY, read_object
from quietdial.agents.serve.errors import RequestError, one_line
from quietdial.agents.serve.inference import EXTENSIONS, HEADER, Model
from quietdial.agents.serve.metrics import CONTENT_TYPE
from quietdial.agents.serve.openapi import document
from quietdial.agents.serve.service import Reply, Service

JSON: Final = "application/json"
BINARY: Final = "application/octet-stream"
OPEN_PATHS: Final = frozenset({"/healthz", "/v2/health/live", "/v2/health/ready"})
"""Paths that need no token: they tell only whether the sidecar is up."""

_MODEL: Final = re.compile(r"/v2/models/([^/]+)(?:/versions/([^/]+))?(/ready|/infer)?\Z")
_LOCAL: Final = re.compile(r"(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?\Z")
_GET, _POST = ("GET", "HEAD"), ("POST",)


class Answer(NamedTuple):
    """A response; `headers` besides type and length."""

    status: int
    body: bytes
    kind: str = JSON
    headers: tuple[tuple[str, str], ...] = ()


Handled = Answer | Coroutine[Any, Any, bytes]
"""A response, or what ends in the body of one."""


class Asked(NamedTuple):
    """A request; the names of its headers are in small letters."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""


class Token:
    """A secret that is compared in constant time; only its hash is kept."""

    def __init__(self, secret: bytes) -> None:
        self._hash = hashlib.sha256(secret).digest()

    def fits(self, authorization: str | None) -> bool:
        """Whether an `Authorization` header carries it."""
        scheme, _, told = (authorization or "").partition(" ")
        right = hmac.compare_digest(hashlib.sha256(told.strip().encode()).digest(), self._hash)
        return right and scheme.lower() == "bearer"


class Api:
    """Routes.

    Args:
        service: what answers.
        model_of: the model of the bundle in use; a rule is none.
    """

    def __init__(self, service: Service, model_of: Callable[[], Model | None]) -> None:
        self._service = service
        self._model_of = model_of
        self._plain: dict[str, tuple[tuple[str, ...], Callable[[Asked], Handled]]] = {
            "/healthz": (_GET, self._health),
            "/metrics": (_GET, self._metrics),
            "/openapi.json": (_GET, self._openapi),
            "/v1/decide": (_POST, lambda asked: self._post(asked, service.decide)),
            "/v1/pace": (_POST, lambda asked: self._post(asked, service.pace)),
            "/v1/outcome": (_POST, lambda asked: self._post(asked, service.outcome)),
            "/v2": (_GET, self._about),
            "/v2/health/live": (_GET, lambda _: Answer(200, _json({"live": True}))),
            "/v2/health/ready": (_GET, self._ready),
        }

    def check(self, asked: Asked, token: Token | None, *, local_only: bool) -> None:
        """Refuse a request by its head alone, before its body is read (`RequestError`).

        Args:
            asked: the request without its body.
            token: what it must carry; None: nothing.
            local_only: whether the name in `Host` must be this machine's, so that no page in a
                browser can be made to speak to the sidecar by another name.
        """
        if local_only and not _LOCAL.match(asked.headers.get("host", "")):
            raise RequestError("Host: must be localhost, 127.0.0.1 or [::1]", 421)
        told = asked.headers.get("authorization")
        if token is not None and asked.path not in OPEN_PATHS and not token.fits(told):
            raise RequestError("a token is needed: Authorization: Bearer ...", 401)
        methods, _ = self._route(asked.path)
        if asked.method not in methods:
            raise RequestError(f"{asked.method[:16]}: use {', '.join(methods)}", 405)
        length = asked.headers.get("content-length", "0")
        if length.isdigit() and int(length[:12]) > MAX_BODY:
            raise RequestError(f"body: at most {MAX_BODY} bytes are allowed", 413)
        kind = asked.headers.get("content-type", "").partition(";")[0].strip().lower()
        if asked.method == "POST":
            infers = asked.path.endswith("/infer")
            allowed = (JSON, BINARY, "") if infers else (JSON,)
            if kind not in allowed:
                raise RequestError(f"Content-Type: must be {JSON}", 415)
            if asked.headers.get("content-encoding", "identity") != "identity":
                raise RequestError("Content-Encoding: must be identity", 415)

    def answer(self, asked: Asked) -> Answer | Coroutine[Any, Any, Answer]:
        """Answer a whole, checked request, at once or when what it waits for is there."""
        try:
            _, handler = self._route(asked.path)
            found = handler(asked)
        except RequestError as error:
            found = self.refusal(error, asked)
        if not isinstance(found, Answer):
            return self._later(found, asked)
        self._service.metrics.requests.add("http", str(found.status))
        return found

    async def _later(self, reply: Coroutine[Any, Any, bytes], asked: Asked) -> Answer:
        try:
            found = Answer(200, await reply)
        except RequestError as error:
            found = self.refusal(error, asked)
        self._service.metrics.requests.add("http", str(found.status))
        return found

    def refusal(self, error: RequestError, asked: Asked | None = None) -> Answer:
        """The response that says why a request is refused."""
        headers: tuple[tuple[str, str], ...] = ()
        if error.status == 401:
            headers = (("WWW-Authenticate", "Bearer"),)
        if error.status == 405 and asked is not None:
            headers = (("Allow", ", ".join(self._route(asked.path)[0])),)
        return Answer(error.status, _json({"error": one_line(str(error))}), JSON, headers)

    def _route(self, path: str) -> tuple[tuple[str, ...], Callable[[Asked], Handled]]:
        found = self._plain.get(path)
        if found is not None:
            return found
        match = _MODEL.match(path)
        if match is None:
            raise RequestError(f"{path[:80]}: there is no such path; see /openapi.json", 404)
        name, version, verb = match.groups()
        model = self._model_of()
        if model is None:
            raise RequestError(f"{path[:80]}: a rule is served, which is no model", 404)
        if name != model.name or version not in (None, model.version):
            raise RequestError(f"{path[:80]}: the model is {model.name}, {model.version}", 404)
        if verb == "/infer":
            return _POST, lambda asked: self._infer(model, asked)
        if verb == "/ready":
            return _GET, self._ready
        return _GET, lambda _: Answer(200, _json(model.about()))

    # --- handlers -------------------------------------------------------------------------------

    def _post(self, asked: Asked, handler: Callable[[Mapping[str, Any]], Reply]) -> Handled:
        reply = handler(read_object(asked.body))
        return Answer(200, reply) if isinstance(reply, bytes) else reply

    def _health(self, _: Asked) -> Answer:
        health = self._service.health()
        return Answer(200 if health["ready"] else 503, _json(health))

    def _ready(self, _: Asked) -> Answer:
        ready = self._service.ready
        return Answer(200 if ready else 503, _json({"ready": ready}))

    def _metrics(self, _: Asked) -> Answer:
        return Answer(200, self._service.metrics.text().encode(), CONTENT_TYPE)

    def _openapi(self, _: Asked) -> Answer:
        return Answer(200, _json(document(self._model_of(), self._service.decider.unit)))

    def _about(self, _: Asked) -> Answer:
        about = {"name": "quietdial", "version": "1", "extensions": list(EXTENSIONS)}
        return Answer(200, _json(about))

    def _infer(self, model: Model, asked: Asked) -> Answer:
        length = asked.headers.get(HEADER)
        if length is not None and not (length.isascii() and length.isdigit()):
            raise RequestError(f"{HEADER}: must be a whole number")
        head, raw = model.infer(asked.body, None if length is None else int(length[:9]))
        if not raw:
            return Answer(200, head)
        headers = (("Inference-Header-Content-Length", str(len(head))),)
        return Answer(200, head + raw, BINARY, headers)


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, allow_nan=False).encode() + b"\n"
