"""The plain kernel: the physics of worlds without the features of the full one, and nothing else.

It plays docs/mechanisms.md for one session, one kind of call and anonymous people, and gives the
same bits as the full kernel (`full/`) where both can play; tests compare them. Everything on the
way of an event is inlined and no feature is asked for, so a world pays only for what it uses.
"""

from __future__ import annotations

import numpy as np

from quietdial.envs.pacing import chance
from quietdial.envs.pacing.book import params_of, state_of
from quietdial.envs.pacing.control import dials_now
from quietdial.envs.pacing.counts import enter, key_of, settle, silent_calls, time_in
from quietdial.envs.pacing.jit import compiled
from quietdial.envs.pacing.learning import age_of_dial, learn_dial, learn_state
from quietdial.envs.pacing.levels import draw_answer_rate, draw_talk_factor, move_answer_rate
from quietdial.envs.pacing.line import stop_waiting
from quietdial.envs.pacing.opening import blank, draw_counts, draw_span
from quietdial.envs.pacing.params import (
    CLOSE_MS,
    CONTROL_MS,
    DRIFT_MS,
    END_MS,
    ENDING_CODE,
    ENDING_P,
    HARM_NOISE,
    HARM_SILENCE,
    HAS_BREAK,
    HAS_DRIFT,
    HAS_PATIENCE,
    HAS_WRAP,
    HEARS,
    LAW_ANSWER,
    LAW_BREAK,
    LAW_ENDING,
    LAW_PATIENCE,
    LAW_TALK,
    LAW_WRAP,
    LEARNS,
    LIMIT_MS,
    N_AGENTS,
    N_COHORTS,
    ON_RELEASE,
    P_BREAK,
    RANDOM_START,
    STEP_MS,
    WRAP_HIDDEN,
)
from quietdial.envs.pacing.prefetch import WORTH_IT, fetch_ahead
from quietdial.envs.pacing.state import (
    ACC,
    AGENT_NUMBER,
    AGENT_SINCE,
    AGENT_STATE,
    ANSWERED,
    BEGAN,
    BREAK,
    CALL_COHORT,
    CALL_DUE,
    CALL_NUMBER,
    CALL_OUTCOME,
    CONNECTED,
    CONVERSATIONS,
    COUNT,
    DIAL_ANSWERED,
    DIAL_ENDED,
    DIALED,
    DONE,
    END,
    FREE,
    HEAP,
    IDLE,
    IDLE_HEAD,
    IN_FLIGHT,
    LEAVES,
    MACHINES,
    NOW,
    P_ANSWER,
    PERSON,
    RING_S,
    SET_DIALS,
    SET_KIND,
    SET_VALUE,
    SILENT_CUT,
    SILENT_LEFT,
    TALK,
    TALK_ENDED,
    TALK_FACTOR,
    WAIT_ACC,
    WAIT_DUE,
    WAITING,
    WRAP,
    WRAP_ENDED,
)
from quietdial.envs.pacing.timers import (
    AGENT,
    CONTROL,
    DRIFT,
    ENDING,
    NEVER,
    PICKUP,
    SILENCE,
    pop,
    push,
    timer_of,
)


@compiled(inline="always")
def _converse(b, s, p, agent, t):  # type: ignore[no-untyped-def]
    """An agent begins the next conversation at time t."""
    number = s.head[b, CONVERSATIONS]
    s.head[b, CONVERSATIONS] = number + 1
    s.head[b, CONNECTED] += 1
    s.agent[b, agent, AGENT_NUMBER] = number
    enter(b, s, agent, TALK, t)
    talk = chance.duration_ms(
        p.tables, LAW_TALK, chance.draw(key_of(b, s), chance.TALK_TIME, number)
    )
    talk = max((talk * s.head[b, TALK_FACTOR]) >> 20, 1)
    push(b, s, timer_of(t + talk, AGENT, agent))


@compiled(inline="always")
def _leave_line(b, s, place, t):  # type: ignore[no-untyped-def]
    """Take the callee at `place` of the waiting line out of it and free the slot."""
    slot = stop_waiting(b, s, place, t)
    s.free[b, s.head[b, FREE]] = slot
    s.head[b, FREE] += 1


