"""The pacer behind the sidecar: a dialer hands in its counters, and need not make features.

Everything that must outlive a crash is the dialer's own (its totals and windows), so a sidecar that
is killed and started again goes on from the truth with the next snapshot.
"""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass
from typing import Any, Final

from quietdial.agents.bundle.load import Bundle
from quietdial.agents.runtime.bundled import pacer_of, tables_of
from quietdial.agents.runtime.calendar_session import calendar_session
from quietdial.agents.runtime.decision import Decision
from quietdial.agents.runtime.errors import PacerError
from quietdial.agents.runtime.memory_ledger import MemoryLedger
from quietdial.agents.runtime.pacer import Pacer
from quietdial.agents.serve.asks import Snapshot

_WORD: Final = re.compile(r"[^a-z]+")


@dataclass(slots=True)
class Paced:
    """One campaign's pacer.

    Attributes:
        pacer: the pacer, with its session open.
        day: what its session was made of.
        n_agents: its roster.
    """

    pacer: Pacer
    day: tuple[datetime.date, float, float]
    n_agents: int

    def decide(self, snapshot: Snapshot, now_s: float) -> Decision:
        """What to do now (`PacerError`: the counters cannot be)."""
        return self.pacer.decide_from(snapshot.seen, round(1000 * now_s))


class Pacing:
    """Makes the pacers of a bundle.

    Args:
        bundle: a loaded bundle.
        cold_start: answered calls before the policy is asked; None: as the bundle says.
    """

    def __init__(self, bundle: Bundle, cold_start: int | None = None) -> None:
        self._bundle = bundle
        self._changes: dict[str, Any] = {"keeps_decisions": False}
        if cold_start is not None:
            self._changes["cold_start_answered"] = cold_start

    def most_calls(self) -> int:
        """Most calls of one decision (`PacerError`: counters are not enough for this bundle)."""
        pacer = pacer_of(self._bundle, MemoryLedger(), **self._changes)
        if pacer.needs_events:
            raise PacerError(
                "it observes the set 'wide', which no request here carries; embed the pacer "
                "(quietdial.agents.runtime), which takes a dialer's events"
            )
        return pacer.tables.max_dials

    def paced(self, snapshot: Snapshot, before: Paced | None) -> Paced:
        """The campaign's pacer in the session that the snapshot names.

        Raises:
            PacerError: the bundle cannot be paced by counters, or there is no such session.
        """
        day = (snapshot.first_day, snapshot.opens_at, snapshot.closes_at)
        if before is not None and before.day == day and before.n_agents == snapshot.n_agents:
            return before
        session = calendar_session(
            tables_of(self._bundle),
            snapshot.first_day,
            round(1000 * snapshot.opens_at),
            round(1000 * snapshot.closes_at),
        )
        if before is not None and before.n_agents == snapshot.n_agents:
            pacer = before.pacer
        else:
            pacer = pacer_of(
                self._bundle, MemoryLedger(), n_agents=snapshot.n_agents, **self._changes
            )
        pacer.open_session(session)
        return Paced(pacer, day, snapshot.n_agents)


def slug(reason: str) -> str:
    """The kind of a pacer's reason in one word: "cold start: 3 of 50" is "cold_start"."""
    return _WORD.sub("_", reason.partition(":")[0].lower()).strip("_")[:40] or "unnamed"
