"""Genesys CX Contact's progressive mode with over-dial."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from quietdial.agents.rules.base import ControllerRule


@dataclass(frozen=True)
class Genesys(ControllerRule):
    """Progressive dialing with a fixed over-dial.

    Formula: new calls = floor(k (ready - queued - dialed / k)), at least 0, with `ready` idle
    agents, `queued` callees who wait, `dialed` calls in flight. With k = 1 it is progressive.
    Source: documentation of Genesys CX Contact (survey of dialers, section 1.6); its example, k =
    0.7 with 4 ready and 1 dialed, gives 1 call.
    Knob: `over_dial` k, calls per ready agent, 0.2 to 20.
    Acts every second.
    Sees: ready agents, waiting callees, calls in flight.
    Interpreted: rounding down loses the fraction, so that with few ready agents only some values
    of k differ. `carry_rest` keeps what was lost for the next calls (the documentation does not);
    k is then the calls per ready agent on average.

    Attributes:
        over_dial: k, calls per ready agent.
        carry_rest: 1: fractions are carried to the next calls; 0: dropped, as documented.
    """

    controller: ClassVar[str] = "genesys"

    over_dial: float = 1.0
    carry_rest: float = 0.0
