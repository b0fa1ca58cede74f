"""What the adapter reads out of VICIdial's tables, by SQL alone."""

from __future__ import annotations

import datetime
from typing import Final, NamedTuple

from quietdial.agents.vicidial.database import Database
from quietdial.agents.vicidial.errors import DialerError

READY: Final = ("READY",)
ON_CALL: Final = ("INCALL", "QUEUE", "MQUEUE", "CLOSER")
IN_FLIGHT: Final = ("SENT", "RINGING")
DROPS: Final = ("DROP", "XDROP")
BUCKET_S: Final = 5
"""Finished dials are counted in spans of so many seconds for the answer rate."""

# Rows of live agents that were not refreshed for a minute are not counted, as VICIdial does it.
_AGENTS = (
    "SELECT status, lead_id > 0, COUNT(*) FROM vicidial_live_agents WHERE campaign_id = %s "
    "AND last_update_time > %s - INTERVAL 60 SECOND GROUP BY 1, 2"
)
_CALLS = (
    "SELECT status, COUNT(*) FROM vicidial_auto_calls WHERE campaign_id = %s "
    "AND call_type = 'OUT' GROUP BY status"
)
_LOG = (
    "SELECT COUNT(*), COALESCE(SUM(s.human_answered = 'Y'), 0), "
    "COALESCE(SUM(l.status IN ('DROP', 'XDROP')), 0), "
    "COALESCE(SUM(s.human_answered = 'Y' OR l.status IN ('PU', 'A')), 0) FROM vicidial_log AS l "
    "LEFT JOIN vicidial_statuses AS s ON s.status = l.status "
    "WHERE l.campaign_id = %s AND l.call_date >= %s AND l.call_date < %s"
)
# Finished dials of the last hour: older ones weigh next to nothing.
_RECENT = (
    "SELECT FLOOR(TIMESTAMPDIFF(SECOND, l.call_date, %s) / 5), COUNT(*), "
    "COALESCE(SUM(s.human_answered = 'Y' OR l.status IN ('PU', 'A')), 0) FROM vicidial_log AS l "
    "LEFT JOIN vicidial_statuses AS s ON s.status = l.status "
    "WHERE l.campaign_id = %s AND l.call_date > %s - INTERVAL 3600 SECOND "
    "AND l.call_date <= %s GROUP BY 1"
)
_STATS = (
    "SELECT calls_today, answers_today, drops_today FROM vicidial_campaign_stats "
    "WHERE campaign_id = %s"
)


class Tally(NamedTuple):
    """Calls of a stretch of time in `vicidial_log`.

    Attributes:
        calls: rows, finished or answered.
        answered: rows whose status is `human_answered`, drops included.
        drops: DROP and XDROP.
        picked_up: rows of calls that somebody or something picked up and that went to the queue.
    """

    calls: int = 0
    answered: int = 0
    drops: int = 0
    picked_up: int = 0

    def plus(self, other: Tally) -> Tally:
        """Both together."""
        return Tally(*(a + b for a, b in zip(self, other, strict=True)))


class Recent(NamedTuple):
    """Dials that ended or were picked up about `age_s` seconds ago."""

    age_s: float
    finished: int
    answered: int


class Snapshot(NamedTuple):
    """One moment of a campaign.

    Attributes:
        now: moment, by the database's clock (local time, as VICIdial writes it).
        ready: agents READY.
        on_call: agents INCALL, QUEUE, MQUEUE or CLOSER.
        wrapping: agents PAUSED who still have a lead: the disposition screen.
        paused: agents PAUSED without a lead.
        in_flight: calls SENT or RINGING.
        waiting: calls LIVE: answered, no agent yet.
        talking: calls XFER or CLOSER.
        window: calls of the compliance window so far.
        recent: dials of the last hour by age.
        shown: calls, answers and drops of today as VICIdial's own screens show them, up to a minute
            late; all zero without such a row.
    """

    now: datetime.datetime
    ready: int
    on_call: int
    wrapping: int
    paused: int
    in_flight: int
    waiting: int
    talking: int
    window: Tally
    recent: tuple[Recent, ...]
    shown: Tally = Tally()

    @property
    def working(self) -> int:
        """Agents logged in and not on break."""
        return self.ready + self.on_call + self.wrapping


class Reader:
    """Reads snapshots of one campaign.

    Days of the window that are over are counted once, so that the query of every decision looks at
    today only.

    Args:
        database: connection.
        campaign: `campaign_id`.
        window_from: first moment of the compliance window, in the database's local time.
        now_query: query of the clock; a simulated floor brings its own.
    """

    def __init__(
        self,
        database: Database,
        campaign: str,
        window_from: datetime.datetime,
        now_query: str = "SELECT NOW(3)",
    ) -> None:
        self._database = database
        self._campaign = campaign
        self._from = window_from
        self._now_query = now_query
        self._before: tuple[datetime.date, Tally] | None = None

    def read(self) -> Snapshot:
        """The campaign as it is now. Raises as `Database.rows`."""
        rows = self._database.rows
        found = rows(self._now_query)
        if not found or not isinstance(found[0][0], datetime.datetime):
            raise DialerError(f"the clock {self._now_query!r} gives no time")
        now: datetime.datetime = found[0][0]
        agents = rows(_AGENTS, (self._campaign, now))
        calls: dict[str, int] = dict(rows(_CALLS, (self._campaign,)))
        return Snapshot(
            now=now,
            ready=sum(n for status, _, n in agents if status in READY),
            on_call=sum(n for status, _, n in agents if status in ON_CALL),
            wrapping=sum(n for status, lead, n in agents if status == "PAUSED" and lead),
            paused=sum(n for status, lead, n in agents if status == "PAUSED" and not lead),
            in_flight=sum(calls.get(status, 0) for status in IN_FLIGHT),
            waiting=calls.get("LIVE", 0),
            talking=calls.get("XFER", 0) + calls.get("CLOSER", 0),
            window=self._window(now),
            recent=tuple(
                Recent(BUCKET_S * (int(age) + 0.5), int(finished), int(answered))
                for age, finished, answered in rows(_RECENT, (now, self._campaign, now, now))
            ),
            shown=self._shown(),
        )

    def _window(self, now: datetime.datetime) -> Tally:
        midnight = datetime.datetime.combine(now.date(), datetime.time())
        begin = max(midnight, self._from)
        if self._before is None or self._before[0] != now.date():
            past = self._tally(self._from, midnight) if self._from < midnight else Tally()
            self._before = now.date(), past
        return self._before[1].plus(self._tally(begin, now + datetime.timedelta(seconds=1)))

    def _tally(self, begin: datetime.datetime, end: datetime.datetime) -> Tally:
        (counts,) = self._database.rows(_LOG, (self._campaign, begin, end))
        return Tally(*(int(value) for value in counts))

    def _shown(self) -> Tally:
        found = self._database.rows(_STATS, (self._campaign,))
        return Tally(*(int(value or 0) for value in found[0])) if found else Tally()
