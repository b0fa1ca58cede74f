"""The full kernel's loop: events of one campaign, decisions of all, sessions of an episode."""

from __future__ import annotations

import numpy as np

from quietdial.envs.pacing import chance
from quietdial.envs.pacing.book import params_of, state_of
from quietdial.envs.pacing.control import DIALS_OR_CANCEL, dials_now, write_feed
from quietdial.envs.pacing.counts import key_of, settle, time_in
from quietdial.envs.pacing.full.dialing import cancel, control, dialing_open, place
from quietdial.envs.pacing.full.inbound import (
    caller_event,
    give_up_event,
    schedule_caller,
    send_callers_home,
)
from quietdial.envs.pacing.full.pickups import (
    ending_event,
    line_event,
    pickup_event,
    silence_event,
    unheard_event,
    verdict_event,
)
from quietdial.envs.pacing.full.staff import agent_event, begin_day, end_day, serve_due, shift_event
from quietdial.envs.pacing.full.windows import counted_silent, end_windows, roll
from quietdial.envs.pacing.full.work import move, take_idle
from quietdial.envs.pacing.insight import fill_buffer
from quietdial.envs.pacing.jit import compiled
from quietdial.envs.pacing.levels import (
    draw_answer_rate,
    draw_talk_factor,
    move_answer_rate,
    move_talk_factor,
    set_talk_factor,
)
from quietdial.envs.pacing.log import NONE, SESSION_CHANGE, YES, note
from quietdial.envs.pacing.opening import blank, draw_counts, draw_span
from quietdial.envs.pacing.outlook import SPEED_CLASSES
from quietdial.envs.pacing.params import (
    BUCKET_MS,
    CLOSES,
    CONTROL_MS,
    DAY,
    DRIFT_MS,
    END_MS,
    FEED_STEPS,
    HAS_DRIFT,
    HAS_INBOUND,
    HAS_TALK_DRIFT,
    HORIZON_MS,
    LAW_DAY_FACTOR,
    LAW_TALK,
    LEAD_BUFFER,
    N_AGENTS,
    N_PEOPLE,
    OPENS,
    P_SUCCESS,
    PRIOR_WEIGHT,
    RANDOM_START,
    SCORES,
    SKILL_SD,
    SPAN_FROM,
    SPEED_SD,
    STEP_MS,
    TALK_DRIFT_MS,
    WORKED,
)
from quietdial.envs.pacing.state import (
    ACC,
    AGENT_NUMBER,
    AGENT_SINCE,
    AGENT_STATE,
    ANSWERED,
    BEGAN,
    BUCKET,
    CALLER_DUE,
    CALLERS,
    CONVERSATIONS,
    COUNT,
    DAY_FACTOR,
    DONE,
    END,
    FRESH,
    HARM,
    HEAP,
    HELD,
    IDLE,
    INBOUND_TALK,
    LAST_HARM,
    LEAD_WEIGHT,
    MACHINE_TALK,
    MACHINES,
    N_MORE,
    N_TALLY,
    N_WINDOW,
    N_WINDOWS,
    NOW,
    NOWHERE,
    OFF,
    OUT_AT,
    PACE,
    PEOPLE_DONE,
    PLACE,
    QUEUED,
    RATE_ANSWERED,
    RATE_FINISHED,
    RESERVED_FINISHED,
    SESSION,
    SET_DIALS,
    SET_KIND,
    SET_VALUE,
    SKILL,
    SPARE,
    SPEED,
    TALK,
    TALK_FACTOR,
    WAIT_DUE,
    WISHES,
    WITH_CALL,
    WITH_PERSON,
    WRAP,
)
from quietdial.envs.pacing.timers import (
    AGENT,
    CALLER,
    CONTROL,
    DRIFT,
    ENDING,
    GIVE_UP,
    LINE,
    NEVER,
    PICKUP,
    SHIFT,
    UNHEARD,
    VERDICT,
    pop,
    push,
    timer_of,
)


@compiled(inline="always")
def _drift_event(b, s, p, entity, t):  # type: ignore[no-untyped-def]
    session = s.more[b, SESSION]
    opens, closes = p.sessions[session, OPENS], p.sessions[session, CLOSES]
    if t >= closes:
        return
    if entity == 0:
        due = move_answer_rate(b, s, p, session, t - opens)
    else:
        due = move_talk_factor(b, s, p, session, t - opens)
    push(b, s, timer_of(opens + due, DRIFT, entity))


