"""A recorded day as the events that its dialer would have told the pacer, in their order.

Within one millisecond: what ends an earlier call or moves an agent comes first, then the decision,
then the dials of that moment and what belongs to them. So the simulator orders it; a log of whole
seconds orders nothing within a second, and what happened in the second of a dial counts as known.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np

from quietdial.agents.runtime.floor import Floor
from quietdial.envs.dialer_logs import RecordedDay
from quietdial.envs.errors import CalibrationError

NEEDED: Final = {
    "calls": ("call", "dialed_ms", "ended_ms", "outcome", "connected_ms"),
    "agents": ("agent", "state", "from_ms", "to_ms"),
}
"""Without these columns there is no floor to show a policy."""


class Event(NamedTuple):
    """One event, told by `tell`; sorted by the first three fields.

    Attributes:
        at_ms: when.
        after: whether it comes after a decision of the same moment.
        order: place among the others of that moment.
        tell: tells it to a floor.
    """

    at_ms: int
    after: bool
    order: int
    tell: Callable[[Floor], object]


class Log(NamedTuple):
    """How the days of a log are to be read.

    Attributes:
        prefix: goes before the number of each call, which is unique within a day only.
        shift_ms: added to every time [ms].
        hears_machines: whether a pick-up by a machine is seen as a pick-up, and not as an end.
        holds: whether callees whom nobody took in time stay on the line.
        is_lunch: of a break (agent, from_ms, to_ms), whether it is the planned lunch;
            None: no lunch is planned.
        logged_in: told when an agent comes from off.
    """

    prefix: str = ""
    shift_ms: int = 0
    hears_machines: bool = False
    holds: bool = False
    is_lunch: Callable[[int, int, int], bool] | None = None
    logged_in: Callable[[Floor, int, int], None] | None = None


def check_days(days: tuple[RecordedDay, ...]) -> None:
    """Refuse days from which a floor cannot be rebuilt.

    Raises:
        CalibrationError: with the column that is missing and the reason.
    """
    for day in days:
        for name, table in (("calls", day.calls), ("agents", day.agents)):
            for column in NEEDED[name]:
                if column not in table:
                    reason = table.unknown.get(column, "the log has no such column")
                    raise CalibrationError(
                        f"{day.label}: a shadow needs {column} of {name}, which is not in the "
                        f"log: {reason}"
                    )


def events_of(day: RecordedDay, log: Log) -> list[Event]:
    """The events of a day in their order."""
    events: list[Event] = []
    dialed_at = _calls(day, log, events)
    _agents(day, log, dialed_at, events)
    events.sort(key=lambda event: event[:3])
    return events


def _column(day: RecordedDay, name: str) -> list[int]:
    """A column of the calls; -1 where the log does not know it."""
    if name in day.calls:
        values: list[int] = day.calls[name].tolist()
        return values
    return [-1] * len(day.calls)


def _calls(day: RecordedDay, log: Log, events: list[Event]) -> dict[int, int]:
    """Tell the calls; returns when each was dialed."""
    calls = day.calls
    n = len(calls)
    texts = {
        name: calls[name].tolist() if name in calls else [""] * n
        for name in ("outcome", "verdict", "silent")
    }
    reserved = calls["reserved"].tolist() if "reserved" in calls else [False] * n
    moments = (
        "call",
        "person",
        "dialed_ms",
        "ended_ms",
        "verdict_ms",
        "queued_ms",
        "connected_ms",
        "silent_ms",
        "dropped_ms",
        "waited_ms",
    )
    rows = zip(*(_column(day, name) for name in moments), strict=True)
    dialed_at: dict[int, int] = {}
    for k, row in enumerate(rows):
        number, person, dialed, ended, verdict_at, queued, connected, silent, dropped, waited = row
        if dialed < 0:
            continue
        dialed_at[number] = dialed
        name, outcome = f"{log.prefix}{number}", texts["outcome"][k]
        teller = _Teller(log, events, name, dialed)
        who = None if person < 0 else str(person)
        teller.add(dialed, "dialed", person=who, reserved=reserved[k])
        meets_agent = connected >= 0 or queued >= 0 or silent >= 0
        picked = outcome == "person" or (
            outcome == "machine" and (log.hears_machines or meets_agent)
        )
        if ended >= 0 and picked:
            teller.add(ended, "picked_up")
        elif ended >= 0:
            teller.add(ended, "ended", cancelled=outcome == "cancelled")
        if log.hears_machines and texts["verdict"][k] and picked:
            at = verdict_at if verdict_at >= 0 else ended
            teller.add(at, "judged", machine=texts["verdict"][k] == "machine")
        cause = texts["silent"][k]
        if silent >= 0 and cause in ("cut", "left"):
            held = log.holds and cause == "cut" and queued >= 0
            teller.add(silent, "dropped", cause=cause, held=held)
        if dropped >= 0:
            teller.add(dropped, "dropped", cause="cut", held=log.holds)
        if connected >= 0:
            teller.add(connected, "connected", machine=outcome == "machine")
        elif log.holds and waited >= 0 and queued >= 0 and queued + waited > max(silent, dropped):
            teller.add(queued + waited, "gone")
    return dialed_at


class _Teller:
    """Adds the events of one call."""

    def __init__(self, log: Log, events: list[Event], name: str, dialed: int) -> None:
        self._log, self._events, self._name, self._dialed = log, events, name, dialed

    def add(self, at_ms: int, what: str, **more: object) -> None:
        """An event at a moment of the day; a dial is cancelled by a decision."""
        at, name = at_ms + self._log.shift_ms, self._name

        def tell(floor: Floor) -> None:
            getattr(floor, what)(name, at, **more)

        after = at_ms <= self._dialed or more.get("cancelled") is True
        self._events.append(Event(at, after, len(self._events), tell))


def _agents(day: RecordedDay, log: Log, dialed_at: dict[int, int], events: list[Event]) -> None:
    """Tell the agents' states."""
    agents = day.agents
    names = agents["agent"].tolist()
    states = agents["state"].tolist()
    begins, ends = agents["from_ms"].tolist(), agents["to_ms"].tolist()
    calls = agents["call"].tolist() if "call" in agents else [-1] * len(names)
    last: dict[int, str] = {}
    order = np.argsort(agents["from_ms"], kind="stable")
    for k in order.tolist():
        agent, state, begin = names[k], states[k], begins[k]
        if state == "break" and log.is_lunch is not None and log.is_lunch(agent, begin, ends[k]):
            state = "lunch"
        after = state == "held" and dialed_at.get(calls[k], -1) == begin
        at = begin + log.shift_ms
        comes = last.get(agent, "off") == "off" and state != "off"
        last[agent] = states[k]

        def tell(
            floor: Floor,
            agent: int = agent,
            at: int = at,
            state: str = state,
            comes: bool = comes,
        ) -> None:
            if comes and log.logged_in is not None:
                log.logged_in(floor, agent, at)
            floor.agent(str(agent), at, state)

        events.append(Event(at, after, len(events), tell))
