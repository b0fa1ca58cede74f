"""Reads tables exported from a VICIdial (survey of dialers, sections 4.1 and 4.2).

`vicidial_log` is needed. `vicidial_carrier_log` gives ring times, `vicidial_log_extended_sip` gives
them finer, `vicidial_agent_log` gives agents, talk and wrap-up, `vicidial_user_log` log-ins,
`vicidial_statuses` which statuses an agent gave to a person.

* A row of `vicidial_log` of an answered call begins at the pick-up (`start_epoch`) and lasts
  `length_in_sec`; one of a call that nobody answered is written when it ends.
* `dial_time` of `vicidial_carrier_log` lasts from the dial to the hang-up (Asterisk's DIALEDTIME),
  so the ring time is `dial_time` - `answered_time`.
* Talk is `talk_sec` - `dead_sec`, wrap-up is `dead_sec` + `dispo_sec` of `vicidial_agent_log`.
"""

from __future__ import annotations

import datetime
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Final

from quietdial.envs.dialer_logs.assemble import (
    MOMENTS,
    LogCall,
    Numbers,
    Stretch,
    recorded_days,
)
from quietdial.envs.dialer_logs.clock import LogClock, epoch_ms
from quietdial.envs.dialer_logs.days import AGENT_COLUMNS, RecordedDays
from quietdial.envs.dialer_logs.text import TextTable, read_table, refuse
from quietdial.envs.dialer_logs.vicidial_status import cause_of, meaning_of
from quietdial.envs.errors import CalibrationError

LOG, AGENT_LOG, CARRIER_LOG = "vicidial_log", "vicidial_agent_log", "vicidial_carrier_log"
SIP_LOG, USER_LOG, STATUS_TABLE = (
    "vicidial_log_extended_sip",
    "vicidial_user_log",
    "vicidial_statuses",
)
DOUBLE: Final = "rows that stand twice, the later one taken"
CUT_LINES: Final = "last lines that were cut off"
UNCLEAR: Final = "calls picked up by nobody can say whom (dead air and the like)"
NO_TIME: Final = "calls without a carrier row, so without a ring time"
LAGGED: Final = "last states of agents without an end, taken to the day's last row"
_GAP_MS: Final = 300_000
"""Without log-in events, an agent who leaves no trace for so long was logged out [ms]."""

_KINDS: Final[Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    # table: columns that tell it, columns that are read besides
    SIP_LOG: (("caller_code", "invite_to_ring", "invite_to_final"), ("call_date",)),
    CARRIER_LOG: (
        ("uniqueid", "dialstatus", "dial_time"),
        ("call_date", "answered_time", "caller_code", "lead_id"),
    ),
    AGENT_LOG: (
        ("user", "pause_epoch", "wait_epoch", "talk_epoch", "dispo_epoch"),
        (
            "agent_log_id",
            "lead_id",
            "campaign_id",
            "pause_sec",
            "wait_sec",
            "talk_sec",
            "dispo_sec",
            "dead_sec",
            "uniqueid",
            "comments",
        ),
    ),
    LOG: (
        ("uniqueid", "lead_id", "call_date", "status", "length_in_sec"),
        ("campaign_id", "start_epoch", "end_epoch", "user", "term_reason"),
    ),
    USER_LOG: (("user", "event", "event_epoch"), ("campaign_id",)),
    STATUS_TABLE: (("status", "human_answered"), ()),
}


def kind_of(header: Sequence[str]) -> str | None:
    """The table of VICIdial that has these columns, or None."""
    for table, (telling, _) in _KINDS.items():
        if all(name in header for name in telling):
            return table
    return None


@dataclass
class _Log:
    """Everything that is being put together."""

    clock: LogClock
    counted: Counter[str] = field(default_factory=Counter)
    calls: list[LogCall] = field(default_factory=list)
    by_unique: dict[str, int] = field(default_factory=dict)
    by_lead: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    stretches: list[Stretch] = field(default_factory=list)
    people: Numbers = field(default_factory=Numbers)
    agents: Numbers = field(default_factory=Numbers)


