"""What both kernels and the observations count in the same way."""

from __future__ import annotations

import numpy as np

from quietdial.envs.pacing.jit import compiled
from quietdial.envs.pacing.learning import relearn
from quietdial.envs.pacing.params import KEEP, LEARNS, N_AGENTS, SILENT_PENALTY, STEP_MS
from quietdial.envs.pacing.state import (
    ACC,
    AGENT_SINCE,
    AGENT_STATE,
    ANSWERED,
    COUNT,
    DONE,
    END,
    KEY,
    LAST_ANSWERED,
    LAST_AVAILABLE_MS,
    LAST_FINISHED,
    LAST_IDLE_MS,
    LAST_SEEN,
    LAST_SILENT,
    N_WINDOWS,
    NOW,
    RATE_ANSWERED,
    RATE_FINISHED,
    SILENT_AMD,
    SILENT_CUT,
    SILENT_LEFT,
)


@compiled(inline="always")
def key_of(b, s):  # type: ignore[no-untyped-def]
    """The campaign key of all draws (uint64)."""
    return np.uint64(s.head[b, KEY])


@compiled(inline="always")
def enter(b, s, agent, state, t):  # type: ignore[no-untyped-def]
    """Move an agent to another state at time t, keeping the time totals."""
    old = s.agent[b, agent, AGENT_STATE]
    s.head[b, COUNT + old] -= 1
    s.head[b, ACC + old] += t
    s.head[b, COUNT + state] += 1
    s.head[b, ACC + state] -= t
    s.agent[b, agent, AGENT_STATE] = state
    s.agent[b, agent, AGENT_SINCE] = t


@compiled(inline="always")
def time_in(b, s, state):  # type: ignore[no-untyped-def]
    """Milliseconds that agents have spent in a state since the episode began."""
    return s.head[b, ACC + state] + s.head[b, COUNT + state] * s.head[b, NOW]


@compiled(inline="always")
def silent_calls(b, s):  # type: ignore[no-untyped-def]
    """Silent calls of the episode, all causes."""
    return s.head[b, SILENT_CUT] + s.head[b, SILENT_LEFT] + s.head[b, SILENT_AMD]


@compiled(inline="always")
def settle(b, s, p, out, idle_ms, available_ms, silent, seen, finished):  # type: ignore[no-untyped-def]
    """End a step: the estimates of the answer rate, reward terms, cost, answered, end.

    Args:
        b: row.
        s: State.
        p: Params.
        out: (B, 6) float64; columns 0 to 3 of row b are added to, 4 is written.
        idle_ms: time of agents without a call since the episode began.
        available_ms: time of agents logged in and not on break.
        silent: silent calls in the rule's numerator.
        seen: pick-ups as the dialer sees them.
        finished: dials with an outcome, those of the world itself left out.
    """
    head = s.head
    answered = head[b, ANSWERED]
    available = available_ms - head[b, LAST_AVAILABLE_MS]
    idle = idle_ms - head[b, LAST_IDLE_MS]
    new_silent = silent - head[b, LAST_SILENT]
    new_seen = seen - head[b, LAST_SEEN]
    new_finished = finished - head[b, LAST_FINISHED]
    for w in range(N_WINDOWS):
        keep = p.x[KEEP + w]
        s.est[b, RATE_ANSWERED + w] = keep * s.est[b, RATE_ANSWERED + w] + new_seen
        s.est[b, RATE_FINISHED + w] = keep * s.est[b, RATE_FINISHED + w] + new_finished
    out[b, 0] -= idle / available if available > 0 else 0.0
    agent_s = p.n[N_AGENTS] * (p.n[STEP_MS] / 1000.0)
    out[b, 1] -= p.x[SILENT_PENALTY] * new_silent / agent_s
    out[b, 2] += new_silent
    out[b, 3] += answered - head[b, LAST_ANSWERED]
    head[b, LAST_IDLE_MS] = idle_ms
    head[b, LAST_AVAILABLE_MS] = available_ms
    head[b, LAST_SILENT] = silent
    head[b, LAST_ANSWERED] = answered
    head[b, LAST_SEEN] = seen
    head[b, LAST_FINISHED] = finished
    if p.n[LEARNS]:
        relearn(b, s, p)
    if head[b, NOW] >= head[b, END]:
        head[b, DONE] = 1
    out[b, 4] = head[b, DONE]
