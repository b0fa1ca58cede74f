"""Recorded days put together to campaigns: sessions, plans, and what the log does not say."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from quietdial.agents.runtime.calendar_session import calendar_session
from quietdial.agents.runtime.floor import Floor
from quietdial.agents.runtime.tables import PacingTables
from quietdial.agents.runtime.windows import Session
from quietdial.agents.runtime_feed import lunch_due_ms, session_of, tell_log_out, tell_lunches
from quietdial.agents.shadow.events import Log, check_days
from quietdial.envs.dialer_logs import RecordedDay, RecordedDays
from quietdial.envs.errors import CalibrationError
from quietdial.envs.pacing.params import AT_LIMIT, HOLD, LUNCH_MS, OPENS, Params, make_params

_NO_DATE: Final = datetime.date(2001, 1, 1)


class Noted(NamedTuple):
    """What the records say of the decisions of a day, (T,) each.

    Attributes:
        at_ms: when, since the day's time 0 [ms].
        probability: with which just so many calls were placed; NaN: not known.
        list_left: share of the list.
        callers: inbound callers who wait.
    """

    at_ms: NDArray[np.int64]
    probability: NDArray[np.float64]
    list_left: NDArray[np.float64]
    callers: NDArray[np.int64]


@dataclass(frozen=True)
class ShadowDay:
    """A day as it is replayed.

    Attributes:
        day: what was recorded.
        session: hours and windows, on the pacer's clock.
        log: how the day is read.
        opens: told when the floor opens.
        noted: the incumbent's decisions; None: the log does not keep them.
    """

    day: RecordedDay
    session: Session
    log: Log
    opens: Callable[[Floor], None]
    noted: Noted | None


@dataclass(frozen=True)
class ShadowCampaign:
    """Days of one campaign, which one pacer follows from the first to the last.

    Attributes:
        days: in order.
        n_agents: agents of the roster.
        unix_clock: whether the pacer's clock is Unix time, so that it knows the permitted hours.
    """

    days: tuple[ShadowDay, ...]
    n_agents: int
    unix_clock: bool


def campaigns_of(recorded: RecordedDays, tables: PacingTables) -> tuple[ShadowCampaign, ...]:
    """The campaigns of a log.

    Args:
        recorded: what was read.
        tables: what the bundle knows of its floor: windows, detection, hours.

    Raises:
        CalibrationError: a floor cannot be rebuilt from this log.
    """
    check_days(recorded.days)
    if recorded.format == "records":
        return _of_records(recorded)
    return (_of_log(recorded, tables),)


def _of_records(recorded: RecordedDays) -> tuple[ShadowCampaign, ...]:
    """Our own records say everything: the scenario is in the file."""
    from quietdial.envs.record_files import read_source

    folder = Path(recorded.files[0]).parent
    scenario = read_source(folder).scenario
    params = make_params(
        scenario,
        silent_penalty=0.0,
        base_theta=0.02,
        random_start=False,
        horizon_s=None,
        full=True,
    )
    n_sessions = len(params.sessions)
    noted = _noted_of(folder)
    campaigns = []
    for first in range(0, len(recorded.days), n_sessions):
        episode = first // n_sessions
        days = []
        for number, day in enumerate(recorded.days[first : first + n_sessions]):
            session = session_of(params, number)
            log = Log(
                prefix="",
                shift_ms=session.opens_ms,
                hears_machines=scenario.calls.detection.kind != "perfect",
                holds=bool(params.n[AT_LIMIT] == HOLD),
                is_lunch=_lunches(params, number),
                logged_in=lambda floor, agent, t: tell_log_out(params, floor, agent, t),
            )
            days.append(
                ShadowDay(
                    day,
                    session,
                    log,
                    _plans(params, number),
                    noted.get((episode, number)) if noted else None,
                )
            )
        campaigns.append(ShadowCampaign(tuple(days), scenario.floor.n_agents, unix_clock=False))
    return tuple(campaigns)


def _lunches(params: Params, number: int) -> Callable[[int, int, int], bool]:
    """Tells an agent's lunch in a session from other breaks: the first of just that length."""
    taken: set[int] = set()
    opens = int(params.sessions[number][OPENS])

    def is_lunch(agent: int, from_ms: int, to_ms: int) -> bool:
        due = lunch_due_ms(params, agent, number)
        if due is None or agent in taken or from_ms + opens < due:
            return False
        if to_ms - from_ms != int(params.shifts[agent, LUNCH_MS]):
            return False
        taken.add(agent)
        return True

    return is_lunch