def read_vicidial(
    files: Sequence[tuple[str, Path]], *, time_zone: str, campaign: str | None
) -> RecordedDays:
    """Read exported tables.

    Args:
        files: table (as `kind_of` tells it) and path of each file.
        time_zone: of the database's local time, IANA name.
        campaign: `campaign_id` to take; None: the only one.

    Raises:
        CalibrationError: a file is not such a table, or the choice of campaign is open.
    """
    log = _Log(LogClock(time_zone))
    tables: dict[str, list[TextTable]] = defaultdict(list)
    for kind, path in files:
        telling, besides = _KINDS[kind]
        table = read_table(path, (*telling, *besides), telling)
        log.counted[CUT_LINES] += table.n_cut
        log.counted[f"rows of {kind}"] += len(table)
        tables[kind].append(table)
    if LOG not in tables:
        raise CalibrationError(
            f"{files[0][1]}: no file is vicidial_log, with the columns {', '.join(_KINDS[LOG][0])}"
        )
    chosen = _campaign(tables, campaign)
    human = {
        table.text("status", row): table.text("human_answered", row).upper() == "Y"
        for table in tables[STATUS_TABLE]
        for row in range(len(table))
    }
    _check_zone(log, tables[LOG])
    for table in tables[LOG]:
        _read_calls(log, table, chosen, human)
    has_carrier = _read_carrier(log, tables[CARRIER_LOG], tables[SIP_LOG])
    outs = _read_users(tables[USER_LOG], chosen)
    _read_agents(log, tables[AGENT_LOG], chosen, outs)
    has_agents = bool(tables[AGENT_LOG])
    return recorded_days(
        "vicidial",
        chosen,
        log.calls,
        log.stretches,
        clock=log.clock,
        counted=log.counted,
        files=[str(path) for _, path in files],
        call_unknown=_call_unknown(has_carrier, has_agents),
        agent_unknown={}
        if has_agents
        else dict.fromkeys(AGENT_COLUMNS, f"no {AGENT_LOG} was given"),
        call_source=_CALL_SOURCE,
        agent_source=dict.fromkeys(AGENT_COLUMNS, AGENT_LOG),
        resolution_ms=dict.fromkeys(_SECONDS, 1000) | _finer(log, tables),
    )


_SECONDS: Final = (*MOMENTS, "waited_ms", "talk_ms", "wrap_ms", "machine_ms", "from_ms", "to_ms")
_CALL_SOURCE: Final = {
    "person": f"{LOG}.lead_id",
    "dialed_ms": f"{CARRIER_LOG}.dial_time",
    "start_ms": f"{CARRIER_LOG}.dial_time",
    "ended_ms": f"{LOG}.start_epoch",
    "outcome": f"{LOG}.status",
    "picked_up_ms": f"{LOG}.start_epoch",
    "verdict_ms": f"{LOG}.length_in_sec",
    "verdict": f"{LOG}.status",
    "queued_ms": f"{LOG}.start_epoch",
    "connected_ms": f"{AGENT_LOG}.talk_epoch",
    "agent": f"{AGENT_LOG}.user",
    "waited_ms": f"{AGENT_LOG}.talk_epoch, {LOG}.length_in_sec of drops",
    "silent_ms": f"{LOG}.length_in_sec",
    "silent": f"{LOG}.term_reason",
    "talk_ms": f"{AGENT_LOG}.talk_sec - dead_sec",
    "wrap_ms": f"{AGENT_LOG}.dispo_sec + dead_sec",
    "machine_ms": f"{AGENT_LOG}.talk_sec",
    "censored": f"{LOG}.status",
}


def _call_unknown(has_carrier: bool, has_agents: bool) -> dict[str, str]:
    out: dict[str, str] = {}
    if not has_carrier:
        why = f"{LOG} begins at the pick-up; give {CARRIER_LOG} for the dial"
        out |= {"dialed_ms": why, "start_ms": why}
    if not has_agents:
        why = f"no {AGENT_LOG} was given; length_in_sec counts wait and talk together"
        names = ("connected_ms", "agent", "talk_ms", "wrap_ms", "machine_ms")
        out |= dict.fromkeys(names, why)
    return out


def _finer(log: _Log, tables: Mapping[str, list[TextTable]]) -> dict[str, int]:
    """Ring times are finer than a second where every call has a row of SIP events."""
    if not tables.get(SIP_LOG) or not log.calls:
        return {}
    missing = log.counted["calls without a row of SIP events"]
    return {"dialed_ms": 1, "start_ms": 1, "ended_ms": 1} if not missing else {}


