"""The floor: agents, the callees who wait for one, and what became of every call.

An answered call goes to the longest idle agent at once. If nobody is idle it waits, first come
first served, until an agent is free, the callee hangs up (left), or the limit cuts it: silent.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from sip_dialer.user_agent import Call, UserAgent


class Conversation(NamedTuple):
    """How a virtual agent's next conversation goes.

    Attributes:
        talk_s: its length [s].
        wrap_s: length of the wrap-up after it [s].
        by_callee: whether the callee ends it; the INFO tells the far end when.
    """

    talk_s: float
    wrap_s: float
    by_callee: bool


class Rules(NamedTuple):
    """How the floor works.

    Attributes:
        n_agents: agents, all there all the time.
        limit_s: an answered call without an agent is cut after so long [s].
        ring_timeout_s: the dialer gives up ringing after so long [s].
        first: number that is dialed first; the next ones follow.
        lines: most calls in flight or waiting.
    """

    n_agents: int
    limit_s: float
    ring_timeout_s: float
    first: int
    lines: int


@dataclass(slots=True)
class Record:
    """One dial; names and units as in the project's call records (docs/records.md)."""

    call: int
    dialed_ms: int
    ended_ms: int | None = None
    outcome: str | None = None
    picked_up_ms: int | None = None
    queued_ms: int | None = None
    connected_ms: int | None = None
    agent: int | None = None
    waited_ms: int | None = None
    silent_ms: int | None = None
    silent: str | None = None
    talk_ms: int | None = None
    wrap_ms: int | None = None
    censored: bool = False
    status: int = 0
    ended_by: str = ""
    crossed: bool = False


@dataclass(eq=False, slots=True)
class _Live:
    """A call that is up."""

    record: Record
    call: Call | None = None
    timer: asyncio.TimerHandle | None = None
    plan: Conversation | None = None


