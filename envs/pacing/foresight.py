"""What no dialer can know, for the value of information: when agents will be free, who will answer.

The look-ahead of the index rules (control.py) takes these certain numbers in place of its
expectations when the world's `knowledge` says so.
"""

from __future__ import annotations

import numpy as np

from quietdial.envs.pacing import chance
from quietdial.envs.pacing.counts import key_of
from quietdial.envs.pacing.jit import compiled
from quietdial.envs.pacing.params import (
    HAS_BREAK,
    HAS_INBOUND,
    HAS_WRAP,
    IS_FULL,
    LAW_WRAP,
    P_BREAK,
    SPARE_GROUP,
)
from quietdial.envs.pacing.state import (
    AGENT_NUMBER,
    AGENT_STATE,
    CALL_OUTCOME,
    GRID,
    HEAP,
    HOLDER,
    NOW,
    PERSON,
    SIGHT,
    SPEED,
    TALK,
    WRAP,
)
from quietdial.envs.pacing.timers import AGENT, NEVER, PICKUP, VERDICT


@compiled(inline="always")
def free_at(b, s, p, agent, ends):  # type: ignore[no-untyped-def]
    """When an agent whose state ends at `ends` will be free for a call [ms]; before a break never.

    The draws of the wrap-up and of the break belong to the conversation's number, so they are fixed
    already.
    """
    state = s.agent[b, agent, AGENT_STATE]
    number = s.agent[b, agent, AGENT_NUMBER]
    if state not in (TALK, WRAP):
        return ends
    if p.n[HAS_BREAK]:
        u = chance.draw(key_of(b, s), chance.BREAK_TAKEN, number) >> np.uint64(32)
        if np.int64(u) < p.n[P_BREAK]:
            return NEVER
    if state == TALK and p.n[HAS_WRAP]:
        wrap = chance.duration_ms(
            p.tables, LAW_WRAP, chance.draw(key_of(b, s), chance.WRAP_TIME, number)
        )
        if p.n[IS_FULL]:
            wrap = max((wrap * s.trait[b, agent, SPEED]) >> 20, 1)
        return ends + wrap
    return ends


@compiled()
def releases_known(b, s, p):  # type: ignore[no-untyped-def]
    """Fill the outlook's releases with the true numbers, their variance with zero.

    Counted are busy agents who will be free within each look-ahead plus the wait limit; log-outs
    that are due are not looked at.
    """
    sight = s.est[b]
    for g in range(GRID):
        sight[SIGHT + g] = 0.0
        sight[SIGHT + 2 * GRID + g] = 0.0
    now = s.head[b, NOW]
    for at in range(s.head[b, HEAP]):
        timer = s.heap[b, at]
        if (timer >> 20) & 0xF != AGENT:
            continue
        agent = timer & 0xFFFFF
        if p.n[HAS_INBOUND] and p.shifts[agent, SPARE_GROUP]:
            continue
        ahead_s = (free_at(b, s, p, agent, timer >> 24) - now) / 1000.0
        for g in range(GRID):
            if ahead_s <= p.ahead_s[g, 1]:
                sight[SIGHT + g] += 1.0


@compiled()
def worst_to_come(b, s):  # type: ignore[no-untyped-def]
    """Let no look-ahead be better than a later one, when answers and releases are both known.

    A call that is answered early takes an agent whom a call that is answered later will miss, and
    dials cannot be taken back; expectations alone leave room to dial less in the meantime.
    """
    sight = s.est[b]
    for at in range(GRID - 1):
        g = GRID - 2 - at
        later = sight[SIGHT + GRID + g + 1] - sight[SIGHT + g + 1]
        sight[SIGHT + GRID + g] = max(sight[SIGHT + GRID + g], sight[SIGHT + g] + later)


@compiled()
def answers_ahead(b, s, p):  # type: ignore[no-untyped-def]
    """True numbers of calls in flight that a person answers within each look-ahead (5 float64).

    The last one counts all that will ever be answered: none of them can be taken back.
    """
    a0 = a1 = a2 = a3 = a4 = 0.0
    now = s.head[b, NOW]
    for at in range(s.head[b, HEAP]):
        timer = s.heap[b, at]
        kind = (timer >> 20) & 0xF
        slot = timer & 0xFFFFF
        if kind not in (PICKUP, VERDICT) or s.call[b, slot, CALL_OUTCOME] != PERSON:
            continue
        if p.n[IS_FULL] and s.story[b, slot, HOLDER] >= 0:
            continue
        ahead_s = ((timer >> 24) - now) / 1000.0
        a0 += ahead_s <= p.ahead_s[0, 0]
        a1 += ahead_s <= p.ahead_s[1, 0]
        a2 += ahead_s <= p.ahead_s[2, 0]
        a3 += ahead_s <= p.ahead_s[3, 0]
        a4 += 1.0
    return a0, a1, a2, a3, a4