@compiled()
def _play_until(b, s, p, until):  # type: ignore[no-untyped-def]
    """Play every event up to and including time `until`, and set the clock to it."""
    while True:
        timer = NEVER
        if s.head[b, HEAP] > 0:
            timer = s.heap[b, 0]
        first = 0
        if s.head[b, WAIT_DUE] < timer:
            timer = s.head[b, WAIT_DUE]
            first = 1
        if s.more[b, CALLERS] > 0 and s.more[b, CALLER_DUE] < NEVER:
            leaves = timer_of(s.more[b, CALLER_DUE], GIVE_UP, 0)
            if leaves < timer:
                timer = leaves
                first = 2
        t = timer >> 24
        if t > until:
            break
        entity = timer & 0xFFFFF
        kind = (timer >> 20) & 0xF
        if first == 1:
            silence_event(b, s, p, entity, t)
            continue
        if first == 2:
            give_up_event(b, s, p, t)
            continue
        pop(b, s)
        if kind == AGENT:
            agent_event(b, s, p, entity, t)
        elif kind == ENDING:
            ending_event(b, s, p, entity, t)
        elif kind == PICKUP:
            pickup_event(b, s, p, entity, t)
        elif kind == VERDICT:
            verdict_event(b, s, p, entity, t)
        elif kind == UNHEARD:
            unheard_event(b, s, p, entity, t)
        elif kind == DRIFT:
            _drift_event(b, s, p, entity, t)
        elif kind == SHIFT:
            shift_event(b, s, p, entity, t)
        elif kind == LINE:
            line_event(b, s, p, entity, t)
        elif kind == CALLER:
            caller_event(b, s, p, t)
        elif t < p.sessions[s.more[b, SESSION], CLOSES]:
            control(b, s, p, t)
            push(b, s, timer_of(t + p.n[CONTROL_MS], CONTROL, 0))
    s.head[b, NOW] = until


