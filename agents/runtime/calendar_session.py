"""A session of a real day: which windows of the rule it lies in, and when these began."""

from __future__ import annotations

import datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from quietdial.agents.runtime.errors import PacerError
from quietdial.agents.runtime.tables import PacingTables, Window
from quietdial.agents.runtime.windows import Session

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def calendar_session(
    tables: PacingTables,
    first_day: datetime.date,
    opens_ms: int,
    closes_ms: int,
    *,
    dial_from_ms: int | None = None,
    dial_until_ms: int | None = None,
    spent_ms: int = 0,
    span_ms: int | None = None,
) -> Session:
    """The session of a day, its windows numbered from the campaign's first day.

    Days, blocks of days and months run from midnight to midnight in the campaign's time zone.

    Args:
        tables: the rule and the time zone.
        first_day: first calendar day of the campaign.
        opens_ms: the floor opens [Unix ms].
        closes_ms: the floor closes [Unix ms].
        dial_from_ms: dialing begins; None: when the floor opens.
        dial_until_ms: dialing stops; None: so early that every call is settled at the close.
        spent_ms: open time of the first window on earlier days [ms], if it is longer than a day.
        span_ms: open time of the first window in all [ms]; None: this session is its last.

    Raises:
        PacerError: the day is before the first one, times are out of order, or an unknown zone.
    """
    try:
        zone = ZoneInfo(tables.time_zone)
    except (ZoneInfoNotFoundError, ValueError):
        raise PacerError(f"time zone {tables.time_zone!r} is not known on this host") from None
    day = (_EPOCH + datetime.timedelta(milliseconds=opens_ms)).astimezone(zone).date()
    if day < first_day:
        raise PacerError(f"the session of {day} is before the campaign's first day, {first_day}")
    found = [_window(window, first_day, day) for window in tables.windows]
    if dial_until_ms is None:
        dial_until_ms = max(closes_ms - tables.settled_ms, opens_ms)
    return Session(
        opens_ms=opens_ms,
        dial_from_ms=opens_ms if dial_from_ms is None else dial_from_ms,
        dial_until_ms=dial_until_ms,
        closes_ms=closes_ms,
        windows=tuple(number for number, _ in found),
        begins_ms=tuple(_midnight_ms(begin, zone) for _, begin in found),
        spent_ms=spent_ms,
        span_ms=span_ms,
    )


def _window(
    window: Window, first_day: datetime.date, day: datetime.date
) -> tuple[int, datetime.date]:
    """Number and first day of the window that a day lies in; rolling hours: 0 and today."""
    elapsed = (day - first_day).days
    if window.kind == "day":
        return elapsed, day
    if window.kind == "days":
        number = elapsed // window.length
        return number, first_day + datetime.timedelta(number * window.length)
    if window.kind == "month":
        months = 12 * (day.year - first_day.year) + day.month - first_day.month
        return months, max(day.replace(day=1), first_day)
    return 0, day if window.kind == "hours" else first_day


def _midnight_ms(day: datetime.date, zone: ZoneInfo) -> int:
    midnight = datetime.datetime.combine(day, datetime.time(), zone)
    return (midnight - _EPOCH) // datetime.timedelta(milliseconds=1)
