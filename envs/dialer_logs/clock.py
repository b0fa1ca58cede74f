"""Local times of a log to UTC, with the hours that clocks skip and repeat."""

from __future__ import annotations

import datetime
import zoneinfo
from collections import Counter
from pathlib import Path
from typing import Final

from quietdial.envs.dialer_logs.text import refuse
from quietdial.envs.errors import CalibrationError

FIRST_S: Final = 946_684_800  # 2000-01-01
LAST_S: Final = 4_102_444_800  # 2100-01-01
"""Epochs outside of these are not times of calls."""
REPEATED: Final = "local times in the hour that the clock repeats, taken for the first one"
SKIPPED: Final = "local times in an hour that the clock skips"
_QUARTER_S: Final = 900


class LogClock:
    """Reads the local times of one log.

    Attributes:
        zone: the time zone.
        counted: local times that stand for two moments, or for none.

    Args:
        time_zone: IANA name.

    Raises:
        CalibrationError: there is no such time zone.
    """

    def __init__(self, time_zone: str) -> None:
        try:
            self.zone = zoneinfo.ZoneInfo(time_zone)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            raise CalibrationError(
                f"time zone {time_zone!r:.60} is not known; use an IANA name such as Europe/Rome"
            ) from None
        self.name = time_zone
        self.counted: Counter[str] = Counter()
        self._offsets: dict[tuple[int, ...], tuple[float, float]] = {}

    def utc_ms(self, text: str, path: Path, line: int, near_ms: int | None = None) -> int:
        """A local time such as `2026-03-02 09:00:00.250` as UTC [ms since 1970].

        Args:
            text: the local time.
            path: file, for messages.
            line: its line, for messages.
            near_ms: a moment nearby from another column [ms], which tells the two hours apart that
                a clock repeats; None: there is none, the first is taken and counted.
        """
        try:
            local = datetime.datetime.fromisoformat(text)
        except ValueError:
            local = datetime.datetime.min
        if local.tzinfo is not None or not 2000 <= local.year < 2100:
            refuse(path, line, f"{text!r:.40} is not a local time such as 2026-03-02 09:00:00")
        key = (local.year, local.month, local.day, local.hour, local.minute // 15)
        if key not in self._offsets:
            self._offsets[key] = self._both(local)
        first, second = self._offsets[key]
        naive = local.replace(tzinfo=datetime.UTC).timestamp()
        if first == second:
            return round(1000 * (naive - first))
        if first < second:  # before the gap the smaller offset holds
            self.counted[SKIPPED] += 1
            return round(1000 * (naive - first))
        early, late = round(1000 * (naive - first)), round(1000 * (naive - second))
        if near_ms is None:
            self.counted[REPEATED] += 1
            return early
        return early if abs(early - near_ms) <= abs(late - near_ms) else late

    def _both(self, local: datetime.datetime) -> tuple[float, float]:
        offsets = []
        for fold in (0, 1):
            offset = local.replace(tzinfo=self.zone, fold=fold).utcoffset()
            offsets.append((offset or datetime.timedelta()).total_seconds())
        return offsets[0], offsets[1]

    def date_of(self, utc_ms: int) -> datetime.date:
        """The local calendar day of a moment."""
        return datetime.datetime.fromtimestamp(utc_ms / 1000.0, self.zone).date()

    def midnight_ms(self, date: datetime.date) -> int:
        """The moment at which a local day begins [ms since 1970]."""
        local = datetime.datetime.combine(date, datetime.time(), self.zone)
        return round(local.timestamp() * 1000)


def epoch_ms(seconds: int | float | None, path: Path, line: int, name: str) -> int | None:
    """Seconds since 1970 as milliseconds; 0 and None stand for none."""
    if not seconds:
        return None
    if not FIRST_S <= seconds < LAST_S:
        refuse(path, line, f"{name} = {seconds} is not a time between 2000 and 2100")
    return round(1000 * seconds)
