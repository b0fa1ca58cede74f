"""What agents do: conversations, machines, inbound callers, the rings of those without a call."""

from __future__ import annotations

import numpy as np

from quietdial.envs.pacing import chance
from quietdial.envs.pacing.counts import enter, key_of
from quietdial.envs.pacing.full.dialing import free_slot
from quietdial.envs.pacing.jit import compiled
from quietdial.envs.pacing.log import AGENT_STATE_CHANGE, CALLER_SERVED, CONNECT, NONE, YES, note
from quietdial.envs.pacing.params import (
    HARM_GROWTH,
    HARM_LATE,
    HARM_NOISE,
    HARM_SILENCE,
    HEARS,
    LAW_INBOUND,
    LAW_MACHINE,
    LAW_TALK,
    N_AGENTS,
    SERVICE_LEVEL_MS,
    SPARE_GROUP,
)
from quietdial.envs.pacing.state import (
    AGENT_NUMBER,
    AGENT_STATE,
    BY_WORLD,
    CALL_NUMBER,
    CALL_OUTCOME,
    CALLER_DUE,
    CALLERS,
    CONNECTED,
    CONVERSATIONS,
    COUNT,
    FATE,
    HARM,
    HOLDER,
    IDLE,
    IDLE_HEAD,
    INBOUND_IN_TIME,
    INBOUND_SERVED,
    INBOUND_TALK,
    INBOUND_WAIT_MS,
    LATE,
    LINGERING,
    MACHINE,
    MACHINE_AGENT,
    MACHINE_TALK,
    PLACE,
    SILENTS,
    SPARE,
    SPARE_HEAD,
    SPEED,
    TALK,
    TALK_FACTOR,
    WHO,
    WITH_CALL,
    WITH_PERSON,
)
from quietdial.envs.pacing.timers import AGENT, NEVER, push, timer_of


@compiled(inline="always")
def move(b, s, p, agent, state, t):  # type: ignore[no-untyped-def]
    """Move an agent to another state at time t."""
    old = s.agent[b, agent, AGENT_STATE]
    shown, was = (IDLE if state == SPARE else state), (IDLE if old == SPARE else old)
    note(b, s, p, t, AGENT_STATE_CHANGE, agent, was, shown, s.trait[b, agent, WITH_CALL])
    enter(b, s, agent, state, t)


@compiled(inline="always")
def take_idle(b, s, p):  # type: ignore[no-untyped-def]
    """Take the longest idle outbound agent out of the ring; there must be one."""
    at = s.head[b, IDLE_HEAD]
    s.head[b, IDLE_HEAD] = at + 1 if at + 1 < p.n[N_AGENTS] else 0
    return s.idle[b, at]


@compiled(inline="always")
def take_spare(b, s, p):  # type: ignore[no-untyped-def]
    """Take the longest spare inbound agent out of the ring; there must be one."""
    at = s.more[b, SPARE_HEAD]
    s.more[b, SPARE_HEAD] = at + 1 if at + 1 < p.n[N_AGENTS] else 0
    return s.spare[b, at]


@compiled(inline="always")
def rest(b, s, p, agent, t):  # type: ignore[no-untyped-def]
    """An agent turns idle (inbound only: spare) at time t."""
    size = p.n[N_AGENTS]
    if p.shifts[agent, SPARE_GROUP]:
        at = s.more[b, SPARE_HEAD] + s.head[b, COUNT + SPARE]
        s.spare[b, at if at < size else at - size] = agent
        move(b, s, p, agent, SPARE, t)
    else:
        at = s.head[b, IDLE_HEAD] + s.head[b, COUNT + IDLE]
        s.idle[b, at if at < size else at - size] = agent
        move(b, s, p, agent, IDLE, t)


@compiled()
def leave_ring(b, s, p, agent):  # type: ignore[no-untyped-def]
    """Take an agent without a call out of its ring, wherever it stands there."""
    size = p.n[N_AGENTS]
    inbound = p.shifts[agent, SPARE_GROUP]
    ring = s.spare[b] if inbound else s.idle[b]
    head = s.more[b, SPARE_HEAD] if inbound else s.head[b, IDLE_HEAD]
    count = s.head[b, COUNT + SPARE] if inbound else s.head[b, COUNT + IDLE]
    found = False
    for i in range(count):
        at = (head + i) % size
        if found:
            ring[(at - 1) % size] = ring[at]
        elif ring[at] == agent:
            found = True


@compiled(inline="always")
def add_harm(b, s, p, base, repeats):  # type: ignore[no-untyped-def]
    """Charge the harm of a silent call."""
    harm = base
    for _ in range(min(repeats, 8)):
        harm *= p.x[HARM_GROWTH]
    s.more[b, HARM] += np.int64(harm * 1e6 + 0.5)