@compiled(inline="always")
def _place(b, s, p, dials, t):  # type: ignore[no-untyped-def]
    """Place `dials` calls at time t, as far as lines are free and dialing is open."""
    if t >= p.n[CLOSE_MS]:
        return
    key = key_of(b, s)
    dials = min(dials, s.head[b, FREE])
    cohort = (t // 1000) % p.n[N_COHORTS]
    for _ in range(dials):
        free = s.head[b, FREE] - 1
        s.head[b, FREE] = free
        slot = s.free[b, free]
        number = s.head[b, DIALED]
        s.head[b, DIALED] = number + 1
        u = np.int64(chance.draw(key, chance.DIAL_OUTCOME, number) >> np.uint64(32))
        law = LAW_ANSWER
        outcome = PERSON
        kind = PICKUP
        if u >= s.head[b, P_ANSWER]:
            u = np.int64(chance.draw(key, chance.DIAL_ENDING, number) >> np.uint64(32))
            ending = 0
            while u >= p.n[ENDING_P + ending]:
                ending += 1
            outcome = p.n[ENDING_CODE + ending]
            law = LAW_ENDING + ending
            kind = ENDING
        u64 = chance.draw(key, chance.DIAL_TIME, number)
        s.call[b, slot, CALL_NUMBER] = number
        s.call[b, slot, CALL_OUTCOME] = outcome
        s.call[b, slot, CALL_COHORT] = cohort
        push(b, s, timer_of(t + chance.duration_ms(p.tables, law, u64), kind, slot))
    s.cohort[b, cohort] += dials
    s.head[b, IN_FLIGHT] += dials


@compiled()
def _control(b, s, p, t):  # type: ignore[no-untyped-def]
    """The inner controller acts at time t."""
    s.head[b, NOW] = t
    _place(b, s, p, dials_now(b, s, p, False), t)


@compiled(inline="always")
def _release(b, s, p, agent, t):  # type: ignore[no-untyped-def]
    """An agent is ready for the next call at time t."""
    if s.head[b, WAITING] > 0:
        _leave_line(b, s, 0, t)
        _converse(b, s, p, agent, t)
        return
    enter(b, s, agent, IDLE, t)
    n = s.head[b, COUNT + IDLE] - 1
    at = s.head[b, IDLE_HEAD] + n
    size = p.n[N_AGENTS]
    s.idle[b, at if at < size else at - size] = agent
    if p.n[ON_RELEASE]:
        _control(b, s, p, t)


@compiled(inline="always")
def _agent_event(b, s, p, agent, t):  # type: ignore[no-untyped-def]
    state = s.agent[b, agent, AGENT_STATE]
    number = s.agent[b, agent, AGENT_NUMBER]
    key = key_of(b, s)
    if p.n[LEARNS] and state != BREAK:
        learn_state(b, s, agent, TALK_ENDED if state == TALK else WRAP_ENDED, t)
    if state == TALK and p.n[HAS_WRAP]:
        since = s.agent[b, agent, AGENT_SINCE]
        enter(b, s, agent, WRAP, t)
        if p.n[WRAP_HIDDEN]:
            s.agent[b, agent, AGENT_SINCE] = since
        wrap = chance.duration_ms(p.tables, LAW_WRAP, chance.draw(key, chance.WRAP_TIME, number))
        push(b, s, timer_of(t + wrap, AGENT, agent))
        return
    if state != BREAK and p.n[HAS_BREAK]:
        u = chance.draw(key, chance.BREAK_TAKEN, number) >> np.uint64(32)
        if np.int64(u) < p.n[P_BREAK]:
            enter(b, s, agent, BREAK, t)
            u = chance.draw(key, chance.BREAK_TIME, number)
            rest = chance.duration_ms(p.tables, LAW_BREAK, u)
            push(b, s, timer_of(t + rest, AGENT, agent))
            return
    _release(b, s, p, agent, t)


@compiled(inline="always")
def _hang_up(b, s, slot):  # type: ignore[no-untyped-def]
    """The dial in `slot` is no longer in flight."""
    s.head[b, IN_FLIGHT] -= 1
    s.cohort[b, s.call[b, slot, CALL_COHORT]] -= 1


@compiled(inline="always")
def _answer_event(b, s, p, slot, t):  # type: ignore[no-untyped-def]
    _hang_up(b, s, slot)
    s.head[b, ANSWERED] += 1
    s.head[b, RING_S] += age_of_dial(b, s, p, slot, t)
    if p.n[LEARNS]:
        learn_dial(b, s, p, slot, DIAL_ANSWERED, t)
    idle = s.head[b, COUNT + IDLE]
    if idle > 0:
        at = s.head[b, IDLE_HEAD]
        agent = s.idle[b, at]
        s.head[b, IDLE_HEAD] = at + 1 if at + 1 < p.n[N_AGENTS] else 0
        s.free[b, s.head[b, FREE]] = slot
        s.head[b, FREE] += 1
        _converse(b, s, p, agent, t)
        return
    limit = p.n[LIMIT_MS]
    if limit == 0:
        s.head[b, SILENT_CUT] += 1
        s.free[b, s.head[b, FREE]] = slot
        s.head[b, FREE] += 1
        return
    if p.n[HAS_PATIENCE]:
        u = chance.draw(key_of(b, s), chance.DIAL_PATIENCE, s.call[b, slot, CALL_NUMBER])
        patience = chance.duration_ms(p.tables, LAW_PATIENCE, u)
        if patience < limit:
            limit = patience
            s.call[b, slot, CALL_OUTCOME] = LEAVES
    s.call[b, slot, CALL_DUE] = t + limit
    n = s.head[b, WAITING]
    s.waiting[b, n] = slot
    s.head[b, WAITING] = n + 1
    s.head[b, WAIT_ACC] -= t
    s.head[b, WAIT_DUE] = min(s.head[b, WAIT_DUE], timer_of(t + limit, SILENCE, slot))


@compiled(inline="always")
def _silence_event(b, s, slot, t):  # type: ignore[no-untyped-def]
    if s.call[b, slot, CALL_OUTCOME] == LEAVES:
        s.head[b, SILENT_LEFT] += 1
    else:
        s.head[b, SILENT_CUT] += 1
    for place in range(s.head[b, WAITING]):
        if s.waiting[b, place] == slot:
            _leave_line(b, s, place, t)
            return


@compiled(inline="always")
def _play_until(b, s, p, until):  # type: ignore[no-untyped-def]
    """Play every event up to and including time `until`, and set the clock to it."""
    while True:
        timer = NEVER
        if s.head[b, HEAP] > 0:
            timer = s.heap[b, 0]
        silence = s.head[b, WAIT_DUE] < timer
        if silence:
            timer = s.head[b, WAIT_DUE]
        t = timer >> 24
        if t > until:
            break
        entity = timer & 0xFFFFF
        kind = (timer >> 20) & 0xF
        if silence:
            _silence_event(b, s, entity, t)
            continue
        pop(b, s)
        if kind == AGENT:
            _agent_event(b, s, p, entity, t)
        elif kind == ENDING:
            _hang_up(b, s, entity)
            if p.n[LEARNS]:
                learn_dial(b, s, p, entity, DIAL_ENDED, t)
            s.head[b, MACHINES + s.call[b, entity, CALL_OUTCOME] - 1] += 1
            s.free[b, s.head[b, FREE]] = entity
            s.head[b, FREE] += 1
        elif kind == PICKUP:
            _answer_event(b, s, p, entity, t)
        elif kind == DRIFT:
            push(b, s, timer_of(move_answer_rate(b, s, p, 0, t), DRIFT, 0))
        else:
            _control(b, s, p, t)
            push(b, s, timer_of(t + p.n[CONTROL_MS], CONTROL, 0))
    s.head[b, NOW] = until


@compiled(inline="always")
def _finish_step(b, s, p, out):  # type: ignore[no-untyped-def]
    """Update the estimates and write the step's results."""
    idle_ms = time_in(b, s, IDLE)
    available_ms = idle_ms + time_in(b, s, TALK) + time_in(b, s, WRAP)
    answered = s.head[b, ANSWERED]
    finished = answered
    for i in range(5):
        finished += s.head[b, MACHINES + i]
    settle(b, s, p, out, idle_ms, available_ms, silent_calls(b, s), answered, finished)
    out[b, 5] = out[b, 2] * (p.x[HARM_NOISE] if p.n[HEARS] else p.x[HARM_SILENCE])


@compiled()
def advance(book, kind, amounts, values, active, steps, out):  # type: ignore[no-untyped-def]
    """Play decision intervals of every active campaign, with the same action in all of them.

    Args:
        book: the world (`book.make_book`), its state changed in place.
        kind: control kind of all actions.
        amounts: (B,) int64, calls (or residual) of one-shot kinds.
        values: (B,) float64, knob of set-point kinds.
        active: (B,) bool, campaigns to play; the others are left alone.
        steps: decision intervals to play, at most until the episode's end.
        out: (B, 6) float64, added to: reward terms idle and silent, silent calls, answered
            calls, 1 if the episode ended, harm.
    """
    s, p = state_of(book), params_of(book)
    large = p.n[N_AGENTS] * s.head.shape[0] >= WORTH_IT
    for b in range(s.head.shape[0]):
        if not active[b]:
            continue
        if large:
            fetch_ahead(b, s, AGENT)
        s.head[b, SET_KIND] = kind
        s.head[b, SET_DIALS] = amounts[b]
        s.est[b, SET_VALUE] = values[b]
        for _ in range(steps):
            now = s.head[b, NOW]
            _place(b, s, p, dials_now(b, s, p, True), now)
            _play_until(b, s, p, now + p.n[STEP_MS])
            _finish_step(b, s, p, out)
            if s.head[b, DONE]:
                break


@compiled()
def begin(book, which, seeds, campaigns):  # type: ignore[no-untyped-def]
    """Start an episode in every row where `which` (B,) is true.

    The world of row b follows from `seeds[b]` and the campaign number `campaigns[b]`, (B,) uint64.
    """
    s, p = state_of(book), params_of(book)
    for b in range(s.head.shape[0]):
        if which[b]:
            _begin(b, s, p, chance.campaign_key(seeds[b], campaigns[b]))


@compiled()
def _begin(b, s, p, key):  # type: ignore[no-untyped-def]
    blank(b, s, p, key)
    began, end = draw_span(p, key, np.int64(0), p.n[END_MS])
    s.head[b, NOW] = began
    s.head[b, BEGAN] = began
    s.head[b, END] = end
    agents = p.n[N_AGENTS]
    for i in range(agents):
        s.agent[b, i, AGENT_SINCE] = began
    s.head[b, COUNT + IDLE] = agents
    s.head[b, ACC + IDLE] = -agents * began
    draw_talk_factor(b, s, p, key, 0, 0)
    if p.n[HAS_DRIFT]:
        draw_answer_rate(b, s, p, key, 0, 0, began)
        push(b, s, timer_of((began // p.n[DRIFT_MS] + 1) * p.n[DRIFT_MS], DRIFT, 0))
    if p.n[CONTROL_MS] > 0:
        push(b, s, timer_of(began + p.n[CONTROL_MS], CONTROL, 0))
    if p.n[RANDOM_START]:
        _fill_floor(b, s, p, key, began)
        draw_counts(b, s, p, key, agents, began)


@compiled()
def _fill_floor(b, s, p, key, began):  # type: ignore[no-untyped-def]
    """Training only: about 85 % of the agents are in the middle of a conversation."""
    agents = p.n[N_AGENTS]
    for i in range(agents):
        if chance.unit(chance.draw(key, chance.TRAIN_START, 16 + 2 * i)) < 0.85:
            agent = s.idle[b, s.head[b, IDLE_HEAD]]
            s.head[b, IDLE_HEAD] = (s.head[b, IDLE_HEAD] + 1) % agents
            number = s.head[b, CONVERSATIONS]
            s.head[b, CONVERSATIONS] = number + 1
            enter(b, s, agent, TALK, began)
            s.agent[b, agent, AGENT_NUMBER] = number
            u = chance.draw(key, chance.TALK_TIME, number)
            talk = chance.duration_ms(p.tables, LAW_TALK, u) * s.head[b, TALK_FACTOR] >> 20
            share = chance.unit(chance.draw(key, chance.TRAIN_START, 17 + 2 * i))
            spent = np.int64(talk * share)
            s.agent[b, agent, AGENT_SINCE] = began - spent
            push(b, s, timer_of(began + max(talk - spent, 1), AGENT, agent))