@compiled()
def _open_session(b, s, p, session, t):  # type: ignore[no-untyped-def]
    """The floor opens (or the episode begins within its session) at time t."""
    key = key_of(b, s)
    s.more[b, SESSION] = session
    opens, day = p.sessions[session, OPENS], p.sessions[session, DAY]
    note(b, s, p, t, SESSION_CHANGE, session, YES, NONE, NONE)
    draw_talk_factor(b, s, p, key, day, session)
    if p.n[HAS_TALK_DRIFT]:
        set_talk_factor(b, s, p, t - opens)
        due = ((t - opens) // p.n[TALK_DRIFT_MS] + 1) * p.n[TALK_DRIFT_MS]
        push(b, s, timer_of(opens + due, DRIFT, 1))
    if p.n[HAS_DRIFT]:
        draw_answer_rate(b, s, p, key, day, session, t - opens)
        due = ((t - opens) // p.n[DRIFT_MS] + 1) * p.n[DRIFT_MS]
        push(b, s, timer_of(opens + due, DRIFT, 0))
    if p.n[CONTROL_MS] > 0:
        push(b, s, timer_of(t + p.n[CONTROL_MS], CONTROL, 0))
    if p.n[HAS_INBOUND]:
        u = chance.draw(key, chance.DAY_INBOUND, day)
        factor = chance.duration_ms(p.tables, LAW_DAY_FACTOR, u)
        s.more[b, DAY_FACTOR] = max(factor * 1000, 1)
        schedule_caller(b, s, p, t)
    begin_day(b, s, p, t)


@compiled()
def _next_session(b, s, p, t):  # type: ignore[no-untyped-def]
    """The floor closes at time t; play on to the next opening."""
    session = s.more[b, SESSION] + 1
    note(b, s, p, t, SESSION_CHANGE, session - 1, NONE, NONE, NONE)
    end_day(b, s, p, t)
    send_callers_home(b, s, p, t)
    opens = p.sessions[session, OPENS]
    _play_until(b, s, p, opens)
    end_windows(b, s, p, session)
    _open_session(b, s, p, session, opens)
    _rest_estimates(b, s, p)
    _fill_feed(b, s, p)


@compiled()
def _rest_estimates(b, s, p):  # type: ignore[no-untyped-def]
    """After a night the last answer rates weigh no more than a prior."""
    for w in range(N_WINDOWS):
        finished = s.est[b, RATE_FINISHED + w]
        if finished > p.x[PRIOR_WEIGHT]:
            s.est[b, RATE_ANSWERED + w] *= p.x[PRIOR_WEIGHT] / finished
            s.est[b, RATE_FINISHED + w] = p.x[PRIOR_WEIGHT]


@compiled()
def _fill_feed(b, s, p):  # type: ignore[no-untyped-def]
    """At an opening the dialer sees its agents as they are."""
    if p.n[FEED_STEPS] > 0:
        for _ in range(p.n[FEED_STEPS] + 1):
            write_feed(b, s, p)


@compiled()
def _finish_step(b, s, p, out):  # type: ignore[no-untyped-def]
    """Update estimates and views and write the step's results; see `plain.advance`."""
    idle_ms = time_in(b, s, IDLE) + time_in(b, s, SPARE)
    available_ms = idle_ms
    for state in (TALK, WRAP, HELD, MACHINE_TALK, INBOUND_TALK):
        available_ms += time_in(b, s, state)
    finished = s.head[b, ANSWERED] - s.more[b, RESERVED_FINISHED]
    for i in range(5):
        finished += s.head[b, MACHINES + i]
    if p.n[BUCKET_MS] > 0:
        roll(b, s, p)
    if p.n[FEED_STEPS] > 0:
        write_feed(b, s, p)
    settle(
        b, s, p, out, idle_ms, available_ms, counted_silent(b, s, p), s.more[b, QUEUED], finished
    )
    if p.n[SCORES]:
        for w in range(N_WINDOWS):
            s.est[b, RATE_FINISHED + w] += s.est[b, LEAD_WEIGHT]
        s.est[b, LEAD_WEIGHT] = 0.0
    harm = s.more[b, HARM]
    out[b, 5] += (harm - s.more[b, LAST_HARM]) / 1e6
    s.more[b, LAST_HARM] = harm
    if s.head[b, DONE]:
        send_callers_home(b, s, p, s.head[b, NOW])
        end_windows(b, s, p, -1)


@compiled()
def advance(book, kind, amounts, values, active, steps, out):  # type: ignore[no-untyped-def]
    """Play decision intervals of every active campaign; arguments as `plain.advance`."""
    s, p = state_of(book), params_of(book)
    for b in range(s.head.shape[0]):
        if not active[b]:
            continue
        s.head[b, SET_KIND] = kind
        s.head[b, SET_DIALS] = amounts[b]
        s.est[b, SET_VALUE] = values[b]
        for _ in range(steps):
            _interval(b, s, p)
            _finish_step(b, s, p, out)
            if s.head[b, DONE]:
                break
            if p.n[N_PEOPLE] > 0:  # now, so that the next decision's observation shows it
                serve_due(b, s, p, s.head[b, NOW])


@compiled()
def _interval(b, s, p):  # type: ignore[no-untyped-def]
    """Decide and play on to the next decision, over the night if the session ends."""
    now = s.head[b, NOW]
    if s.head[b, SET_KIND] == DIALS_OR_CANCEL and s.head[b, SET_DIALS] < 0:
        cancel(b, s, p, -s.head[b, SET_DIALS], now)
    if dialing_open(b, s, p, now):
        place(b, s, p, dials_now(b, s, p, True), now)
    session = s.more[b, SESSION]
    closes = p.sessions[session, CLOSES]
    until = min(now + p.n[STEP_MS], closes)
    _play_until(b, s, p, until)
    if until == closes and session + 1 < p.sessions.shape[0] and s.head[b, END] > closes:
        if p.n[BUCKET_MS] > 0:
            roll(b, s, p)
        _next_session(b, s, p, closes)


@compiled()
def begin(book, which, seeds, campaigns):  # type: ignore[no-untyped-def]
    """Start an episode in every row of `which`; arguments as `plain.begin`."""
    s, p = state_of(book), params_of(book)
    for b in range(s.head.shape[0]):
        if which[b]:
            _begin(b, s, p, chance.campaign_key(seeds[b], campaigns[b]))


@compiled()
def _begin(b, s, p, key):  # type: ignore[no-untyped-def]
    blank(b, s, p, key)
    _blank_more(b, s, p, key)
    first = np.int64(0)
    last = p.sessions.shape[0] - 1
    began, end = np.int64(0), p.n[END_MS]
    if p.n[RANDOM_START] or p.n[HORIZON_MS] > 0:
        if p.n[RANDOM_START] and last > 0:
            share = chance.unit(chance.draw(key, chance.TRAIN_START, 3))
            first = np.int64(share * (last + 1))
        began, end = draw_span(p, key, p.sessions[first, OPENS], p.sessions[first, CLOSES])
        if p.n[HORIZON_MS] == 0:
            end = p.n[END_MS]
    s.head[b, NOW] = began
    s.head[b, BEGAN] = began
    s.head[b, END] = end
    agents = p.n[N_AGENTS]
    for i in range(agents):
        s.agent[b, i, AGENT_STATE] = OFF
        s.agent[b, i, AGENT_SINCE] = began
    s.head[b, COUNT + OFF] = agents
    s.head[b, ACC + OFF] = -agents * began
    if p.n[N_PEOPLE] > 0 and began > 0:
        open_ms = p.sessions[first, WORKED] + began - p.sessions[first, OPENS]
        whole = p.sessions[last, WORKED] + p.sessions[last, CLOSES] - p.sessions[last, OPENS]
        s.more[b, FRESH] = p.n[N_PEOPLE] * open_ms // (2 * whole)
        s.more[b, PEOPLE_DONE] = s.more[b, FRESH]
    if p.n[BUCKET_MS] > 0:
        s.more[b, BUCKET] = began // p.n[BUCKET_MS]
    _open_session(b, s, p, first, began)
    if p.n[LEAD_BUFFER] > 0:
        fill_buffer(b, s, p)
    if p.n[RANDOM_START]:
        _fill_floor(b, s, p, key, began)
        span_ms = began - p.sessions[first, OPENS]
        span_ms += p.sessions[first, WORKED] - p.sessions[first, SPAN_FROM]
        draw_counts(b, s, p, key, s.head[b, COUNT + TALK] / 0.85, span_ms)
    _fill_feed(b, s, p)


@compiled()
def _blank_more(b, s, p, key):  # type: ignore[no-untyped-def]
    for i in range(N_MORE):
        s.more[b, i] = 0
    s.more[b, CALLER_DUE] = NEVER
    for i in range(s.story.shape[1]):
        s.story[b, i, PLACE] = NOWHERE
    for i in range(s.person.shape[1]):
        for column in range(s.person.shape[2]):
            s.person[b, i, column] = 0
    for i in range(s.window.shape[1]):
        for column in range(N_WINDOW):
            s.window[b, i, column] = 0
    for i in range(s.bucket.shape[1]):
        for column in range(N_TALLY):
            s.bucket[b, i, column] = 0
    for i in range(p.n[N_AGENTS]):
        z = chance.normal(p.curves, chance.draw(key, chance.AGENT_SPEED, i))
        speed = chance.exp(p.curves, p.x[SPEED_SD] * z - 0.5 * p.x[SPEED_SD] ** 2)
        s.trait[b, i, SPEED] = np.int64(speed * 1048576.0 + 0.5) if p.x[SPEED_SD] > 0 else 1048576
        s.trait[b, i, PACE] = np.int64(min(max(2.0 * z + 4.5, 0.0), SPEED_CLASSES - 0.5))
        z = chance.normal(p.curves, chance.draw(key, chance.AGENT_SKILL, i))
        skill = chance.exp(p.curves, p.x[SKILL_SD] * z - 0.5 * p.x[SKILL_SD] ** 2)
        if p.x[SKILL_SD] == 0:
            skill = 1.0
        s.trait[b, i, SKILL] = np.int64(min(skill * p.n[P_SUCCESS], 4294967296.0))
        s.trait[b, i, OUT_AT] = 0
        s.trait[b, i, WISHES] = 0
        s.trait[b, i, WITH_CALL] = -1
        s.trait[b, i, WITH_PERSON] = -1


@compiled()
def _fill_floor(b, s, p, key, began):  # type: ignore[no-untyped-def]
    """Training only: about 85 % of the agents who are there are in the middle of a conversation."""
    for i in range(s.head[b, COUNT + IDLE]):
        if chance.unit(chance.draw(key, chance.TRAIN_START, 16 + 2 * i)) < 0.85:
            agent = take_idle(b, s, p)
            number = s.head[b, CONVERSATIONS]
            s.head[b, CONVERSATIONS] = number + 1
            move(b, s, p, agent, TALK, began)
            s.agent[b, agent, AGENT_NUMBER] = number
            u = chance.draw(key, chance.TALK_TIME, number)
            talk = chance.duration_ms(p.tables, LAW_TALK, u) * s.head[b, TALK_FACTOR] >> 20
            talk = (talk * s.trait[b, agent, SPEED]) >> 20
            share = chance.unit(chance.draw(key, chance.TRAIN_START, 17 + 2 * i))
            spent = np.int64(talk * share)
            s.agent[b, agent, AGENT_SINCE] = began - spent
            push(b, s, timer_of(began + max(talk - spent, 1), AGENT, agent))
