"""Writes recorded days of the simulator as the logs that VICIdial and Asterisk would have left.

For the proof of calibration: a known world, seen only through a dialer's logs. Times are cut to
whole seconds as those programs do (a moment is floored; a length is the difference of two moments,
or floored itself in the carrier log), calls in flight at the end leave no row, and talks that go
on have no end.
"""

from __future__ import annotations

import csv
import datetime
import io
import zoneinfo
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from quietdial.envs.dialer_logs import RecordedDay, RecordedDays
from quietdial.envs.loading import write_text_atomic

CAMPAIGN: Final = "SIM"
FIRST_DATE: Final = datetime.date(2026, 3, 2)
"""Date of the first day of records without a date; the others follow."""
_UNANSWERED: Final = {
    "busy": ("AB", "BUSY", "BUSY"),
    "no_answer": ("NA", "NOANSWER", "NO ANSWER"),
    "invalid": ("ADC", "CHANUNAVAIL", "FAILED"),
    "failure": ("HUC41", "CONGESTION", "CONGESTION"),
    "cancelled": ("NA", "CANCEL", "NO ANSWER"),
}
"""Status of VICIdial, dial status of its carrier log, disposition of the CDR."""


class _Day:
    """One day with its times as epochs."""

    def __init__(self, day: RecordedDay, number: int, zone: zoneinfo.ZoneInfo) -> None:
        if day.utc_ms is not None:
            self.zero_ms = day.utc_ms
        else:
            date = FIRST_DATE + datetime.timedelta(days=number)
            local = datetime.datetime.combine(date, datetime.time(), zone)
            phase_s = 0.618034 * number % 1.0  # the world decides on whole seconds, dialers do not
            self.zero_ms = round(1000 * (local.timestamp() + day.wall_s + phase_s))
        self.zone = zone
        self.number = number
        names = [name for name in day.calls.columns if name not in ("late", "heard", "repeats")]
        columns = [day.calls[name].tolist() for name in names]
        self.calls: list[dict[str, Any]] = [
            dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)
        ]
        states = ("agent", "state", "from_ms", "to_ms", "call", "censored")
        self.stretches: list[tuple[Any, ...]] = sorted(
            zip(*(day.agents[name].tolist() for name in states), strict=True),
            key=lambda row: (row[0], row[2]),
        )

    def second(self, time_ms: int) -> int:
        """The epoch of a moment, floored."""
        return (self.zero_ms + time_ms) // 1000

    def local(self, second: int) -> str:
        """An epoch as local time."""
        return datetime.datetime.fromtimestamp(second, self.zone).strftime("%Y-%m-%d %H:%M:%S")

    def unique(self, call: dict[str, Any]) -> str:
        """Unique id of a call's channel."""
        return f"{self.second(call['start_ms'])}.{100_000 * self.number + call['call']}"

    def lead(self, call: dict[str, Any]) -> int:
        """Number of the callee on the list."""
        if call["person"] >= 0:
            return int(call["person"]) + 1
        return 1 + 1_000_000 * self.number + int(call["call"])


def _end_of(call: dict[str, Any]) -> int | None:
    """When the line is free again [ms], or None while it is not."""
    if call["outcome"] == "":
        return None
    if call["picked_up_ms"] < 0:
        return int(call["ended_ms"])
    if call["connected_ms"] >= 0:
        lasted = max(call["talk_ms"], call["machine_ms"])
        return int(call["connected_ms"] + lasted) if lasted >= 0 else None
    for name in ("silent_ms", "dropped_ms", "verdict_ms"):
        if call[name] >= 0:
            return int(call[name])
    return int(call["ended_ms"]) if call["outcome"] == "machine" else None


