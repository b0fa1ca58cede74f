"""The raw log of a full world: one row of whole numbers for each event, read after every step.

A row is (time [ms], code, number, a, b, c); see the constants. `envs/records.py` makes typed
records of calls and agent states from it. Without a log (`Params.n[LOG]` = 0) nothing is written.
"""

from __future__ import annotations

import numpy as np

from quietdial.envs.pacing.jit import compiled
from quietdial.envs.pacing.params import LOG
from quietdial.envs.pacing.state import LOGGED, numbers

DIAL = np.int64(1)
"""number: dial; a: person (-1: anonymous); b: held agent (-1: none); c: delay of the start [ms]."""
ENDED = np.int64(2)
"""number: dial, no longer in flight; a: outcome code."""
JUDGED = np.int64(3)
"""number: dial; a: verdict of detection, 1 person, 0 machine."""
QUEUED_UP = np.int64(4)
"""number: dial that begins to wait for an agent."""
CONNECT = np.int64(5)
"""number: dial; a: agent; b: 1 if late; c: 1 if a machine."""
SILENT = np.int64(6)
"""number: dial; a: cause (below); b: earlier silent calls to the person; c: what was heard."""
DROPPED = np.int64(7)
"""number: dial of a machine that waited until its deadline."""
AGENT_STATE_CHANGE = np.int64(8)
"""number: agent; a: old state; b: new state; c: dial in hand (-1: none)."""
CALLER_IN, CALLER_SERVED, CALLER_LOST = np.int64(9), np.int64(10), np.int64(11)
"""number: inbound caller; a: agent who serves, or why lost (below)."""
OVER = np.int64(12)
"""number: dial whose handling ended; a: 1 if it reached its aim; b: 1 if a callback is asked."""
SESSION_CHANGE = np.int64(13)
"""number: session; a: 1 opens, 0 closes."""
GONE = np.int64(14)
"""number: dial of a callee held after the deadline who goes without an agent."""
CAUSE_CUT, CAUSE_LEFT, CAUSE_AMD = numbers(3)
HEARD_SILENCE, HEARD_NOISE, HEARD_MESSAGE, HEARD_LATE = numbers(4)
BALKED, BLOCKED, GAVE_UP, CLOSED_OUT = numbers(4)
NONE, YES = numbers(2)
"""A column that means nothing for its code; a flag that is set."""


@compiled(inline="always")
def note(b, s, p, t, code, number, x, y, z):  # type: ignore[no-untyped-def]
    """Write one row, if there is a log; a full log counts on, so that the loss is noticed."""
    if p.n[LOG]:
        at = s.more[b, LOGGED]
        if at < s.log.shape[1]:
            s.log[b, at, 0] = t
            s.log[b, at, 1] = code
            s.log[b, at, 2] = number
            s.log[b, at, 3] = x
            s.log[b, at, 4] = y
            s.log[b, at, 5] = z
        s.more[b, LOGGED] = at + 1
