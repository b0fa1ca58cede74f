"""Inbound calls: arrivals, routing, the queue."""

from __future__ import annotations

import numpy as np

from quietdial.envs.pacing import chance
from quietdial.envs.pacing.counts import key_of
from quietdial.envs.pacing.full.work import remove_caller, serve_caller, take_idle, take_spare
from quietdial.envs.pacing.jit import compiled
from quietdial.envs.pacing.log import (
    BALKED,
    BLOCKED,
    CALLER_IN,
    CALLER_LOST,
    CLOSED_OUT,
    GAVE_UP,
    NONE,
    note,
)
from quietdial.envs.pacing.params import (
    CALLER_CAPACITY,
    CLOSES,
    HAS_CALLER_PATIENCE,
    LAW_CALLER_PATIENCE,
    LAW_UNIT,
    P_BALK,
)
from quietdial.envs.pacing.state import (
    CALLER_DUE,
    CALLERS,
    COUNT,
    DAY_FACTOR,
    GAPS,
    IDLE,
    INBOUND_ARRIVED,
    INBOUND_LOST,
    INBOUND_WAIT_MS,
    INBOUND_WAITED,
    SESSION,
    SPARE,
)
from quietdial.envs.pacing.timers import CALLER, NEVER, push, timer_of


@compiled()
def schedule_caller(b, s, p, t):  # type: ignore[no-untyped-def]
    """Draw when the next inbound call comes after time t, period by period."""
    session = s.more[b, SESSION]
    closes = p.sessions[session, CLOSES]
    n = p.periods.shape[1]
    while t < closes:
        end, gap = closes, np.int64(0)
        for i in range(n):
            if p.periods[session, i, 0] <= t:
                gap = p.periods[session, i, 1]
            else:
                end = min(end, p.periods[session, i, 0])
                break
        if gap > 0:
            number = s.more[b, GAPS]
            s.more[b, GAPS] = number + 1
            u = chance.draw(key_of(b, s), chance.INBOUND_GAP, number)
            unit = chance.duration_ms(p.tables, LAW_UNIT, u) / s.more[b, DAY_FACTOR]
            at = t + np.int64(unit * (gap / 65536.0) + 0.5)
            if at < end:
                push(b, s, timer_of(max(at, t + 1), CALLER, 0))
                return
        t = end


@compiled()
def caller_event(b, s, p, t):  # type: ignore[no-untyped-def]
    """An inbound call arrives."""
    number = s.more[b, INBOUND_ARRIVED]
    s.more[b, INBOUND_ARRIVED] = number + 1
    note(b, s, p, t, CALLER_IN, number, NONE, NONE, NONE)
    schedule_caller(b, s, p, t)
    if s.head[b, COUNT + SPARE] > 0:
        serve_caller(b, s, p, take_spare(b, s, p), number, t, t)
        return
    if s.head[b, COUNT + IDLE] > 0:
        serve_caller(b, s, p, take_idle(b, s, p), number, t, t)
        return
    s.more[b, INBOUND_WAITED] += 1
    n = s.more[b, CALLERS]
    u = np.int64(chance.draw(key_of(b, s), chance.INBOUND_BALK, number) >> np.uint64(32))
    balks = u < p.n[P_BALK]
    if balks or n >= p.n[CALLER_CAPACITY]:
        s.more[b, INBOUND_LOST] += 1
        note(b, s, p, t, CALLER_LOST, number, BALKED if balks else BLOCKED, NONE, NONE)
        return
    leaves = NEVER
    if p.n[HAS_CALLER_PATIENCE]:
        u64 = chance.draw(key_of(b, s), chance.INBOUND_PATIENCE, number)
        leaves = t + chance.duration_ms(p.tables, LAW_CALLER_PATIENCE, u64)
    s.caller[b, n, 0] = number
    s.caller[b, n, 1] = t
    s.caller[b, n, 2] = leaves
    s.more[b, CALLERS] = n + 1
    s.more[b, CALLER_DUE] = min(s.more[b, CALLER_DUE], leaves)


@compiled()
def _lose(b, s, p, place, why, t):  # type: ignore[no-untyped-def]
    s.more[b, INBOUND_LOST] += 1
    s.more[b, INBOUND_WAIT_MS] += t - s.caller[b, place, 1]
    note(b, s, p, t, CALLER_LOST, s.caller[b, place, 0], why, NONE, NONE)
    remove_caller(b, s, place)


@compiled()
def give_up_event(b, s, p, t):  # type: ignore[no-untyped-def]
    """A waiting caller's patience ends."""
    place = 0
    while s.caller[b, place, 2] > t:
        place += 1
    _lose(b, s, p, place, GAVE_UP, t)


@compiled()
def send_callers_home(b, s, p, t):  # type: ignore[no-untyped-def]
    """The floor closes: who still waits leaves."""
    while s.more[b, CALLERS] > 0:
        _lose(b, s, p, 0, CLOSED_OUT, t)
