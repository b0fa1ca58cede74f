"""Feeds the compliance ledger from `vicidial_log`: every call once, however often it is read."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Final
from zoneinfo import ZoneInfo

from quietdial.agents.ledger import Ended, Ledger
from quietdial.agents.vicidial.database import Database

OUTCOME_OF: Final[Mapping[str, str]] = {
    "A": "machine_agent",
    "AA": "machine",
    "AM": "machine",
    "AL": "machine",
    "AFAX": "machine",
    "NA": "no_answer",
    "B": "busy",
    "AB": "busy",
    "DC": "invalid",
    "ADC": "invalid",
    "ADCT": "invalid",
    "PDROP": "left",
    "LRERR": "failure",
    "TIMEOT": "no_answer",
}
"""Statuses with a fixed outcome. A drop is "left" if the callee hung up first, else "cut"; any
other status is "connected" if it is `human_answered`, else "no_answer"."""
OVERLAP_S: Final = 3600.0
"""Calls may get their status so long after `call_date`, which is the answer, not the end [s]."""

_ENDED = (
    "SELECT l.uniqueid, l.call_date, l.status, l.phone_number, l.term_reason, s.human_answered "
    "FROM vicidial_log AS l LEFT JOIN vicidial_statuses AS s ON s.status = l.status "
    "WHERE l.campaign_id = %s AND l.call_date >= %s AND l.status NOT IN "
    "('PU', 'INCALL', 'QUEUE', 'DISPO', 'NEW') ORDER BY l.call_date, l.uniqueid"
)


class OutcomeFeed:
    """Copies the outcomes of one campaign into a ledger.

    Each reading begins `OVERLAP_S` before the last one ended; what the ledger knows already is left
    out, so nothing is counted twice, also after a crash.

    Attributes:
        zone: time zone of the database's local time.

    Args:
        database: connection with the adapter's account.
        ledger: the ledger; the campaign's terms must have been agreed on.
        campaign: `campaign_id`, also its name in the ledger.
        begin: first moment to read (the database's local time).
        time_zone: of the database's local time, IANA name.
    """

    def __init__(
        self,
        database: Database,
        ledger: Ledger,
        campaign: str,
        begin: datetime.datetime,
        time_zone: str,
    ) -> None:
        ledger.terms(campaign)
        self._database = database
        self._ledger = ledger
        self._campaign = campaign
        self._since = begin
        self._first = begin
        self.zone = ZoneInfo(time_zone)

    def copy(self) -> int:
        """Copy what has ended since the last time; how many calls were new.

        Raises:
            AwayError: the database is away.
            LedgerError: the ledger refuses.
        """
        rows = self._database.rows(_ENDED, (self._campaign, self._since))
        events = [
            Ended(
                call_id=uniqueid,
                campaign=self._campaign,
                at_ms=round(call_date.replace(tzinfo=self.zone).timestamp() * 1000),
                outcome=outcome_of(status, term_reason, human == "Y"),
                number=phone or None,
            )
            for uniqueid, call_date, status, phone, term_reason, human in rows
            if not self._ledger.knows(self._campaign, uniqueid, ended=True)
        ]
        new = self._ledger.record(events) if events else 0
        if rows:
            latest = rows[-1][1] - datetime.timedelta(seconds=OVERLAP_S)
            self._since = max(self._first, latest)
        return new


def outcome_of(status: str, term_reason: str, human_answered: bool) -> str:
    """The outcome, as the ledger calls it, of a final status of `vicidial_log`."""
    if status in ("DROP", "XDROP"):
        return "left" if term_reason in ("CALLER", "ABANDON") else "cut"
    if status in OUTCOME_OF:
        return OUTCOME_OF[status]
    return "connected" if human_answered else "no_answer"