def write_vicidial(
    days: RecordedDays, folder: Path, *, time_zone: str = "Europe/Rome", carrier: bool = True
) -> list[Path]:
    """Write vicidial_log, vicidial_agent_log, vicidial_user_log and vicidial_carrier_log.

    Args:
        days: read from our own records.
        folder: must exist.
        time_zone: of the local times.
        carrier: without the carrier log there are no ring times.
    """
    zone = zoneinfo.ZoneInfo(time_zone)
    log: list[Sequence[object]] = []
    carriers: list[Sequence[object]] = []
    agents: list[Sequence[object]] = []
    users: list[Sequence[object]] = []
    for number, recorded in enumerate(days.days):
        day = _Day(recorded, number, zone)
        for call in day.calls:
            end = _end_of(call)
            row = _vicidial_row(day, call, end)
            if row is not None:
                log.append(row)
            if end is not None:
                carriers.append(_carrier_row(day, call, end))
        _agent_rows(day, agents, users)
    paths = [
        _tabbed(folder / "vicidial_log.tsv", _LOG_COLUMNS, log),
        _tabbed(folder / "vicidial_agent_log.tsv", _AGENT_COLUMNS, agents),
        _tabbed(folder / "vicidial_user_log.tsv", _USER_COLUMNS, users),
    ]
    if carrier:
        paths.append(_tabbed(folder / "vicidial_carrier_log.tsv", _CARRIER_COLUMNS, carriers))
    return paths


_LOG_COLUMNS: Final = (
    "uniqueid",
    "lead_id",
    "campaign_id",
    "call_date",
    "start_epoch",
    "end_epoch",
    "length_in_sec",
    "status",
    "phone_number",
    "user",
    "term_reason",
)
_CARRIER_COLUMNS: Final = (
    "uniqueid",
    "call_date",
    "lead_id",
    "hangup_cause",
    "dialstatus",
    "dial_time",
    "answered_time",
)
_AGENT_COLUMNS: Final = (
    "agent_log_id",
    "user",
    "event_time",
    "lead_id",
    "campaign_id",
    "pause_epoch",
    "pause_sec",
    "wait_epoch",
    "wait_sec",
    "talk_epoch",
    "talk_sec",
    "dispo_epoch",
    "dispo_sec",
    "dead_sec",
    "uniqueid",
    "comments",
)
_USER_COLUMNS: Final = ("user", "event", "campaign_id", "event_date", "event_epoch")


def _vicidial_row(day: _Day, call: dict[str, Any], end: int | None) -> tuple[object, ...] | None:
    outcome = call["outcome"]
    if outcome == "":
        return None
    user, reason = "VDAD", "NONE"
    if outcome in _UNANSWERED:
        status, begin = _UNANSWERED[outcome][0], call["ended_ms"]
    else:
        begin = call["picked_up_ms"]
        status = "AA"
        if call["connected_ms"] >= 0:
            user, reason = f"agent{call['agent']}", "AGENT"
            status = "SALE" if call["success"] else "NI"
            status = "A" if outcome == "machine" else status
        elif call["silent"] in ("cut", "left"):
            status = "DROP"
            reason = "CALLER" if call["silent"] == "left" else "QUEUETIMEOUT"
        elif call["dropped_ms"] >= 0:
            status, reason = "DROP", "QUEUETIMEOUT"
        if end is None:
            status, reason = "INCALL" if call["connected_ms"] >= 0 else "PU", "NONE"
    start = day.second(begin)
    last = None if end is None else day.second(end)
    length = None if last is None else last - start
    lead = day.lead(call)
    unique, local = day.unique(call), day.local(start)
    phone = f"39020{lead:07d}"
    return unique, lead, CAMPAIGN, local, start, last, length, status, phone, user, reason


def _carrier_row(day: _Day, call: dict[str, Any], end: int) -> tuple[object, ...]:
    answered = call["picked_up_ms"] >= 0
    status = "ANSWER" if answered else _UNANSWERED[call["outcome"]][1]
    lasted = (end - call["start_ms"]) // 1000
    spoken = (end - call["picked_up_ms"]) // 1000 if answered else 0
    date = day.local(day.second(end))
    return day.unique(call), date, day.lead(call), 16, status, lasted, spoken


