"""Preview dialing, where every dial belongs to one agent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from quietdial.agents.rules.base import ControllerRule


@dataclass(frozen=True)
class Preview(ControllerRule):
    """An agent looks at a record for a fixed time, then it is dialed for that agent.

    Formula: free = idle agents less waiting callees and calls in flight; new dials = the agents who
    have been free at every tick of the last `preview_s`: the least of (free + dials so far) over
    them, less the dials so far, at least 0. A call that fails is followed by another preview. There
    are never more calls than idle agents, so no call is silent while no idle agent leaves.
    Source: the usual meaning of preview and of agent-reserved dialing. Interpreted: the preview
    always takes its full time, and the agent always dials.
    Knob: `preview_s` [s], 0 to 300, in whole ticks; 0 is progressive dialing. More means *fewer*
    dials, and there is nothing to tune: the silent rate is 0. Acts every second.
    Sees: idle agents, waiting callees, calls in flight, its own dials.

    Attributes:
        preview_s: time to look at a record before each dial [s].
    """

    controller: ClassVar[str] = "preview"

    preview_s: float = 10.0
