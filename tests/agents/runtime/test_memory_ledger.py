"""The ledger in memory keeps what the protocol asks."""

import pytest

from quietdial.agents.runtime.errors import PacerError
from quietdial.agents.runtime.ledger_protocol import OUTCOMES, Ledger, Outcome, Tally
from quietdial.agents.runtime.memory_ledger import MemoryLedger


def make() -> Ledger:
    return MemoryLedger()


def test_every_outcome_is_counted_once_and_in_its_stretch_of_time() -> None:
    ledger = make()
    for i, outcome in enumerate(OUTCOMES):
        call = f"call-{i}"
        assert ledger.dialed(call, 1000 * i)
        assert not ledger.dialed(call, 1000 * i + 1)
        assert ledger.settled(call, 1000 * i + 500, outcome)
        assert not ledger.settled(call, 1000 * i + 600, "cut")
    assert ledger.tally(0) == Tally(1, 1, 1, 1, 1, 1)
    assert ledger.tally(500, 1500) == Tally(conversation=1)
    assert ledger.tally(1500, 2501) == Tally(cut=1, left=1)


def test_outcomes_told_out_of_order_lie_in_their_own_time() -> None:
    ledger = make()
    for call, at_ms in (("a", 300), ("b", 100), ("c", 200)):
        ledger.settled(call, at_ms, "cut")
    assert ledger.tally(150, 250) == Tally(cut=1)


def test_what_was_in_flight_is_known_until_its_outcome() -> None:
    ledger = make()
    ledger.dialed("a", 10, "hash-1")
    ledger.dialed("b", 20)
    ledger.settled("a", 30, "unanswered")
    assert [dial.call for dial in ledger.open_dials(0)] == ["b"]
    assert ledger.open_dials(21) == ()


def test_a_person_is_known_by_dials_and_silent_calls() -> None:
    ledger = make()
    outcomes: dict[int, Outcome] = {100: "unanswered", 200: "cut", 300: "conversation"}
    for at_ms, outcome in outcomes.items():
        ledger.dialed(f"call-{at_ms}", at_ms, "hash-1")
        ledger.settled(f"call-{at_ms}", at_ms + 50, outcome)
    assert ledger.person("hash-1", 150) == ((200, 300), (250,), 3)
    assert ledger.person("hash-2", 0) == ((), (), 0)


def test_an_unknown_outcome_is_refused() -> None:
    with pytest.raises(PacerError, match="use one of"):
        make().settled("a", 0, "answered")  # type: ignore[arg-type]
