"""The physics: an exact discrete-event simulation of outbound floors, compiled with numba.

Between two decisions every event is played at its own millisecond. Events of the same millisecond
are played in the order of their kind (the constants below), then of their entity number:

    DRIFT    the hidden answer rate changes
    AGENT    an agent ends talk, wrap-up or break; takes the longest waiting callee, or turns idle
    ENDING   a dial ends without a person (machine, busy, no answer, invalid number)
    ANSWER   a person answers: the longest idle agent takes the call at once, or silence begins
    SILENCE  a waiting callee is cut at the limit, or has lost patience before it
    CONTROL  the inner controller acts at its own period

and a policy's decision comes after all events of its millisecond. Dials that are placed at a time
end at least one millisecond later. The longest idle agent and the longest waiting callee go first.
"""

from __future__ import annotations

import numpy as np

from quietdial.envs.pacing import chance
from quietdial.envs.pacing.control import dials_now
from quietdial.envs.pacing.jit import compiled
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
    CAP,
    CLOSE_MS,
    CONNECTED,
    CONTROL_MS,
    CONVERSATIONS,
    COUNT,
    DAY_P0,
    DAY_TURN,
    DIALED,
    DONE,
    DRIFT_MS,
    DRIFT_X,
    END,
    END_MS,
    ENDING_CODE,
    ENDING_P,
    FREE,
    HAS_BREAK,
    HAS_DRIFT,
    HAS_PATIENCE,
    HAS_WRAP,
    HEAP,
    HORIZON_MS,
    IDLE,
    IDLE_HEAD,
    IN_FLIGHT,
    KEEP,
    KEY,
    LAST_ANSWERED,
    LAST_AVAILABLE_MS,
    LAST_FINISHED,
    LAST_IDLE_MS,
    LAST_SILENT,
    LAW_ANSWER,
    LAW_BREAK,
    LAW_ENDING,
    LAW_PATIENCE,
    LAW_TALK,
    LAW_WRAP,
    LEAVES,
    LIMIT_MS,
    LOG_P_LOW,
    LOG_P_SPAN,
    MACHINES,
    N_AGENTS,
    N_COHORTS,
    N_HEAD,
    N_LINES,
    N_WINDOWS,
    NOW,
    ON_RELEASE,
    OPEN_ANSWERED,
    OPEN_SILENT,
    OU_KEEP,
    OU_NOISE,
    OU_SD,
    P_ANSWER,
    P_BREAK,
    P_FIXED,
    PERSON,
    PRIOR_RATE,
    PRIOR_WEIGHT,
    RANDOM_START,
    RATE_ANSWERED,
    RATE_FINISHED,
    SEASON,
    SEASON_TURNS_PER_MS,
    SET_DIALS,
    SET_KIND,
    SET_VALUE,
    SILENT_AMD,
    SILENT_CUT,
    SILENT_LEFT,
    SILENT_PENALTY,
    STEP_MS,
    TALK,
    TALK_FACTOR,
    TALK_SD,
    WAIT_ACC,
    WAIT_DUE,
    WAITING,
    WRAP,
)

DRIFT, AGENT, ENDING, ANSWER, SILENCE, CONTROL = 0, 1, 2, 3, 4, 5
NEVER = np.int64(0x7FFFFFFFFFFFFFFF)
_P32 = 4294967296.0


@compiled(inline="always")
def _timer(t, kind, entity):  # type: ignore[no-untyped-def]
    return (t << 24) | (kind << 20) | entity


@compiled(inline="always")
def _rise(heap, at, timer):  # type: ignore[no-untyped-def]
    """Put a timer into the hole `at` of a heap whose nodes have four children each."""
    while at > 0:
        parent = (at - 1) >> 2
        if heap[parent] <= timer:
            break
        heap[at] = heap[parent]
        at = parent
    heap[at] = timer


@compiled(inline="always")
def _push(b, s, timer):  # type: ignore[no-untyped-def]
    at = s.head[b, HEAP]
    s.head[b, HEAP] = at + 1
    _rise(s.heap[b], at, timer)


