"""Asterisk's queue_log: lines `epoch|call|queue|agent|event|data...`, or a table of a database.

Events and their data: docs.asterisk.org, "Queue Logs". A call that enters the queue was answered;
CONNECT, ABANDON (the caller left) and EXITWITHTIMEOUT (cut) end its wait.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from quietdial.envs.dialer_logs.assemble import Numbers, Stretch
from quietdial.envs.dialer_logs.clock import FIRST_S, LAST_S, LogClock, epoch_ms
from quietdial.envs.dialer_logs.text import lines_of, read_table, refuse
from quietdial.envs.errors import CalibrationError

COLUMNS: Final = ("callid", "queuename", "agent", "event")
TALK_ENDS: Final = frozenset(
    ("COMPLETEAGENT", "COMPLETECALLER", "TRANSFER", "BLINDTRANSFER", "ATTENDEDTRANSFER")
)
CUTS: Final = frozenset(("EXITWITHTIMEOUT", "EXITEMPTY"))
LOG_INS: Final = frozenset(("ADDMEMBER", "AGENTLOGIN", "AGENTCALLBACKLOGIN"))
LOG_OUTS: Final = frozenset(("REMOVEMEMBER", "AGENTLOGOFF", "AGENTCALLBACKLOGOFF"))
PAUSES: Final = frozenset(("PAUSE", "PAUSEALL"))
UNPAUSES: Final = frozenset(("UNPAUSE", "UNPAUSEALL"))
_WAIT_EVENTS: Final = frozenset(("ENTERQUEUE", "CONNECT", "ABANDON", "EXITWITHKEY")) | CUTS
NOT_IN_LOG: Final = "events of calls that entered the queue before the log begins, left out"
LATE_AGENT: Final = "agents without a log-in event, seen from their first event on"
STILL_IN: Final = "agents still logged in when the floor closed or the log ended"
CLOSED_MS: Final = 7_200_000
"""Without any event of the queue for so long, the floor was closed meanwhile [ms]."""
_WRAP_REASON = re.compile(r"wrap|acw|after.?call|nachbearb", re.IGNORECASE)
_LINE = re.compile(r"[0-9]{9,10}(?:\.[0-9]{1,9})?\Z", re.ASCII)


class Event(NamedTuple):
    """One line; the time is UTC [ms since 1970]."""

    time_ms: int
    call: str
    queue: str
    agent: str
    event: str
    data: tuple[str, ...]


def is_line(text: str) -> bool:
    """Whether a line looks like one of a queue_log."""
    parts = text.rstrip("\r\n").split("|")
    return len(parts) >= 5 and bool(_LINE.match(parts[0]))


def read_events(
    files: Sequence[tuple[Path, bool]], clock: LogClock, counted: Counter[str]
) -> list[Event]:
    """All events in the order of time; doubled lines once.

    Args:
        files: path of each file, and whether it is a table with a header.
        clock: of local times in tables; lines have epochs.
        counted: what was met is counted here.

    Raises:
        CalibrationError: a line is not an event.
    """
    events: list[Event] = []
    for path, has_header in files:
        events += _of_table(path, clock, counted) if has_header else _of_lines(path, counted)
    counted["lines of the queue_log"] += len(events)
    unique = list(dict.fromkeys(events))
    counted["lines that stand twice, left out"] += len(events) - len(unique)
    backwards = sum(b.time_ms < a.time_ms for a, b in itertools.pairwise(unique))
    counted["lines whose time runs backwards, sorted"] += backwards
    return sorted(unique, key=lambda event: event.time_ms)


def _of_lines(path: Path, counted: Counter[str]) -> Iterator[Event]:
    for number, line in enumerate(lines_of(path), start=1):
        parts = line.rstrip("\r\n").split("|")
        if parts == [""]:
            continue
        if len(parts) < 5 or not _LINE.match(parts[0]):
            if not line.endswith("\n"):
                counted["last lines that were cut off"] += 1
                return
            refuse(path, number, f"{line.strip()!r:.60} is not epoch|call|queue|agent|event|...")
        seconds = float(parts[0])
        if not FIRST_S <= seconds < LAST_S:
            refuse(path, number, f"{parts[0]} is not a time between 2000 and 2100")
        call, queue, agent, event = parts[1:5]
        yield Event(round(1000 * seconds), call, queue, agent, event, tuple(parts[5:10]))


def _of_table(path: Path, clock: LogClock, counted: Counter[str]) -> Iterator[Event]:
    data = tuple(f"data{n}" for n in range(1, 6))
    table = read_table(path, ("time", "epoch", *COLUMNS, *data), COLUMNS)
    counted["last lines that were cut off"] += table.n_cut
    for row in range(len(table)):
        line = table.lines[row]
        text = table.text("time", row) or table.text("epoch", row)
        if _LINE.match(text):
            at = epoch_ms(float(text), path, line, "time") or 0
        else:
            at = clock.utc_ms(text, path, line)
        call, queue, agent, event = (table.text(name, row) for name in COLUMNS)
        yield Event(at, call, queue, agent, event, tuple(table.text(name, row) for name in data))


def queue_of(events: Sequence[Event], asked: str | None) -> str:
    """The queue to take; raises `CalibrationError` when the choice is open."""
    queues = sorted({e.queue for e in events if e.event == "ENTERQUEUE"} - {"NONE", ""})
    if asked is not None:
        if asked not in queues:
            there = ", ".join(queues[:20]) or "none"
            raise CalibrationError(
                f"queue {asked!r:.40} is not in the queue_log; there are: {there}"
            )
        return asked
    if len(queues) > 1:
        some = ", ".join(queues[:20])
        raise CalibrationError(f"the queue_log holds {len(queues)} queues: {some}; choose one")
    if not queues:
        raise CalibrationError("the queue_log has no ENTERQUEUE event: no call entered a queue")
    return queues[0]


@dataclass(slots=True)
class QueuedCall:
    """One call in the queue; times are UTC [ms since 1970], None for none."""

    entered_ms: int
    connected_ms: int | None = None
    agent: int = -1
    talk_end_ms: int | None = None
    left_ms: int | None = None
    left: str = ""
    wrap_ms: int | None = None


@dataclass(slots=True)
class _Agent:
    """What an agent is doing."""

    state: str = "off"
    since_ms: int = 0
    call: str = ""
    paused: str = ""
    member: bool = False
    last: str = ""


class QueueStory:
    """Follows calls and agents of one queue through its events.

    Attributes:
        calls: by call id, in the order of their entry.
        stretches: of agents; `call` is the place of the call in `calls`.
        knows_wrap: pauses with a reason such as "wrap" tell wrap-up.
        knows_log_in: there are log-in events.
    """

    def __init__(self, events: Sequence[Event], queue: str, counted: Counter[str]) -> None:
        self.calls: dict[str, QueuedCall] = {}
        self.stretches: list[Stretch] = []
        self.knows_wrap = any(
            e.event in PAUSES and _WRAP_REASON.search("|".join(e.data)) for e in events
        )
        self._agents: dict[str, _Agent] = {}
        self._numbers = Numbers()
        self._places: dict[str, int] = {}
        self._counted = counted
        last_ms = events[0].time_ms
        for event in events:
            if event.queue not in (queue, "NONE", "", "REALTIME"):
                continue
            if event.time_ms - last_ms > CLOSED_MS:
                self._close(last_ms)
            last_ms = event.time_ms
            if event.event in _WAIT_EVENTS or event.event in TALK_ENDS:
                self._call(event)
            elif event.agent not in ("NONE", ""):
                self._presence(event)
        self._close(last_ms)

    def _close(self, now: int) -> None:
        """The log pauses or ends: what agents were doing has no end."""
        for name, agent in self._agents.items():
            self._counted[STILL_IN] += agent.state != "off"
            self._enter(name, now, "off", censored=True)
            agent.member, agent.paused, agent.call, agent.last = False, "", "", ""

    def _call(self, event: Event) -> None:
        now, kind = event.time_ms, event.event
        if kind == "ENTERQUEUE":
            if event.call not in self.calls:
                self._places[event.call] = len(self.calls)
                self.calls[event.call] = QueuedCall(now)
            return
        call = self.calls.get(event.call)
        if call is None:
            self._counted[NOT_IN_LOG] += 1
            return
        if kind == "CONNECT":
            call.connected_ms = now
            call.agent = self._numbers.of(event.agent)
            self._seen(event.agent, now).call = event.call
            self._enter(event.agent, now, "talk")
        elif kind in TALK_ENDS:
            call.talk_end_ms = now
            agent = self._seen(event.agent, now)
            agent.last, agent.call = event.call, ""
            self._enter(event.agent, now, self._free(agent))
        else:
            call.left_ms = now
            call.left = {"ABANDON": "left", "EXITWITHKEY": "key"}.get(kind, "cut")

    def _presence(self, event: Event) -> None:
        now, kind = event.time_ms, event.event
        if kind not in LOG_INS | LOG_OUTS | PAUSES | UNPAUSES:
            return
        if kind in LOG_OUTS and event.agent not in self._agents:
            return
        agent = self._agents.get(event.agent)
        if kind in LOG_INS:
            agent = self._agents.setdefault(event.agent, _Agent(since_ms=now))
            agent.member = True
        elif kind in LOG_OUTS:
            agent = self._seen(event.agent, now)
            agent.member, agent.paused, agent.last = False, "", ""
        else:
            agent = self._seen(event.agent, now)
            if kind in PAUSES:
                is_wrap = bool(_WRAP_REASON.search("|".join(event.data)))
                agent.paused = "wrap" if is_wrap else "break"
            else:
                agent.paused = ""
        if agent.state != "talk" or kind in LOG_OUTS:
            self._enter(event.agent, now, self._free(agent))

    def _free(self, agent: _Agent) -> str:
        if not agent.member:
            return "off"
        return agent.paused or "idle"

    def _seen(self, name: str, now: int) -> _Agent:
        agent = self._agents.get(name)
        if agent is None:
            self._counted[LATE_AGENT] += 1
            agent = self._agents[name] = _Agent(since_ms=now, member=True)
        elif agent.state == "off" and not agent.member:
            agent.member = True  # a call reached it: it was logged in, by an event that is missing
        return agent

    def _enter(self, name: str, now: int, state: str, *, censored: bool = False) -> None:
        agent = self._agents[name]
        if state == agent.state and not censored:
            return
        if agent.state != "off" and now >= agent.since_ms:
            place = -1
            if agent.state == "talk":
                place = self._places.get(agent.call or agent.last, -1)
            elif agent.state == "wrap":
                place = self._places.get(agent.last, -1)
                call = self.calls.get(agent.last)
                is_next = call is not None and call.talk_end_ms is not None
                if call is not None and is_next and not censored and call.wrap_ms is None:
                    call.wrap_ms = now - (call.talk_end_ms or now)
            if now > agent.since_ms or censored:
                self.stretches.append(
                    Stretch(
                        self._numbers.of(name), agent.state, agent.since_ms, now, place, censored
                    )
                )
        agent.state, agent.since_ms = state, now
