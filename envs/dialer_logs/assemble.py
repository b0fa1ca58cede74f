"""From calls and stretches with absolute times to recorded days."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from quietdial.envs.dialer_logs.clock import LogClock
from quietdial.envs.dialer_logs.days import LogFormat, RecordedDay, RecordedDays, Table, split_at
from quietdial.envs.dialer_logs.text import as_columns
from quietdial.envs.errors import CalibrationError
from quietdial.envs.records import AGENTS, CALLS

MAX_DAYS: Final = 1000
OVER_MIDNIGHT: Final = "calls over midnight, counted to the day of their dial"
CUT_AT_MIDNIGHT: Final = "stretches of agents cut at midnight"
NO_CALL: Final = "days without a call left out"
STILL_GOING: Final = "calls still going on at the end of the log"

MOMENTS: Final = (
    "dialed_ms",
    "start_ms",
    "ended_ms",
    "picked_up_ms",
    "verdict_ms",
    "queued_ms",
    "connected_ms",
    "silent_ms",
)
"""Columns of a call in our own records that are moments, not lengths."""
NEVER: Final[Mapping[str, str]] = {
    "reserved": "no table says that an agent was set aside for the call",
    "late": "the log does not know the limit of the regulator",
    "heard": "what a person heard in a silent call is not written",
    "repeats": "earlier silent calls to the same person are not written",
    "dropped_ms": "machines dropped in the queue look like people who were dropped",
    "success": "which statuses are a success is the campaign's own matter",
    "callback": "which statuses ask for a callback is the campaign's own matter",
}
"""Columns of our own records that no dialer's log tells."""


@dataclass(slots=True)
class LogCall:
    """One call; times are UTC [ms since 1970], -1 for none; see `quietdial.envs.records.CALLS`."""

    anchor_ms: int
    call: int = -1
    person: int = -1
    dialed_ms: int = -1
    start_ms: int = -1
    ended_ms: int = -1
    outcome: str = ""
    picked_up_ms: int = -1
    verdict_ms: int = -1
    verdict: str = ""
    queued_ms: int = -1
    connected_ms: int = -1
    agent: int = -1
    waited_ms: int = -1
    silent_ms: int = -1
    silent: str = ""
    talk_ms: int = -1
    wrap_ms: int = -1
    machine_ms: int = -1
    censored: bool = False


@dataclass(slots=True)
class Stretch:
    """One stretch of an agent; times are UTC [ms since 1970]; `call` is an index of the calls."""

    agent: int
    state: str
    from_ms: int
    to_ms: int
    call: int = -1
    censored: bool = False