@compiled(inline="always")
def _pop(b, s):  # type: ignore[no-untyped-def]
    """Take the first timer out: the hole sinks to a leaf, then the last timer rises from there."""
    heap = s.heap[b]
    size = s.head[b, HEAP] - 1
    s.head[b, HEAP] = size
    last = heap[size]
    at = 0
    child = 1
    while child + 3 < size:
        t0, t1, t2, t3 = heap[child], heap[child + 1], heap[child + 2], heap[child + 3]
        low, high = min(t0, t1), min(t2, t3)
        first = child + (t1 < t0)
        second = child + 2 + (t3 < t2)
        heap[at] = min(low, high)
        at = second if high < low else first
        child = 4 * at + 1
    if child < size:
        best = child
        for other in range(child + 1, size):
            if heap[other] < heap[best]:
                best = other
        heap[at] = heap[best]
        at = best
    _rise(heap, at, last)


@compiled(inline="always")
def _key(b, s):  # type: ignore[no-untyped-def]
    return np.uint64(s.head[b, KEY])


@compiled(inline="always")
def _enter(b, s, agent, state, t):  # type: ignore[no-untyped-def]
    """Move an agent to another state at time t, keeping the time totals."""
    old = s.agent[b, agent, AGENT_STATE]
    s.head[b, COUNT + old] -= 1
    s.head[b, ACC + old] += t
    s.head[b, COUNT + state] += 1
    s.head[b, ACC + state] -= t
    s.agent[b, agent, AGENT_STATE] = state
    s.agent[b, agent, AGENT_SINCE] = t


@compiled(inline="always")
def _converse(b, s, p, agent, t):  # type: ignore[no-untyped-def]
    """An agent begins the next conversation at time t."""
    number = s.head[b, CONVERSATIONS]
    s.head[b, CONVERSATIONS] = number + 1
    s.head[b, CONNECTED] += 1
    s.agent[b, agent, AGENT_NUMBER] = number
    _enter(b, s, agent, TALK, t)
    talk = chance.duration_ms(p.tables, LAW_TALK, chance.draw(_key(b, s), chance.TALK_TIME, number))
    talk = max((talk * s.head[b, TALK_FACTOR]) >> 20, 1)
    _push(b, s, _timer(t + talk, AGENT, agent))


@compiled(inline="always")
def _next_wait(b, s):  # type: ignore[no-untyped-def]
    """Recompute which waiting callee goes first."""
    due = NEVER
    for i in range(s.head[b, WAITING]):
        slot = s.waiting[b, i]
        due = min(due, _timer(s.call[b, slot, CALL_DUE], SILENCE, slot))
    s.head[b, WAIT_DUE] = due


@compiled(inline="always")
def _stop_waiting(b, s, place, t):  # type: ignore[no-untyped-def]
    """Take the callee at `place` of the waiting line out of it and free the slot."""
    slot = s.waiting[b, place]
    n = s.head[b, WAITING] - 1
    s.head[b, WAITING] = n
    for i in range(place, n):
        s.waiting[b, i] = s.waiting[b, i + 1]
    s.head[b, WAIT_ACC] += t
    s.free[b, s.head[b, FREE]] = slot
    s.head[b, FREE] += 1
    _next_wait(b, s)


@compiled(inline="always")
def _place(b, s, p, dials, t):  # type: ignore[no-untyped-def]
    """Place `dials` calls at time t, as far as lines are free and dialing is open."""
    if t >= p.n[CLOSE_MS]:
        return
    key = _key(b, s)
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
        kind = ANSWER
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
        _push(b, s, _timer(t + chance.duration_ms(p.tables, law, u64), kind, slot))
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
        _stop_waiting(b, s, 0, t)
        _converse(b, s, p, agent, t)
        return
    _enter(b, s, agent, IDLE, t)
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
    key = _key(b, s)
    if state == TALK and p.n[HAS_WRAP]:
        _enter(b, s, agent, WRAP, t)
        wrap = chance.duration_ms(p.tables, LAW_WRAP, chance.draw(key, chance.WRAP_TIME, number))
        _push(b, s, _timer(t + wrap, AGENT, agent))
        return
    if state != BREAK and p.n[HAS_BREAK]:
        u = chance.draw(key, chance.BREAK_TAKEN, number) >> np.uint64(32)
        if np.int64(u) < p.n[P_BREAK]:
            _enter(b, s, agent, BREAK, t)
            u = chance.draw(key, chance.BREAK_TIME, number)
            rest = chance.duration_ms(p.tables, LAW_BREAK, u)
            _push(b, s, _timer(t + rest, AGENT, agent))
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
        u = chance.draw(_key(b, s), chance.DIAL_PATIENCE, s.call[b, slot, CALL_NUMBER])
        patience = chance.duration_ms(p.tables, LAW_PATIENCE, u)
        if patience < limit:
            limit = patience
            s.call[b, slot, CALL_OUTCOME] = LEAVES
    s.call[b, slot, CALL_DUE] = t + limit
    n = s.head[b, WAITING]
    s.waiting[b, n] = slot
    s.head[b, WAITING] = n + 1
    s.head[b, WAIT_ACC] -= t
    s.head[b, WAIT_DUE] = min(s.head[b, WAIT_DUE], _timer(t + limit, SILENCE, slot))


