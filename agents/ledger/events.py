"""What the ledger is told: dials, their outcomes, decisions. Each has an id and is counted once."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from quietdial.agents.ledger.errors import LedgerError
from quietdial.agents.ledger.persons import digits_of

CAUSES: Final[Mapping[str, str]] = {"cut": "cut", "late": "cut", "left": "left", "amd": "amd"}
"""Outcomes that are silent calls, and the cause that each is counted under."""
ANSWERED: Final = ("connected", *CAUSES)
"""Outcomes of calls that a person picked up."""
OUTCOMES: Final = (
    *ANSWERED,
    "machine",
    "machine_agent",
    "machine_dropped",
    "busy",
    "no_answer",
    "invalid",
    "failure",
    "cancelled",
)
"""cut: no agent at the limit; late: an agent came after it; left: the callee went before; amd: a
person taken for a machine; machine: cut by detection; machine_agent: went to an agent;
machine_dropped: waited for an agent until the limit."""
_MOST_ID = 128
_MOST_CONTENT = 65_536
_PERSON = re.compile("[0-9a-f]{64}")


class Dialed(NamedTuple):
    """A dial was placed.

    Attributes:
        call_id: the dialer's id of the call; must not hold the number.
        campaign: name of the campaign.
        at_ms: moment [ms since 1970, UTC].
        number: the number dialed; only its keyed hash is stored. None: not known.
        person: the keyed hash itself (`person_of`, 64 hexadecimal digits), instead of the number.
    """

    call_id: str
    campaign: str
    at_ms: int
    number: str | None = None
    person: str | None = None


class Ended(NamedTuple):
    """The outcome of a call is certain.

    Attributes:
        call_id: as in `Dialed`.
        campaign: name of the campaign.
        at_ms: moment [ms since 1970, UTC].
        outcome: one of `OUTCOMES`.
        number, person: as in `Dialed`; None: those of the dial.
        wait_ms: how long the callee waited for an agent [ms]; None: not known.
    """

    call_id: str
    campaign: str
    at_ms: int
    outcome: str
    number: str | None = None
    person: str | None = None
    wait_ms: int | None = None


class Decided(NamedTuple):
    """A decision was made.

    Attributes:
        event_id: id of the decision.
        campaign: name of the campaign.
        at_ms: moment [ms since 1970, UTC].
        content: what was seen, what was asked of the dialer, who decided and why, as plain values;
            no personal data. A true "fallback" marks decisions that were not the policy's.
    """

    event_id: str
    campaign: str
    at_ms: int
    content: Mapping[str, object]


def checked(event: Dialed | Ended | Decided) -> None:
    """Refuse an event that cannot be recorded (LedgerError)."""
    event_id: Any = event.event_id if isinstance(event, Decided) else event.call_id
    at_ms: Any = event.at_ms
    if not isinstance(event_id, str) or not 1 <= len(event_id) <= _MOST_ID:
        raise LedgerError(f"an event's id must have 1 to {_MOST_ID} characters, not {event_id!r}")
    if type(at_ms) is not int or not 0 <= at_ms < 2**53:
        raise LedgerError(f"event {event_id!r}: at_ms = {at_ms!r} must be ms since 1970")
    if isinstance(event, Decided):
        return
    if event.person is not None and not _PERSON.fullmatch(event.person):
        raise LedgerError(f"event {event_id!r}: person must be 64 hexadecimal digits, a keyed hash")
    if event.number is not None:
        digits = digits_of(event.number).removeprefix("+")
        if len(digits) >= 9 and digits[-9:] in event_id:
            raise LedgerError(
                "a call's id holds the telephone number, which the ledger must not store; "
                "use the dialer's own id of the call"
            )
    if isinstance(event, Ended):
        if event.outcome not in OUTCOMES:
            raise LedgerError(
                f"event {event_id!r}: outcome {event.outcome!r}; use one of " + ", ".join(OUTCOMES)
            )
        if event.wait_ms is not None and not 0 <= event.wait_ms < 2**40:
            raise LedgerError(f"event {event_id!r}: wait_ms = {event.wait_ms!r} must be >= 0")


def content_text(event: Decided) -> str:
    """The content as canonical JSON; a number that is none becomes null."""
    text = json.dumps(_plain(event.content), sort_keys=True, separators=(",", ":"), default=str)
    if len(text) > _MOST_CONTENT:
        raise LedgerError(
            f"event {event.event_id!r}: {len(text)} characters; at most {_MOST_CONTENT}"
        )
    return text


def _plain(value: object) -> object:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
