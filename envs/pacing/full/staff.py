"""Where agents go when they are free, and their days: log-in, lunch, breaks, log-out."""

from __future__ import annotations

import numpy as np

from quietdial.envs.pacing import chance
from quietdial.envs.pacing.control import BLEND
from quietdial.envs.pacing.counts import key_of
from quietdial.envs.pacing.full.dialing import control, dialing_open, launch, line_free, next_start
from quietdial.envs.pacing.full.people import (
    after_conversation,
    after_nobody,
    asks_back,
    due_person,
)
from quietdial.envs.pacing.full.work import (
    leave_ring,
    move,
    rest,
    serve_first_caller,
    take_call,
    take_idle,
)
from quietdial.envs.pacing.jit import compiled
from quietdial.envs.pacing.learning import learn_state
from quietdial.envs.pacing.line import stop_waiting
from quietdial.envs.pacing.log import NONE, OVER, YES, note
from quietdial.envs.pacing.params import (
    CLOSES,
    HAS_BREAK,
    HAS_WRAP,
    LAW_BREAK,
    LAW_WRAP,
    LEARNS,
    LOGIN_S,
    LOGOUT_S,
    LUNCH_MS,
    LUNCH_S,
    N_AGENTS,
    ON_RELEASE,
    OPENS,
    P_BREAK,
    RESERVED_SHARE,
    SPARE_GROUP,
    WALL_S,
    WRAP_HIDDEN,
)
from quietdial.envs.pacing.state import (
    AGENT_NUMBER,
    AGENT_SINCE,
    AGENT_STATE,
    BREAK,
    BY_WORLD,
    CALLERS,
    COUNT,
    DUE,
    HELD,
    IDLE,
    IDLE_HEAD,
    MACHINE,
    MACHINE_TALK,
    OFF,
    OUT_AT,
    SESSION,
    SET_KIND,
    SKILL,
    SPARE,
    SPEED,
    SUCCESSES,
    TALK,
    TALK_ENDED,
    WAITING,
    WISH_LUNCH,
    WISH_OUT,
    WISHES,
    WITH_CALL,
    WITH_PERSON,
    WRAP,
    WRAP_ENDED,
)
from quietdial.envs.pacing.timers import (
    AGENT,
    SHIFT,
    SHIFT_LOGIN,
    SHIFT_LOGOUT,
    SHIFT_LUNCH,
    push,
    timer_of,
)


@compiled(inline="always")
def _may_hold(b, s, p, t):  # type: ignore[no-untyped-def]
    """Whether one more agent may be set aside for a call that the world places."""
    if s.more[b, DUE] == 0 or s.due[b, 0] >> 20 > t:
        return False
    logged_in = p.n[N_AGENTS] - s.head[b, COUNT + OFF]
    most = np.int64(p.x[RESERVED_SHARE] * logged_in)
    if p.x[RESERVED_SHARE] > 0.0:
        most = max(most, np.int64(1))
    held = s.head[b, COUNT + HELD]
    if held >= most or next_start(b, s, p, t) < 0:
        return False
    return dialing_open(b, s, p, t) and line_free(b, s, p)


@compiled()
def _hold(b, s, p, agent, t):  # type: ignore[no-untyped-def]
    """Set an agent aside and call the person who is due; False if nobody is, after all."""
    person = due_person(b, s, p, t)
    if person < 0:
        return False
    launch(b, s, p, person, agent, next_start(b, s, p, t), t)
    move(b, s, p, agent, HELD, t)
    return True


@compiled()
def serve_due(b, s, p, t):  # type: ignore[no-untyped-def]
    """Place the calls that the world owes, one idle agent set aside for each."""
    while s.head[b, COUNT + IDLE] > 0 and _may_hold(b, s, p, t):
        agent = s.idle[b, s.head[b, IDLE_HEAD]]
        if not _hold(b, s, p, agent, t):
            return
        take_idle(b, s, p)


@compiled(inline="always")
def _go_to_lunch(b, s, p, agent, t):  # type: ignore[no-untyped-def]
    move(b, s, p, agent, BREAK, t)
    push(b, s, timer_of(t + p.shifts[agent, LUNCH_MS], AGENT, agent))


