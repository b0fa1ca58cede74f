"""The rule of the client, in one file of the standard library: copy it beside your dialer.

The dialer is never without a number. Asked in time, the sidecar's answer counts; whatever else
happens (no socket, no answer within the deadline, an answer that is broken, out of range or for
another request), it is one line for each idle agent, made here. After a failure the client keeps
away from the sidecar for `backoff_s`, so that a dead one costs the deadline once and not each time.
An answer is worth nothing after its lease: :meth:`Decision.holds`.

    sidecar = Sidecar("/run/quietdial/sidecar.sock")
    decision = sidecar.decide("sales", Floor(idle=3, in_flight=5, waiting=0), features)
    place_calls(decision.answer)

`python client.py SOCKET CAMPAIGN IDLE IN_FLIGHT WAITING [NAME=VALUE ...]` asks once.
"""

from __future__ import annotations

import json
import math
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

CALLS, LEVEL = "new calls", "lines per agent"
_MOST_REPLY = 1 << 20


class Floor(NamedTuple):
    """What a dialer always knows: idle agents, dials in flight, callees who wait."""

    idle: int
    in_flight: int
    waiting: int
    present: int | None = None
    base_dials: int | None = None


class Decision(NamedTuple):
    """A number to dial by.

    Attributes:
        answer: in the unit that the client was made with.
        fallback: whether it is not the policy's own.
        reason: why; "no_answer" and the like if the client made it by itself.
        by: "sidecar" or "client".
        until_s: end of its lease, monotonic clock.
        wait_s: how long the client waited for it.
    """

    answer: float
    fallback: bool
    reason: str
    by: str
    until_s: float
    wait_s: float

    def holds(self) -> bool:
        """Whether it may still be followed; if not: one line for each idle agent."""
        return time.monotonic() < self.until_s


