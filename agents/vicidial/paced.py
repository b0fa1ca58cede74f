"""An exported policy behind the adapter: snapshot, pacer, level; the ledger has the counts.

The pacer (agents/runtime) makes the features, checks that the floor is one that the policy knows,
and falls back to level 1.0 where it is not, while it starts cold, and while a window is above its
cap. VICIdial places the calls itself, so no shield can hold back a single one of them; the adapter
plays without.
"""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Final

from quietdial.agents.ledger import CampaignBook, Ledger
from quietdial.agents.runtime.bundled import pacer_of
from quietdial.agents.runtime.counters import Counters
from quietdial.agents.runtime.memory_ledger import MemoryLedger
from quietdial.agents.runtime.pacer import Pacer
from quietdial.agents.runtime.windows import Session
from quietdial.agents.vicidial.adapter import LOWEST, Answer
from quietdial.agents.vicidial.errors import DialerError
from quietdial.agents.vicidial.outcomes import OutcomeFeed
from quietdial.agents.vicidial.tables import Snapshot

STALE_MS: Final = 60_000
"""Snapshots are made for their decision; one that took longer is not acted on [ms]."""


class PacedDecide:
    """What the adapter asks: an exported policy within the limits of its contract.

    Args:
        pacer: plays a policy of the `counters` set whose answers are levels.
        window_from: first moment of the compliance window (the database's local time).
        window_s: open time of the window in all [s].
        kept: the campaign in a ledger, where one is kept: its name, the ledger, and what copies
            outcomes into it. Then the counts of all windows are the ledger's.
    """

    def __init__(
        self,
        pacer: Pacer,
        window_from: datetime.datetime,
        window_s: float,
        kept: tuple[str, Ledger, OutcomeFeed] | None = None,
    ) -> None:
        n_windows = len(pacer.tables.windows)
        if kept is None and n_windows > 1:
            raise DialerError(
                f"the rule has {n_windows} windows, of which the tables show one; keep a ledger"
            )
        if kept is not None and len(kept[1].terms(kept[0]).windows) != n_windows:
            raise DialerError(
                f"campaign {kept[0]!r} has {len(kept[1].terms(kept[0]).windows)} windows in the "
                f"ledger, the policy was exported with {n_windows}"
            )
        if pacer.policy.answers != "level" or pacer.policy.observation != "counters":
            raise DialerError(
                f"policy {pacer.policy.name!r}: VICIdial needs one with the observation 'counters' "
                "and the action 'vicidial_level'"
            )
        self._pacer = pacer
        self._from = window_from
        self._kept = kept
        self._warm = False
        self._picked_up = self._finished = 0
        end = round(1000 * window_s)
        pacer.open_session(Session(0, 0, end, end, (0,) * n_windows, (0,) * n_windows), 0)

    def __call__(self, seen: Snapshot) -> Answer:
        """The level for a snapshot."""
        if not self._warm:
            self._warm = True
            self._pacer.warm(_past(seen, self._pacer.tables.step_ms))
        decision = self._pacer.decide_from(self._counters(seen))
        if decision.mode == "stop":
            return Answer(LOWEST, decision.reason, fallback=True)
        level = LOWEST if decision.level is None else decision.level
        return Answer(level, decision.reason or decision.policy, decision.fallback)

    def _counters(self, seen: Snapshot) -> Counters:
        pacer = self._pacer
        # totals only grow, also when an agent marks a picked-up call as a machine
        self._picked_up = max(self._picked_up, seen.window.picked_up)
        self._finished = max(self._finished, seen.window.calls)
        spare = max(pacer.tables.n_lines - seen.in_flight - seen.waiting, 0)
        return Counters(
            at_ms=max(round(1000 * (seen.now - self._from).total_seconds()), 0),
            idle=seen.ready,
            talk=seen.on_call,
            wrap=seen.wrapping,
            on_break=seen.paused,
            waiting=seen.waiting,
            in_flight=seen.in_flight,
            picked_up=self._picked_up,
            finished=self._finished,
            windows=self._windows(seen),
            lines_free=spare,
        )

    def _windows(self, seen: Snapshot) -> tuple[tuple[float, float], ...]:
        if self._kept is None:
            return ((float(seen.window.drops), float(seen.window.answered)),)
        campaign, ledger, feed = self._kept
        feed.copy()
        at_ms = round(1000 * seen.now.replace(tzinfo=feed.zone).timestamp())
        return tuple(
            (float(counts.silent), float(counts.answered))
            for counts in ledger.counts(campaign, at_ms)
        )


def _past(seen: Snapshot, step_ms: int) -> list[tuple[int, int]]:
    """Picked-up and finished dials of the last hour by decision interval, oldest first."""
    picked_up, finished = Counter[int](), Counter[int]()
    for recent in seen.recent:
        age = int(1000 * recent.age_s) // step_ms
        picked_up[age] += recent.answered
        finished[age] += recent.finished
    oldest = max(finished, default=-1)
    return [(picked_up[age], finished[age]) for age in range(oldest, -1, -1)]


def paced_by(
    bundle: Path,
    *,
    signers: Path | None,
    unsigned: bool,
    agents: int,
    window_from: datetime.datetime,
    window_s: float,
    kept: tuple[str, Ledger, OutcomeFeed] | None = None,
) -> tuple[PacedDecide, Callable[[], None]]:
    """The policy of a bundle, and what writes the decisions that wait when the adapter ends.

    Raises:
        PacerError: the bundle is not to be trusted, or is none for VICIdial.
    """
    from quietdial.agents.bundle.errors import BundleError
    from quietdial.agents.bundle.load import load_bundle

    try:
        found = load_bundle(bundle, signers=signers, unsigned=unsigned)
    except BundleError as error:
        raise DialerError(str(error)) from None
    book = None if kept is None else CampaignBook(kept[1], kept[0])
    pacer = pacer_of(
        found,
        book or MemoryLedger(),
        n_agents=agents,
        shield=None,
        unix_clock=False,
        max_age_ms=STALE_MS,
        keeps_decisions=book is not None,
    )
    decide = PacedDecide(pacer, window_from, window_s, kept)
    return decide, (lambda: None) if book is None else book.flush