@compiled()
def release(b, s, p, agent, t):  # type: ignore[no-untyped-def]
    """An agent has finished at time t: off, to lunch, to the next call, held, or without a call."""
    s.trait[b, agent, WITH_CALL] = -1
    wishes = s.trait[b, agent, WISHES]
    free = False
    if wishes & WISH_OUT:
        s.trait[b, agent, WISHES] = 0
        move(b, s, p, agent, OFF, t)
    elif wishes & WISH_LUNCH:
        s.trait[b, agent, WISHES] = 0
        _go_to_lunch(b, s, p, agent, t)
    elif p.shifts[agent, SPARE_GROUP]:
        if s.more[b, CALLERS] > 0:
            serve_first_caller(b, s, p, agent, t)
        else:
            rest(b, s, p, agent, t)
            free = True
    elif s.head[b, WAITING] > 0:
        take_call(b, s, p, agent, stop_waiting(b, s, 0, t), t)
    elif s.more[b, CALLERS] > 0:
        serve_first_caller(b, s, p, agent, t)
    elif not (_may_hold(b, s, p, t) and _hold(b, s, p, agent, t)):
        rest(b, s, p, agent, t)
        free = True
    if p.n[ON_RELEASE] and (free or s.head[b, SET_KIND] == BLEND):
        control(b, s, p, t)


@compiled(inline="always")
def agent_event(b, s, p, agent, t):  # type: ignore[no-untyped-def]
    """An agent ends what the timer stood for."""
    state = s.agent[b, agent, AGENT_STATE]
    number = s.agent[b, agent, AGENT_NUMBER]
    key = key_of(b, s)
    if p.n[LEARNS] and state in (TALK, WRAP):
        learn_state(b, s, agent, TALK_ENDED if state == TALK else WRAP_ENDED, t)
    if state == MACHINE_TALK:
        _machine_over(b, s, p, agent, t)
    if state == TALK:
        _conversation_over(b, s, p, agent, number, t)
        if p.n[HAS_WRAP]:
            since = s.agent[b, agent, AGENT_SINCE]
            move(b, s, p, agent, WRAP, t)
            if p.n[WRAP_HIDDEN]:
                s.agent[b, agent, AGENT_SINCE] = since
            u = chance.draw(key, chance.WRAP_TIME, number)
            wrap = chance.duration_ms(p.tables, LAW_WRAP, u)
            wrap = max((wrap * s.trait[b, agent, SPEED]) >> 20, 1)
            push(b, s, timer_of(t + wrap, AGENT, agent))
            return
    leaves = s.trait[b, agent, WISHES] & WISH_OUT
    if state in (TALK, WRAP) and p.n[HAS_BREAK] and not leaves:
        u = chance.draw(key, chance.BREAK_TAKEN, number) >> np.uint64(32)
        if np.int64(u) < p.n[P_BREAK]:
            s.trait[b, agent, WITH_CALL] = -1
            move(b, s, p, agent, BREAK, t)
            u = chance.draw(key, chance.BREAK_TIME, number)
            push(b, s, timer_of(t + chance.duration_ms(p.tables, LAW_BREAK, u), AGENT, agent))
            return
    release(b, s, p, agent, t)


@compiled()
def _conversation_over(b, s, p, agent, number, t):  # type: ignore[no-untyped-def]
    """A talk ends: did it reach its aim, and what becomes of the person?"""
    dial, person = s.trait[b, agent, WITH_CALL], s.trait[b, agent, WITH_PERSON]
    if dial < 0:  # begun before a training episode
        return
    success, back = NONE, NONE
    if s.trait[b, agent, SKILL] > 0:
        u = np.int64(chance.draw(key_of(b, s), chance.SUCCESS, number) >> np.uint64(32))
        success = YES if u < s.trait[b, agent, SKILL] else NONE
        s.more[b, SUCCESSES] += success
    if person >= 0:
        s.trait[b, agent, WITH_PERSON] = -1
        back = YES if asks_back(b, s, p, number) else NONE
        after_conversation(b, s, p, person, number, t)
    note(b, s, p, t, OVER, dial, success, back, NONE)


