"""Hard rules that no policy can reach: permitted hours, rest after a silent call, caps of attempts.

People are named by keyed hashes; their history is the ledger's.
"""

from __future__ import annotations

import datetime
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from quietdial.agents.runtime.errors import PacerError
from quietdial.agents.runtime.ledger_protocol import Ledger
from quietdial.agents.runtime.tables import PacingTables

_DAY_MS: Final = 86_400_000
_EPOCH: Final = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


class Permit(NamedTuple):
    """Whether a person may be dialed.

    Attributes:
        ok: true if so.
        reason: why not; empty if so.
    """

    ok: bool
    reason: str = ""


_OK: Final = Permit(True)


class HardRules:
    """The rule's hours and rests.

    Args:
        tables: the rule.
        ledger: the people's history.
        unix_clock: whether the pacer's clock is Unix time, so that days and hours are known; if
            not, only the session's own times hold, and a day is 24 hours of the clock.

    Raises:
        PacerError: an unknown time zone.
    """

    def __init__(self, tables: PacingTables, ledger: Ledger, *, unix_clock: bool) -> None:
        self._t, self._ledger, self._unix = tables, ledger, unix_clock
        try:
            self._zone = ZoneInfo(tables.time_zone)
        except (ZoneInfoNotFoundError, ValueError):
            raise PacerError(f"time zone {tables.time_zone!r} is not known on this host") from None
        self.holidays: frozenset[datetime.date] = frozenset()
        """Public holidays, and the days before them where the rule knows eves; the caller's."""
        self._spans: tuple[tuple[int, int], ...] = ()
        self._day = (0, 0)

    def may_ring(self, now_ms: int) -> bool:
        """Whether a call may ring at that moment by the rule's hours."""
        if not self._unix:
            return True
        if not self._day[0] <= now_ms < self._day[1]:
            self._read_day(now_ms)
        return any(begin <= now_ms < end for begin, end in self._spans)

    def _read_day(self, now_ms: int) -> None:
        day = self._local(now_ms).date()
        begin, end = self._midnight(day), self._midnight(day + datetime.timedelta(1))
        self._day = begin, end
        self._spans = tuple(
            (self._at_second(day, opens), self._at_second(day, closes))
            for opens, closes in self._t.hours.get(self._kind(day), ())
        )

    def _kind(self, day: datetime.date) -> str:
        hours = self._t.hours
        if "holiday" in hours and day in self.holidays:
            return "holiday"
        if day.weekday() >= 5:
            return "sunday" if day.weekday() == 6 else "saturday"
        if "eve" in hours and day + datetime.timedelta(1) in self.holidays:
            return "eve"
        return "weekday"

    def _local(self, now_ms: int) -> datetime.datetime:
        return (_EPOCH + datetime.timedelta(milliseconds=now_ms)).astimezone(self._zone)

    def _midnight(self, day: datetime.date) -> int:
        return self._at_second(day, 0)

    def _at_second(self, day: datetime.date, second: int) -> int:
        days, second = divmod(second, 86_400)
        time = datetime.time(second // 3600, second // 60 % 60, second % 60)
        moment = datetime.datetime.combine(day + datetime.timedelta(days), time, self._zone)
        return (moment - _EPOCH) // datetime.timedelta(milliseconds=1)

    def permit(self, person: str, now_ms: int, *, reserved: bool = False) -> Permit:
        """Whether a person may be dialed now.

        Args:
            person: keyed hash.
            now_ms: when [ms].
            reserved: an agent is set aside for the call.
        """
        t = self._t
        if not self.may_ring(now_ms):
            return Permit(False, "outside the permitted hours")
        known = self._ledger.person(person, 0)
        if known.silent_ms:
            if t.quarantine_ms and now_ms < known.silent_ms[-1] + t.quarantine_ms:
                return Permit(False, "rests after a silent call")
            if t.reserved_after_silent and not reserved:
                return Permit(False, "had a silent call: only with an agent set aside")
        if t.per_campaign and known.n_dials >= t.per_campaign:
            return Permit(False, f"dialed {known.n_dials} times in the campaign")
        day_ms, week_ms = self._begins(now_ms)
        for most, since_ms, name in (
            (t.per_day, day_ms, "today"),
            (t.per_week, week_ms, "this week"),
            (t.per_30_days, now_ms - 30 * _DAY_MS + 1, "in 30 days"),
        ):
            dials = sum(at >= since_ms for at in known.dialed_ms) if most else 0
            if most and dials >= most:
                return Permit(False, f"dialed {dials} times {name}")
        return _OK

    def _begins(self, now_ms: int) -> tuple[int, int]:
        """Begin of the calendar day and of the week, Monday to Sunday [ms]."""
        if not self._unix:
            return now_ms - now_ms % _DAY_MS, now_ms - now_ms % (7 * _DAY_MS)
        day = self._local(now_ms).date()
        return self._midnight(day), self._midnight(day - datetime.timedelta(day.weekday()))
