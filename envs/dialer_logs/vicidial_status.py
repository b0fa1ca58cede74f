"""What a status of VICIdial says about a call (survey of dialers, section 4.1)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

Way = Literal["unanswered", "auto_machine", "dropped", "agent", "open", "unclear"]


class Meaning(NamedTuple):
    """One status.

    Attributes:
        way: `unanswered`: nobody picked up; `auto_machine`: the dialer took it for a machine;
            `dropped`: answered and never with an agent; `agent`: an agent set it, or ended it;
            `open`: still going on; `unclear`: picked up, by whom is not said.
        outcome: as our own records call it; "": not told by the status.
    """

    way: Way
    outcome: str


STATUSES: Final[Mapping[str, Meaning]] = {
    "NA": Meaning("unanswered", "no_answer"),
    "AB": Meaning("unanswered", "busy"),
    "ADC": Meaning("unanswered", "invalid"),
    "ADCT": Meaning("unanswered", "invalid"),
    "LRERR": Meaning("unanswered", "failure"),
    "AA": Meaning("auto_machine", "machine"),
    "AM": Meaning("auto_machine", "machine"),
    "AL": Meaning("auto_machine", "machine"),
    "AFAX": Meaning("auto_machine", "machine"),
    "DROP": Meaning("dropped", "person"),
    "XDROP": Meaning("dropped", "person"),
    "PDROP": Meaning("dropped", "person"),
    "SRDROP": Meaning("dropped", "person"),
    "TIMEOT": Meaning("dropped", "person"),
    "A": Meaning("agent", "machine"),
    "B": Meaning("agent", "busy"),
    "DC": Meaning("agent", "invalid"),
    "N": Meaning("agent", "no_answer"),
    "DAIR": Meaning("unclear", ""),
    "ADAIR": Meaning("unclear", ""),
    "PU": Meaning("open", ""),
    "NEW": Meaning("open", ""),
    "LIVE": Meaning("open", ""),
    "QUEUE": Meaning("open", ""),
    "INCALL": Meaning("open", ""),
    "DISPO": Meaning("open", ""),
}
"""Statuses with a meaning of their own; every other one was chosen by an agent for a person."""

_DETECTED: Final[Mapping[str, str]] = {"CPDB": "busy", "CPDNA": "no_answer", "CPDINV": "invalid"}


def meaning_of(status: str, human_answered: Mapping[str, bool]) -> Meaning:
    """What a status says.

    Args:
        status: of `vicidial_log`.
        human_answered: `vicidial_statuses.human_answered` by status, as far as it was exported.
    """
    known = STATUSES.get(status)
    if known is not None:
        return known
    if status.startswith("CPD"):
        return Meaning("unanswered", _DETECTED.get(status, "failure"))
    if status.startswith("HUC"):
        return Meaning("unanswered", "failure")
    return Meaning("agent", "person" if human_answered.get(status, True) else "")


LEFT: Final = frozenset(("CALLER", "ABANDON"))
CUT: Final = frozenset(("QUEUETIMEOUT", "AGENT", "SYSTEM", "AFTERHOURS"))


def cause_of(status: str, term_reason: str) -> str:
    """Why a dropped call ended: `left` (the callee hung up), `cut`, or "" where it is not said."""
    if status == "PDROP":
        return "left"
    if term_reason in LEFT:
        return "left"
    return "cut" if term_reason in CUT else ""