@compiled()
def _machine_over(b, s, p, agent, t):  # type: ignore[no-untyped-def]
    """An agent is done with a machine."""
    person = s.trait[b, agent, WITH_PERSON]
    note(b, s, p, t, OVER, s.trait[b, agent, WITH_CALL], NONE, NONE, NONE)
    if person >= 0:
        s.trait[b, agent, WITH_PERSON] = -1
        by_world = s.trait[b, agent, BY_WORLD] > 0
        after_nobody(b, s, p, person, np.int64(MACHINE), by_world, False, t)


@compiled()
def shift_event(b, s, p, entity, t):  # type: ignore[no-untyped-def]
    """An agent's log-in, lunch or log-out is due."""
    what, agent = entity >> 12, entity & 0xFFF
    state = s.agent[b, agent, AGENT_STATE]
    if what == SHIFT_LOGIN:
        if state == OFF:
            _arrive(b, s, p, agent, t)
            release(b, s, p, agent, t)
        return
    if state == OFF:
        return
    without_call = state in (IDLE, SPARE)
    if without_call:
        leave_ring(b, s, p, agent)
        if what == SHIFT_LUNCH:
            _go_to_lunch(b, s, p, agent, t)
        else:
            move(b, s, p, agent, OFF, t)
    else:
        s.trait[b, agent, WISHES] |= WISH_LUNCH if what == SHIFT_LUNCH else WISH_OUT


@compiled()
def _arrive(b, s, p, agent, t):  # type: ignore[no-untyped-def]
    """An agent logs in at time t: set up the rest of the day."""
    session = s.more[b, SESSION]
    opens, wall_s = p.sessions[session, OPENS], p.sessions[session, WALL_S]
    s.trait[b, agent, WISHES] = 0
    out = opens + (p.shifts[agent, LOGOUT_S] - wall_s) * 1000
    closes = p.sessions[session, CLOSES]
    s.trait[b, agent, OUT_AT] = min(out, closes)
    if out < closes:
        push(b, s, timer_of(out, SHIFT, (SHIFT_LOGOUT << 12) | agent))
    lunch = opens + (p.shifts[agent, LUNCH_S] - wall_s) * 1000
    if p.shifts[agent, LUNCH_S] >= 0 and t <= lunch < min(out, closes):
        push(b, s, timer_of(lunch, SHIFT, (SHIFT_LUNCH << 12) | agent))


@compiled()
def begin_day(b, s, p, t):  # type: ignore[no-untyped-def]
    """The agents of the session's shifts are there at time t, or will log in later."""
    session = s.more[b, SESSION]
    opens, closes = p.sessions[session, OPENS], p.sessions[session, CLOSES]
    wall_s = p.sessions[session, WALL_S]
    for agent in range(p.n[N_AGENTS]):
        enters = max(opens + (p.shifts[agent, LOGIN_S] - wall_s) * 1000, opens)
        leaves = min(opens + (p.shifts[agent, LOGOUT_S] - wall_s) * 1000, closes)
        if enters >= leaves or leaves <= t:
            continue
        if enters > t:
            push(b, s, timer_of(enters, SHIFT, (SHIFT_LOGIN << 12) | agent))
            continue
        off = s.agent[b, agent, AGENT_STATE] == OFF
        _arrive(b, s, p, agent, t)
        if off:
            rest(b, s, p, agent, t)


@compiled()
def end_day(b, s, p, t):  # type: ignore[no-untyped-def]
    """The floor closes at time t: agents without a call go, the others after their call."""
    for agent in range(p.n[N_AGENTS]):
        state = s.agent[b, agent, AGENT_STATE]
        if state in (IDLE, SPARE):
            leave_ring(b, s, p, agent)
            move(b, s, p, agent, OFF, t)
        elif state != OFF:
            s.trait[b, agent, WISHES] = WISH_OUT
