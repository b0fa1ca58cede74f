"""The rule's windows: silent and answered calls of each, as the dialer itself can count them.

Nothing is added up on the way: a window remembers the totals at its begin, and what is in it is the
difference to now. After a restart the ledger says what the window held before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from quietdial.agents.runtime.errors import PacerError
from quietdial.agents.runtime.ledger_protocol import Ledger, Outcome, Tally
from quietdial.agents.runtime.tables import PacingTables

BUCKETS: Final = 60
"""A rolling window is moved on in steps of 1/60 of its length."""

_AT: Final = {name: at for at, name in enumerate(Tally._fields)}
_ZERO: Final = (0,) * len(Tally._fields)
_HOUR_MS: Final = 3_600_000


@dataclass(frozen=True)
class Session:
    """One stretch of time in which the floor is open; times in ms of the pacer's clock.

    Attributes:
        opens_ms: the floor opens.
        dial_from_ms: dialing begins.
        dial_until_ms: dialing stops; no call may be placed at this moment or later.
        closes_ms: the floor closes.
        windows: number of the window that it lies in, for each of the rule's windows (0 for a
            rolling one).
        begins_ms: when each of these windows began; a rolling one's is not used.
        spent_ms: open time of the first window before this session [ms].
        span_ms: open time of the first window in all [ms]; None: spent_ms and this session.
    """

    opens_ms: int
    dial_from_ms: int
    dial_until_ms: int
    closes_ms: int
    windows: tuple[int, ...] = (0,)
    begins_ms: tuple[int, ...] = ()
    spent_ms: int = 0
    span_ms: int | None = None

    def __post_init__(self) -> None:
        """Refuse times out of order."""
        order = (self.opens_ms, self.dial_from_ms, self.dial_until_ms, self.closes_ms)
        if list(order) != sorted(order) or self.opens_ms == self.closes_ms:
            raise PacerError(
                f"session: opens, dial_from, dial_until, closes = {order} must be in order [ms]"
            )

    @property
    def whole_ms(self) -> int:
        """Open time of the first window in all [ms]."""
        if self.span_ms is not None:
            return self.span_ms
        return self.spent_ms + self.closes_ms - self.opens_ms


class WindowCounts:
    """Counts of all windows of a rule.

    Args:
        tables: the rule.
    """

    def __init__(self, tables: PacingTables) -> None:
        self._t = tables
        self._total: list[int] = list(_ZERO)
        self._base: list[list[int]] = [list(_ZERO) for _ in tables.windows]
        self._known: list[tuple[float, float] | None] = [None] * len(tables.windows)
        self._numbers: tuple[int, ...] | None = None
        self._bucket = 0
        rolling = [window.length for window in tables.windows if window.kind == "hours"]
        self._bucket_ms = rolling[0] * _HOUR_MS // BUCKETS if rolling else 0
        self._ring: list[list[int]] = [list(_ZERO) for _ in range(BUCKETS + 1)] if rolling else []

    @property
    def total(self) -> Tally:
        """Everything since the start."""
        return Tally(*self._total)

    def count(self, outcome: Outcome) -> None:
        """What became of a dial."""
        self._total[_AT[outcome]] += 1
        self._forget_known()

    def _forget_known(self) -> None:
        self._known = [None] * len(self._known)

    def enter(self, session: Session, now_ms: int, ledger: Ledger) -> None:
        """A session opens: windows that do not go on begin anew.

        The first session after a start takes what its windows held from the ledger.
        """
        numbers = session.windows
        if len(numbers) != len(self._t.windows):
            raise PacerError(
                f"session: {len(numbers)} window numbers; the rule has {len(self._t.windows)}"
            )
        begins = session.begins_ms or (session.opens_ms,) * len(numbers)
        for w, window in enumerate(self._t.windows):
            if window.kind == "hours":
                continue
            if self._numbers is None:
                before = ledger.tally(begins[w], now_ms + 1)
                self._base[w] = [a - b for a, b in zip(self._total, before, strict=True)]
            elif numbers[w] != self._numbers[w]:
                self._base[w] = list(self._total)
        if self._bucket_ms and self._numbers is None:
            self._restore_ring(now_ms, ledger)
        self._numbers = numbers
        self._forget_known()

    def _restore_ring(self, now_ms: int, ledger: Ledger) -> None:
        """The rolling window's buckets of the time before the start."""
        self._bucket = now_ms // self._bucket_ms
        for back in range(BUCKETS + 1):
            at = self._bucket - back
            since = ledger.tally(at * self._bucket_ms + 1, now_ms + 1)
            entry = [a - b for a, b in zip(self._total, since, strict=True)]
            self._ring[at % (BUCKETS + 1)] = entry
        self._move_rolling()

    def settle(self, now_ms: int) -> None:
        """Move the rolling window on to the end of a decision interval."""
        if not self._bucket_ms:
            return
        while self._bucket < now_ms // self._bucket_ms:
            self._bucket += 1
            self._ring[self._bucket % (BUCKETS + 1)] = list(self._total)
            self._move_rolling()

    def _move_rolling(self) -> None:
        begins = self._ring[(self._bucket + 1) % (BUCKETS + 1)]
        for w, window in enumerate(self._t.windows):
            if window.kind == "hours":
                self._base[w] = list(begins)
        self._forget_known()

    def tally(self, w: int) -> Tally:
        """What is in window `w`."""
        return Tally(*(a - b for a, b in zip(self._total, self._base[w], strict=True)))

    def counts(self, w: int) -> tuple[float, float]:
        """(silent, answered) of window `w` as the dialer sees them."""
        known = self._known[w]
        if known is None:
            known = self._known[w] = seen_counts(self._t, self.tally(w))
        return known

    def all_counts(self) -> list[tuple[float, float]]:
        """(silent, answered) of each window."""
        return [self.counts(w) for w in range(len(self._base))]


def seen_counts(tables: PacingTables, tally: Tally) -> tuple[float, float]:
    """(silent, answered) of a tally by the rule's own way to count.

    With perfect detection the dialer sees the truth. Otherwise it counts what it dropped, or, by
    Ofcom's formula, D + F: D = X L / (L + Ag) takes the machines among the dropped X out, F is the
    audited share of the verdicts "machine" (regulation/counting.py).
    """
    dropped = float(tally.cut * tables.counts_cut + tally.left * tables.counts_left)
    talked = float(tally.conversation)
    if tables.detection == "perfect":
        return dropped, float(tally.conversation + tally.cut + tally.left)
    silent = dropped
    if tables.ofcom:
        machines = float(tally.machine_agent)
        people = talked / (talked + machines) if talked + machines > 0 else 1.0
        audited = tables.audited_share * tally.machine_verdict * tables.counts_amd
        silent = dropped * people + audited
    return silent, silent + talked
