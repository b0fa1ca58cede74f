"""Outcomes and decisions in a compliance ledger, so that a crash of the sidecar forgets nothing.

One thread writes, so that no decision waits for the disk. It takes all that waits into one
transaction (group commit): an outcome is acknowledged when that is on the disk, and a decision is
on it a second after it was made at the latest, as long as the disk keeps up.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Final, NamedTuple

from quietdial.agents.ledger import CampaignBook, Ledger, LedgerError, read_key
from quietdial.agents.ledger.campaign_book import STORED_AS, decided_of
from quietdial.agents.ledger.events import Decided, Ended
from quietdial.agents.runtime.ledger_protocol import Outcome
from quietdial.agents.serve.errors import RequestError

log = logging.getLogger("quietdial.serve")

FLUSH_S: Final = 1.0
"""Longest time that a decision waits for others before it is written."""
_FLUSH_ROWS: Final = 64
_MOST_WAITING: Final = 100_000
"""Decisions that wait while the disk does not; then new ones are not kept."""
_HOUR_MS: Final = 3_600_000


class Hour(NamedTuple):
    """What one hour held: its number since 1970, answered and silent calls."""

    number: int
    answered: int
    silent: int


class Books:
    """The campaigns of one ledger; those without terms in it are not recorded.

    Args:
        path: the ledger's file.
        key: the file of its key.

    Raises:
        LedgerError: missing, damaged, another key, or another process writes it.
    """

    def __init__(self, path: Path, key: Path) -> None:
        self._ledger = Ledger(path, read_key(key))
        self._books = {
            campaign: CampaignBook(self._ledger, campaign) for campaign in self._ledger.campaigns
        }
        self._told: list[tuple[Ended, Future[bool]]] = []
        self._decisions: list[Decided] = []
        self._first_s = 0.0
        self._lost = 0
        self._closing = False
        self._work = threading.Condition()
        self._writer = threading.Thread(target=self._write, name="ledger", daemon=True)
        self._writer.start()

    def hours(self, campaign: str, now_s: float, n_hours: int) -> Iterator[Hour]:
        """The last hours of a campaign, oldest first; none if it is not recorded."""
        book = self._books.get(campaign)
        if book is None:
            return
        now = int(now_s * 1000) // _HOUR_MS
        for number in range(now - n_hours + 1, now + 1):
            tally = book.tally(number * _HOUR_MS, (number + 1) * _HOUR_MS)
            silent = tally.cut + tally.left
            if tally.conversation + silent:
                yield Hour(number, tally.conversation + silent, silent)

    def settled(
        self, campaign: str, call: str, at_s: float, outcome: Outcome
    ) -> Future[bool] | None:
        """Record an outcome.

        Returns:
            Whether it was new, when it is on the disk (`RequestError`: the ledger refuses it, 409);
            None: the campaign is not recorded.
        """
        if campaign not in self._books:
            return None
        found: Future[bool] = Future()
        event = Ended(call, campaign, round(1000 * at_s), STORED_AS[outcome])
        with self._work:
            self._told.append((event, found))
            self._work.notify()
        return found

    def decided(self, campaign: str, at_s: float, decision: Mapping[str, object]) -> None:
        """Record a decision, with the next outcome, 64 at a time, or after a second."""
        if campaign not in self._books:
            return
        with self._work:
            if len(self._decisions) >= _MOST_WAITING:
                self._lost += 1
                return
            self._decisions.append(decided_of(campaign, round(1000 * at_s), decision))
            if len(self._decisions) == 1:
                self._first_s = time.monotonic()
            if len(self._decisions) in (1, _FLUSH_ROWS):
                self._work.notify()

    def close(self) -> None:
        """Write what waits, and let others write."""
        with self._work:
            self._closing = True
            self._work.notify()
        self._writer.join()
        self._ledger.close()

    # --- the writer's thread --------------------------------------------------------------------

    def _write(self) -> None:
        while True:
            with self._work:
                while not self._is_due():
                    left_s = None
                    if self._decisions:
                        left_s = max(self._first_s + FLUSH_S - time.monotonic(), 0.0)
                    self._work.wait(left_s)
                told, self._told = self._told, []
                decisions, self._decisions = self._decisions, []
                lost, self._lost = self._lost, 0
                closing = self._closing
            if lost:
                log.error("the ledger's disk is too slow: %d decisions are not kept", lost)
            if told or decisions:
                self._record(told, decisions)
            if closing and not told and not decisions:
                return

    def _is_due(self) -> bool:
        due = bool(self._told) or self._closing or len(self._decisions) >= _FLUSH_ROWS
        late = bool(self._decisions) and time.monotonic() >= self._first_s + FLUSH_S
        return due or late

    def _record(self, told: list[tuple[Ended, Future[bool]]], decisions: list[Decided]) -> None:
        """Write everything in one transaction; if the ledger refuses it, one by one."""
        fresh: dict[tuple[str, str], tuple[Ended, Future[bool]]] = {}
        again: list[Future[bool]] = []
        try:
            for event, found in told:
                name = (event.campaign, event.call_id)
                known = name in fresh or self._ledger.knows(*name, ended=True)
                if known:
                    again.append(found)
                else:
                    fresh[name] = (event, found)
            new = self._ledger.record_each([*decisions, *(event for event, _ in fresh.values())])
        except LedgerError:
            self._one_by_one(told, decisions)
            return
        for (_, found), one in zip(fresh.values(), new[len(decisions) :], strict=True):
            found.set_result(one)
        for found in again:
            found.set_result(False)

    def _one_by_one(self, told: list[tuple[Ended, Future[bool]]], decisions: list[Decided]) -> None:
        try:
            self._ledger.record(decisions)
        except LedgerError as error:
            log.error("%d decisions are not kept: %s", len(decisions), error)
        for event, found in told:
            try:
                known = self._ledger.knows(event.campaign, event.call_id, ended=True)
                found.set_result(False if known else self._ledger.record([event]) > 0)
            except LedgerError as error:
                found.set_exception(RequestError(f"ledger: {error}", 409))
