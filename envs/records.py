"""What happened, call by call: typed records made of the kernel's raw log.

With `World(..., records=True)` the kernel logs every event as a row of six whole numbers. An
`Assembler` turns the rows of one campaign into one record per call, per stretch of time that an
agent spends in a state, and per inbound call, as soon as each is complete. What is still open at
the end of an episode is kept and marked `censored`. The columns, their units and meanings stand in
`CALLS`, `AGENTS`, `INBOUND` and `DECISIONS`; the Parquet files (`record_files.py`) carry the same
tables.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quietdial.envs.errors import ConfigError
from quietdial.envs.pacing.log import AGENT_STATE_CHANGE as AGENT
from quietdial.envs.pacing.log import CALLER_IN as CALLER
from quietdial.envs.pacing.log import (
    CALLER_LOST,
    CALLER_SERVED,
    CONNECT,
    DIAL,
    DROPPED,
    ENDED,
    GONE,
    OVER,
    SILENT,
)
from quietdial.envs.pacing.log import JUDGED as VERDICT
from quietdial.envs.pacing.log import QUEUED_UP as QUEUED
from quietdial.envs.pacing.log import SESSION_CHANGE as SESSION
from quietdial.envs.scenario.world import Scenario

OUTCOMES: Final = ("person", "machine", "busy", "no_answer", "invalid", "failure", "cancelled")
CAUSES: Final = ("cut", "left", "amd")
HEARD: Final = ("silence", "comfort_noise", "message", "late")
STATES: Final = ("idle", "talk", "wrap", "break", "off", "held", "machine", "inbound")
LOST: Final = ("balked", "blocked", "gave_up", "closed")
VERDICTS: Final = ("machine", "person")

_PERSON, _MACHINE = 0, 1
_CUT = 0
_LATE = 3
_IDLE, _TALK, _WRAP, _OFF, _HELD, _AT_MACHINE, _INBOUND = 0, 1, 2, 4, 5, 6, 7
_WITH_CALL = (_TALK, _WRAP, _HELD, _AT_MACHINE)

Kind = Literal["int", "ms", "flag", "real"] | tuple[str, ...]


class Column(NamedTuple):
    """One column of a table of records; `kind` is a tuple of labels for an enumeration."""

    name: str
    kind: Kind
    unit: str
    meaning: str
    optional: bool = True


CALLS: Final = (
    Column("campaign", "int", "1", "campaign (episode) that the call belongs to", False),
    Column("call", "int", "1", "number of the dial within its campaign, from 0", False),
    Column("person", "int", "1", "simulated person; none: an anonymous list"),
    Column("reserved", "flag", "1", "placed by the world with an agent set aside", False),
    Column("dialed_ms", "ms", "ms", "decision to dial", False),
    Column("start_ms", "ms", "ms", "start of the call, after pacing of the starts", False),
    Column("ended_ms", "ms", "ms", "no longer in flight; none: in flight at the end"),
    Column("outcome", OUTCOMES, "", "what became of the dial"),
    Column("picked_up_ms", "ms", "ms", "pick-up by a person or a machine"),
    Column("verdict_ms", "ms", "ms", "answering-machine detection decided"),
    Column("verdict", VERDICTS, "", "what it took the callee for"),
    Column("queued_ms", "ms", "ms", "began to wait for an agent; none: did not wait"),
    Column("connected_ms", "ms", "ms", "an agent took the call"),
    Column("agent", "int", "1", "that agent"),
    Column("late", "flag", "1", "after the limit: a conversation, but a silent call", False),
    Column("waited_ms", "ms", "ms", "time in the queue; 0: connected at once"),
    Column("silent_ms", "ms", "ms", "became a silent call"),
    Column("silent", CAUSES, "", "cause; none: not silent"),
    Column("heard", HEARD, "", "what the person heard in a silent call"),
    Column("repeats", "int", "calls", "earlier silent calls to the same person"),
    Column("dropped_ms", "ms", "ms", "a machine was dropped at its deadline"),
    Column("talk_ms", "ms", "ms", "length of the conversation"),
    Column("wrap_ms", "ms", "ms", "length of the wrap-up after it"),
    Column("machine_ms", "ms", "ms", "time that an agent spent with a machine"),
    Column("success", "flag", "1", "the conversation reached its aim"),
    Column("callback", "flag", "1", "the person asked to be called again"),
    Column("censored", "flag", "1", "still going on at the end of the episode", False),
)
AGENTS: Final = (
    Column("campaign", "int", "1", "campaign (episode) that the agent belongs to", False),
    Column("agent", "int", "1", "number of the agent, from 0", False),
    Column("state", STATES, "", "state of the agent", False),
    Column("from_ms", "ms", "ms", "begin", False),
    Column("to_ms", "ms", "ms", "end", False),
    Column("call", "int", "1", "dial that the state belongs to"),
    Column("censored", "flag", "1", "still going on at the end of the episode", False),
)
INBOUND: Final = (
    Column("campaign", "int", "1", "campaign (episode) that the caller belongs to", False),
    Column("caller", "int", "1", "number of the inbound call, from 0", False),
    Column("arrived_ms", "ms", "ms", "arrival", False),
    Column("served_ms", "ms", "ms", "an agent took the call"),
    Column("agent", "int", "1", "that agent"),
    Column("waited_ms", "ms", "ms", "from the arrival until served or lost"),
    Column("talk_ms", "ms", "ms", "length of the handling, wrap-up included"),
    Column("lost", LOST, "", "why the caller was lost; none: not lost"),
    Column("censored", "flag", "1", "still going on at the end of the episode", False),
)

DECISIONS: Final = (
    Column("campaign", "int", "1", "campaign (episode) that the decision belongs to", False),
    Column("decision", "int", "1", "number of the decision within its campaign, from 0", False),
    Column("at_ms", "ms", "ms", "when", False),
    Column("dials", "int", "calls", "calls placed until the next decision, none reserved", False),
    Column("probability", "real", "1", "with which just so many were placed; none: not known"),
    Column("list_left", "real", "1", "share of the list that may still be dialed", False),
    Column("callers", "int", "calls", "inbound callers who wait", False),
)


class CallRecord(NamedTuple):
    """One dial from beginning to end; columns and units as in `CALLS`."""

    campaign: int
    call: int
    person: int | None
    reserved: bool
    dialed_ms: int
    start_ms: int
    ended_ms: int | None
    outcome: str | None
    picked_up_ms: int | None
    verdict_ms: int | None
    verdict: str | None
    queued_ms: int | None
    connected_ms: int | None
    agent: int | None
    late: bool
    waited_ms: int | None
    silent_ms: int | None
    silent: str | None
    heard: str | None
    repeats: int | None
    dropped_ms: int | None
    talk_ms: int | None
    wrap_ms: int | None
    machine_ms: int | None
    success: bool | None
    callback: bool | None
    censored: bool


class AgentRecord(NamedTuple):
    """One stretch of time in one state; columns and units as in `AGENTS`."""

    campaign: int
    agent: int
    state: str
    from_ms: int
    to_ms: int
    call: int | None
    censored: bool


class InboundRecord(NamedTuple):
    """One inbound call; columns and units as in `INBOUND`."""

    campaign: int
    caller: int
    arrived_ms: int
    served_ms: int | None
    agent: int | None
    waited_ms: int | None
    talk_ms: int | None
    lost: str | None
    censored: bool


class DecisionRecord(NamedTuple):
    """One decision of the policy; columns and units as in `DECISIONS`."""

    campaign: int
    decision: int
    at_ms: int
    dials: int
    probability: float | None
    list_left: float
    callers: int


class Records(NamedTuple):
    """Complete records, each list in the order of completion."""

    calls: list[CallRecord]
    agents: list[AgentRecord]
    inbound: list[InboundRecord]


@dataclass(slots=True)
class _Call:
    """A call that is not over yet."""

    person: int | None
    reserved: bool
    dialed_ms: int
    start_ms: int
    ended_ms: int | None = None
    outcome: str | None = None
    picked_up_ms: int | None = None
    verdict_ms: int | None = None
    verdict: str | None = None
    queued_ms: int | None = None
    connected_ms: int | None = None
    agent: int | None = None
    late: bool = False
    waited_ms: int | None = None
    silent_ms: int | None = None
    silent: str | None = None
    heard: str | None = None
    repeats: int | None = None
    dropped_ms: int | None = None
    talk_ms: int | None = None
    wrap_ms: int | None = None
    machine_ms: int | None = None
    success: bool | None = None
    callback: bool | None = None
    is_free: bool = False  # its agent is done with it, wrap-up included

    def record(self, campaign: int, number: int, *, censored: bool) -> CallRecord:
        return CallRecord(
            campaign,
            number,
            self.person,
            self.reserved,
            self.dialed_ms,
            self.start_ms,
            self.ended_ms,
            self.outcome,
            self.picked_up_ms,
            self.verdict_ms,
            self.verdict,
            self.queued_ms,
            self.connected_ms,
            self.agent,
            self.late,
            self.waited_ms,
            self.silent_ms,
            self.silent,
            self.heard,
            self.repeats,
            self.dropped_ms,
            self.talk_ms,
            self.wrap_ms,
            self.machine_ms,
            self.success,
            self.callback,
            censored,
        )


@dataclass(slots=True)
class _Stretch:
    """The state that an agent is in."""

    state: int
    from_ms: int
    call: int | None = None


@dataclass(slots=True)
class _Caller:
    """An inbound call that is not over yet."""

    arrived_ms: int
    served_ms: int | None = None
    agent: int | None = None


@dataclass(slots=True)
class _Tables:
    """Complete records that nobody has taken yet."""

    calls: list[CallRecord] = field(default_factory=list)
    agents: list[AgentRecord] = field(default_factory=list)
    inbound: list[InboundRecord] = field(default_factory=list)


class Assembler:
    """Makes the records of one campaign's episode out of the rows of its raw log.

    Memory is that of the calls, callers and agents that are under way, and of the complete records
    until `take` hands them over.

    Args:
        scenario: the world that was played.
        campaign: number that is written into every record.
        begin_ms: clock at the begin of the episode [ms].
    """

    def __init__(self, scenario: Scenario, campaign: int = 0, begin_ms: int = 0) -> None:
        self._campaign = campaign
        self._begin_ms = begin_ms
        self._now_ms = begin_ms
        self._n_agents = scenario.floor.n_agents
        self._starts_off = bool(scenario.floor.shifts)
        self._machine_ends = scenario.calls.detection.kind == "perfect"
        self._holds = scenario.rule.at_limit == "hold"
        self._hold_ms = round(1000 * scenario.rule.hold_s)
        self._waiting_hears = scenario.rule.waiting_hears
        self._calls: dict[int, _Call] = {}
        self._held: deque[tuple[int, int]] = deque()
        self._agents: dict[int, _Stretch] = {}
        self._callers: dict[int, _Caller] = {}
        self._serving: dict[int, int] = {}
        self._out = _Tables()
        self._closed = False

    @property
    def n_open(self) -> int:
        """Calls and callers that are under way."""
        return len(self._calls) + len(self._callers)

    def feed(self, rows: NDArray[np.int64]) -> None:
        """Take rows of the raw log in the order of events, int64 (n, 6).

        Raises `ConfigError` when the log is not one that a world can write: time runs backwards,
        a dial is unknown or placed twice, an agent was in another state.
        """
        if self._closed:
            raise ConfigError("the records of this episode are closed; begin a new Assembler")
        if rows.ndim != 2 or rows.shape[1] != 6:
            raise ConfigError(f"rows of a raw log have shape (n, 6), not {rows.shape}")
        for time, code, number, a, b, c in rows.tolist():
            if time < self._now_ms:
                raise ConfigError(f"raw log: {time} ms comes after {self._now_ms} ms")
            self._now_ms = time
            if self._held:
                self._let_held_go(time)
            self._event(time, code, number, a, b, c)

    def close(self, now_ms: int) -> None:
        """End the episode: what is under way becomes a record that is marked `censored`."""
        if now_ms < self._now_ms:
            raise ConfigError(f"the episode cannot end at {now_ms} ms, before its last event")
        self._let_held_go(now_ms + 1)
        for number, call in self._calls.items():
            self._out.calls.append(call.record(self._campaign, number, censored=True))
        self._calls.clear()
        for number, caller in self._callers.items():
            self._end_caller(number, caller, None, None, censored=True)
        self._callers.clear()
        unseen = _OFF if self._starts_off else _IDLE
        for agent in range(self._n_agents):
            stretch = self._agents.get(agent) or _Stretch(unseen, self._begin_ms)
            self._end_stretch(agent, stretch, now_ms, censored=True)
        self._agents.clear()
        self._closed = True

    def take(self) -> Records:
        """The records that have become complete since the last call."""
        out, self._out = self._out, _Tables()
        return Records(out.calls, out.agents, out.inbound)

    # --- one event ------------------------------------------------------------------------------

    def _event(self, t: int, code: int, number: int, a: int, b: int, c: int) -> None:
        if code == AGENT:
            self._agent(t, number, a, b, None if c < 0 else c)
        elif code == DIAL:
            if number in self._calls:
                raise ConfigError(f"raw log at {t} ms: dial {number} is placed twice")
            self._calls[number] = _Call(None if a < 0 else a, b >= 0, t, t + c)
            holder = self._agents.get(b)
            if holder is not None and holder.state == _HELD:
                holder.call = number
        elif code in (CALLER, CALLER_SERVED, CALLER_LOST):
            self._caller(t, code, number, a)
        elif code != SESSION:
            call = self._calls.get(number)
            if call is None:
                raise ConfigError(f"raw log at {t} ms: code {code} of dial {number}, not under way")
            self._call(t, code, number, call, a, b, c)

    def _call(self, t: int, code: int, number: int, call: _Call, a: int, b: int, c: int) -> None:
        if code == ENDED:
            call.ended_ms = t
            call.outcome = OUTCOMES[a]
            if a in (_PERSON, _MACHINE):
                call.picked_up_ms = t
            if a > _MACHINE or (a == _MACHINE and self._machine_ends):
                self._finish(number, call)
        elif code == VERDICT:
            call.verdict_ms, call.verdict = t, VERDICTS[a]
            if not a and call.outcome == "machine":
                self._finish(number, call)
        elif code == QUEUED:
            call.queued_ms = t
        elif code == CONNECT:
            call.connected_ms, call.agent, call.late = t, a, bool(b)
            self._leave_queue(call, t)
            if b:
                call.heard = HEARD[_LATE]
        elif code == SILENT:
            self._silent(t, number, call, a, b, c)
        elif code == DROPPED:
            call.dropped_ms = t
            if self._holds and call.queued_ms is not None:
                self._held.append((t + self._hold_ms, number))
                return
            self._leave_queue(call, t)
            self._finish(number, call)
        elif code == OVER and call.outcome == "machine":
            pass  # the change of its agent's state ends it
        elif code == OVER:
            call.success, call.callback = bool(a), bool(b)
            if call.connected_ms is not None:
                call.talk_ms = t - call.connected_ms
            if call.is_free:
                self._finish(number, call)
        elif code == GONE:
            self._leave_queue(call, t)
            self._finish(number, call)
        else:
            raise ConfigError(f"raw log at {t} ms: code {code} is not known")

    def _silent(
        self, t: int, number: int, call: _Call, cause: int, repeats: int, heard: int
    ) -> None:
        call.silent_ms, call.silent, call.repeats = t, CAUSES[cause], repeats
        if self._holds and cause == _CUT:
            call.heard = self._waiting_hears  # unless an agent comes late
            self._held.append((t + self._hold_ms, number))
            return
        call.heard = HEARD[heard]
        self._leave_queue(call, t)
        self._finish(number, call)

    def _let_held_go(self, t: int) -> None:
        """Calls held beyond the limit whose longest hold has passed without an agent are over."""
        while self._held and self._held[0][0] < t:
            _, number = self._held.popleft()
            call = self._calls.get(number)
            if call is not None and call.connected_ms is None:
                self._finish(number, call)

    def _leave_queue(self, call: _Call, t: int) -> None:
        if call.queued_ms is not None:
            call.waited_ms = t - call.queued_ms
        elif call.connected_ms is not None:
            call.waited_ms = 0

    def _finish(self, number: int, call: _Call) -> None:
        del self._calls[number]
        self._out.calls.append(call.record(self._campaign, number, censored=False))

    # --- agents and inbound calls ---------------------------------------------------------------

    def _agent(self, t: int, agent: int, old: int, new: int, dial: int | None) -> None:
        stretch = self._agents.get(agent)
        is_first = stretch is None and t == self._begin_ms  # nothing came before it
        if stretch is None:
            stretch = _Stretch(old, self._begin_ms)
        if stretch.state != old:
            raise ConfigError(
                f"raw log at {t} ms: agent {agent} leaves {STATES[old]!r} but was "
                f"{STATES[stretch.state]!r}"
            )
        if not is_first:
            self._end_stretch(agent, stretch, t, censored=False)
        if old == _INBOUND:
            self._end_service(t, agent)
        call = None if stretch.call is None else self._calls.get(stretch.call)
        if call is not None and stretch.call is not None:
            self._end_part(t, stretch.call, call, old, new)
        if dial is None and old == _TALK and new == _WRAP:
            dial = stretch.call
        self._agents[agent] = _Stretch(new, t, dial if new in _WITH_CALL else None)

    def _end_part(self, t: int, number: int, call: _Call, old: int, new: int) -> None:
        """An agent leaves a state that belongs to this call."""
        if old == _AT_MACHINE:
            if call.connected_ms is not None:
                call.machine_ms = t - call.connected_ms
            self._finish(number, call)
            return
        if old == _TALK and call.talk_ms is None and call.connected_ms is not None:
            call.talk_ms = t - call.connected_ms
        if old == _WRAP and call.talk_ms is not None and call.connected_ms is not None:
            call.wrap_ms = t - call.connected_ms - call.talk_ms
        if old == _WRAP or (old == _TALK and new != _WRAP):
            call.is_free = True
            if call.success is not None:
                self._finish(number, call)

    def _end_stretch(self, agent: int, stretch: _Stretch, t: int, *, censored: bool) -> None:
        self._out.agents.append(
            AgentRecord(
                self._campaign,
                agent,
                STATES[stretch.state],
                stretch.from_ms,
                t,
                stretch.call,
                censored,
            )
        )

    def _caller(self, t: int, code: int, number: int, a: int) -> None:
        if code == CALLER:
            if number in self._callers:
                raise ConfigError(f"raw log at {t} ms: inbound call {number} arrives twice")
            self._callers[number] = _Caller(t)
            return
        caller = self._callers.get(number)
        if caller is None:
            raise ConfigError(f"raw log at {t} ms: inbound call {number} is not under way")
        if code == CALLER_SERVED:
            self._end_service(t, a)
            caller.served_ms, caller.agent = t, a
            self._serving[a] = number
        else:
            del self._callers[number]
            self._end_caller(number, caller, t, LOST[a], censored=False)

    def _end_service(self, t: int, agent: int) -> None:
        """The agent's inbound call ends, if it has one that did not begin just now."""
        number = self._serving.get(agent)
        caller = None if number is None else self._callers.get(number)
        if number is None or caller is None or caller.served_ms == t:
            return
        del self._serving[agent], self._callers[number]
        self._end_caller(number, caller, t, None, censored=False)

    def _end_caller(
        self, number: int, caller: _Caller, t: int | None, lost: str | None, *, censored: bool
    ) -> None:
        served = caller.served_ms
        until = served if served is not None else t
        self._out.inbound.append(
            InboundRecord(
                self._campaign,
                number,
                caller.arrived_ms,
                served,
                caller.agent,
                None if until is None else until - caller.arrived_ms,
                None if served is None or t is None else t - served,
                lost,
                censored,
            )
        )
