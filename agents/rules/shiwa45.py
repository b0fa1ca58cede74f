"""The heuristic of the open dialer Shiwa45."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from quietdial.agents.rules.base import ControllerRule


@dataclass(frozen=True)
class Shiwa45(ControllerRule):
    """A ratio made of three factors, for the free agents and half of those in wrap-up.

    Formula: ratio = `aim` / p x factor x boost, within `min_ratio` and `max_ratio`; calls = (free +
    0.5 x in wrap-up) x ratio less those in flight, at most two for each free agent. p: answered
    share of today's ended calls. Factor, by the abandoned share of today's answered calls: 0.5 from
    5 % on; from 1 down to 0.6 between 3 and 5 %; 1.15 below 1.5 %. Boost: 1 + agents expected to be
    released while a call rings / free agents, at most 1.3; an agent is released with probability
    1 - exp(-ringing / talk).
    Source: source code of the open dialer Shiwa45 (survey of dialers, section 1.5).
    Knob: `aim`, 0.01 to 5 answers per agent; the source has 0.85.
    Acts every second.
    Sees: idle and busy agents, those in wrap-up, callees waiting, calls in flight, today's ended,
    answered and dropped calls, ringing and time of conversations.
    Interpreted: how the released agents make the boost; means of ringing and talk are of the
    episode; the least ratio holds before `min_calls`; the period.

    Attributes:
        aim: answers to expect per agent.
        min_calls: the least ratio holds before so many ended calls today.
        min_ratio: least calls per agent.
        max_ratio: most calls per agent.
    """

    controller: ClassVar[str] = "shiwa45"

    aim: float = 0.85
    min_calls: float = 50.0
    min_ratio: float = 1.0
    max_ratio: float = 3.0