_PLACE: Final = {"break": 0, "idle": 1, "held": 1, "talk": 2, "machine": 2, "wrap": 3}


def _agent_rows(day: _Day, rows: list[Sequence[object]], users: list[Sequence[object]]) -> None:
    """Cycles of pause, wait, talk and disposition; log-ins and log-outs."""
    calls = {call["call"]: call for call in day.calls}
    current: list[tuple[Any, ...] | None] = [None] * 4
    before: tuple[int, bool] = (-1, False)

    def finish(agent: int) -> None:
        if any(current):
            rows.append(_cycle_row(day, len(rows) + 1, agent, current, calls))
        current[:] = [None] * 4

    def tell(agent: int, event: str, time_ms: int) -> None:
        second = day.second(time_ms)
        users.append((f"agent{agent}", event, CAMPAIGN, day.local(second), second))

    for stretch in day.stretches:
        agent, state, begin = stretch[0], stretch[1], stretch[2]
        if agent != before[0]:
            finish(before[0])
            before = (agent, False)
        if state == "off":
            finish(agent)
            if before[1]:
                tell(agent, "LOGOUT", begin)
            before = (agent, False)
            continue
        if not before[1]:
            tell(agent, "LOGIN", begin)
            before = (agent, True)
        place = _PLACE[state]
        if any(current[place:]):
            finish(agent)
        current[place] = stretch
    finish(before[0])


def _cycle_row(
    day: _Day,
    number: int,
    agent: int,
    current: Sequence[tuple[Any, ...] | None],
    calls: dict[int, dict[str, Any]],
) -> tuple[object, ...]:
    values: list[object] = []
    for part in current:
        if part is None:
            values += [None, 0]
            continue
        begin, end, censored = part[2], part[3], part[5]
        values += [day.second(begin), 0 if censored else day.second(end) - day.second(begin)]
    first = next(part for part in current if part is not None)
    talk = current[2]
    call = None if talk is None else calls.get(talk[4])
    lead = None if call is None else day.lead(call)
    unique = "" if call is None else day.unique(call)
    date = day.local(day.second(first[2]))
    return (number, f"agent{agent}", date, lead, CAMPAIGN, *values, 0, unique, "AUTO")


def write_asterisk(
    days: RecordedDays,
    folder: Path,
    *,
    time_zone: str = "Europe/Rome",
    wrap_pauses: bool = True,
    cdr: bool = True,
) -> list[Path]:
    """Write queue_log and Cdr.csv.

    Args:
        days: read from our own records.
        folder: must exist.
        time_zone: of the local times in the CDR.
        wrap_pauses: the dialer pauses agents with the reason "wrap" while they wrap up.
        cdr: write the CDR too.
    """
    zone = zoneinfo.ZoneInfo(time_zone)
    events: list[tuple[int, int, str]] = []
    rows: list[Sequence[object]] = []
    for number, recorded in enumerate(days.days):
        day = _Day(recorded, number, zone)
        for call in day.calls:
            end = _end_of(call)
            _queue_events(day, call, events)
            if end is not None:
                rows.append(_cdr_row(day, call, end))
        _presence_events(day, events, wrap_pauses=wrap_pauses)
    lines = [line for _, _, line in sorted(events, key=lambda event: event[:2])]
    path = folder / "queue_log"
    write_text_atomic(path, "".join(f"{line}\n" for line in lines))
    if not cdr:
        return [path]
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n").writerows(rows)
    write_text_atomic(folder / "Cdr.csv", text.getvalue())
    return [path, folder / "Cdr.csv"]