@compiled(inline="always")
def _silence_event(b, s, slot, t):  # type: ignore[no-untyped-def]
    if s.call[b, slot, CALL_OUTCOME] == LEAVES:
        s.head[b, SILENT_LEFT] += 1
    else:
        s.head[b, SILENT_CUT] += 1
    for place in range(s.head[b, WAITING]):
        if s.waiting[b, place] == slot:
            _stop_waiting(b, s, place, t)
            return


@compiled()
def _set_answer_rate(b, s, p, t):  # type: ignore[no-untyped-def]
    """Hidden answer probability from the day's level, its season and the drift."""
    turns = t * p.x[SEASON_TURNS_PER_MS] + s.est[b, DAY_TURN]
    season = 1.0 + p.x[SEASON] * chance.sine(p.curves, turns)
    rate = s.est[b, DAY_P0] * season * chance.exp(p.curves, s.est[b, DRIFT_X])
    s.head[b, P_ANSWER] = np.int64(min(max(rate, 0.001), 0.95) * _P32)


@compiled()
def _drift_event(b, s, p, t):  # type: ignore[no-untyped-def]
    step = t // p.n[DRIFT_MS]
    noise = chance.normal(p.curves, chance.draw(_key(b, s), chance.DRIFT_NOISE, step))
    s.est[b, DRIFT_X] = p.x[OU_KEEP] * s.est[b, DRIFT_X] + p.x[OU_NOISE] * noise
    _set_answer_rate(b, s, p, t)
    _push(b, s, _timer((step + 1) * p.n[DRIFT_MS], DRIFT, 0))


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
        _pop(b, s)
        if kind == AGENT:
            _agent_event(b, s, p, entity, t)
        elif kind == ENDING:
            _hang_up(b, s, entity)
            s.head[b, MACHINES + s.call[b, entity, CALL_OUTCOME] - 1] += 1
            s.free[b, s.head[b, FREE]] = entity
            s.head[b, FREE] += 1
        elif kind == ANSWER:
            _answer_event(b, s, p, entity, t)
        elif kind == DRIFT:
            _drift_event(b, s, p, t)
        else:
            _control(b, s, p, t)
            _push(b, s, _timer(t + p.n[CONTROL_MS], CONTROL, 0))
    s.head[b, NOW] = until


@compiled(inline="always")
def time_in(b, s, state):  # type: ignore[no-untyped-def]
    """Milliseconds that agents have spent in a state since the episode began."""
    return s.head[b, ACC + state] + s.head[b, COUNT + state] * s.head[b, NOW]


@compiled(inline="always")
def silent_calls(b, s):  # type: ignore[no-untyped-def]
    """Silent calls of the episode, all causes."""
    return s.head[b, SILENT_CUT] + s.head[b, SILENT_LEFT] + s.head[b, SILENT_AMD]


