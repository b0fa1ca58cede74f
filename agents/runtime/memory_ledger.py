"""A ledger in memory, for tests, simulations and for trying the pacer out: a crash loses it."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping

from quietdial.agents.runtime.errors import PacerError
from quietdial.agents.runtime.ledger_protocol import (
    OUTCOMES,
    OpenDial,
    Outcome,
    PersonHistory,
    Tally,
)


class MemoryLedger:
    """`Ledger` of one campaign in plain lists; see there for the methods."""

    def __init__(self) -> None:
        self._open: dict[str, OpenDial] = {}
        self._people: dict[str, list[int]] = {}
        self._silents: dict[str, list[int]] = {}
        self._settled: set[str] = set()
        self._times: list[int] = []
        self._outcomes: list[Outcome] = []
        self.decisions: list[tuple[int, dict[str, object]]] = []
        self.notes: list[tuple[int, str, dict[str, object]]] = []

    def dialed(self, call: str, at_ms: int, person: str | None = None) -> bool:
        """Write down a dial."""
        if call in self._open or call in self._settled:
            return False
        self._open[call] = OpenDial(call, at_ms, person)
        if person is not None:
            self._people.setdefault(person, []).append(at_ms)
        return True

    def settled(self, call: str, at_ms: int, outcome: Outcome) -> bool:
        """Count what became of a dial."""
        if outcome not in OUTCOMES:
            raise PacerError(f"outcome {outcome!r} of call {call!r}: use one of {OUTCOMES}")
        if call in self._settled:
            return False
        self._settled.add(call)
        dial = self._open.pop(call, None)
        at = bisect_left(self._times, at_ms + 1)  # outcomes may be told out of order
        self._times.insert(at, at_ms)
        self._outcomes.insert(at, outcome)
        if dial is not None and dial.person is not None and outcome in ("cut", "left"):
            self._silents.setdefault(dial.person, []).append(at_ms)
        return True

    def tally(self, from_ms: int, until_ms: int | None = None) -> Tally:
        """Outcomes that became certain in [from_ms, until_ms)."""
        first = bisect_left(self._times, from_ms)
        last = len(self._times) if until_ms is None else bisect_left(self._times, until_ms)
        counts = Counter(self._outcomes[first:last])
        return Tally(*(counts[outcome] for outcome in OUTCOMES))

    def open_dials(self, from_ms: int) -> tuple[OpenDial, ...]:
        """Dials since `from_ms` without an outcome."""
        return tuple(dial for dial in self._open.values() if dial.dialed_ms >= from_ms)

    def person(self, person: str, from_ms: int) -> PersonHistory:
        """History of a person since `from_ms`."""
        dialed, silent = self._people.get(person, []), self._silents.get(person, [])
        return PersonHistory(
            tuple(t for t in dialed if t >= from_ms),
            tuple(t for t in silent if t >= from_ms),
            len(dialed),
        )

    def decided(self, at_ms: int, decision: Mapping[str, object]) -> None:
        """Keep a decision."""
        self.decisions.append((at_ms, dict(decision)))

    def noted(self, at_ms: int, what: str, detail: Mapping[str, object]) -> None:
        """Keep an act."""
        self.notes.append((at_ms, what, dict(detail)))
