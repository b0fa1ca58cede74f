"""One campaign of a ledger in the form that the pacer asks for (runtime/ledger_protocol.py)."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from typing import Final

from quietdial.agents.ledger.book import Ledger
from quietdial.agents.ledger.events import CAUSES, Decided, Dialed, Ended
from quietdial.agents.runtime.ledger_protocol import (
    OUTCOMES,
    OpenDial,
    Outcome,
    PersonHistory,
    Tally,
)

STORED_AS: Final[Mapping[Outcome, str]] = {
    "conversation": "connected",
    "cut": "cut",
    "left": "left",
    "machine_agent": "machine_agent",
    "machine_verdict": "machine",
    "unanswered": "no_answer",
}
"""The pacer's outcomes in the words of the ledger."""
_TOLD_AS: Final[Mapping[str, Outcome]] = {
    "connected": "conversation",
    "late": "cut",
    "cut": "cut",
    "machine_dropped": "cut",
    "left": "left",
    "machine_agent": "machine_agent",
    "machine": "machine_verdict",
    "amd": "machine_verdict",
}
"""And back; a dialer cannot tell people and machines among those that were cut."""
_UNANSWERED: Final[Outcome] = "unanswered"
_MOST_WAITING = 64


class CampaignBook:
    """`runtime.ledger_protocol.Ledger` of one campaign, kept in a ledger on disk.

    Decisions are written with the next outcome, or 64 at a time; everything else at once.

    Args:
        ledger: the ledger.
        campaign: a campaign whose terms were agreed on.
    """

    def __init__(self, ledger: Ledger, campaign: str) -> None:
        ledger.terms(campaign)
        self._ledger = ledger
        self._campaign = campaign
        self._decisions: list[Decided] = []

    def dialed(self, call: str, at_ms: int, person: str | None = None) -> bool:
        """Write down a dial before it is placed."""
        if any(self._ledger.knows(self._campaign, call, ended=ended) for ended in (False, True)):
            return False
        return self._record(Dialed(call, self._campaign, at_ms, person=person))

    def settled(self, call: str, at_ms: int, outcome: Outcome) -> bool:
        """Count what became of a dial; on the disk when this returns."""
        if self._ledger.knows(self._campaign, call, ended=True):
            return False
        return self._record(Ended(call, self._campaign, at_ms, STORED_AS.get(outcome, outcome)))

    def tally(self, from_ms: int, until_ms: int | None = None) -> Tally:
        """Outcomes that became certain in [from_ms, until_ms)."""
        told: Counter[Outcome] = Counter()
        for outcome, n in self._ledger.outcomes(self._campaign, from_ms, until_ms).items():
            told[_TOLD_AS.get(outcome) or _UNANSWERED] += n
        return Tally(*(told[outcome] for outcome in OUTCOMES))

    def open_dials(self, from_ms: int) -> tuple[OpenDial, ...]:
        """Dials since `from_ms` without an outcome, oldest first."""
        return tuple(
            OpenDial(call, at_ms, None if person is None else person.hex())
            for call, at_ms, person in self._ledger.open_dials(self._campaign, from_ms)
        )

    def person(self, person: str, from_ms: int) -> PersonHistory:
        """History of a person since `from_ms`, as long as it may be remembered."""
        calls = self._ledger.calls_of(self._campaign, person)
        return PersonHistory(
            tuple(t for t, outcome in calls if outcome == "dialed" and t >= from_ms),
            tuple(t for t, outcome in calls if outcome in CAUSES and t >= from_ms),
            sum(outcome == "dialed" for _, outcome in calls),
        )

    def decided(self, at_ms: int, decision: Mapping[str, object]) -> None:
        """Keep a decision."""
        self._decisions.append(decided_of(self._campaign, at_ms, decision))
        if len(self._decisions) >= _MOST_WAITING:
            self.flush()

    def noted(self, at_ms: int, what: str, detail: Mapping[str, object]) -> None:
        """Keep an act of a person or of the pacer in the audit trail."""
        who = str(detail.get("by", "pacer"))
        self._ledger.note(self._campaign, at_ms, who=who, what=what, content=dict(detail))

    def flush(self) -> None:
        """Write the decisions that wait."""
        waiting, self._decisions = self._decisions, []
        if waiting:
            self._ledger.record(waiting)

    def _record(self, event: Dialed | Ended) -> bool:
        waiting, self._decisions = self._decisions, []
        return self._ledger.record([*waiting, event]) > len(waiting)


def decided_of(campaign: str, at_ms: int, decision: Mapping[str, object]) -> Decided:
    """A decision as an event; its name follows from its content, so a retry is kept once."""
    text = json.dumps(decision, sort_keys=True, default=str)
    name = hashlib.sha256(f"{campaign} {at_ms} {text}".encode()).hexdigest()[:32]
    return Decided(name, campaign, at_ms, decision)
