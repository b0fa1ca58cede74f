"""What strangers send: malformed requests of many kinds, and clients that are slow or leave."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from quietdial.experiments.sidecar.process import example_ask

_WAIT_S: Final = 2.0
_BIG: Final = 64 * 1024


_SPOILED: Final[tuple[Any, ...]] = (
    None,
    True,
    False,
    "1",
    [],
    {},
    -1,
    1.5,
    10**30,
    1e30,
    [[]],
    "\x00",
    "é" * 70,
    -0.5,
)


def _spoiled_field(rng: random.Random, line: bytes) -> bytes:
    ask = json.loads(line)
    name = rng.choice([name for name in ask if name != "features"])
    allowed = {"campaign": "1", "observed_at": 1.5}.get(name)
    ask[name] = rng.choice([value for value in _SPOILED if value != allowed])
    return json.dumps(ask).encode()


def _spoiled_feature(rng: random.Random, line: bytes) -> bytes:
    ask = json.loads(line)
    name = rng.choice(list(ask["features"]))
    ask["features"][name] = rng.choice([None, True, "0", [], {}])
    return json.dumps(ask).encode()


def _not_finite(rng: random.Random, line: bytes) -> bytes:
    words = [b"NaN", b"Infinity", b"-Infinity", b"1e400", b"-1e999", b"1" * 400]
    at = line.index(b":", line.index(b"features") + 10) + 1
    end = min(line.find(mark, at) for mark in (b",", b"}") if line.find(mark, at) > 0)
    return line[:at] + rng.choice(words) + line[end:].rstrip()


def _cut(rng: random.Random, line: bytes) -> bytes:
    return line[: rng.randrange(1, len(line) - 2)]


def _noise(rng: random.Random, line: bytes) -> bytes:
    return b"{" + rng.randbytes(rng.randrange(1, 400)).replace(b"\n", b"?")


def _deep(rng: random.Random, line: bytes) -> bytes:
    n = rng.choice([20, 1_000, 20_000])
    return b'{"campaign":' + rng.choice([b"[" * n + b"]" * n, b'{"a":' * n]) + b"}"


def _twice(rng: random.Random, line: bytes) -> bytes:
    return line.rstrip()[:-1] + b',"seq":1}'


def _unknown(rng: random.Random, line: bytes) -> bytes:
    return line.rstrip()[:-1] + b',"telephone":"+390123"}'


def _missing(rng: random.Random, line: bytes) -> bytes:
    ask = json.loads(line)
    del ask[rng.choice(list(ask))]
    return json.dumps(ask).encode()


def _long(rng: random.Random, line: bytes) -> bytes:
    return b'{"campaign":"' + b"a" * rng.choice([_BIG + 1, 3 * _BIG]) + b'"}'


def _other_json(rng: random.Random, line: bytes) -> bytes:
    return rng.choice([b" 7", b' "ask"', b" null", b" [1,2]", b"{}", b" true"])


def _bad_outcome(rng: random.Random, line: bytes) -> bytes:
    told: dict[str, Any] = {"campaign": "it-1", "call": "c", "at": 1.0, "outcome": "cut"}
    wrong = {"outcome": "answered", "call": "", "at": "now", "person": "+390123456789"}
    name = rng.choice(list(wrong))
    return json.dumps(told | {name: wrong[name]}).encode()


LINES: Final[Mapping[str, Callable[[random.Random, bytes], bytes]]] = {
    "a field of another type or out of range": _spoiled_field,
    "a feature that is no number": _spoiled_feature,
    "a number that is not finite": _not_finite,
    "cut": _cut,
    "random bytes": _noise,
    "nested too deep": _deep,
    "a key twice": _twice,
    "an unknown field": _unknown,
    "a field missing": _missing,
    "too long": _long,
    "JSON but no request": _other_json,
    "a wrong outcome": _bad_outcome,
}
"""Malformed requests by kind; each must be refused with one line, or the connection closed."""


def _http(body: bytes, head: bytes = b"", first: bytes = b"POST /v1/decide HTTP/1.1") -> bytes:
    length = b"" if b"ength" in head or b"oding" in head else b"Content-Length: %d\r\n" % len(body)
    kind = b"" if b"Type" in head else b"Content-Type: application/json\r\n"
    return first + b"\r\nHost: localhost\r\n" + kind + length + head + b"\r\n" + body


def http_requests(rng: random.Random, line: bytes) -> bytes:
    """A malformed HTTP request."""
    body = LINES[rng.choice(list(LINES))](rng, line)
    kinds: list[bytes] = [
        _http(body),
        _http(body),
        _http(line, b"Content-Type: text/plain\r\n"),
        _http(line, b"Content-Length: 99999999\r\n"),
        _http(line, b"Content-Length: -1\r\n"),
        _http(line, b"Content-Length: 5\r\nContent-Length: 6\r\n"),
        _http(line, b"Transfer-Encoding: gzip\r\n"),
        _http(b"zz\r\n" + line, b"Transfer-Encoding: chunked\r\n"),
        _http(line, b"Content-Encoding: gzip\r\n"),
        _http(line, first=b"POST /v1/decide HTTP/9.9"),
        _http(line, first=b"BREW /v1/decide HTTP/1.1"),
        _http(b"", first=b"GET /v1/decide HTTP/1.1"),
        _http(line, first=b"POST /v1/../etc/passwd HTTP/1.1"),
        _http(line, first=b"POST /v2/models/x/infer HTTP/1.1"),
        _http(line, b"X: " + b"a" * 20_000 + b"\r\n"),
        _http(line, b"X\x00: b\r\n"),
        rng.randbytes(200) + b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + rng.randbytes(100) + b"\r\n\r\n",
    ]
    return rng.choice(kinds)


def send_malformed(path: str, features: Mapping[str, float], n: int, seed: int) -> Counter[str]:
    """Send `n` malformed requests, a quarter over HTTP, each on a connection of its own or not.

    Returns:
        How many were "refused" (4xx and one line), "closed" without an answer, "accepted" or
        answered with another status (must not be), and how often there was "nobody" (the sidecar
        was down; the request is then sent again).
    """
    rng = random.Random(seed)  # noqa: S311
    found: Counter[str] = Counter()
    sent = 0
    while sent < n:
        over_http = rng.random() < 0.25
        line = example_ask(features)
        kind = rng.choice(list(LINES))
        half = not over_http and kind == "cut" and rng.random() < 0.5
        data = http_requests(rng, line) if over_http else LINES[kind](rng, line)
        what = _answer_to(path, data if over_http or half else data + b"\n", half=half)
        if what == "nobody":
            found["nobody"] += 1
            time.sleep(0.05)
            continue
        found[what] += 1
        sent += 1
    return found


def _answer_to(path: str, data: bytes, *, half: bool) -> str:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(_WAIT_S)
        try:
            connection.connect(path)
        except OSError:
            return "nobody"
        try:
            with contextlib.suppress(BrokenPipeError):
                connection.sendall(data)
            if half:  # hang up in the middle of a request
                connection.shutdown(socket.SHUT_WR)
            reply = connection.recv(65_536)
        except TimeoutError:
            return "nobody"
        except OSError:
            return "closed"
    if not reply:
        return "closed"
    if reply.startswith(b"HTTP/1.1 "):
        status = reply[9:12]
        return "refused" if status[:1] == b"4" else f"status {status.decode()}"
    told = json.loads(reply.partition(b"\n")[0])
    return "refused" if 400 <= told.get("status", 0) < 500 else "accepted"


class Loiterers:
    """Clients that hold their connections: half a request, a byte now and then, or no reading."""

    def __init__(self, path: Path, features: Mapping[str, float], seed: int) -> None:
        self._path, self._features = path, features
        self._rng = random.Random(seed)  # noqa: S311
        self._open: list[tuple[socket.socket, str]] = []
        self.made: Counter[str] = Counter()

    def more(self, n: int = 1) -> None:
        """Come with more of them; the oldest leave when there are more than 60."""
        for _ in range(n):
            kind = self._rng.choice(["half", "drip", "deaf"])
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(0.2)
            line = example_ask(self._features, f"loiterer-{self._rng.randrange(20)}")
            try:
                connection.connect(str(self._path))
                if kind == "half":
                    connection.sendall(line[: self._rng.randrange(1, len(line) - 1)])
                elif kind == "deaf":
                    connection.sendall(line * 40)
            except OSError:
                connection.close()
                continue
            self.made[kind] += 1
            self._open.append((connection, kind))
        while len(self._open) > 60:
            self._open.pop(0)[0].close()

    def drip(self) -> None:
        """The slow ones send their next byte."""
        for connection, kind in self._open:
            if kind == "drip":
                with contextlib.suppress(OSError):
                    connection.send(b"{")

    def leave(self) -> None:
        """All of them hang up, in the middle of whatever they said."""
        for connection, _ in self._open:
            connection.close()
        self._open.clear()