def _plans(params: Params, number: int) -> Callable[[Floor], None]:
    return lambda floor: tell_lunches(params, floor, number)


def _noted_of(folder: Path) -> dict[tuple[int, int], Noted]:
    """The decisions of our own records by episode and session; empty for older records."""
    from quietdial.envs.record_files import DECISIONS_FILE, read_columns, read_source
    from quietdial.envs.wall_clock import WallClock

    path = folder / DECISIONS_FILE
    if not path.is_file():
        return {}
    names = ("campaign", "at_ms", "probability", "list_left", "callers")
    rows = read_columns(path, names)
    clock = WallClock(read_source(folder).scenario)
    session = clock.session_of(rows["at_ms"])
    found: dict[tuple[int, int], Noted] = {}
    for episode in np.unique(rows["campaign"]).tolist():
        for number, times in enumerate(clock.sessions):
            mine = (rows["campaign"] == episode) & (session == number)
            found[episode, number] = Noted(
                rows["at_ms"][mine] - times.open_ms,
                rows["probability"][mine],
                rows["list_left"][mine],
                rows["callers"][mine],
            )
    return found


def _of_log(recorded: RecordedDays, tables: PacingTables) -> ShadowCampaign:
    """A dialer's log: hours are those of the log, nothing is planned, nobody is hidden."""
    first = recorded.days[0].date or _NO_DATE
    days: list[ShadowDay] = []
    spent = 0
    whole = sum(day.length_ms for day in recorded.days)
    roster = len({agent for day in recorded.days for agent in day.agents["agent"].tolist()})
    for number, day in enumerate(recorded.days):
        if day.utc_ms is None:
            raise CalibrationError(f"{day.label}: the log has no date")
        dialed = day.calls["dialed_ms"]
        last = int(dialed.max())
        long = tables.windows[0].kind == "campaign"
        session = calendar_session(
            tables,
            first,
            day.utc_ms,
            day.utc_ms + max(day.length_ms, last + tables.step_ms),
            dial_until_ms=day.utc_ms + last + 1,
            spent_ms=spent if long else 0,
            span_ms=whole if long else None,
        )
        spent += day.length_ms
        log = Log(
            prefix=f"{number}.",
            shift_ms=day.utc_ms,
            hears_machines=tables.detection != "perfect",
            holds=False,
        )
        days.append(ShadowDay(day, session, log, lambda floor: None, None))
    return ShadowCampaign(tuple(days), max(roster, 1), unix_clock=True)


def not_in_log(recorded: RecordedDays, tables: PacingTables) -> list[str]:
    """What the log does not say, and what the policy was shown instead; one sentence each.

    Args:
        recorded: what was read.
        tables: what the bundle knows of its floor.
    """
    calls, agents = recorded.days[0].calls, recorded.days[0].agents
    said = []
    if recorded.format == "records":
        if not (Path(recorded.files[0]).parent / "decisions.parquet").is_file():
            said.append(
                "decisions.parquet is missing (older records): the share of the list that is left "
                "is shown as 1, inbound callers as none, and probabilities are not known"
            )
        return said
    said.append(
        "the hours of the floor are those of the log (first to last event of a day): features of "
        "the time that is left go by them"
    )
    said.append("the share of the list that is left is shown as 1, inbound callers as none")
    said.append("planned log-outs and lunches are not in the log: no agent is shown as leaving")
    step = max(calls.step_ms("dialed_ms", "ended_ms", "connected_ms"), agents.step_ms("from_ms"))
    if step > 1:
        said.append(
            f"times are in steps of {step} ms: what happened in the same step as a dial counts as "
            "known to the decision"
        )
    if "wrap_ms" not in calls:
        said.append(
            "wrap-up is not in the log ("
            + calls.unknown.get("wrap_ms", "no such column")
            + "): agents in wrap-up are shown as idle, so the policy dials more here than it would"
        )
    if "reserved" not in calls:
        said.append("dials with an agent set aside are not marked: all count as the incumbent's")
    if tables.detection == "amd" and "verdict_ms" not in calls:
        said.append("the moment of a detection's verdict is not in the log: shown at the pick-up")
    if "silent_ms" not in calls:
        said.append("silent calls are not in the log: windows and estimates know of none")
    if tables.at_limit == "hold":
        said.append("callees who are held after the limit are not in the log: shown as gone")
    roster = len({agent for day in recorded.days for agent in day.agents["agent"].tolist()})
    if roster != tables.n_agents:
        said.append(
            f"the roster is the {roster} agents of the log; it was {tables.n_agents} in training"
        )
    return said
