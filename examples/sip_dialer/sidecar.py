"""How many calls to place: the sidecar's answer, or one line for each idle agent.

The dialer is never without a number. An answer counts if it comes within 50 ms, is for this
request and in range; otherwise the caller dials one line for each idle agent. After a failure the
sidecar is left alone for 250 ms.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

DEADLINE_S: Final = 0.050
BACKOFF_S: Final = 0.250
MOST_REPLY: Final = 1 << 20


class Answer(NamedTuple):
    """What to dial.

    Attributes:
        calls: new calls to place now; None: the sidecar did not say, the dialer falls back.
        by: the sidecar's rung ("policy", "progressive", ...), or "client".
        reason: why it is not the policy's own.
        wait_s: how long the dialer waited.
    """

    calls: int | None
    by: str
    reason: str
    wait_s: float


class Sidecar:
    """A connection to `quietdial serve` that never fails its caller.

    Args:
        path: its Unix socket.
        campaign: name of the campaign.
        most: larger answers are refused.
    """

    def __init__(self, path: str, campaign: str, most: int = 100) -> None:
        self._path, self._campaign, self._most = path, campaign, most
        self._seq = time.time_ns() // 1_000_000
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._away_until_s = 0.0

    async def pace(self, session: Mapping[str, Any], counters: Mapping[str, Any]) -> Answer:
        """Ask by counters (docs/serving.md, `/v1/pace`).

        Args:
            session: n_agents, first_day, opens_at, closes_at.
            counters: what the dialer sees now.
        """
        begin_s = time.monotonic()
        if begin_s < self._away_until_s:
            return Answer(None, "client", "kept_away", 0.0)
        self._seq += 1
        ask = {
            "campaign": self._campaign,
            "seq": self._seq,
            "observed_at": time.time(),
            **session,
            "counters": counters,
        }
        try:
            async with asyncio.timeout(DEADLINE_S):
                found = self._checked(await self._ask(json.dumps(ask).encode() + b"\n"))
        except TimeoutError:
            found = "no_answer"
        except (OSError, ValueError):
            found = "no_sidecar"
        wait_s = time.monotonic() - begin_s
        if isinstance(found, str):
            self.close()  # a late answer must not be taken for the next one
            self._away_until_s = time.monotonic() + BACKOFF_S
            return Answer(None, "client", found, wait_s)
        return found._replace(wait_s=wait_s)

    async def _ask(self, line: bytes) -> Any:
        if self._streams is None:
            self._streams = await asyncio.open_unix_connection(self._path, limit=MOST_REPLY)
        reader, writer = self._streams
        writer.write(line)
        return json.loads(await reader.readline())

    def _checked(self, reply: Any) -> Answer | str:
        """The answer that a reply is, or a word why it is refused."""
        if not isinstance(reply, dict) or "answer" not in reply:
            return "refused"
        if reply.get("seq") != self._seq or reply.get("campaign") != self._campaign:
            return "wrong_reply"
        calls = reply["answer"]
        if type(calls) not in (int, float) or reply.get("unit") != "new calls":
            return "out_of_range"
        if not 0 <= calls <= self._most or calls != int(calls):
            return "out_of_range"
        return Answer(int(calls), str(reply.get("rung")), str(reply.get("reason")), 0.0)

    def close(self) -> None:
        """End the connection."""
        if self._streams is not None:
            self._streams[1].close()
        self._streams = None
