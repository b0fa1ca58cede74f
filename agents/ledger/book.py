"""The ledger as the dialer's side uses it: record, count, ask who may be called, purge."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

from quietdial.agents.ledger import chain, store
from quietdial.agents.ledger.errors import LedgerError
from quietdial.agents.ledger.events import (
    ANSWERED,
    CAUSES,
    Decided,
    Dialed,
    Ended,
    checked,
    content_text,
)
from quietdial.agents.ledger.persons import person_of
from quietdial.agents.ledger.questions import (
    Permission,
    WindowCounts,
    permission,
    window_counts,
)
from quietdial.agents.ledger.tallies import Tallies, wait_class
from quietdial.agents.ledger.terms import FOREVER_MS, Retention, Terms

Event = Dialed | Ended | Decided
_DAY_MS = 86_400_000


class Purged(NamedTuple):
    """What a purge removed.

    Attributes:
        persons: calls whose person was forgotten.
        decisions: single decisions.
        campaigns: campaigns whose statistics were kept long enough, with all their calls.
    """

    persons: int
    decisions: int
    campaigns: int


class Ledger:
    """The one writer of a ledger. Safe to use from several threads of one process.

    Every method that changes something returns only when the change is on the disk.

    Args:
        path: the file; `<path>.lock`, `<path>-wal` and `<path>-shm` belong to it.
        key: secret of the hashes, see `persons.read_key`; never stored.
        retention: how long details are kept.
        make: make the file if there is none; otherwise a missing file is an error.

    Raises:
        LedgerError: missing, damaged, another key, newer version, or another process writes it.
    """

    def __init__(
        self,
        path: Path,
        key: bytes,
        *,
        retention: Retention | None = None,
        make: bool = False,
    ) -> None:
        self.path = path
        self._key = key
        self._retention = retention or Retention()
        self._guard = threading.RLock()
        self._lock = store.Lock(path)
        try:
            self._connection = store.open_to_write(path, key, make=make)
        except BaseException:
            self._lock.free()
            raise
        self._tallies = Tallies(self._connection, key)
        self._terms: dict[str, tuple[int, Terms]] = {
            name: (number, Terms.from_json(text))
            for number, name, text in self._connection.execute(
                "SELECT id, name, terms FROM campaigns"
            )
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file and let others write."""
        with self._guard:
            self._connection.close()
            self._lock.free()

    # --- campaigns --------------------------------------------------------------------------------

    @property
    def campaigns(self) -> dict[str, Terms]:
        """The terms of every campaign by name."""
        return {name: terms for name, (_, terms) in self._terms.items()}

    def agree(self, campaign: str, terms: Terms, *, who: str, at_ms: int, why: str = "") -> bool:
        """Set the terms of a campaign; a new campaign or a change is written into the audit trail.

        Args:
            campaign: its name.
            terms: what it has to keep. `first_day` and `time_zone` cannot change later: the
                windows are numbered by them.
            who: who asks for it.
            at_ms: now [ms since 1970].
            why: reason of the change.

        Returns:
            Whether anything changed.
        """
        if not 1 <= len(campaign) <= 100:
            raise LedgerError(f"campaign {campaign[:20]!r}: a name has 1 to 100 characters")
        with self._changing():
            known = self._terms.get(campaign)
            if known and known[1] == terms:
                return False
            old = known[1] if known else None
            if old and (old.first_day, old.time_zone) != (terms.first_day, terms.time_zone):
                raise LedgerError(
                    f"campaign {campaign!r}: first_day and time_zone stay {old.first_day} and "
                    f"{old.time_zone}; give another campaign another name"
                )
            text = terms.to_json()
            self._connection.execute(
                "INSERT INTO campaigns (name, terms, last_ms) VALUES (?, ?, ?) "
                "ON CONFLICT (name) DO UPDATE SET terms = excluded.terms",
                (campaign, text, at_ms),
            )
            row = self._connection.execute("SELECT id FROM campaigns WHERE name = ?", (campaign,))
            number = int(row.fetchone()[0])
            if old:
                self._tallies.add_new_windows(number, old, terms)
            content = {"old": old.to_json() if old else None, "new": text, "why": why}
            chain.append(self._connection, self._key, at_ms, who, "terms", campaign, content)
        self._terms[campaign] = number, terms
        return True

    def terms(self, campaign: str) -> Terms:
        """The terms of a campaign; `LedgerError` if it is not known."""
        return self._campaign(campaign)[1]

    # --- events -----------------------------------------------------------------------------------

    def record(self, events: Iterable[Event]) -> int:
        """Record events in one transaction: all of them or none; see :meth:`record_each`.

        Returns:
            How many were new.

        Raises:
            LedgerError: an impossible event, an unknown campaign, or an id that was recorded with
                another content; then none is recorded.
        """
        return sum(self.record_each(events))

    def record_each(self, events: Iterable[Event]) -> list[bool]:
        """Record events in one transaction: all of them or none.

        An event whose id is known already, with the same content, is left out: a retry is counted
        once.

        Returns:
            Whether each was new.

        Raises:
            LedgerError: as :meth:`record`.
        """
        batch = list(events)
        for event in batch:
            checked(event)
            self._campaign(event.campaign)
        with self._changing():
            return [
                self._decided(event) if isinstance(event, Decided) else self._called(event)
                for event in batch
            ]

    def _called(self, event: Dialed | Ended) -> bool:
        number, terms = self._campaign(event.campaign)
        day = terms.day_of(event.at_ms)
        if day < terms.first_day:
            raise LedgerError(
                f"event {event.call_id!r} is of {day}, before the campaign's first day "
                f"{terms.first_day}"
            )
        ended = isinstance(event, Ended)
        outcome = event.outcome if isinstance(event, Ended) else "dialed"
        wait_ms = event.wait_ms if isinstance(event, Ended) else None
        known = self._connection.execute(
            "SELECT at_ms, outcome FROM calls WHERE campaign = ? AND call_id = ? AND ended = ?",
            (number, event.call_id, int(ended)),
        ).fetchone()
        if known:
            _same("call", event.call_id, known, (event.at_ms, outcome))
            return False
        person = self._person(number, event)
        if (
            not ended
            and person is not None
            and not permission(self._connection, number, terms, person, event.at_ms).allowed
        ):
            self._tallies.count(number, day, "dialed_although_refused")
        self._connection.execute(
            "INSERT INTO calls VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                event.call_id,
                int(ended),
                number,
                event.at_ms,
                day.isoformat(),
                outcome,
                wait_ms,
                person,
                None if person is None else self._until(terms, event.at_ms),
            ),
        )
        self._tallies.seal_days(number, event.campaign, day, event.at_ms)
        self._tallies.count(number, day, outcome)
        if outcome in ANSWERED:
            self._tallies.add_to_windows(number, terms, day, CAUSES.get(outcome))
            if wait_ms is not None:
                self._tallies.count(number, day, wait_class(wait_ms))
        return True

    def _decided(self, event: Decided) -> bool:
        number, _ = self._campaign(event.campaign)
        row = (number, event.at_ms, content_text(event))
        known = self._connection.execute(
            "SELECT campaign, at_ms, content FROM decisions WHERE event_id = ?", (event.event_id,)
        ).fetchone()
        if known:
            _same("decision", event.event_id, known, row)
            return False
        self._connection.execute(
            "INSERT INTO decisions VALUES (?, ?, ?, ?)", (event.event_id, *row)
        )
        return True

    def _person(self, number: int, event: Dialed | Ended) -> bytes | None:
        """Hash of the person: of the number, as given, or for an outcome that of its dial."""
        if event.number is not None:
            return person_of(self._key, event.number)
        if event.person is not None:
            return bytes.fromhex(event.person)
        row = self._connection.execute(
            "SELECT person FROM calls WHERE campaign = ? AND call_id = ? AND ended = 0",
            (number, event.call_id),
        ).fetchone()
        return row[0] if row else None

    # --- questions --------------------------------------------------------------------------------

    def counts(self, campaign: str, at_ms: int) -> tuple[WindowCounts, ...]:
        """The counts of all windows of a campaign that the moment lies in, in the terms' order."""
        with self._asking():
            number, terms = self._campaign(campaign)
            return window_counts(self._connection, number, terms, at_ms)

    def knows(self, campaign: str, call_id: str, *, ended: bool) -> bool:
        """Whether the dial, or the outcome, of a call was recorded."""
        return bool(
            self._rows(
                campaign,
                "SELECT 1 FROM calls WHERE campaign = ? AND call_id = ? AND ended = ?",
                call_id,
                int(ended),
            )
        )

    def outcomes(self, campaign: str, from_ms: int, until_ms: int | None = None) -> dict[str, int]:
        """Calls by outcome that ended in [from_ms, until_ms); without an end: up to now."""
        return dict(
            self._rows(
                campaign,
                "SELECT outcome, count(*) FROM calls WHERE campaign = ? AND at_ms >= ? "
                "AND at_ms < ? AND ended = 1 GROUP BY outcome",
                from_ms,
                FOREVER_MS if until_ms is None else until_ms,
            )
        )

    def open_dials(self, campaign: str, from_ms: int) -> list[tuple[str, int, bytes | None]]:
        """Calls dialed since `from_ms` without an outcome: id, moment [ms], hash of the person."""
        return self._rows(
            campaign,
            "SELECT call_id, at_ms, person FROM calls AS dial WHERE campaign = ? AND at_ms >= ? "
            "AND ended = 0 AND NOT EXISTS (SELECT 1 FROM calls WHERE campaign = dial.campaign "
            "AND call_id = dial.call_id AND ended = 1) ORDER BY at_ms, call_id",
            from_ms,
        )

    def calls_of(self, campaign: str, person: str) -> list[tuple[int, str]]:
        """Dials (as "dialed") and outcomes of a person, oldest first: moment [ms], outcome."""
        return self._rows(
            campaign,
            "SELECT at_ms, outcome FROM calls WHERE campaign = ? AND person = ? ORDER BY at_ms",
            bytes.fromhex(person),
        )

    def may_dial(self, campaign: str, telephone: str, at_ms: int) -> Permission:
        """Whether a person may be dialed now: no pause runs, no cap on attempts is reached.

        Pauses follow the person over all campaigns, caps are of the campaign.
        """
        with self._asking():
            number, terms = self._campaign(campaign)
            return permission(
                self._connection, number, terms, person_of(self._key, telephone), at_ms
            )

    def note(self, campaign: str, at_ms: int, *, who: str, what: str, content: object) -> None:
        """Append an act of a person or of the pacer to the audit trail.

        Args:
            campaign: its name; empty: all.
            at_ms: moment [ms since 1970].
            who: who did it.
            what: a short word; "terms", "day" and "purge" are the ledger's own.
            content: plain values.
        """
        if what in ("terms", "day", "purge"):
            raise LedgerError(f"audit entry {what!r}: the ledger writes these itself")
        with self._changing():
            chain.append(self._connection, self._key, at_ms, who, what, campaign, content)

    # --- deletion ---------------------------------------------------------------------------------

    def purge(self, at_ms: int, *, who: str = "ledger") -> Purged:
        """Delete what is past its date: hashes of persons, decisions, whole old campaigns.

        Counts of a campaign stay until `retention_s` after its last event; then all of it goes, but
        the audit trail, which holds no personal data, keeps its entries.
        """
        with self._changing():
            run = self._connection.execute
            persons = run(
                "UPDATE calls SET person = NULL, person_until_ms = NULL WHERE person_until_ms <= ?",
                (at_ms,),
            ).rowcount
            before = at_ms - math.floor(1000 * self._retention.decisions_s)
            decisions = run("DELETE FROM decisions WHERE at_ms < ?", (before,)).rowcount
            over = [
                (name, number)
                for name, (number, terms) in self._terms.items()
                if self._last_ms(number) + math.ceil(1000 * terms.retention_s) <= at_ms
            ]
            for _, number in over:
                for table in ("calls", "windows", "statistics", "decisions"):
                    run(f"DELETE FROM {table} WHERE campaign = ?", (number,))  # noqa: S608
                run("DELETE FROM campaigns WHERE id = ?", (number,))
            done = Purged(persons, decisions, len(over))
            content = done._asdict() | {"names": [name for name, _ in over]}
            chain.append(self._connection, self._key, at_ms, who, "purge", "", content)
        for name, _ in over:
            del self._terms[name]
        with self._asking():
            self._connection.execute("PRAGMA incremental_vacuum")
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return done

    # --- inner ------------------------------------------------------------------------------------

    def _rows(self, campaign: str, query: str, *values: object) -> list[Any]:
        """Rows of a query whose first parameter is the campaign."""
        with self._asking():
            number, _ = self._campaign(campaign)
            return self._connection.execute(query, (number, *values)).fetchall()

    def _last_ms(self, number: int) -> int:
        row = self._connection.execute("SELECT last_ms FROM campaigns WHERE id = ?", (number,))
        return int(row.fetchone()[0])

    def _until(self, terms: Terms, at_ms: int) -> int:
        kept_s = terms.persons_s(self._retention.persons_s)
        return FOREVER_MS if math.isinf(kept_s) else at_ms + math.ceil(1000 * kept_s)

    def _campaign(self, name: str) -> tuple[int, Terms]:
        if name not in self._terms:
            raise LedgerError(f"campaign {name!r} is not in the ledger; agree on its terms first")
        return self._terms[name]

    @contextlib.contextmanager
    def _asking(self) -> Iterator[None]:
        with self._guard, store.one_line(self.path):
            yield

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        with self._asking(), store.transaction(self._connection):
            yield


def _same(what: str, event_id: str, known: tuple[object, ...], now: tuple[object, ...]) -> None:
    if tuple(known) != now:
        raise LedgerError(
            f"{what} {event_id!r} was recorded before with another content; an id is used once"
        )