def _queue_events(day: _Day, call: dict[str, Any], events: list[tuple[int, int, str]]) -> None:
    entered = call["queued_ms"] if call["queued_ms"] >= 0 else call["connected_ms"]
    if entered < 0:
        return
    unique = day.unique(call)

    def tell(time_ms: int, agent: str, what: str, *data: int | str) -> None:
        second = day.second(time_ms)
        text = "|".join(str(value) for value in (second, unique, CAMPAIGN, agent, what, *data))
        events.append((day.zero_ms + time_ms, 1, text))

    tell(entered, "NONE", "ENTERQUEUE", "", "39020555")
    if call["connected_ms"] >= 0:
        agent = f"SIP/agent{call['agent']}"
        connected = call["connected_ms"]
        held = day.second(connected) - day.second(entered)
        tell(connected, agent, "CONNECT", held, f"{unique}1", 0)
        lasted = max(call["talk_ms"], call["machine_ms"])
        if lasted >= 0:
            spoken = day.second(connected + lasted) - day.second(connected)
            tell(connected + lasted, agent, "COMPLETEAGENT", held, spoken, 1)
    elif call["silent"] == "left":
        waited = day.second(call["silent_ms"]) - day.second(entered)
        tell(call["silent_ms"], "NONE", "ABANDON", 1, 1, waited)
    elif call["silent"] == "cut" or call["dropped_ms"] >= 0:
        at = max(call["silent_ms"], call["dropped_ms"])
        tell(at, "NONE", "EXITWITHTIMEOUT", 1, 1, day.second(at) - day.second(entered))


def _presence_events(day: _Day, events: list[tuple[int, int, str]], *, wrap_pauses: bool) -> None:
    """Log-ins, log-outs and pauses; a talk's own events stand between them."""
    last: tuple[int, bool, str] = (-1, False, "")
    for agent, state, begin, end, _, _ in day.stretches:
        if agent != last[0]:
            last = (agent, False, "")
        name = f"SIP/agent{agent}"

        def tell(order: int, time_ms: int, what: str, *data: str, name: str = name) -> None:
            text = "|".join((str(day.second(time_ms)), "NONE", CAMPAIGN, name, what, *data))
            events.append((day.zero_ms + time_ms, order, text))

        is_in = state != "off"
        reason = {"break": "pause", "wrap": "wrap" if wrap_pauses else ""}.get(state, "")
        if is_in and not last[1]:
            tell(0, begin, "ADDMEMBER", "")
        if last[2] and last[2] != reason:
            tell(0, begin, "UNPAUSE", "")
        if reason and last[2] != reason:
            tell(2, begin, "PAUSE", reason)
        if last[1] and not is_in:
            tell(3, begin, "REMOVEMEMBER", "")
        last = (agent, is_in, reason)
        if end < begin:
            raise ValueError("stretches of agents must not run backwards")


def _cdr_row(day: _Day, call: dict[str, Any], end: int) -> tuple[object, ...]:
    start, last = day.second(call["start_ms"]), day.second(end)
    answered = call["picked_up_ms"] >= 0
    answer = day.second(call["picked_up_ms"]) if answered else None
    disposition = "ANSWERED" if answered else _UNANSWERED[call["outcome"]][2]
    queued = call["queued_ms"] >= 0 or call["connected_ms"] >= 0
    number = f"39020{day.lead(call):07d}"
    return (
        "",
        "39020555",
        number,
        "dialer",
        "39020555",
        f"SIP/trunk-{call['call']:08x}",
        "",
        "Queue" if queued else "AppDial",
        CAMPAIGN if queued else "",
        day.local(start),
        "" if answer is None else day.local(answer),
        day.local(last),
        last - start,
        0 if answer is None else last - answer,
        disposition,
        "DOCUMENTATION",
        day.unique(call),
        "MACHINE" if answered and not queued else "",
    )


def _tabbed(path: Path, names: Sequence[str], rows: Iterable[Sequence[object]]) -> Path:
    """A table as `mysql --batch` prints it."""
    lines = ["\t".join(names)]
    lines += ["\t".join("NULL" if v is None else str(v) for v in row) for row in rows]
    write_text_atomic(path, "\n".join(lines) + "\n")
    return path
