"""The running counts of days and windows, and the seals on days that are over."""

from __future__ import annotations

import datetime
import sqlite3
from typing import Final

from quietdial.agents.ledger import chain
from quietdial.agents.ledger.events import ANSWERED, CAUSES
from quietdial.agents.ledger.terms import Terms

WAITS_S: Final = (1, 2, 3, 6)
"""Ends of the classes of waiting times in the statistics; longer ones are in `wait_longer`."""


class Tallies:
    """Writes counts, always within the transaction of the event that is counted.

    Args:
        connection: the ledger.
        key: its key, for the seals.
    """

    def __init__(self, connection: sqlite3.Connection, key: bytes) -> None:
        self._connection = connection
        self._key = key

    def count(self, number: int, day: datetime.date, name: str) -> None:
        """Add one to a statistic of a day."""
        self._connection.execute(
            "INSERT INTO statistics VALUES (?, ?, ?, 1) "
            "ON CONFLICT (campaign, day, name) DO UPDATE SET count = count + 1",
            (number, day.isoformat(), name),
        )

    def add_to_windows(
        self, number: int, terms: Terms, day: datetime.date, cause: str | None
    ) -> None:
        """Count an answered call in its windows; `cause`: of a silent one."""
        one = [int(cause == name) for name in ("cut", "left", "amd")]
        for window in terms.windows:
            if window.kind == "hours":
                continue
            key = (number, window.kind, window.length, terms.number_of(window, day))
            self._connection.execute(
                "INSERT INTO windows VALUES (?, ?, ?, ?, 1, ?, ?, ?) "
                "ON CONFLICT (campaign, kind, length, number) DO UPDATE SET "
                "answered = answered + 1, cut = cut + excluded.cut, "
                '"left" = "left" + excluded."left", amd = amd + excluded.amd',
                (*key, *one),
            )

    def add_new_windows(self, number: int, old: Terms, new: Terms) -> None:
        """Count the past in windows that the terms did not have before."""
        known = {(w.kind, w.length) for w in old.windows}
        fresh = [w for w in new.windows if (w.kind, w.length) not in known and w.kind != "hours"]
        if not fresh:
            return
        for kind, length in {(w.kind, w.length) for w in fresh}:
            self._connection.execute(
                "DELETE FROM windows WHERE campaign = ? AND kind = ? AND length = ?",
                (number, kind, length),
            )
        only = Terms(new.rule, tuple(fresh), new.time_zone, new.first_day)
        rows = self._connection.execute(
            "SELECT day, outcome FROM calls WHERE campaign = ? AND ended = 1", (number,)
        ).fetchall()
        for day, outcome in rows:
            if outcome in ANSWERED:
                self.add_to_windows(
                    number, only, datetime.date.fromisoformat(day), CAUSES.get(outcome)
                )

    def seal_days(self, number: int, campaign: str, day: datetime.date, at_ms: int) -> None:
        """At the first event of a day: write the totals of the day before into the audit trail."""
        last = self._connection.execute(
            "SELECT last_day FROM campaigns WHERE id = ?", (number,)
        ).fetchone()[0]
        today = day.isoformat()
        if last is not None and today > last:
            self._seal(number, campaign, last, at_ms)
        if last is None or today > last:
            self._connection.execute(
                "UPDATE campaigns SET last_day = ? WHERE id = ?", (today, number)
            )
        elif today < last:  # a late event of a day that is sealed
            self._connection.execute(
                "INSERT OR IGNORE INTO meta VALUES (?, 1)", (f"reseal {number} {today}",)
            )
        self._connection.execute(
            "UPDATE campaigns SET last_ms = max(last_ms, ?) WHERE id = ?", (at_ms, number)
        )

    def _seal(self, number: int, campaign: str, day: str, at_ms: int) -> None:
        prefix = f"reseal {number} "
        again = self._connection.execute(
            "SELECT name FROM meta WHERE substr(name, 1, ?) = ?", (len(prefix), prefix)
        ).fetchall()
        for (name,) in [(prefix + day,), *again]:
            sealed = name.removeprefix(prefix)
            counts = dict(
                self._connection.execute(
                    "SELECT name, count FROM statistics WHERE campaign = ? AND day = ?",
                    (number, sealed),
                )
            )
            content = {"day": sealed, "counts": counts}
            chain.append(self._connection, self._key, at_ms, "ledger", "day", campaign, content)
            self._connection.execute("DELETE FROM meta WHERE name = ?", (name,))


def wait_class(wait_ms: int) -> str:
    """Name of the class of a waiting time [ms] in the statistics."""
    for most_s in WAITS_S:
        if wait_ms <= 1000 * most_s:
            return f"wait_{most_s}s"
    return "wait_longer"