class Sidecar:
    """A connection to a sidecar that never fails its caller.

    Args:
        path: the Unix socket.
        unit: unit of the answers that the dialer can use.
        highest: larger answers are refused.
        deadline_s: longest wait for one answer, or for a batch of them.
        backoff_s: how long to keep away after a failure.
        lease_s: how long an answer that the client makes by itself holds.
    """

    def __init__(
        self,
        path: str,
        *,
        unit: str = CALLS,
        highest: float = 100.0,
        deadline_s: float = 0.050,
        backoff_s: float = 0.250,
        lease_s: float = 3.0,
    ) -> None:
        self._path, self._unit, self._highest = path, unit, highest
        self._deadline_s, self._backoff_s, self._lease_s = deadline_s, backoff_s, lease_s
        self._socket: socket.socket | None = None
        self._away_until_s = -math.inf
        self._seq = time.time_ns() // 1_000_000
        self._rest = b""

    def decide(self, campaign: str, floor: Floor, features: Mapping[str, float]) -> Decision:
        """Ask for one campaign; takes `deadline_s` at most."""
        return self.decide_all([(campaign, floor, features)])[0]

    def decide_all(
        self,
        asks: Sequence[tuple[str, Floor, Mapping[str, float]]],
        observed_at: float | None = None,
    ) -> list[Decision]:
        """Ask for many campaigns at once, all within one deadline.

        Args:
            asks: campaign, floor and features of each.
            observed_at: when they were looked at [Unix s]; None: now.
        """
        begin_s = time.monotonic()
        now_s = time.time() if observed_at is None else observed_at
        first = self._seq
        self._seq += len(asks)
        found: dict[int, Decision] = {}
        why = "kept_away"
        if begin_s >= self._away_until_s:
            try:
                why = self._ask(asks, first, now_s, begin_s + self._deadline_s, found)
            except (OSError, ValueError) as error:
                why = "no_answer" if isinstance(error, TimeoutError) else "no_sidecar"
            if why:
                self._leave()
        wait_s = time.monotonic() - begin_s
        return [
            found.get(first + i) or self._own(asks[i][1], why or "no_answer", wait_s)
            for i in range(len(asks))
        ]

    def close(self) -> None:
        """End the connection."""
        if self._socket is not None:
            self._socket.close()
        self._socket, self._rest = None, b""

    def _ask(
        self,
        asks: Sequence[tuple[str, Floor, Mapping[str, float]]],
        first: int,
        now_s: float,
        end_s: float,
        found: dict[int, Decision],
    ) -> str:
        """Send all, and read answers into `found`; a word if not all came."""
        lines = []
        for i, (campaign, floor, features) in enumerate(asks):
            ask = {
                "campaign": campaign,
                "seq": first + i,
                "observed_at": now_s,
                **{name: value for name, value in floor._asdict().items() if value is not None},
                "features": dict(features),
            }
            lines.append(json.dumps(ask, separators=(",", ":"), allow_nan=False) + "\n")
        connection = self._connected(end_s)
        connection.settimeout(max(end_s - time.monotonic(), 1e-4))
        begin_s = time.monotonic()
        connection.sendall("".join(lines).encode())
        for i, (campaign, _, _) in enumerate(asks):
            reply = self._read(connection, end_s)
            checked = self._checked(reply, campaign, first + i, time.monotonic() - begin_s)
            if isinstance(checked, str):
                return checked
            found[first + i] = checked
        return ""

    def _connected(self, end_s: float) -> socket.socket:
        if self._socket is None:
            made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            made.settimeout(max(end_s - time.monotonic(), 1e-4))
            try:
                made.connect(self._path)
            except OSError:
                made.close()
                raise
            self._socket = made
        return self._socket

    def _read(self, connection: socket.socket, end_s: float) -> Any:
        while b"\n" not in self._rest:
            left_s = end_s - time.monotonic()
            if left_s <= 0:
                raise TimeoutError
            connection.settimeout(left_s)
            data = connection.recv(1 << 16)
            if not data or len(self._rest) > _MOST_REPLY:
                raise OSError("the sidecar has gone")
            self._rest += data
        line, _, self._rest = self._rest.partition(b"\n")
        return json.loads(line)

    def _checked(self, reply: Any, campaign: str, seq: int, wait_s: float) -> Decision | str:
        """The decision that a reply is, or a word why it is refused."""
        if not isinstance(reply, dict) or "answer" not in reply:
            return "refused"
        if reply.get("seq") != seq or reply.get("campaign") != campaign:
            return "wrong_reply"
        answer: Any = reply["answer"]
        lease_s: Any = reply.get("lease_s")
        numbers = all(type(x) in (int, float) and math.isfinite(x) for x in (answer, lease_s))
        if not numbers or reply.get("unit") != self._unit or not 0 <= answer <= self._highest:
            return "out_of_range"
        if self._unit == CALLS and answer != int(answer):
            return "out_of_range"
        return Decision(
            answer,
            bool(reply.get("fallback")),
            str(reply.get("reason")),
            "sidecar",
            time.monotonic() - wait_s + min(max(lease_s, 0.0), 60.0),
            wait_s,
        )

    def _own(self, floor: Floor, why: str, wait_s: float) -> Decision:
        """One line for each idle agent."""
        calls = float(max(floor.idle - floor.in_flight - floor.waiting, 0))
        answer = 1.0 if self._unit == LEVEL else calls
        until_s = time.monotonic() + self._lease_s
        return Decision(answer, True, why, "client", until_s, wait_s)

    def _leave(self) -> None:
        """A late answer must not be taken for the next one: start anew after a while."""
        self.close()
        self._away_until_s = time.monotonic() + self._backoff_s


def _main(args: Sequence[str]) -> int:
    path, campaign, *counts = args[:5]
    idle, in_flight, waiting = map(int, counts)
    features = {name: float(value) for name, _, value in (arg.partition("=") for arg in args[5:])}
    decision = Sidecar(path).decide(campaign, Floor(idle, in_flight, waiting), features)
    sys.stdout.write(json.dumps(decision._asdict()) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