@compiled(inline="always")
def _finish_step(b, s, p, out):  # type: ignore[no-untyped-def]
    """Update the estimates and write the step's (reward terms, silent, answered, truncated)."""
    head = s.head
    idle_ms = time_in(b, s, IDLE)
    available_ms = idle_ms + time_in(b, s, TALK) + time_in(b, s, WRAP)
    silent = silent_calls(b, s)
    answered = head[b, ANSWERED]
    finished = answered
    for i in range(4):
        finished += head[b, MACHINES + i]
    available = available_ms - head[b, LAST_AVAILABLE_MS]
    idle = idle_ms - head[b, LAST_IDLE_MS]
    new_silent = silent - head[b, LAST_SILENT]
    new_answered = answered - head[b, LAST_ANSWERED]
    new_finished = finished - head[b, LAST_FINISHED]
    for w in range(N_WINDOWS):
        keep = p.x[KEEP + w]
        s.est[b, RATE_ANSWERED + w] = keep * s.est[b, RATE_ANSWERED + w] + new_answered
        s.est[b, RATE_FINISHED + w] = keep * s.est[b, RATE_FINISHED + w] + new_finished
    head[b, LAST_IDLE_MS] = idle_ms
    head[b, LAST_AVAILABLE_MS] = available_ms
    head[b, LAST_SILENT] = silent
    head[b, LAST_ANSWERED] = answered
    head[b, LAST_FINISHED] = finished
    out[b, 0] = -idle / available if available > 0 else 0.0
    agent_s = p.n[N_AGENTS] * (p.n[STEP_MS] / 1000.0)
    out[b, 1] = -p.x[SILENT_PENALTY] * new_silent / agent_s
    out[b, 2] = new_silent
    out[b, 3] = new_answered
    if head[b, NOW] >= head[b, END]:
        head[b, DONE] = 1
    out[b, 4] = head[b, DONE]


@compiled()
def advance(s, p, kind, amounts, values, active, out):  # type: ignore[no-untyped-def]
    """Play one decision interval of every active campaign.

    Args:
        s: State of B campaigns, changed in place.
        p: Params.
        kind: control kind of all actions.
        amounts: (B,) int64, calls (or residual) of one-shot kinds.
        values: (B,) float64, knob of set-point kinds.
        active: (B,) bool, campaigns to play; the others are left alone.
        out: (B, 5) float64, written: reward terms idle and silent, silent calls, answered
            calls, 1 if the episode ended.
    """
    large = p.n[N_AGENTS] * s.head.shape[0] >= WORTH_IT
    for b in range(s.head.shape[0]):
        if not active[b]:
            continue
        if large:
            fetch_ahead(b, s, AGENT)
        s.head[b, SET_KIND] = kind
        s.head[b, SET_DIALS] = amounts[b]
        s.est[b, SET_VALUE] = values[b]
        now = s.head[b, NOW]
        _place(b, s, p, dials_now(b, s, p, True), now)
        _play_until(b, s, p, now + p.n[STEP_MS])
        _finish_step(b, s, p, out)


@compiled()
def begin(s, p, which, seeds, campaigns):  # type: ignore[no-untyped-def]
    """Start an episode in every row where `which` (B,) is true.

    The world of row b follows from `seeds[b]` and the campaign number `campaigns[b]`, (B,) uint64.
    """
    for b in range(s.head.shape[0]):
        if which[b]:
            _begin(b, s, p, chance.campaign_key(seeds[b], campaigns[b]))


