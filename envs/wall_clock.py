"""From the world's clock to the clock on the wall: local time of day, dates, UTC."""

from __future__ import annotations

import datetime
import zoneinfo

import numpy as np
from numpy.typing import ArrayLike, NDArray

from quietdial.envs.errors import ConfigError
from quietdial.envs.regulation.calendar import sessions_of
from quietdial.envs.scenario.world import Scenario

DAY_S = 86_400


class WallClock:
    """Wall time of one scenario.

    Within a session, wall time is the wall time of its opening plus the time since
    (docs/mechanisms.md, "Time"); what still runs after a close belongs to that session.

    Attributes:
        sessions: the scenario's sessions, in order.
    """

    def __init__(self, scenario: Scenario) -> None:
        self.sessions = sessions_of(scenario)
        self._open_ms = np.array([s.open_ms for s in self.sessions], np.int64)
        self._wall_ms = np.array([1000 * s.wall_s for s in self.sessions], np.int64)
        zone = zoneinfo.ZoneInfo(scenario.episode.time_zone)
        self._open_utc_ms: NDArray[np.int64] | None = None
        if self.sessions[0].date is not None:
            openings = [_utc_ms(s.date, s.wall_s, zone) for s in self.sessions if s.date]
            self._open_utc_ms = np.array(openings, np.int64)

    @property
    def has_date(self) -> bool:
        """Whether the scenario lies in a calendar."""
        return self._open_utc_ms is not None

    def session_of(self, time_ms: ArrayLike) -> NDArray[np.int64]:
        """Number of the session that each time belongs to, int64, shape of `time_ms` [ms]."""
        place = np.searchsorted(self._open_ms, np.asarray(time_ms, np.int64), side="right") - 1
        return np.maximum(place, 0).astype(np.int64)

    def local_ms(self, time_ms: ArrayLike) -> NDArray[np.int64]:
        """Local time of day [ms since midnight of the session's day], shape of `time_ms` [ms]."""
        time = np.asarray(time_ms, np.int64)
        session = self.session_of(time)
        return self._wall_ms[session] + time - self._open_ms[session]

    def utc_ms(self, time_ms: ArrayLike) -> NDArray[np.int64]:
        """UTC [ms since 1970-01-01], shape of `time_ms` [ms]; the scenario must have a date."""
        if self._open_utc_ms is None:
            raise ConfigError("episode.first_day is not set: the scenario has no UTC time")
        time = np.asarray(time_ms, np.int64)
        session = self.session_of(time)
        return self._open_utc_ms[session] + time - self._open_ms[session]

    def text(self, time_ms: int) -> str:
        """One time as "10:00:00", with a date as "2026-05-04 10:00:00"."""
        seconds = int(self.local_ms(time_ms)) // 1000
        clock = f"{seconds // 3600 % 24:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"
        date = self.sessions[int(self.session_of(time_ms))].date
        if date is None:
            return clock
        return f"{date + datetime.timedelta(days=seconds // DAY_S)} {clock}"


def _utc_ms(date: datetime.date, wall_s: int, zone: zoneinfo.ZoneInfo) -> int:
    midnight = datetime.datetime.combine(date, datetime.time())
    local = (midnight + datetime.timedelta(seconds=wall_s)).replace(tzinfo=zone)
    return round(local.timestamp() * 1000)
