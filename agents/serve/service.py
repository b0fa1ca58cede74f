"""What every way in shares: requests to answers, campaigns, the bundle in use, the counters."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any, Final

from quietdial.agents.serve.asks import Ask, Told, ask_of, read_object, snapshot_of, told_of
from quietdial.agents.serve.books import Books
from quietdial.agents.serve.decider import HOURS, Campaign, Decider, Verdict
from quietdial.agents.serve.metrics import Metrics

FORGET_S: Final = 3600.0
"""A campaign not heard of for so long gives its place away when all places are taken."""

Reply = bytes | Coroutine[Any, Any, bytes]
"""A line, or what ends in one."""

STOP_FILE: Final = "stop"
_STOP_LOOK_S: Final = 0.1


class Service:
    """Answers requests; one thread. Only an outcome may wait, for the ledger.

    Args:
        decider: who decides; may be exchanged at any moment by :meth:`use`.
        state: folder whose file `stop` stops all dialing; None: none.
        max_campaigns: campaigns with a state at the same time.

    Attributes:
        books: where outcomes and decisions are recorded; None: nowhere.
    """

    def __init__(
        self, decider: Decider, *, state: Path | None = None, max_campaigns: int = 1000
    ) -> None:
        self.metrics = Metrics()
        self.metrics.started.put(round(time.time(), 3))
        self.campaigns: dict[str, Campaign] = {}
        self.max_campaigns = max_campaigns
        self.ready = True
        self.books: Books | None = None
        self._stop_path = None if state is None else state / STOP_FILE
        self._stopped = False
        self._looked_s = -1.0
        self.decider = decider
        self.use(decider)

    def use(self, decider: Decider) -> None:
        """Let another one decide from now on; what campaigns have counted stays."""
        self.decider = decider
        for campaign in self.campaigns.values():
            campaign.hidden = campaign.cell = campaign.memory_at = None
            campaign.seen = (-1, -1.0)
            campaign.paced = None
        info = self.metrics.bundle
        info.values.clear()
        info.put(1, decider.name, decider.bundle_id[:12], decider.signer)

    # --- requests -------------------------------------------------------------------------------

    def decide(self, value: Mapping[str, Any]) -> bytes:
        """The answer to a parsed request for a decision, one line of JSON.

        Raises:
            RequestError: the request is not well-formed.
        """
        ask = ask_of(value)
        return self._decided(ask, partial(self.decider.decide, ask))

    def pace(self, value: Mapping[str, Any]) -> bytes:
        """The same for a request with counters (`RequestError` as above)."""
        snapshot = snapshot_of(value)
        return self._decided(snapshot.ask, partial(self.decider.pace, snapshot))

    def outcome(self, value: Mapping[str, Any]) -> Reply:
        """Count what became of a dial (`RequestError` as above).

        With a ledger the answer comes when it is on the disk; the wait may end in a `RequestError`.
        """
        told = told_of(value)
        at_s = min(told.at, time.time())
        campaign = self._campaign(told.campaign)
        if self.books is not None:
            kept = self.books.settled(told.campaign, told.call, at_s, told.outcome)
            if kept is not None:
                return self._when_kept(kept, told._replace(at=at_s), campaign)
        return self._counted(told._replace(at=at_s), campaign, None)

    async def _when_kept(self, kept: Future[bool], told: Told, campaign: Campaign | None) -> bytes:
        new: bool = await asyncio.wrap_future(kept)
        return self._counted(told, campaign, new)

    def _counted(self, told: Told, campaign: Campaign | None, new: bool | None) -> bytes:
        counted = campaign is not None and new is not False
        if campaign is not None and new is not False:
            counted = campaign.counts.add(told.call, told.at, told.outcome) or new is True
        if counted:
            self.metrics.outcomes.add(told.outcome)
        return _line({"campaign": told.campaign, "counted": counted})

    def line(self, data: bytes) -> Reply:
        """Answer one line: an outcome has the field `outcome`, a snapshot `counters`."""
        value = read_object(data)
        if "outcome" in value:
            return self.outcome(value)
        return self.pace(value) if "counters" in value else self.decide(value)

    def _decided(self, ask: Ask, decide: Callable[[Campaign, float], Verdict]) -> bytes:
        begin_s = time.perf_counter()
        now_s = time.time()
        decider = self.decider
        campaign = self._campaign(ask.campaign)
        asked = (ask.seq, ask.observed_at)
        if self.stopped():
            verdict = decider.stop("stopped", "the file 'stop' is in the state folder")
        elif campaign is None:
            verdict = decider.fallback(
                ask, "too_many_campaigns", f"{self.max_campaigns} campaigns are known already"
            )
        elif campaign.seen == asked:
            self.metrics.decisions.add("repeated", "")
            return campaign.reply
        else:
            verdict = decide(campaign, now_s)
        reply = _reply(ask, verdict, decider, now_s)
        if campaign is not None:
            campaign.seen, campaign.reply = asked, reply
            self.metrics.answer.put(verdict.answer, ask.campaign)
        if self.books is not None:
            kept = {"seq": ask.seq, "answer": verdict.answer, "mode": verdict.rung}
            kept |= {"reason": verdict.detail or verdict.reason, "policy": decider.bundle_id[:12]}
            self.books.decided(ask.campaign, now_s, kept)
        self.metrics.decisions.add(verdict.rung, verdict.reason)
        self.metrics.age.see(max(now_s - ask.observed_at, 0.0))
        self.metrics.seconds.see(time.perf_counter() - begin_s)
        return reply

    def _campaign(self, name: str) -> Campaign | None:
        """A campaign's state; None: all places are taken by others."""
        now_s = time.monotonic()
        campaign = self.campaigns.get(name)
        if campaign is None:
            if len(self.campaigns) >= self.max_campaigns and not self._forget(now_s):
                return None
            campaign = self.campaigns[name] = Campaign()
            if self.books is not None:
                for hour in self.books.hours(name, time.time(), HOURS):
                    campaign.counts.recall(*hour)
            self.metrics.campaigns.put(len(self.campaigns))
        campaign.last_s = now_s
        return campaign

    def _forget(self, now_s: float) -> bool:
        """Give away the place of the campaign that was silent longest."""
        name = min(self.campaigns, key=lambda one: self.campaigns[one].last_s)
        if now_s - self.campaigns[name].last_s < FORGET_S:
            return False
        del self.campaigns[name]
        self.metrics.answer.values.pop((name,), None)
        return True

    def stopped(self) -> bool:
        """Whether the stop file is there; looked at ten times a second at most."""
        if self._stop_path is None:
            return False
        now_s = time.monotonic()
        if now_s - self._looked_s >= _STOP_LOOK_S:
            self._looked_s = now_s
            self._stopped = os.path.lexists(self._stop_path)
        return self._stopped

    def health(self) -> dict[str, Any]:
        """What `/healthz` says."""
        return {
            "live": True,
            "ready": self.ready,
            "stopped": self.stopped(),
            "bundle": self.decider.name,
            "bundle_id": self.decider.bundle_id,
        }


def _reply(ask: Ask, verdict: Verdict, decider: Decider, now_s: float) -> bytes:
    answer = verdict.answer
    whole = int(answer) if answer == int(answer) else answer
    reply: dict[str, Any] = {
        "campaign": ask.campaign,
        "seq": ask.seq,
        "answer": whole,
        "unit": decider.unit,
        "fallback": verdict.reason != "",
        "rung": verdict.rung,
        "reason": verdict.reason,
        "detail": verdict.detail,
        "lease_s": decider.lease_s,
        "valid_until": round(now_s + decider.lease_s, 3),
        "bundle": decider.bundle_id[:12],
    }
    if verdict.choice is not None:
        reply["choice"] = verdict.choice
    if verdict.guards:
        reply["guards"] = verdict.guards
    return _line(reply)


def _line(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":"), allow_nan=False).encode() + b"\n"