@compiled(inline="always")
def harm_of_waiting(p):  # type: ignore[no-untyped-def]
    """Base harm of what a callee hears while waiting."""
    return p.x[HARM_NOISE] if p.n[HEARS] else p.x[HARM_SILENCE]


@compiled(inline="always")
def repeats_of(b, s, slot):  # type: ignore[no-untyped-def]
    """Earlier silent calls to the person in `slot`."""
    person = s.story[b, slot, WHO]
    return np.int64(s.person[b, person, SILENTS]) if person >= 0 else np.int64(0)


@compiled()
def converse(b, s, p, agent, slot, late, t):  # type: ignore[no-untyped-def]
    """An agent begins a conversation with the callee in `slot` at time t, late or in time."""
    number = s.head[b, CONVERSATIONS]
    s.head[b, CONVERSATIONS] = number + 1
    s.agent[b, agent, AGENT_NUMBER] = number
    dial = s.call[b, slot, CALL_NUMBER]
    s.trait[b, agent, WITH_CALL] = dial
    s.trait[b, agent, WITH_PERSON] = s.story[b, slot, WHO]
    if late:
        s.more[b, LATE] += 1
        add_harm(b, s, p, p.x[HARM_LATE], max(repeats_of(b, s, slot) - 1, 0))
    else:
        s.head[b, CONNECTED] += 1
    note(b, s, p, t, CONNECT, dial, agent, YES if late else NONE, NONE)
    move(b, s, p, agent, TALK, t)
    talk = chance.duration_ms(
        p.tables, LAW_TALK, chance.draw(key_of(b, s), chance.TALK_TIME, number)
    )
    talk = (talk * s.head[b, TALK_FACTOR]) >> 20
    talk = max((talk * s.trait[b, agent, SPEED]) >> 20, 1)
    push(b, s, timer_of(t + talk, AGENT, agent))


@compiled()
def handle_machine(b, s, p, agent, slot, t):  # type: ignore[no-untyped-def]
    """An agent finds a machine on the line at time t."""
    dial = s.call[b, slot, CALL_NUMBER]
    s.more[b, MACHINE_AGENT] += 1
    s.trait[b, agent, WITH_CALL] = dial
    s.trait[b, agent, WITH_PERSON] = s.story[b, slot, WHO]
    s.trait[b, agent, BY_WORLD] = 1 if s.story[b, slot, HOLDER] >= 0 else 0
    note(b, s, p, t, CONNECT, dial, agent, NONE, YES)
    move(b, s, p, agent, MACHINE_TALK, t)
    u = chance.draw(key_of(b, s), chance.MACHINE_TIME, s.story[b, slot, FATE])
    push(b, s, timer_of(t + chance.duration_ms(p.tables, LAW_MACHINE, u), AGENT, agent))


@compiled(inline="always")
def take_call(b, s, p, agent, slot, t):  # type: ignore[no-untyped-def]
    """An agent takes the callee or machine in `slot`, whose line then belongs to the agent."""
    if s.call[b, slot, CALL_OUTCOME] == MACHINE:
        handle_machine(b, s, p, agent, slot, t)
    else:
        converse(b, s, p, agent, slot, s.story[b, slot, PLACE] == LINGERING, t)
    free_slot(b, s, slot)


@compiled()
def serve_caller(b, s, p, agent, number, arrived, t):  # type: ignore[no-untyped-def]
    """An agent begins to talk with an inbound caller at time t."""
    s.more[b, INBOUND_SERVED] += 1
    s.more[b, INBOUND_WAIT_MS] += t - arrived
    if t - arrived <= p.n[SERVICE_LEVEL_MS]:
        s.more[b, INBOUND_IN_TIME] += 1
    note(b, s, p, t, CALLER_SERVED, number, agent, NONE, NONE)
    move(b, s, p, agent, INBOUND_TALK, t)
    u = chance.draw(key_of(b, s), chance.INBOUND_TIME, number)
    push(b, s, timer_of(t + chance.duration_ms(p.tables, LAW_INBOUND, u), AGENT, agent))


@compiled()
def remove_caller(b, s, place):  # type: ignore[no-untyped-def]
    """Take the caller at `place` out of the queue of inbound callers."""
    n = s.more[b, CALLERS] - 1
    s.more[b, CALLERS] = n
    due = NEVER
    for i in range(n):
        if i >= place:
            for column in range(3):
                s.caller[b, i, column] = s.caller[b, i + 1, column]
        due = min(due, s.caller[b, i, 2])
    s.more[b, CALLER_DUE] = due


@compiled()
def serve_first_caller(b, s, p, agent, t):  # type: ignore[no-untyped-def]
    """An agent takes the caller who has waited longest."""
    number, arrived = s.caller[b, 0, 0], s.caller[b, 0, 1]
    remove_caller(b, s, 0)
    serve_caller(b, s, p, agent, number, arrived, t)
