"""What the pacer asks of a ledger: the counts that the budget rests on, and the people's history.

A ledger belongs to one campaign. Times are whole milliseconds of one clock that never runs back
over a restart (Unix time in production). People are named by keyed hashes that the dialer hands in;
no telephone number ever comes here. The pacer keeps running counts of its own and asks the ledger
at its start, when a window begins, and for the history of a person; so a ledger may be slow, but
what it was told must survive a crash: :meth:`Ledger.settled` returns when the count is safe.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple, Protocol, get_args

Outcome = Literal[
    "conversation",  # an agent took the call within the limit
    "cut",  # answered, no agent by the limit: hung up, message, or held on and taken late
    "left",  # answered, the callee hung up before the limit
    "machine_agent",  # an agent found an answering machine on the line
    "machine_verdict",  # detection said machine, and the call was ended
    "unanswered",  # busy, no answer, invalid, failed, cancelled, machine that nobody met
]
"""What became of a dial, as a dialer sees it. One outcome a dial, told once, when it is certain.

A dialer without perfect detection cannot tell machines among those that it cut: they are "cut".
"""
OUTCOMES: Final[tuple[Outcome, ...]] = get_args(Outcome)


class Tally(NamedTuple):
    """Dials of a stretch of time by what became of them, each counted when that was certain.

    The fields are those of `Outcome`, in the same order.

    Attributes:
        conversation: calls given to agents within the limit.
        cut: answered calls without an agent by the limit.
        left: answered calls that the callee ended before the limit.
        machine_agent: machines at agents.
        machine_verdict: calls that detection ended.
        unanswered: dials that nobody answered.
    """

    conversation: int = 0
    cut: int = 0
    left: int = 0
    machine_agent: int = 0
    machine_verdict: int = 0
    unanswered: int = 0


class PersonHistory(NamedTuple):
    """What a ledger knows of one person.

    Attributes:
        dialed_ms: times of all dials to the person in the asked stretch, oldest first.
        silent_ms: times of all silent calls ("cut", "left") to the person in it, oldest first.
        n_dials: dials to the person in the whole campaign.
    """

    dialed_ms: tuple[int, ...] = ()
    silent_ms: tuple[int, ...] = ()
    n_dials: int = 0


class OpenDial(NamedTuple):
    """A dial whose outcome was not told yet.

    Attributes:
        call: the dialer's name of the call.
        dialed_ms: when it was dialed.
        person: keyed hash of the person; None: unknown.
    """

    call: str
    dialed_ms: int
    person: str | None


class Ledger(Protocol):
    """Counts of one campaign that outlive a crash. All methods may be called again after one."""

    def dialed(self, call: str, at_ms: int, person: str | None = None) -> bool:
        """Write down a dial before it is placed.

        Args:
            call: the dialer's name of the call, unique in the campaign, at most 128 characters.
            at_ms: when it is dialed [ms].
            person: keyed hash of the person; None: unknown.

        Returns:
            False if the call was written down before; nothing is changed then.
        """
        ...

    def settled(self, call: str, at_ms: int, outcome: Outcome) -> bool:
        """Count what became of a dial; safe against a crash when this returns.

        A call that was never written down as dialed is counted all the same.

        Returns:
            False if its outcome was counted before; nothing is changed then.
        """
        ...

    def tally(self, from_ms: int, until_ms: int | None = None) -> Tally:
        """Outcomes that became certain in [from_ms, until_ms); without an end: up to now."""
        ...

    def open_dials(self, from_ms: int) -> tuple[OpenDial, ...]:
        """Dials since `from_ms` without an outcome, oldest first: what was in flight at a crash."""
        ...

    def person(self, person: str, from_ms: int) -> PersonHistory:
        """History of a person since `from_ms`; of somebody unknown an empty one."""
        ...

    def decided(self, at_ms: int, decision: Mapping[str, object]) -> None:
        """Keep a decision: plain values that JSON can say (`Decision.to_dict`).

        May be written later or in batches: no count depends on it.
        """
        ...

    def noted(self, at_ms: int, what: str, detail: Mapping[str, object]) -> None:
        """Keep an act of a person or of the pacer for audits, safe when this returns.

        Args:
            at_ms: when [ms].
            what: "cap", "override", "stop", "resume", "start", "bundle" or another short word.
            detail: plain values that JSON can say, with who did it under "by".
        """
        ...
