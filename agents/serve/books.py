"""Outcomes and decisions in a compliance ledger, so that a crash of the sidecar forgets nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from quietdial.agents.ledger import CampaignBook, Ledger, LedgerError, read_key
from quietdial.agents.runtime.ledger_protocol import Outcome
from quietdial.agents.serve.errors import RequestError

_HOUR_MS = 3_600_000


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

    def settled(self, campaign: str, call: str, at_s: float, outcome: Outcome) -> bool | None:
        """Record an outcome; on the disk when this returns.

        Returns:
            Whether it was new; None: the campaign is not recorded.

        Raises:
            RequestError: the ledger refuses it (409).
        """
        book = self._books.get(campaign)
        if book is None:
            return None
        try:
            return book.settled(call, round(1000 * at_s), outcome)
        except LedgerError as error:
            raise RequestError(f"ledger: {error}", 409) from None

    def decided(self, campaign: str, at_s: float, decision: Mapping[str, object]) -> None:
        """Record a decision, with the next outcome or 64 at a time."""
        book = self._books.get(campaign)
        if book is not None:
            book.decided(round(1000 * at_s), decision)

    def close(self) -> None:
        """Write what waits, and let others write."""
        for book in self._books.values():
            book.flush()
        self._ledger.close()