@compiled()
def _begin(b, s, p, key):  # type: ignore[no-untyped-def]
    agents = p.n[N_AGENTS]
    for i in range(N_HEAD):
        s.head[b, i] = 0
    for i in range(s.est.shape[1]):
        s.est[b, i] = 0.0
    for i in range(s.cohort.shape[1]):
        s.cohort[b, i] = 0
    s.head[b, KEY] = np.int64(key)
    s.head[b, WAIT_DUE] = NEVER
    for i in range(p.n[N_LINES]):
        s.free[b, i] = p.n[N_LINES] - 1 - i
    s.head[b, FREE] = p.n[N_LINES]

    began, end = np.int64(0), p.n[END_MS]
    if p.n[HORIZON_MS] > 0:
        share = chance.unit(chance.draw(key, chance.TRAIN_START, 1))
        steps = np.int64(p.n[HORIZON_MS] // p.n[STEP_MS] * (0.5 + 0.5 * share))
        end = min(max(steps, 1) * p.n[STEP_MS], p.n[END_MS])
    if p.n[RANDOM_START]:
        share = chance.unit(chance.draw(key, chance.TRAIN_START, 0))
        began = np.int64((p.n[END_MS] - end) // p.n[STEP_MS] * share) * p.n[STEP_MS]
        end += began
    s.head[b, NOW] = began
    s.head[b, BEGAN] = began
    s.head[b, END] = end

    factor = chance.exp(
        p.curves, p.x[TALK_SD] * chance.normal(p.curves, chance.draw(key, chance.DAY_TALK, 0))
    )
    s.head[b, TALK_FACTOR] = np.int64(factor * 1048576.0 + 0.5)
    for i in range(agents):
        s.agent[b, i, AGENT_STATE] = IDLE
        s.agent[b, i, AGENT_SINCE] = began
        s.agent[b, i, AGENT_NUMBER] = -1
        s.idle[b, i] = i
    s.head[b, COUNT + IDLE] = agents
    s.head[b, ACC + IDLE] = -agents * began
    for w in range(N_WINDOWS):
        s.est[b, RATE_ANSWERED + w] = p.x[PRIOR_RATE] * p.x[PRIOR_WEIGHT]
        s.est[b, RATE_FINISHED + w] = p.x[PRIOR_WEIGHT]

    s.head[b, P_ANSWER] = p.n[P_FIXED]
    if p.n[HAS_DRIFT]:
        level = chance.unit(chance.draw(key, chance.DAY_LEVEL, 0))
        s.est[b, DAY_P0] = chance.exp(p.curves, p.x[LOG_P_LOW] + p.x[LOG_P_SPAN] * level)
        s.est[b, DAY_TURN] = chance.unit(chance.draw(key, chance.DAY_PHASE, 0))
        noise = chance.normal(p.curves, chance.draw(key, chance.DRIFT_NOISE, 0))
        s.est[b, DRIFT_X] = p.x[OU_SD] * noise
        _set_answer_rate(b, s, p, began)
        _push(b, s, _timer((began // p.n[DRIFT_MS] + 1) * p.n[DRIFT_MS], DRIFT, 0))
    if p.n[CONTROL_MS] > 0:
        _push(b, s, _timer(began + p.n[CONTROL_MS], CONTROL, 0))
    if p.n[RANDOM_START]:
        _open_within_day(b, s, p, began)


@compiled()
def _open_within_day(b, s, p, began):  # type: ignore[no-untyped-def]
    """Training only: begin with a busy floor and plausible counts of the day so far.

    About 85 % of the agents are found in the middle of a conversation, and the counts are what a
    floor at 90 % utilisation has when its silent rate is the cap give or take noise.
    """
    key = _key(b, s)
    agents = p.n[N_AGENTS]
    for i in range(agents):
        if chance.unit(chance.draw(key, chance.TRAIN_START, 16 + 2 * i)) < 0.85:
            agent = s.idle[b, s.head[b, IDLE_HEAD]]
            s.head[b, IDLE_HEAD] = (s.head[b, IDLE_HEAD] + 1) % agents
            number = s.head[b, CONVERSATIONS]
            s.head[b, CONVERSATIONS] = number + 1
            _enter(b, s, agent, TALK, began)
            s.agent[b, agent, AGENT_NUMBER] = number
            u = chance.draw(key, chance.TALK_TIME, number)
            talk = chance.duration_ms(p.tables, LAW_TALK, u) * s.head[b, TALK_FACTOR] >> 20
            share = chance.unit(chance.draw(key, chance.TRAIN_START, 17 + 2 * i))
            spent = np.int64(talk * share)
            s.agent[b, agent, AGENT_SINCE] = began - spent
            _push(b, s, _timer(began + max(talk - spent, 1), AGENT, agent))
    handle_ms = 0.0
    for i in range(8):
        handle_ms += p.tables[LAW_TALK, 64 + 128 * i] / 8.0
        if p.n[HAS_WRAP]:
            handle_ms += p.tables[LAW_WRAP, 64 + 128 * i] / 8.0
    answered = 0.9 * agents * began / handle_ms
    noise = chance.normal(p.curves, chance.draw(key, chance.TRAIN_START, 2))
    silent = answered * p.x[CAP] + noise * np.sqrt(2.0 * answered * p.x[CAP] + 1.0)
    s.head[b, OPEN_ANSWERED] = np.int64(answered)
    s.head[b, OPEN_SILENT] = np.int64(min(max(silent, 0.0), answered))