def _campaign(tables: Mapping[str, list[TextTable]], asked: str | None) -> str:
    found = {
        table.text("campaign_id", row)
        for table in tables[LOG]
        if table.has("campaign_id")
        for row in range(len(table))
    } - {""}
    if asked is not None:
        if found and asked not in found:
            some = ", ".join(sorted(found)[:20])
            raise CalibrationError(f"campaign {asked!r:.40} is not in {LOG}; there are: {some}")
        return asked
    if len(found) > 1:
        raise CalibrationError(
            f"{LOG} holds {len(found)} campaigns: {', '.join(sorted(found)[:20])}; choose one"
        )
    return next(iter(found), "")


def _is_of(table: TextTable, row: int, campaign: str) -> bool:
    return not table.has("campaign_id") or table.text("campaign_id", row) in ("", campaign)


def _check_zone(log: _Log, tables: Sequence[TextTable]) -> None:
    """Local times beside epochs show a wrong time zone."""
    off: list[int] = []
    for table in tables:
        if not table.has("start_epoch"):
            continue
        for row in range(0, len(table), max(len(table) // 500, 1)):
            start = epoch_ms(
                table.whole("start_epoch", row), table.path, table.lines[row], "start_epoch"
            )
            date = table.text("call_date", row)
            if start is not None and date:
                utc = log.clock.utc_ms(date, table.path, table.lines[row], start)
                off.append(utc - start)
    if off and abs(median(off)) > 900_000:
        raise CalibrationError(
            f"{tables[0].path}: call_date is {median(off) / 1000:.0f} s off start_epoch in the "
            f"time zone {log.clock.name}; give the time zone of the database"
        )


# --- calls ----------------------------------------------------------------------------------------


def _read_calls(log: _Log, table: TextTable, campaign: str, human: Mapping[str, bool]) -> None:
    for row in range(len(table)):
        if not _is_of(table, row, campaign):
            continue
        line = table.lines[row]
        start = epoch_ms(table.whole("start_epoch", row), table.path, line, "start_epoch")
        if start is None:
            start = log.clock.utc_ms(table.text("call_date", row), table.path, line)
        length = table.whole("length_in_sec", row)
        status = table.text("status", row)
        unique = table.text("uniqueid", row)
        if not status or not unique:
            refuse(table.path, line, "uniqueid and status must not be empty")
        call = _call(log, status, start, length, table.text("term_reason", row), human)
        lead = table.text("lead_id", row)
        call.person = log.people.of(lead) if lead not in ("", "0") else -1
        place = log.by_unique.get(unique)
        if place is not None:
            log.counted[DOUBLE] += 1
            log.calls[place] = call
            continue
        log.by_unique[unique] = len(log.calls)
        log.by_lead[lead].append(len(log.calls))
        log.calls.append(call)


def _call(
    log: _Log,
    status: str,
    start: int,
    length: int | None,
    term_reason: str,
    human: Mapping[str, bool],
) -> LogCall:
    """One row of `vicidial_log`; what other tables know is filled in later."""
    way, outcome = meaning_of(status, human)
    call = LogCall(anchor_ms=start, outcome=outcome, ended_ms=start)
    if way == "unanswered":
        return call
    call.picked_up_ms = start
    over = start + 1000 * length if length is not None and length >= 0 else -1
    if way == "auto_machine":
        call.verdict_ms, call.verdict = over, "machine"
    elif way == "unclear":
        log.counted[UNCLEAR] += 1
    elif way == "dropped":
        call.queued_ms = start
        call.silent_ms, call.silent = over, cause_of(status, term_reason)
        call.waited_ms = over - start if over >= 0 else -1
    else:
        call.queued_ms = start
        call.censored = way == "open"
    return call


def _read_carrier(log: _Log, carriers: Sequence[TextTable], sips: Sequence[TextTable]) -> bool:
    """Dial times: whole seconds from the carrier log, finer ones from SIP events."""
    codes: dict[str, int] = {}
    timed = [False] * len(log.calls)
    for table in carriers:
        for row in range(len(table)):
            place = log.by_unique.get(table.text("uniqueid", row))
            if place is None:
                log.counted["carrier rows of no call of the campaign"] += 1
                continue
            code = table.text("caller_code", row)
            if code:
                codes[code] = place
            lasted = table.count("dial_time", row, 86_400)
            answered = table.count("answered_time", row, 10**6) or 0
            if not lasted:
                continue
            call = log.calls[place]
            ring = 1000 * (lasted - answered) if call.picked_up_ms >= 0 else 1000 * lasted
            if ring < 0:
                log.counted["carrier rows that were answered longer than they lasted"] += 1
                continue
            call.dialed_ms = call.start_ms = call.ended_ms - ring
            call.anchor_ms = call.dialed_ms
            timed[place] = True
    fine = [False] * len(log.calls)
    for table in sips:
        for row in range(len(table)):
            place = codes.get(table.text("caller_code", row))
            took = table.decimal("invite_to_final", row)
            date = table.text("call_date", row)
            if place is None or not took or not date:
                log.counted["rows of SIP events of no call of the campaign"] += place is None
                continue
            call = log.calls[place]
            sent = log.clock.utc_ms(date, table.path, table.lines[row], call.ended_ms)
            call.dialed_ms = call.start_ms = call.anchor_ms = sent
            call.ended_ms = sent + round(1000 * took)
            timed[place] = fine[place] = True
    if sips:
        log.counted["calls without a row of SIP events"] += fine.count(False)
    if carriers:
        log.counted[NO_TIME] += timed.count(False)
    return any(timed)


# --- agents ---------------------------------------------------------------------------------------


def _read_users(tables: Sequence[TextTable], campaign: str) -> dict[str, list[int]]:
    """Log-outs of each user, rising."""
    outs: dict[str, list[int]] = defaultdict(list)
    for table in tables:
        for row in range(len(table)):
            if not _is_of(table, row, campaign):
                continue
            at = epoch_ms(
                table.whole("event_epoch", row), table.path, table.lines[row], "event_epoch"
            )
            if at is not None and "LOGOUT" in table.text("event", row).upper():
                outs[table.text("user", row)].append(at)
    for times in outs.values():
        times.sort()
    return outs


@dataclass(slots=True)
class _Cycle:
    """One row of `vicidial_agent_log`: pause, wait, talk, disposition."""

    begins: list[int | None]
    lengths: list[int]
    dead_ms: int
    call: int
    inbound: bool


_PHASES: Final = ("pause", "wait", "talk", "dispo")


def _read_agents(
    log: _Log, tables: Sequence[TextTable], campaign: str, outs: Mapping[str, list[int]]
) -> None:
    cycles: dict[str, dict[tuple[object, ...], _Cycle]] = defaultdict(dict)
    for table in tables:
        for row in range(len(table)):
            if not _is_of(table, row, campaign):
                continue
            line = table.lines[row]
            begins = [
                epoch_ms(table.whole(f"{p}_epoch", row), table.path, line, f"{p}_epoch")
                for p in _PHASES
            ]
            user = table.text("user", row)
            if not user or all(begin is None for begin in begins):
                continue
            lengths = [1000 * (table.count(f"{p}_sec", row) or 0) for p in _PHASES]
            number = table.text("agent_log_id", row)
            key: tuple[object, ...] = (number,) if number else (*begins, *lengths)
            log.counted[DOUBLE] += key in cycles[user]
            cycles[user][key] = _Cycle(
                begins,
                lengths,
                1000 * (table.count("dead_sec", row) or 0),
                _call_of(log, table, row, begins[2]),
                "INBOUND" in table.text("comments", row).upper(),
            )
    if not cycles:
        return
    day_end = _day_ends(log, cycles)
    for user, mine in cycles.items():
        agent = log.agents.of(user)
        ordered = sorted(mine.values(), key=_first)
        for place, cycle in enumerate(ordered):
            first = _first(cycle)
            until = day_end[log.clock.date_of(first)]
            following = _first(ordered[place + 1]) if place + 1 < len(ordered) else None
            is_last = following is None or following - until > _GAP_MS
            if following is not None and not is_last:
                until = following
            out = next((t for t in outs.get(user, ()) if first <= t <= until), None)
            _play(
                log,
                agent,
                cycle,
                until if out is None else out,
                is_last=is_last and out is None,
                is_out=out is not None,
            )


def _first(cycle: _Cycle) -> int:
    """The first moment of a row."""
    return min(begin for begin in cycle.begins if begin is not None)


def _day_ends(
    log: _Log, cycles: Mapping[str, Mapping[tuple[object, ...], _Cycle]]
) -> dict[datetime.date, int]:
    """The last moment that any table knows of, by local day."""
    ends: dict[datetime.date, int] = {}
    moments = [call.anchor_ms for call in log.calls]
    for mine in cycles.values():
        for cycle in mine.values():
            moments += [
                begin + length
                for begin, length in zip(cycle.begins, cycle.lengths, strict=True)
                if begin is not None
            ]
            moments.append(_first(cycle))
    by_hour: dict[int, int] = {}
    for moment in moments:
        hour = moment // 900_000
        by_hour[hour] = max(by_hour.get(hour, 0), moment)
    for moment in by_hour.values():
        date = log.clock.date_of(moment)
        ends[date] = max(ends.get(date, 0), moment)
    return ends


def _call_of(log: _Log, table: TextTable, row: int, talk_ms: int | None) -> int:
    """Index of the call that a row of an agent belongs to, -1 for none."""
    if talk_ms is None:
        return -1
    place = log.by_unique.get(table.text("uniqueid", row))
    if place is not None:
        return place
    best, gap = -1, _GAP_MS
    for candidate in log.by_lead.get(table.text("lead_id", row), ()):
        after = talk_ms - log.calls[candidate].picked_up_ms
        if log.calls[candidate].picked_up_ms >= 0 and -2000 <= after < gap:
            best, gap = candidate, after
    if best < 0:
        log.counted["talks of agents without a call of the campaign (manual or inbound)"] += 1
    return best


def _play(log: _Log, agent: int, cycle: _Cycle, until: int, *, is_last: bool, is_out: bool) -> None:
    """Turn one row into stretches, and tell its call."""
    call = log.calls[cycle.call] if cycle.call >= 0 else None
    reached = [k for k in range(4) if cycle.begins[k] is not None]
    for place, k in enumerate(reached):
        begin = cycle.begins[k]
        if begin is None:
            continue
        end, open_end = begin + cycle.lengths[k], False
        if cycle.lengths[k] == 0:
            if place + 1 < len(reached):
                end = max(begin, cycle.begins[reached[place + 1]] or begin)
            elif is_last or is_out:
                end, open_end = max(begin, until), is_last
                log.counted[LAGGED] += is_last
            elif until - begin < _GAP_MS:
                end = max(begin, until)
        if k == 2:
            _talk(log, agent, cycle, begin, end, open_end)
        elif k == 3:
            if call is not None and not open_end and call.talk_ms >= 0:
                call.wrap_ms = end - begin + min(cycle.dead_ms, cycle.lengths[2])
            if call is not None and open_end:
                call.censored = True
            _add(log, agent, "wrap", begin, end, cycle.call, open_end)
        else:
            _add(log, agent, "break" if k == 0 else "idle", begin, end, -1, open_end)


def _talk(log: _Log, agent: int, cycle: _Cycle, begin: int, end: int, open_end: bool) -> None:
    call = log.calls[cycle.call] if cycle.call >= 0 else None
    dead = min(cycle.dead_ms, end - begin)
    state = "talk"
    if cycle.inbound and call is None:
        state = "inbound"
    elif call is not None and call.outcome != "person" and not call.censored:
        state = "machine"  # or dead air, or whatever else was not a person
    _add(log, agent, state, begin, end - dead, cycle.call, open_end)
    if dead:
        _add(log, agent, "wrap", end - dead, end, cycle.call, False)
    if call is None:
        return
    call.connected_ms, call.agent = begin, agent
    if call.queued_ms >= 0:
        call.waited_ms = max(begin - call.queued_ms, 0)
    if open_end:
        call.censored = True
    elif state == "machine":
        call.machine_ms = end - begin
    else:
        call.talk_ms = end - dead - begin


def _add(
    log: _Log, agent: int, state: str, begin: int, end: int, call: int, open_end: bool
) -> None:
    if end > begin or open_end:
        log.stretches.append(Stretch(agent, state, begin, end, call, open_end))