class Floor:
    """Agents and calls of one campaign; the listener of its user agent.

    Args:
        rules: how it works.
        conversations: how the conversations go, in their order.
    """

    def __init__(self, rules: Rules, conversations: Iterator[Conversation]) -> None:
        self.rules = rules
        self._conversations = conversations
        self._loop = asyncio.get_running_loop()
        self._opened_s = self._loop.time()
        self._user_agent: UserAgent | None = None
        self._live: dict[Call, _Live] = {}
        self._idle: deque[int] = deque(range(rules.n_agents))
        self._waiting: deque[Call] = deque()
        self._ringing = 0
        self._timers: set[asyncio.TimerHandle] = set()
        self._since_s = self._opened_s
        self.closed = False
        self.records: list[Record] = []
        self.talking = self.wrapping = 0
        self.answered_calls = self.silent = self.settled = 0
        self.agent_s = {"idle": 0.0, "talk": 0.0, "wrap": 0.0}
        self.waiting_s = 0.0
        self.lags_ms: list[float] = []
        """How late every timer of the floor was."""

    def open(self, user_agent: UserAgent, opened_s: float) -> None:
        """The floor opens at a moment of the loop's clock."""
        self._user_agent, self._opened_s = user_agent, opened_s
        self._since_s = opened_s

    def now_ms(self) -> int:
        """Time since the opening, whole milliseconds."""
        return round(1000 * (self._loop.time() - self._opened_s))

    # --- what the sidecar is told -----------------------------------------------------------------

    @property
    def level_one(self) -> int:
        """New calls for one line per idle agent."""
        return max(0, len(self._idle) - self._ringing - len(self._waiting))

    def counters(self) -> dict[str, Any]:
        """What the dialer sees now (docs/serving.md)."""
        return {
            "idle": len(self._idle),
            "talk": self.talking,
            "wrap": self.wrapping,
            "on_break": 0,
            "waiting": len(self._waiting),
            "in_flight": self._ringing,
            "picked_up": self.answered_calls,
            "finished": len(self.records) - self._ringing,
            "lines_free": self.rules.lines - self._ringing - len(self._waiting),
            "windows": [{"silent": self.silent, "answered": self.settled}],
        }

    # --- calls ------------------------------------------------------------------------------------

    def place(self, calls: int) -> None:
        """Dial so many numbers now, as far as lines are free."""
        if self._user_agent is None:
            return
        for _ in range(min(calls, self.rules.lines - self._ringing - len(self._waiting))):
            record = Record(len(self.records), self.now_ms())
            self.records.append(record)
            self._ringing += 1
            call = self._user_agent.invite(str(self.rules.first + record.call))
            live = self._live[call] = _Live(record, call)
            live.timer = self._later(self.rules.ring_timeout_s, self._user_agent.cancel, call)

    def answered(self, call: Call) -> None:
        """A person has picked up."""
        live = self._live[call]
        self._end_timer(live)
        self._count()
        self._ringing -= 1
        self.answered_calls += 1
        record, now_ms = live.record, self.now_ms()
        record.ended_ms = record.picked_up_ms = now_ms
        record.outcome, record.status, record.crossed = "person", call.status, call.crossed
        if self.closed:
            self._silent(call, "cut")
        elif self._idle:
            self._connect(call, self._idle.popleft())
        else:
            record.queued_ms = now_ms
            self._waiting.append(call)
            live.timer = self._later(self.rules.limit_s, self._silent, call, "cut")

    def over(self, call: Call) -> None:
        """The far end, or the network, has ended a call."""
        live = self._live[call]
        if live.record.outcome is None:
            self._end_timer(live)
            self._ringing -= 1
            live.record.ended_ms = self.now_ms()
            live.record.outcome, live.record.status = call.outcome, call.status
            del self._live[call]
        elif live.plan is None:
            self._silent(call, "left")
        else:
            self._finish(call)

    def _silent(self, call: Call, cause: str) -> None:
        """No agent in time."""
        live = self._live.pop(call)
        self._end_timer(live)
        self._count()
        record, now_ms = live.record, self.now_ms()
        record.silent, record.silent_ms = cause, now_ms
        if call in self._waiting:
            self._waiting.remove(call)
            record.waited_ms = now_ms - (record.queued_ms or 0)
        self.silent += 1
        self.settled += 1
        if self._user_agent is not None:
            self._user_agent.hang_up(call)  # nothing, if the callee did
        record.ended_by = call.ended_by

    # --- agents -----------------------------------------------------------------------------------

    def _connect(self, call: Call, agent: int) -> None:
        """An agent takes the call; the far end is told by an INFO."""
        live = self._live[call]
        self._end_timer(live)
        plan = live.plan = next(self._conversations)
        record = live.record
        record.agent, record.connected_ms = agent, self.now_ms()
        record.waited_ms = record.connected_ms - (record.picked_up_ms or 0)
        self.talking += 1
        self.settled += 1
        told_ms = round(1000 * plan.talk_s) if plan.by_callee else 0
        if self._user_agent is not None:
            self._user_agent.inform(call, ("X-Hang-Up-Ms", str(told_ms)))
        if not plan.by_callee:
            live.timer = self._later(plan.talk_s, self._finish, call)

    def _finish(self, call: Call) -> None:
        """The conversation is over; the wrap-up begins."""
        live = self._live.pop(call)
        self._end_timer(live)
        self._count()
        record, plan = live.record, live.plan
        if self._user_agent is not None:
            self._user_agent.hang_up(call)
        record.talk_ms = self.now_ms() - (record.connected_ms or 0)
        record.ended_by = call.ended_by
        self.talking -= 1
        self.wrapping += 1
        if plan is not None:
            self._later(plan.wrap_s, self._release, record, self.now_ms())

    def _release(self, record: Record, since_ms: int) -> None:
        """The wrap-up is over: the agent takes who has waited longest, or is idle."""
        self._count()
        self.wrapping -= 1
        record.wrap_ms = self.now_ms() - since_ms
        agent = record.agent or 0
        if self._waiting:
            self._connect(self._waiting.popleft(), agent)
        else:
            self._idle.append(agent)

    # --- time -------------------------------------------------------------------------------------

    def _count(self) -> None:
        """Add up what the agents did since the last change."""
        now_s = self._loop.time()
        if self.closed:
            return
        past_s, self._since_s = now_s - self._since_s, now_s
        self.agent_s["talk"] += past_s * self.talking
        self.agent_s["wrap"] += past_s * self.wrapping
        self.agent_s["idle"] += past_s * len(self._idle)
        self.waiting_s += past_s * len(self._waiting)

    def _later(
        self, delay_s: float, then: Callable[..., None], *args: object
    ) -> asyncio.TimerHandle:
        due_s = self._loop.time() + delay_s

        def fire() -> None:
            self._timers.discard(handle)
            self.lags_ms.append(1000 * (self._loop.time() - due_s))
            then(*args)

        handle = self._loop.call_at(due_s, fire)
        self._timers.add(handle)
        return handle

    def _end_timer(self, live: _Live) -> None:
        if live.timer is not None:
            live.timer.cancel()
            self._timers.discard(live.timer)
            live.timer = None

    def close(self) -> None:
        """The end: the clock stops, what is up is hung up and marked as censored."""
        self._count()
        self.closed = True
        for timer in self._timers:
            timer.cancel()
        for call, live in list(self._live.items()):
            if self._user_agent is None:
                return
            live.record.censored = True
            if live.record.outcome is None:
                self._user_agent.cancel(call)
            else:
                self._user_agent.hang_up(call)
                live.record.ended_by = call.ended_by
                del self._live[call]