class Numbers:
    """Numbers from 0 for names, so that no name, lead or telephone number is kept."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def of(self, name: str) -> int:
        """The number of a name, the next one for a new name."""
        return self._numbers.setdefault(name, len(self._numbers))

    def __len__(self) -> int:
        return len(self._numbers)


def recorded_days(
    log_format: LogFormat,
    campaign: str,
    calls: Sequence[LogCall],
    stretches: Sequence[Stretch],
    *,
    clock: LogClock,
    counted: Counter[str],
    files: Sequence[str],
    call_unknown: Mapping[str, str],
    agent_unknown: Mapping[str, str],
    call_source: Mapping[str, str],
    agent_source: Mapping[str, str],
    resolution_ms: Mapping[str, int],
) -> RecordedDays:
    """Sort everything into local days.

    A call belongs to the day of its `anchor_ms` (the dial, or the first moment known), stretches of
    agents are cut at midnight. A day's time 0 is its first event, its length reaches to the last.

    Raises:
        CalibrationError: no call is left, or the days are more than 1000.
    """
    if not calls:
        raise CalibrationError(f"{files[0] if files else 'the log'}: holds no call of the campaign")
    whole = _columns(calls, CALLS, {**NEVER, **call_unknown})
    anchor = np.array([call.anchor_ms for call in calls], np.int64)
    states = _columns(stretches, AGENTS, {})
    hours = {hour: clock.date_of(hour * 3_600_000) for hour in set((anchor // 3_600_000).tolist())}
    dates = sorted(
        {date + datetime.timedelta(days=n) for date in set(hours.values()) for n in (-1, 0, 1)}
    )  # the day before and the day after hold what agents did on days without a call
    if len(dates) > MAX_DAYS:
        raise CalibrationError(f"{files[0]}: more than {MAX_DAYS} days; export fewer at a time")
    cuts = np.array([clock.midnight_ms(date) for date in dates], np.int64)
    call_day = np.maximum(np.searchsorted(cuts, anchor, side="right") - 1, 0)
    parts, part_day, n_cut = split_at(Table("agents", states), "from_ms", "to_ms", cuts.tolist())
    counted[CUT_AT_MIDNIGHT] += n_cut
    last = np.maximum.reduce([anchor, *(whole[name] for name in MOMENTS if name in whole)])
    ends = np.append(cuts[1:], np.int64(2**62))
    counted[OVER_MIDNIGHT] += int((last >= ends[call_day]).sum())
    counted[STILL_GOING] += int(whole["censored"].sum())
    sources = {"call": dict(call_source), "agent": dict(agent_source)}
    days: list[RecordedDay] = []
    for number, date in enumerate(dates):
        mine = np.flatnonzero(call_day == number)
        ours = np.flatnonzero(part_day == number)
        if not len(mine):
            counted[NO_CALL] += int(len(ours) > 0)
            continue
        mine = mine[np.argsort(anchor[mine], kind="stable")]
        ours = ours[np.argsort(parts.columns["from_ms"][ours], kind="stable")]
        begins = [int(anchor[mine].min())]
        finishes = [int(last[mine].max())]
        if len(ours):
            begins.append(int(parts.columns["from_ms"][ours].min()))
            finishes.append(int(parts.columns["to_ms"][ours].max()))
        zero = min(begins)
        local = datetime.datetime.fromtimestamp(zero / 1000.0, clock.zone)
        new_number = np.full(len(calls), -1, np.int64)
        new_number[mine] = np.arange(len(mine))
        table = {name: values[mine] for name, values in whole.items()}
        for name in MOMENTS:
            if name in table:
                table[name] = np.where(table[name] >= 0, table[name] - zero, -1)
        table["call"] = np.arange(len(mine), dtype=np.int64)
        spent = {name: values[ours] for name, values in parts.columns.items()}
        spent["from_ms"], spent["to_ms"] = spent["from_ms"] - zero, spent["to_ms"] - zero
        if "call" in spent:
            spent["call"] = np.where(spent["call"] >= 0, new_number[spent["call"]], -1)
        days.append(
            RecordedDay(
                label=str(date),
                date=date,
                wall_s=local.hour * 3600.0 + local.minute * 60 + local.second,
                utc_ms=zero,
                length_ms=max(finishes) - zero,
                calls=Table(
                    "calls",
                    table,
                    {**NEVER, **call_unknown},
                    sources["call"],
                    {n: r for n, r in resolution_ms.items() if n in table},
                ),
                agents=Table(
                    "agents",
                    {} if agent_unknown else spent,
                    agent_unknown,
                    sources["agent"],
                    {n: r for n, r in resolution_ms.items() if n in spent},
                ),
                time_zone=clock.name,
            )
        )
    tidy = {what: n for what, n in (counted + clock.counted).items() if n}
    return RecordedDays(log_format, campaign, tuple(days), tidy, tuple(files))


def _columns(
    rows: Sequence[Any], wanted: Sequence[Any], unknown: Mapping[str, str]
) -> dict[str, NDArray[Any]]:
    names = [c.name for c in wanted if c.name != "campaign" and c.name not in unknown]
    values = as_columns(rows, names)
    out: dict[str, NDArray[Any]] = {}
    for column in wanted:
        if column.name not in values:
            continue
        kind = np.int64
        if column.kind == "flag":
            out[column.name] = np.array(values[column.name], np.bool_)
        elif isinstance(column.kind, tuple):
            out[column.name] = np.array(values[column.name], np.str_)
        else:
            out[column.name] = np.array(values[column.name], kind)
    return out
