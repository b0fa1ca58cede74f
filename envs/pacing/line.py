"""The line of answered callees who wait for an agent, first come first served."""

from __future__ import annotations

from quietdial.envs.pacing.jit import compiled
from quietdial.envs.pacing.state import CALL_DUE, WAIT_ACC, WAIT_DUE, WAITING
from quietdial.envs.pacing.timers import NEVER, SILENCE, timer_of


@compiled(inline="always")
def next_wait(b, s):  # type: ignore[no-untyped-def]
    """Recompute whose wait ends first."""
    due = NEVER
    for i in range(s.head[b, WAITING]):
        slot = s.waiting[b, i]
        due = min(due, timer_of(s.call[b, slot, CALL_DUE], SILENCE, slot))
    s.head[b, WAIT_DUE] = due


@compiled(inline="always")
def stop_waiting(b, s, place, t):  # type: ignore[no-untyped-def]
    """Take the callee at `place` of the line out of it at time t; returns the slot."""
    slot = s.waiting[b, place]
    n = s.head[b, WAITING] - 1
    s.head[b, WAITING] = n
    for i in range(place, n):
        s.waiting[b, i] = s.waiting[b, i + 1]
    s.head[b, WAIT_ACC] += t
    next_wait(b, s)
    return slot
